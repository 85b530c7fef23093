"""The built-in steps, each really run by its command on a tiny model, and what they refuse."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from lockgate.catalog.model import Notes
from lockgate.errors import LockgateError
from lockgate.stages import builtin, conversations
from lockgate.stages.builtin_settings import TrainSettings, output, read
from tiny_model import make_tiny_model

CATALOG = Path(__file__).parents[2] / "workflow" / "catalog"
STEPS = sorted(path.parent for path in CATALOG.glob("*/*/step.toml"))
WORDS = ("billing", "shipping", "account", "technical")
SYSTEM = "Answer with one word."


def run(step: str, work: Path, over: str = "tiny", **values: Any) -> subprocess.CompletedProcess:
    """Run a step's command with values of the test's over its own configuration `over`."""
    config = work / f"{step.replace('/', '-')}.yaml"
    defaults = str(CATALOG / step / "config" / f"{over}.yaml")
    config.write_text(yaml.safe_dump({"defaults": defaults, **values}))
    return subprocess.run(
        [sys.executable, CATALOG / step / "step.py", "--config", config.name],
        cwd=work,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def done(step: str, work: Path, **values: Any) -> str:
    """What a step that must succeed says."""
    result = run(step, work, **values)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def failed(step: str, work: Path, **values: Any) -> str:
    """What a step says that must end with one message and no traceback."""
    result = run(step, work, **values)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    return result.stderr


def chat(number: int, system: str | None = SYSTEM) -> dict[str, Any]:
    told = [{"role": "system", "content": system}] if system else []
    asked = {"role": "user", "content": f"Which team answers ticket {number}?"}
    return {"messages": [*told, asked, {"role": "assistant", "content": WORDS[number % 4]}]}


def write(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a tiny model in `model` and chat rows in `chat.jsonl`."""
    path = tmp_path_factory.mktemp("work")
    make_tiny_model(path / "model", chat_template=True)
    write(path / "chat.jsonl", [chat(number) for number in range(20)])
    return path


@pytest.fixture(scope="module")
def tuned(work: Path) -> Path:
    """An adapter, really trained by its step."""
    values = {"model": "model", "train": "chat.jsonl", "validation": "chat.jsonl"}
    done("peft/trl", work, output="peft", learning_rate=0.02, **values)
    return work / "peft"


