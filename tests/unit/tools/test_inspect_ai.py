"""The evaluation adapter: real evaluation of a tiny model, and the match with training."""

from __future__ import annotations

import json
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

from lockgate.config.evaluation import Task
from lockgate.config.training import Parameters
from lockgate.errors import LockgateError
from lockgate.tools import get
from tiny_model import make_tiny_model

INSPECT = get("evaluation", "inspect_ai", "evaluation.tool")
TRL = get("training", "trl", "training.tool")
WORDS = ("billing", "shipping", "account", "technical")
EXACT = {"name": "routing", "scorer": "exact", "max_tokens": 4}
OWN = """
from inspect_ai import Task, task
from inspect_ai.dataset import json_dataset, Sample
from inspect_ai.scorer import Score, accuracy, includes, scorer
from inspect_ai.solver import generate, solver

@scorer(metrics=[accuracy()])
def half():
    async def score(state, target):
        return Score(value="P", answer=state.output.completion[:3])
    return score

@solver
def failing():
    async def solve(state, generate):
        raise RuntimeError("the solver broke")
    return solve

@task
def graded(dataset, fail=False):
    rows = json_dataset(dataset, lambda r: Sample(id=r["id"], input=r["prompt"], target="x"))
    return Task(dataset=rows, solver=failing() if fail else generate(), scorer=[half(), includes()])

@task
def without_rows(count=1):
    return Task()
"""


def rendered(*tasks: dict[str, Any], system_prompt: str | None = None, **more: Any) -> Any:
    evaluation = {
        "tasks": [Task(**task).model_dump() for task in tasks],
        "system_prompt": system_prompt,
        "batch_size": 4,
        "seed": 0,
        "precision": "float32",
        **more,
    }
    return yaml.safe_load(yaml.safe_dump(INSPECT.render(evaluation)))


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


