"""The training adapter: what it renders and refuses, and real training of a tiny model."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lockgate.config.training import Parameters
from lockgate.errors import LockgateError
from lockgate.tools import get
from tiny_model import make_tiny_model

TRL = get("training", "trl", "training.tool")
WORDS = ("billing", "shipping", "account", "technical")


def rendered(seed: int = 0, system_prompt: str | None = None, **parameters: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "epochs": 2,
        "learning_rate": 0.01,
        "max_length": 128,
        "lora_rank": 4,
        "lora_dropout": 0.1,  # so that resuming must bring the random state back
        "precision": "float32",
        "checkpoint_steps": 2,
        **parameters,
    }
    run = {"parameters": Parameters(**settings).model_dump(), "seed": seed}
    config = TRL.render({**run, "system_prompt": system_prompt})
    return yaml.safe_load(yaml.safe_dump(config))  # as it comes from the built file


def write_rows(path: Path, count: int) -> Path:
    rows = [
        {"id": f"r{n}", "prompt": f"Which team answers ticket {n}?", "completion": WORDS[n % 4]}
        for n in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module", autouse=True)
def no_network() -> Iterator[None]:
    """Nothing looks up a host, in any thread: on a cluster's nodes that may hang."""
    hosts: list[Any] = []

    def refused(host: Any, *_: Any, **__: Any) -> Any:
        hosts.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "no network in this test")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", refused)
        yield
    assert hosts == []


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny"
    make_tiny_model(path, chat_template=True)
    return path


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("rows") / "train.jsonl", 14)


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("rows") / "validation.jsonl", 4)


@pytest.fixture(scope="module")
def whole(
    base: Path, rows: Path, held_out: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """A run that nothing interrupted: 4 steps an epoch (14 rows in batches of 4), 2 epochs."""
    out = tmp_path_factory.mktemp("whole")
    return out, TRL.train(rendered(), base, rows, held_out, out)


def losses(result: dict[str, Any]) -> list[tuple[int, float, float | None]]:
    return [(entry["step"], entry["loss"], entry["validation"]) for entry in result["losses"]]


def test_rendering_imports_nothing_heavy() -> None:
    code = "import sys; from lockgate.tools import names; names('training'); print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "lockgate.tools.trl" in loaded
    assert not {"torch", "transformers", "trl", "peft", "datasets"} & set(loaded)


def test_constant_rate_with_warm_up_warms_up() -> None:
    plain = rendered(lr_scheduler="constant")
    warm = rendered(lr_scheduler="constant", warmup_steps=3)
    assert plain["sft"]["lr_scheduler_type"] == "constant"
    assert warm["sft"]["lr_scheduler_type"] == "constant_with_warmup"


def test_full_training_has_no_adapter() -> None:
    assert rendered(method="full")["lora"] is None
    assert rendered()["lora"]["r"] == 4


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        ("output_dir", "remove it"),
        ("resume_from_checkpoint", "remove it"),
        ("save_only_model", "remove it"),
        ("num_train_epochs", "use epochs"),
        ("bf16", "use precision"),
    ],
)
def test_options_of_the_pipeline_are_refused(option: str, hint: str) -> None:
    with pytest.raises(LockgateError) as caught:
        rendered(extra={option: 1})
    assert caught.value.where == f"training.parameters.extra.{option}"
    assert caught.value.hint == hint


def test_validation_accepts_real_options() -> None:
    TRL.validate(rendered(extra={"max_grad_norm": 0.5, "neftune_noise_alpha": 5, "packing": False}))
    TRL.validate(rendered(method="full", lr_scheduler="cosine"))


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"max_grad_nrom": 1.0}, "did you mean 'max_grad_norm'"),
        ({"max_grad_norm": "1e-1"}, "write 1.0e-4"),  # what YAML reads
        ({"optim": "adamm"}, "adamm"),
    ],
)
def test_validation_names_what_does_not_fit(extra: dict[str, Any], message: str) -> None:
    with pytest.raises(LockgateError, match=message) as caught:
        TRL.validate(rendered(extra=extra))
    assert caught.value.where.startswith("training.parameters")