def test_an_adapter_is_trained_and_records_its_base(work, tuned):
    report = json.loads((tuned / "training.json").read_text())
    losses = [entry["loss"] for entry in report["losses"]]
    assert len(losses) == report["steps"] == 2  # 8 rows of the 20, 4 a step
    assert all(math.isfinite(loss) for loss in losses)
    assert math.isfinite(report["losses"][-1]["validation"])
    assert report["rows"] == 8
    assert report["method"] == "lora"
    assert (tuned / "adapter" / "adapter_model.safetensors").stat().st_size > 0
    config = json.loads((tuned / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(work / "model")
    assert not (tuned / "work").exists()


@pytest.fixture(scope="module")
def full(work: Path) -> dict[str, Any]:
    """The configuration of a training of all weights that has been run."""
    values = {"model": "model", "train": "chat.jsonl", "output": "sft"}
    done("sft/trl", work, **values)
    return values


def test_all_weights_are_trained_and_other_settings_train_again(work, full):
    weights = work / "sft" / "model" / "model.safetensors"
    before = weights.read_bytes()
    assert before != (work / "model" / "model.safetensors").read_bytes()
    assert (work / "sft" / "model" / "tokenizer_config.json").is_file()
    report = json.loads((work / "sft" / "training.json").read_text())
    assert all(math.isfinite(entry["loss"]) for entry in report["losses"])
    assert report["trainable_parameters"] == report["parameters"]
    done("sft/trl", work, **full, limit=4)
    assert json.loads((work / "sft" / "training.json").read_text())["rows"] == 4
    assert weights.read_bytes() != before


def test_a_finished_training_is_not_done_again(work):
    values = {"model": "model", "train": "chat.jsonl", "output": "twice"}
    done("peft/trl", work, **values, limit=4)
    weights = work / "twice" / "adapter" / "adapter_model.safetensors"
    before = weights.stat().st_mtime_ns
    assert "it is there already" in done("peft/trl", work, **values, limit=4)
    assert weights.stat().st_mtime_ns == before


def test_the_merged_model_is_the_base_with_its_adapter(work, tuned):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    values = {"adapter": "peft/adapter", "model": "model", "output": "merged"}
    done("convert/merge_lora_peft", work, **values, precision=None)

    def load(name: str) -> Any:
        return AutoModelForCausalLM.from_pretrained(str(work / name), dtype=torch.float32)

    tokenizer = AutoTokenizer.from_pretrained(str(work / "merged" / "model"))
    ids = torch.tensor([tokenizer("Which team answers ticket 7?")["input_ids"]])
    with torch.no_grad():
        merged = load("merged/model")(ids).logits
        adapted = PeftModel.from_pretrained(load("model"), str(tuned / "adapter"))(ids).logits
        base = load("model")(ids).logits
    assert torch.allclose(merged, adapted, atol=1e-4)
    assert not torch.allclose(merged, base, atol=1e-2)
    assert not (work / "merged" / "model" / "adapter_config.json").exists()


def test_another_base_than_the_recorded_one_is_refused(work, tuned):
    make_tiny_model(work / "other", chat_template=False)
    values = {"adapter": "peft/adapter", "model": "other", "output": "wrong"}
    said = failed("convert/merge_lora_peft", work, **values)
    assert "convert-merge_lora_peft.yaml: model: the adapter was trained from" in said
    assert f"{work / 'model'}, not from other" in said
    assert not (work / "wrong").exists()
    values = {"model": "peft/adapter", "base": "other", "rows": "chat.jsonl", "output": "wrong"}
    assert "eval-inspect_ai.yaml: base: the adapter was" in failed(
        "eval/inspect_ai", work, **values
    )


def test_an_adapter_is_evaluated_unmerged_on_its_recorded_base(work, tuned):
    said = done(
        "eval/inspect_ai",
        work,
        model="peft/adapter",
        rows="chat.jsonl",
        output="scores",
        precision="float32",
        tasks=["exact", {"name": "shared-words", "scorer": "f1", "max_tokens": 4}],
    )
    assert "exact" in said
    report = json.loads((work / "scores" / "scores.json").read_text())
    assert report["base"] == str(work / "model")
    assert [task["task"] for task in report["tasks"]] == ["exact", "shared-words"]
    for task in report["tasks"]:
        assert task["n"] == 4
        assert 0 <= task["score"] <= 1
        assert [sample["target"] for sample in task["samples"]] == list(WORDS)
        assert (work / "scores" / task["log"]).is_file()
    assert report["tasks"][0]["output_tokens"] <= 4 * 8  # tiny.yaml's max_tokens


def test_a_whole_model_is_evaluated_with_its_own_tokenizer(work):
    values = {"model": "model", "base": "not-read", "rows": "chat.jsonl", "output": "control"}
    done("eval/inspect_ai", work, **values)
    report = json.loads((work / "control" / "scores.json").read_text())
    assert report["base"] == str(work / "model")
    assert report["tasks"][0]["n"] == 4


def test_chat_rows_are_split_as_they_are(work):
    done("data/dataset", work, over="default", files="chat.jsonl", output="data")
    parts = {name: lines(work / "data" / f"{name}.jsonl") for name in ("train", "test")}
    assert (len(parts["train"]), len(parts["test"])) == (16, 2)
    assert len(lines(work / "data" / "validation.jsonl")) == 2
    rows = [chat(number) for number in range(20)]
    assert all(row in rows for part in parts.values() for row in part)
    assert not [row for row in parts["test"] if row in parts["train"]]
    assert json.loads((work / "data" / "data.json").read_text())["rows"]["train"] == 16


def test_templates_make_chat_rows_of_any_records_and_tiny_takes_the_first(tmp_path):
    write(tmp_path / "sums.jsonl", [{"a": n, "sum": n + 1} for n in range(30)])
    rows = {"prompt": "{{ a }} + 1 =", "completion": "{{ sum }}"}
    done("data/dataset", tmp_path, files="sums.jsonl", rows=rows, output="data")
    made = lines(tmp_path / "data" / "train.jsonl")
    assert len(made) == 8  # of tiny.yaml's 10
    contents = [one["content"] for one in made[0]["messages"]]
    assert int(contents[1]) == int(contents[0].split()[0]) + 1
    assert conversations.messages(made[0], "") == made[0]["messages"]


def test_conversations_and_pairs_of_any_records_become_rows(tmp_path):
    talk = [*chat(0)["messages"], *chat(1)["messages"][1:]]
    records = [{"talk": talk, "q": f"What is {n}?", "a": n, "b": n + 1} for n in range(4)]
    write(tmp_path / "records.jsonl", records)
    made = {"files": "records.jsonl", "splits": None}
    done("data/dataset", tmp_path, **made, rows={"messages": "talk"}, output="talks")
    rows = lines(tmp_path / "talks" / "rows.jsonl")
    assert [row["messages"] for row in rows] == [talk] * 4
    assert [row["id"] for row in rows] == ["000000", "000001", "000002", "000003"]
    pair = {"prompt": "{{ q }}", "chosen": "{{ a }}", "rejected": "{{ b }}"}
    done("data/dataset", tmp_path, **made, rows=pair, output="pairs")
    wanted = {"id": "000001", "prompt": "What is 1?", "chosen": "1", "rejected": "2"}
    assert lines(tmp_path / "pairs" / "rows.jsonl")[1] == wanted


def test_a_design_makes_chat_rows_without_a_language_model(tmp_path):
    done("sdg/data_designer", tmp_path, output="made")
    made = lines(tmp_path / "made" / "rows.jsonl")
    assert len(made) == 6
    for row in made:
        asked, answer = row["messages"]
        assert answer["content"] in ("red", "green", "blue")
        assert f"the {answer['content']} " in asked["content"]
    assert not (tmp_path / "made" / "work").exists()


def test_examples_reach_a_design(tmp_path):
    write(tmp_path / "seeds.jsonl", [{"town": f"town-{n}"} for n in range(3)])
    said = {
        "records": 3,
        "seed_rows": "seeds.jsonl",
        "design": {"columns": [{"name": "n", "column_type": "sampler", "sampler_type": "uuid"}]},
        "rows": {"prompt": "Where is {{ n }}?", "completion": "{{ town }}"},
    }
    said["design"]["columns"][0]["params"] = {}
    done("sdg/data_designer", tmp_path, over="default", output="made", **said)
    towns = {row["messages"][1]["content"] for row in lines(tmp_path / "made" / "rows.jsonl")}
    assert towns == {"town-0", "town-1", "town-2"}


def test_a_wrong_design_is_named_by_the_steps_own_key(tmp_path):
    columns = [{"name": "a", "column_type": "llm-text", "prompt": "Write."}]
    said = failed("sdg/data_designer", tmp_path, output="made", design={"columns": columns})
    assert "sdg-data_designer.yaml: design.columns[0]: column 'a' is written by a language" in said
    assert "Hint: add endpoint" in said


def test_bad_configurations_are_one_message_each(work):
    values = {"model": "model", "train": "chat.jsonl", "output": "bad"}
    said = failed("sft/trl", work, **values, learning_rte=1)
    assert "sft-trl.yaml: learning_rte: unknown key\nHint: did you mean 'learning_rate'?" in said
    assert "unknown key" in failed("sft/trl", work, **values, lora_rank=4)
    assert "sft-trl.yaml: model: it has no value" in failed("sft/trl", work, train="chat.jsonl")
    said = failed("sft/trl", work, **values, epochs=0)
    assert "sft-trl.yaml: epochs: Input should be greater than or equal to 1" in said
    said = failed("sft/trl", work, **{**values, "train": "nowhere.jsonl"})
    assert "sft-trl.yaml: train: cannot read nowhere.jsonl: No such file" in said
    said = failed("sft/trl", work, **{**values, "model": "nowhere"})
    assert "sft-trl.yaml: model: nowhere is neither a model directory nor a .gguf" in said
    said = failed("sft/trl", work, **values, extra={"max_steps": 1})
    assert "sft-trl.yaml: extra.max_steps: 'max_steps' is set by the pipeline" in said
    said = failed("eval/inspect_ai", work, model="model", rows="chat.jsonl", output="bad", tasks=[])
    assert "eval-inspect_ai.yaml: tasks: List should have at least 1 item" in said
    assert not (work / "bad").exists()


def config(tmp_path: Path, **values: Any) -> Path:
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_a_configuration_lies_over_the_one_it_names_and_over_the_defaults(tmp_path):
    step, own = CATALOG / "sft/trl", {"model": "m", "train": "t", "output": "o"}
    alone = read(config(tmp_path, **own), step, TrainSettings)
    assert (alone.epochs, alone.limit, alone.learning_rate) == (1, None, 2e-5)
    tiny = str(step / "config/tiny.yaml")
    over = read(config(tmp_path, defaults=tiny, max_length=64, **own), step, TrainSettings)
    assert (over.limit, over.max_length, over.precision) == (8, 64, "float32")
    with pytest.raises(LockgateError, match="there is no file .*gone.yaml") as error:
        read(config(tmp_path, defaults="gone.yaml"), step, TrainSettings)
    assert error.value.where.endswith("own.yaml: defaults")
    with pytest.raises(LockgateError, match="names its own base"):
        read(config(tmp_path, defaults="own.yaml"), step, TrainSettings)
    with pytest.raises(LockgateError, match="not a mapping"):
        (tmp_path / "list.yaml").write_text("- 1\n")
        read(tmp_path / "list.yaml", step, TrainSettings)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: "/".join(step.parts[-2:]))
def test_every_manifest_names_keys_of_its_own_configuration(step):
    manifest = tomllib.loads((step / "step.toml").read_text())
    notes = Notes(**manifest["lockgate"])
    assert set(manifest["lockgate"]) <= set(Notes.model_fields)
    assert manifest["step"]["id"] == "/".join(step.parts[-2:])
    assert manifest["step"]["category"] == step.parts[-2]
    known = yaml.safe_load((step / "config/default.yaml").read_text())
    tiny = yaml.safe_load((step / "config/tiny.yaml").read_text())
    assert tiny.pop("defaults") == "default.yaml"
    named = {key for note in [*notes.inputs.values(), *notes.outputs.values()] for key in note.key}
    named |= {key for keys in notes.roles.values() for key in keys}
    named |= {question.key for question in notes.questions} | set(notes.smoke) | set(tiny)
    named |= {parameter["name"] for parameter in manifest["parameters"]}
    # what lies below a key that has no default cannot be looked up
    assert {key if key in known else key.partition(".")[0] for key in named} <= set(known)
    assert set(notes.inputs) == {port["type"] for port in manifest["consumes"]}
    assert set(notes.outputs) == {port["type"] for port in manifest["produces"]}
    assert notes.goals
    for parameter in manifest["parameters"]:
        if "default" in parameter:
            assert parameter["default"] == known[parameter["name"]]


def test_types_say_what_may_stand_for_what():
    types = tomllib.loads((CATALOG / "types.toml").read_text())
    for name in ("checkpoint_hf", "checkpoint_lora"):
        assert types[name]["is_a"] == ["model_weights"]
    step = types["checkpoint_lora"]["convert_to"]["checkpoint_hf"]
    assert (CATALOG / step / "step.toml").is_file()
    for name, entry in types.items():
        assert entry["description"], name
        assert set(entry.get("is_a", [])) <= set(types)
    used = {
        port["type"]
        for step in STEPS
        for side in ("consumes", "produces")
        for port in tomllib.loads((step / "step.toml").read_text())[side]
    }
    assert used <= set(types)


def test_an_adapter_must_be_one_and_record_its_base(tmp_path):
    with pytest.raises(LockgateError, match="is not an adapter"):
        builtin.adapter_base(tmp_path, None, "own.yaml: model")
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(LockgateError, match="does not record the base model") as error:
        builtin.adapter_base(tmp_path, "model", "own.yaml: model")
    assert error.value.where.endswith("adapter_config.json: base_model_name_or_path")


@pytest.mark.parametrize("place", ["data", "data/below", "."])
def test_an_output_never_overlaps_an_input(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    with pytest.raises(LockgateError, match="it overlaps the input data") as error:
        output(place, [None, "data"], Path("own.yaml"))
    assert error.value.where == "own.yaml: output"
    assert output("data-2", [None, "data"], Path("own.yaml")) == tmp_path / "data-2"


def test_what_is_replaced_stays_where_the_new_one_fails(tmp_path):
    target = tmp_path / "model"
    with builtin.replacing(target) as new:
        (new / "a").write_text("old")
    with pytest.raises(RuntimeError), builtin.replacing(target) as new:
        (new / "b").write_text("half")
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    with builtin.replacing(target) as new:
        (new / "c").write_text("new")
    assert [path.name for path in target.iterdir()] == ["c"]
