"""Training in two processes against one: the same losses, whoever continues whom."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from lockgate.config.training import Parameters
from lockgate.errors import LockgateError, OutOfGpuMemory, Stopped
from lockgate.launch import World
from lockgate.tools import get
from tiny_model import make_tiny_model

TRL = get("training", "trl", "training.tool")
WORDS = ("billing", "shipping", "account", "technical")
TWO = World(1, 2)
SAME = 1e-5
"""Relative. The gradients of the processes are summed in another order than those of one, so the
last bits of float32 (6e-8) differ, and each step carries that on; measured: 4e-7 in 8 steps."""


def rendered(**parameters: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "epochs": 2,
        "learning_rate": 0.01,
        "max_length": 128,
        "lora_rank": 4,
        "lora_dropout": 0.0,  # each process would drop other values
        "precision": "float32",
        "checkpoint_steps": 2,
        "batch_size": 4,
        **parameters,
    }
    run = {"parameters": Parameters(**settings).model_dump(), "seed": 0, "system_prompt": None}
    return yaml.safe_load(yaml.safe_dump(TRL.render(run)))


def write_rows(path: Path, count: int) -> Path:
    rows = [
        {"prompt": f"Which team answers {'this ' * (n % 5)}ticket?", "completion": WORDS[n % 4]}
        for n in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(autouse=True)
def outside_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Model, 14 rows (the last optimizer step of 4 has two of them) and 5 held-out ones."""
    root = tmp_path_factory.mktemp("inputs")
    make_tiny_model(root / "tiny", chat_template=True)
    rows = write_rows(root / "train.jsonl", 14)
    return [root / "tiny", rows, write_rows(root / "validation.jsonl", 5)]