def test_result_of_a_run(whole: tuple[Path, dict[str, Any]], base: Path, held_out: Path) -> None:
    from transformers import AutoTokenizer

    from lockgate.prompts import read_rows, tokenize

    out, result = whole
    assert result["steps"] == 8
    assert [(c["epoch"], c["step"], c["path"]) for c in result["checkpoints"]] == [
        (0, 4, "epoch-0"),
        (1, 8, "epoch-1"),
    ]
    assert all(checkpoint["adapter"] for checkpoint in result["checkpoints"])
    assert [entry["step"] for entry in result["losses"]] == list(range(1, 9))
    assert [entry["step"] for entry in result["losses"] if entry["validation"]] == [4, 8]
    assert result["losses"][-1]["loss"] < result["losses"][0]["loss"] - 0.5
    assert len(result["step_seconds"]) == 8
    assert result["resumed_from_step"] == 0 and result["truncated_rows"] == 0
    assert 0 < result["trainable_parameters"] < result["parameters"]
    tokenizer = AutoTokenizer.from_pretrained(base)
    rows = [(row["prompt"], row["completion"]) for row in read_rows(held_out)]
    a_row = len(tokenize(tokenizer, *rows[0], None)[0])
    assert 2 * 14 * (a_row - 8) < result["tokens"] < 2 * 14 * (a_row + 8)
    assert (out / "epoch-1" / "tokenizer.json").exists()
    assert not list(out.glob("checkpoint-*")) and not list(out.glob(".epoch-*"))


