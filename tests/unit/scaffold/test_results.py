"""The folder, run where Lockgate cannot be imported, gives what Lockgate gives."""

import subprocess
import sys
from pathlib import Path

import pytest

from lockgate.files import read_json, read_jsonl, write_jsonl
from lockgate.tools import get
from tiny_model import make_tiny_model

KEPT = ("id", "score", "answer", "target", "probabilities", "value")
CHANGES = {
    "training__parameters": {
        "method": "lora",
        "learning_rate": 1e-2,
        "epochs": 2,
        "batch_size": 8,
        "max_length": 64,
        "lora_rank": 4,
        "lora_dropout": 0.1,
        "precision": "float32",
    },
    "training__variables": {},
    "training__system_prompt": "Add the numbers.",
    "data__records": 60,
    "data__rows": {
        "prompt": "{{ a }} + {{ b }} =",
        "completion": "{{ 100 if sum > 50 else 10 }}",
    },
    "evaluation__epochs": [0, 1],
    "evaluation__tasks": [
        {
            "name": "closeness",
            "task": "config/examples/tasks/closeness.py@closeness",
            "args": {"tolerance": 20},
            "max_tokens": 4,
        },
        {"name": "number", "scorer": "numeric", "tolerance": 5, "max_tokens": 4},
        {"name": "size", "scorer": "probabilities", "options": ["10", "100"], "prompt": "{{ a }}"},
    ],
}


def samples(results):
    """What is to be the same, sample by sample."""
    return [
        (one["task"], one["metric"], [{k: s[k] for k in KEPT if k in s} for s in one["samples"]])
        for one in results
    ]


@pytest.fixture
def model(built):
    make_tiny_model(built.project.model.parent, chat_template=True)
    return built.project.model.parent.absolute()


@pytest.mark.slow
def test_training_and_evaluation_are_the_same_without_lockgate(built, model, alone):
    folder = built.build(**CHANGES).hand_over()
    environment = {**alone, "MODEL_TINY": str(model)}
    blocked = [sys.executable, "-c", "import lockgate"]
    assert subprocess.run(blocked, env=environment, capture_output=True).returncode != 0

    def run():
        command = ["bash", str(folder / "run.sh")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    first = run()
    assert "finished before" not in first

    data = {split: folder / f"data/{split}.jsonl" for split in ("train", "validation", "test")}
    config = built.experiment.documents["train/tiny_fine-tuned"]["config"]
    own = get("training", "trl", "").train(
        config, model, data["train"], data["validation"], Path("own")
    )
    theirs = read_json(folder / "results/tiny_fine-tuned/train/result.json")
    assert len(own["losses"]) == 12 and own["losses"][0]["loss"] > own["losses"][-1]["loss"]
    for key in ("losses", "checkpoints", "tokens", "steps", "trainable_parameters"):
        assert theirs[key] == own[key], key
    losses = own["losses"]
    for epoch in ("epoch-0", "epoch-1"):
        weights = [
            root / epoch / "adapter_model.safetensors"
            for root in (folder / "results/tiny_fine-tuned/train", Path("own"))
        ]
        assert weights[0].read_bytes() == weights[1].read_bytes()

    evaluate = get("evaluation", "inspect_ai", "").evaluate
    for name, measured in (
        ("tiny_control", {None: model}),
        ("tiny_fine-tuned", {0: Path("own/epoch-0"), 1: Path("own/epoch-1")}),
    ):
        config = built.experiment.documents[f"eval/{name}"]["config"]
        theirs = read_json(folder / f"results/{name}/scores.json")["cells"]
        for epoch, weights in measured.items():
            own = evaluate(config, weights, model, data, Path(f"logs-{name}-{epoch}"), Path("."))
            cells = [cell for cell in theirs if cell["epoch"] == epoch]
            assert samples(cells) == samples(own) and len(cells) == 3
    assert any(sample["score"] for cell in theirs for sample in cell["samples"])

    assert run().count("finished before") == 3
    table = (folder / "results/results.csv").read_text().splitlines()
    assert len(table) == 1 + 3 + 6

    # a changed configuration is trained and measured again, and nothing else
    changed = folder / "configs/train/tiny_fine-tuned.yaml"
    changed.write_text(changed.read_text().replace("learning_rate: 0.01", "learning_rate: 0.02"))
    assert run().count("finished before") == 1
    again = read_json(folder / "results/tiny_fine-tuned/train/result.json")["losses"]
    assert again[0] == losses[0] and again[1:] != losses[1:]


@pytest.mark.slow
def test_conversations_are_learned_and_measured_the_same_without_lockgate(built, model, alone):
    texts = ("Take {n}.", "Taken.", "Is it {n}?", "{n}")
    talks = [
        [
            {"role": ("user", "assistant")[at % 2], "content": text.format(n=n)}
            for at, text in enumerate(texts)
        ]
        for n in range(30)
    ]
    write_jsonl("talks.jsonl", [{"talk": talk} for talk in talks])
    tasks = [{"name": "same", "scorer": "exact", "max_tokens": 4}]
    changes = {"data__files": "talks.jsonl", "data__rows": {"messages": "talk"}}
    changes |= {"data__records": 30, "evaluation__tasks": tasks, "evaluation__epochs": "last"}
    folder = built.build(**{**CHANGES, **changes}).hand_over()
    environment = {**alone, "MODEL_TINY": str(model)}
    command = ["bash", str(folder / "run.sh")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {split: folder / f"data/{split}.jsonl" for split in ("train", "validation", "test")}
    assert all(len(row["history"]) == 2 for row in read_jsonl(rows["train"]))
    config = built.experiment.documents["train/tiny_fine-tuned"]["config"]
    own = get("training", "trl", "").train(
        config, model, rows["train"], rows["validation"], Path("own")
    )
    theirs = read_json(folder / "results/tiny_fine-tuned/train/result.json")
    assert theirs["losses"] == own["losses"] and theirs["tokens"] == own["tokens"]
    config = built.experiment.documents["eval/tiny_fine-tuned"]["config"]
    weights = Path("own/epoch-1")
    evaluate = get("evaluation", "inspect_ai", "").evaluate
    measured = evaluate(config, weights, model, rows, Path("logs"), Path("."))
    (cell,) = read_json(folder / "results/tiny_fine-tuned/scores.json")["cells"]
    assert samples([cell]) == samples(measured)


@pytest.mark.slow
def test_training_in_an_own_environment_is_the_same_without_lockgate(
    tune_environment, built, model, alone
):
    changes = {**CHANGES, "training__tool": "torchtune", "evaluation__epochs": "last"}
    folder = built.build(**changes).hand_over()
    environment = {**alone, "MODEL_TINY": str(model), "TUNE_PYTHON": str(tune_environment)}
    command = ["bash", str(folder / "run.sh")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [folder / f"data/{split}.jsonl" for split in ("train", "validation")]
    config = built.experiment.documents["train/tiny_fine-tuned"]["config"]
    own = get("training", "torchtune", "").train(config, model, *rows, Path("own"))
    theirs = read_json(folder / "results/tiny_fine-tuned/train/result.json")
    for key in ("losses", "checkpoints", "tokens", "steps"):
        assert theirs[key] == own[key], key
    assert len(read_json(folder / "results/tiny_fine-tuned/scores.json")["cells"]) == 3