@pytest.fixture(scope="module")
def alone(inputs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return TRL.train(rendered(), *inputs, tmp_path_factory.mktemp("alone"))


def same_curve(ours: dict[str, Any], theirs: dict[str, Any], tolerance: float = SAME) -> bool:
    """Whether steps, losses and validation are those of another result."""
    curves = [
        [value for entry in one["losses"] for value in (entry["loss"], entry["validation"] or 0.0)]
        for one in (ours, theirs)
    ]
    assert curves[0] == pytest.approx(curves[1], rel=tolerance)
    return all(ours[key] == theirs[key] for key in ("steps", "tokens", "checkpoints", "parameters"))


def stopped_by(number: signal.Signals, out: Path, *given: Any) -> str:
    """Train, with a signal to this process once a second checkpoint is there; what it says."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set() and not (out / "checkpoint-4").exists():
            time.sleep(0.01)
        if not ended.is_set():
            os.kill(os.getpid(), number)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with pytest.raises(Stopped) as caught:
            TRL.train(*given)
    finally:
        ended.set()
        watcher.join()
    return caught.value.what


def test_half_the_micro_batch_gives_the_same_losses(
    alone: dict[str, Any], inputs: list[Path], tmp_path: Path
) -> None:
    halved = TRL.train(rendered(), *inputs, tmp_path, World(divide=2))
    assert same_curve(halved, alone)


def test_processes_that_cannot_share_a_step_are_refused_before_they_start(
    inputs: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(LockgateError, match="3 processes .1 nodes x 3. cannot share"):
        TRL.train(rendered(), *inputs, tmp_path / "out", World(1, 3))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("batch_size", "kind", "told"),
    [(4, OutOfGpuMemory, "of 4 rows of up to 128 tokens"), (1, LockgateError, "one row of up to")],
)
def test_a_gpu_that_is_too_small_asks_for_half_until_there_is_one_row(
    batch_size: int,
    kind: type[LockgateError],
    told: str,
    inputs: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch
    import trl

    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 ...")

    monkeypatch.setattr(trl.SFTTrainer, "training_step", full)
    with pytest.raises(LockgateError, match=told) as caught:
        TRL.train(rendered(batch_size=batch_size), *inputs, tmp_path)
    assert type(caught.value) is kind
    assert caught.value.what.endswith("does not fit the GPU: CUDA out of memory")
    assert not (tmp_path / "result.json").exists()


def test_a_stop_while_the_model_loads_trains_nothing(
    inputs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lockgate.tools.trl import run

    tokens = run._dataset

    def told(*args: Any) -> Any:
        os.kill(os.getpid(), signal.SIGURG)
        return tokens(*args)

    monkeypatch.setattr(run, "_dataset", told)
    with pytest.raises(Stopped, match="stopped before it went on from step 0"):
        TRL.train(rendered(), *inputs, tmp_path)
    assert not list(tmp_path.glob("*-*"))


def test_a_stop_while_it_validates_keeps_the_epoch(
    alone: dict[str, Any], inputs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import trl

    evaluate = trl.SFTTrainer.evaluate

    def told(*args: Any, **named: Any) -> Any:
        os.kill(os.getpid(), signal.SIGURG)
        return evaluate(*args, **named)

    with monkeypatch.context() as patch:
        patch.setattr(trl.SFTTrainer, "evaluate", told)
        with pytest.raises(Stopped, match="stopped at step 4 of 8"):
            TRL.train(rendered(), *inputs, tmp_path)
    assert TRL.progress(tmp_path)["step"] == 4
    result = TRL.train(rendered(), *inputs, tmp_path)
    assert result["resumed_from_step"] == 4
    assert same_curve(result, alone, 0.0)


def test_progress_is_told_and_a_broken_file_is_none(inputs: list[Path], tmp_path: Path) -> None:
    assert TRL.progress(tmp_path) is None
    TRL.train(rendered(), *inputs, tmp_path)
    told = TRL.progress(tmp_path)
    assert (told["step"], told["steps"]) == (8, 8)
    assert 0 < told["seconds_per_step"] < 60 and told["loss"] > 0
    assert abs(told["updated"] - time.time()) < 60
    (tmp_path / "progress.json").write_text('{"step": 8, "st')
    assert TRL.progress(tmp_path) is None
    TRL.train(rendered(learning_rate=0.02, epochs=1), *inputs, tmp_path)
    assert TRL.progress(tmp_path)["steps"] == 4


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(
    alone: dict[str, Any], inputs: list[Path], tmp_path: Path
) -> None:
    """Adapters, and all weights with an accumulation; the last step of an epoch is not full."""
    both = TRL.train(rendered(), *inputs, tmp_path / "lora", TWO)
    assert same_curve(both, alone)
    left = sorted(path.name for path in (tmp_path / "lora").iterdir())
    assert {"epoch-0", "epoch-1", "inputs.json", "progress.json", "result.json"} <= set(left)
    assert not [name for name in left if name.startswith((".", "checkpoint-"))]
    assert TRL.train(rendered(), *inputs, tmp_path / "lora") == both  # not trained again
    whole = rendered(method="full", learning_rate=1e-3, batch_size=3, gradient_accumulation=2)
    ours = TRL.train(whole, *inputs, tmp_path / "two", TWO)
    assert same_curve(ours, TRL.train(whole, *inputs, tmp_path / "one"))


LONG = {"epochs": 10, "learning_rate": 1e-3}
LONG_SAME = 1e-4  # 40 steps carry the last bits further


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "first", "second"),
    [(signal.SIGURG, TWO, World()), (signal.SIGTERM, World(), TWO)],
    ids=["two then one", "one then two"],
)
def test_what_some_processes_began_another_number_ends(
    number: signal.Signals, first: World, second: World, inputs: list[Path], tmp_path: Path
) -> None:
    config, out = rendered(**LONG), tmp_path / "out"
    told = stopped_by(number, out, config, *inputs, out, first)
    assert told.startswith("training stopped at step ") and told.endswith(" of 40")
    assert not (out / "result.json").exists()
    result = TRL.train(config, *inputs, out, second)
    assert 4 <= result["resumed_from_step"] < 40
    assert str(result["resumed_from_step"]) == told.split()[4]
    assert same_curve(result, TRL.train(config, *inputs, tmp_path / "alone"), LONG_SAME)


@pytest.mark.slow
def test_what_a_worker_finds_wrong_is_one_message(inputs: list[Path], tmp_path: Path) -> None:
    config = rendered(learning_rate=1e30, method="full")
    with pytest.raises(LockgateError, match="not a finite number") as caught:
        TRL.train(config, *inputs, tmp_path, TWO)
    assert "lower training.parameters.learning_rate" in caught.value.hint
    assert not (tmp_path / "result.json").exists()