def test_a_finished_run_is_not_trained_again(
    whole: tuple[Path, dict[str, Any]],
    base: Path,
    rows: Path,
    held_out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import trl

    def forbidden(*_: Any, **__: Any) -> None:
        raise AssertionError("trained")

    monkeypatch.setattr(trl.SFTTrainer, "train", forbidden)
    out, result = whole
    assert TRL.train(rendered(), base, rows, held_out, out) == result


def test_other_rows_or_parameters_start_afresh(
    whole: tuple[Path, dict[str, Any]], base: Path, rows: Path, held_out: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(whole[0], out)
    faster = TRL.train(rendered(learning_rate=0.02), base, rows, held_out, out)
    assert faster["resumed_from_step"] == 0
    first, *later = zip(losses(faster), losses(whole[1]), strict=True)
    assert first[0] == first[1]  # before the first update nothing differs
    assert all(ours != theirs for ours, theirs in later)
    fewer = TRL.train(rendered(), base, held_out, None, out)
    assert fewer["steps"] == 2


def test_a_run_killed_within_a_save_continues_with_the_same_losses(
    whole: tuple[Path, dict[str, Any]], base: Path, rows: Path, held_out: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    code = f"""
        import json, os, signal
        from pathlib import Path
        from lockgate.tools import get
        from transformers import Trainer

        save = Trainer._save_rng_state
        def killed(self, directory):
            if directory.endswith("checkpoint-6"):  # its weights are there, its state is not
                os.kill(os.getpid(), signal.SIGKILL)
            save(self, directory)
        Trainer._save_rng_state = killed
        paths = [Path(path) for path in {[str(base), str(rows), str(held_out), str(out)]!r}]
        get("training", "trl", "").train(json.loads({json.dumps(rendered())!r}), *paths)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert (out / "checkpoint-6").is_dir() and not (out / "result.json").exists()
    result = TRL.train(rendered(), base, rows, held_out, out)
    assert result["resumed_from_step"] == 4
    assert losses(result) == losses(whole[1])
    assert len(result["step_seconds"]) == 4 and len(result["losses"]) == 8
    for epoch in ("epoch-0", "epoch-1"):
        ours, theirs = (o / epoch / "adapter_model.safetensors" for o in (out, whole[0]))
        assert ours.read_bytes() == theirs.read_bytes()


def test_sigterm_saves_and_never_passes_for_finished(
    whole: tuple[Path, dict[str, Any]],
    base: Path,
    rows: Path,
    held_out: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import trl

    step = trl.SFTTrainer.training_step
    calls = []

    def interrupted(self: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, *args, **kwargs)

    handler = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        patch.setattr(trl.SFTTrainer, "training_step", interrupted)
        with pytest.raises(LockgateError, match="stopped at step 3 of 8"):
            TRL.train(rendered(), base, rows, held_out, tmp_path)
    assert signal.getsignal(signal.SIGTERM) is handler
    assert not list(tmp_path.glob("epoch-*")) and not (tmp_path / "result.json").exists()
    result = TRL.train(rendered(), base, rows, held_out, tmp_path)
    assert result["resumed_from_step"] == 3
    assert losses(result) == losses(whole[1])


def test_killed_after_the_last_checkpoint_it_only_reports(
    whole: tuple[Path, dict[str, Any]],
    base: Path,
    rows: Path,
    held_out: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from lockgate.tools.trl import kept

    write = kept.write_json

    def killed(path: Path, value: Any) -> None:
        if path.name == "result.json":
            raise KeyboardInterrupt
        write(path, value)

    with monkeypatch.context() as patch:
        patch.setattr(kept, "write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            TRL.train(rendered(), base, rows, held_out, tmp_path)
    result = TRL.train(rendered(), base, rows, held_out, tmp_path)
    assert result["resumed_from_step"] == 8 and result["step_seconds"] == []
    assert losses(result) == losses(whole[1])
    assert result["checkpoints"] == whole[1]["checkpoints"]


def test_full_training_in_bfloat16_writes_a_whole_model(
    base: Path, rows: Path, tmp_path: Path
) -> None:
    from safetensors import safe_open

    from lockgate.weights import inspect_weights

    config = rendered(method="full", epochs=1, precision="bfloat16", learning_rate=1e-3)
    result = TRL.train(config, base, rows, None, tmp_path)
    (checkpoint,) = result["checkpoints"]
    assert checkpoint["adapter"] is False
    assert result["trainable_parameters"] == result["parameters"]
    model = tmp_path / checkpoint["path"]
    assert inspect_weights(model)["problems"] == []
    with safe_open(model / "model.safetensors", "np") as weights:
        assert {weights.get_slice(name).get_dtype() for name in weights.keys()} == {"BF16"}  # noqa: SIM118


def test_the_adapter_names_its_base_by_an_absolute_path(
    base: Path, held_out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(base.parent)
    TRL.train(rendered(epochs=1), Path(base.name), held_out, None, tmp_path)
    config = json.loads((tmp_path / "epoch-0" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(base)


def test_long_rows_are_cut_and_counted(base: Path, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "train.jsonl", 4)
    with open(path, "a") as file:
        file.write(json.dumps({"prompt": "Which team?", "completion": "blue " * 200}) + "\n")
        file.write(json.dumps({"prompt": "ticket " * 200, "completion": "billing"}) + "\n")
    result = TRL.train(rendered(epochs=1), base, path, None, tmp_path / "out")
    assert result["truncated_rows"] == 2
    assert result["steps"] == 2  # five rows: of the sixth nothing is left to learn
    with pytest.raises(LockgateError, match="raise training.parameters.max_length"):
        TRL.train(rendered(max_length=8), base, path, None, tmp_path / "other")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (None, "train.jsonl: has no rows"),
        ('{"prompt": "a"}', "train.jsonl: line 2: 'completion' is missing"),
        ('{"prompt": " ", "completion": "b"}', "train.jsonl: line 2: 'prompt' is empty"),
        ('{"prompt": ["a"], "completion": "b"}', "line 2: 'prompt' is missing or not text"),
    ],
)
def test_bad_rows_are_named(base: Path, tmp_path: Path, line: str | None, message: str) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text("" if line is None else '{"prompt": "a", "completion": "b"}\n' + line + "\n")
    with pytest.raises(LockgateError, match=message):
        TRL.train(rendered(), base, path, None, tmp_path / "out")


def test_adapter_targets_that_the_model_lacks(base: Path, rows: Path, tmp_path: Path) -> None:
    with pytest.raises(LockgateError, match="check lora_targets"):
        TRL.train(rendered(lora_targets=["no_such"]), base, rows, None, tmp_path)


def test_a_loss_that_is_no_number_ends_the_run(base: Path, rows: Path, tmp_path: Path) -> None:
    config = rendered(learning_rate=1e30, method="full")
    with pytest.raises(LockgateError, match="not a finite number"):
        TRL.train(config, base, rows, None, tmp_path)
    assert not (tmp_path / "result.json").exists()