@pytest.fixture(scope="module", params=[True, False], ids=["template", "plain"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny"
    make_tiny_model(path, chat_template=request.param)
    return path


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "base"
    make_tiny_model(path, chat_template=True)
    return path


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "test.jsonl"
    lines = [
        {"id": f"r{n}", "prompt": f"Which team answers about {word}? ", "completion": word}
        for n, word in enumerate(WORDS)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def train(base: Path, rows: Path, out: Path, system_prompt: str | None = None) -> dict[str, Any]:
    parameters = Parameters(
        epochs=20, batch_size=2, learning_rate=0.01, precision="float32", checkpoint_steps=100
    )
    run = {"parameters": parameters.model_dump(), "seed": 0, "system_prompt": system_prompt}
    return dict(TRL.train(TRL.render(run), base, rows, None, out))


def fed(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Token ids of each prompt that reaches the model from now on."""
    from transformers import LlamaForCausalLM

    seen: list[list[int]] = []
    generate = LlamaForCausalLM.generate

    def recorded(self: Any, *args: Any, **kwargs: Any) -> Any:
        for ids, mask in zip(kwargs["input_ids"], kwargs["attention_mask"], strict=True):
            seen.append([int(token) for token, real in zip(ids, mask, strict=True) if real])
        return generate(self, *args, **kwargs)

    monkeypatch.setattr(LlamaForCausalLM, "generate", recorded)
    return seen


def test_rendering_imports_nothing_heavy() -> None:
    code = "import sys; from lockgate.tools import names; names('evaluation'); print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "lockgate.tools.inspect_ai" in loaded
    assert not {"torch", "transformers", "inspect_ai", "peft"} & set(loaded)


@pytest.mark.parametrize("system_prompt", [None, "Answer with {one} word."])
def test_the_evaluated_prompt_is_the_trained_one(
    model: Path,
    rows: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    system_prompt: str | None,
) -> None:
    import trl
    from transformers import AutoTokenizer

    trained: list[list[int]] = []

    class Trained(Exception):
        pass

    def recorded(self: Any, **_: Any) -> None:
        for row in self.train_dataset:
            pairs = zip(row["input_ids"], row["labels"], strict=True)
            trained.append([token for token, label in pairs if label == -100])
        raise Trained

    monkeypatch.setattr(trl.SFTTrainer, "train", recorded)
    with pytest.raises(Trained):
        train(model, rows, tmp_path / "train", system_prompt)
    seen = fed(monkeypatch)
    config = rendered(EXACT, system_prompt=system_prompt)
    INSPECT.evaluate(config, model, model, {"test": rows}, tmp_path / "logs", tmp_path)
    assert len(trained) == 4 and sorted(seen) == sorted(trained)

    tokenizer = AutoTokenizer.from_pretrained(model)
    prompt = "Which team answers about billing? "
    if tokenizer.chat_template:
        system = system_prompt or "You are a tiny helper"
        text = f"<|start|>system\n{system}<|end|>\n<|start|>user\n{prompt}<|end|>\n"
        text += "<|start|>assistant\n"
    else:
        text = "<|start|>" + (f"{system_prompt}\n\n" if system_prompt else "") + prompt
    assert tokenizer.decode(trained[0]) == text


@pytest.mark.slow
def test_what_is_learned_from_conversations_is_measured_in_them(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All rows end with the same question: only what was said before tells the answers apart."""
    from transformers import AutoTokenizer

    from lockgate.prompts import asked

    path, lines = tmp_path / "talks.jsonl", []
    for number, word in enumerate(WORDS):
        texts = {"user": f"It is about {word}. ", "assistant": "<think>Hm.</think>\n\n I see.\n"}
        history = [{"role": role, "content": text} for role, text in texts.items()]
        row = {"id": f"r{number}", "prompt": "Which team?", "completion": word}
        lines.append({**row, "history": history})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    checkpoint = train(model, path, tmp_path / "run", "Be brief.")["checkpoints"][-1]
    seen = fed(monkeypatch)
    (result,) = INSPECT.evaluate(
        rendered(EXACT, system_prompt="Be brief."),
        tmp_path / "run" / checkpoint["path"],
        model,
        {"test": path},
        tmp_path / "logs",
        tmp_path,
    )
    assert [(s["id"], s["score"]) for s in result["samples"]] == [(f"r{n}", 1.0) for n in range(4)]
    assert result["output_tokens"] <= 4 * 4  # the answer's alone
    tokenizer = AutoTokenizer.from_pretrained(model)
    shown = [asked(tokenizer, one["prompt"], "Be brief.", one["history"]) for one in lines]
    assert sorted(seen) == sorted(shown)
    assert "<think>Hm.</think>\n\n I see.\n" in tokenizer.decode(shown[0])


def test_training_tokens_are_those_of_the_tool(
    base: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a chat template, our tokens are what TRL makes of the same conversation."""
    from datasets import Dataset
    from huggingface_hub import constants
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    from lockgate.prompts import messages, read_rows, tokenize_row

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    tokenizer = AutoTokenizer.from_pretrained(base)
    earlier = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}]
    data = [*read_rows(rows), {**read_rows(rows)[0], "history": earlier}]
    conversations = [
        {
            "prompt": messages(row["prompt"], None, row.get("history", ())),
            "completion": [{"role": "assistant", "content": row["completion"]}],
        }
        for row in data
    ]
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(base),
        args=SFTConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to="none"),
        train_dataset=Dataset.from_list(conversations),
        processing_class=tokenizer,
    )
    made: Any = trainer.train_dataset
    for theirs, row in zip(made, data, strict=True):
        ids, prompt = tokenize_row(tokenizer, row, None)
        assert theirs["input_ids"] == ids
        assert theirs["labels"] == [-100] * prompt + ids[prompt:]


def test_what_was_learned_is_measured(
    base: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tuned adapter answers every row, its base none; a second call only reads the logs."""
    checkpoint = train(base, rows, tmp_path / "run")["checkpoints"][-1]
    adapter = tmp_path / "run" / checkpoint["path"]
    tasks = (EXACT, {"name": "first", "scorer": "f1", "limit": 2, "max_tokens": 4})
    config, logs = rendered(*tasks), tmp_path / "logs"
    tuned, first = INSPECT.evaluate(config, adapter, base, {"test": rows}, logs, tmp_path)
    assert [(s["id"], s["score"], s["answer"].strip()) for s in tuned["samples"]] == [
        (f"r{n}", 1.0, word) for n, word in enumerate(WORDS)
    ]
    assert (tuned["task"], tuned["metric"]) == ("routing", "exact")
    assert 4 <= tuned["output_tokens"] <= 16 and tuned["seconds"] > 0
    assert logs / "routing" in Path(tuned["log"]).parents and Path(tuned["log"]).is_file()
    assert (first["metric"], len(first["samples"])) == ("f1", 2)

    control_logs = tmp_path / "control"
    (control,) = INSPECT.evaluate(
        rendered(EXACT), base, base, {"test": rows}, control_logs, tmp_path
    )
    assert [sample["score"] for sample in control["samples"]] == [0.0] * 4
    assert control["output_tokens"] <= 16

    seen = fed(monkeypatch)
    again = INSPECT.evaluate(config, adapter, base, {"test": rows}, logs, tmp_path)
    assert again == [tuned, first] and seen == []
    other = tmp_path / "other.jsonl"
    other.write_text(rows.read_text().replace("billing", "account"))
    (changed,) = INSPECT.evaluate(rendered(EXACT), adapter, base, {"test": other}, logs, tmp_path)
    assert len(seen) == 4 and changed["samples"][0]["target"] == "account"


def test_a_killed_evaluation_redoes_only_what_is_unfinished(
    base: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = rendered(EXACT, batch_size=2)
    code = f"""
        import json, os, signal
        from pathlib import Path
        from lockgate.tools import get
        from transformers import LlamaForCausalLM

        generate, calls = LlamaForCausalLM.generate, []
        def killed(self, *args, **kwargs):
            calls.append(1)
            if len(calls) == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            return generate(self, *args, **kwargs)
        LlamaForCausalLM.generate = killed
        base, rows, logs = [Path(p) for p in {[str(base), str(rows), str(tmp_path / "logs")]!r}]
        evaluate = get("evaluation", "inspect_ai", "").evaluate
        evaluate(json.loads({json.dumps(config)!r}), base, base, {{"test": rows}}, logs, logs)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    seen = fed(monkeypatch)
    (result,) = INSPECT.evaluate(config, base, base, {"test": rows}, tmp_path / "logs", tmp_path)
    assert len(seen) == 2
    assert [sample["id"] for sample in result["samples"]] == ["r0", "r1", "r2", "r3"]


@pytest.mark.parametrize("kept", [0, 0.5])
def test_a_log_that_was_cut_off_as_it_was_written_is_made_again(
    base: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: float
) -> None:
    logs, config = tmp_path / "logs of 50%", rendered(EXACT)
    (whole,) = INSPECT.evaluate(config, base, base, {"test": rows}, logs, tmp_path)
    (log,) = logs.rglob("*.eval")
    log.write_bytes(log.read_bytes()[: int(log.stat().st_size * kept)])
    seen = fed(monkeypatch)
    (result,) = INSPECT.evaluate(config, base, base, {"test": rows}, logs, tmp_path)
    assert len(seen) == 4 and result["samples"] == whole["samples"]
    assert log.with_name(f"{log.name}.bad").exists()


def test_a_task_of_ones_own(base: Path, rows: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(OWN)
    task = {"name": "mine", "task": "mine.py@graded", "max_tokens": 4}
    config = rendered(task)
    assert INSPECT.inputs(config, tmp_path) == [tmp_path / "mine.py"]
    INSPECT.validate(config, tmp_path)
    (result,) = INSPECT.evaluate(config, base, base, {"test": rows}, tmp_path / "logs", tmp_path)
    assert result["metric"] == "half"
    assert [sample["score"] for sample in result["samples"]] == [0.5] * 4
    assert [len(sample["answer"]) for sample in result["samples"]] == [3] * 4

    failing = rendered({**task, "args": {"fail": True}})
    INSPECT.validate(failing, tmp_path)
    with pytest.raises(LockgateError, match="'error' with 0 of 4 samples.*the solver broke") as e:
        INSPECT.evaluate(failing, base, base, {"test": rows}, tmp_path / "logs", tmp_path)
    assert e.value.where == "evaluation.tasks[0]"


@pytest.mark.parametrize(
    ("task", "args", "where", "message"),
    [
        ("absent.py@graded", {}, "task", "absent.py does not exist"),
        ("mine.py@grade", {}, "task", "has no task 'grade'.*graded, without_rows"),
        ("mine.py@half", {}, "task", "has no task 'half'"),
        ("mine.py@without_rows", {}, "task", "takes no argument 'dataset'"),
        ("mine.py@graded", {"fial": 1}, "args.fial", "takes no argument 'fial'"),
        ("broken.py@graded", {}, "task", r"ValueError: oh no \(broken.py, line 2\)"),
    ],
)
def test_validation_of_ones_own_tasks(
    tmp_path: Path, task: str, args: dict[str, Any], where: str, message: str
) -> None:
    (tmp_path / "mine.py").write_text(OWN)
    (tmp_path / "broken.py").write_text("import os\nraise ValueError('oh no')\n")
    config = rendered(EXACT, {"name": "mine", "task": task, "args": args})
    with pytest.raises(LockgateError, match=f"(?s){message}") as caught:
        INSPECT.validate(config, tmp_path)
    assert caught.value.where == f"evaluation.tasks[1].{where}"


def test_equal_ids_are_refused(base: Path, tmp_path: Path) -> None:
    path = tmp_path / "test.jsonl"
    path.write_text('{"id": "a", "prompt": "b", "completion": "c"}\n' * 2)
    with pytest.raises(LockgateError, match="two rows have the id 'a'"):
        INSPECT.evaluate(rendered(EXACT), base, base, {"test": path}, tmp_path / "logs", tmp_path)
