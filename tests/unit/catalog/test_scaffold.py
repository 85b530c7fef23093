"""A user's own step, begun from another."""

import json
import subprocess
import sys
import tomllib

import pytest
import yaml

from lockgate import catalog, tools
from lockgate.catalog.scaffold import new_step, toml
from lockgate.errors import LockgateError

DATA = """
[step]
id = "translate/base"
tags = ["x"]
[[consumes]]
type = "raw_jsonl"
description = 'In "any" language.'
[[consumes]]
type = "checkpoint"
required = false
[[produces]]
type = "new_jsonl"
[[parameters]]
name = "server.url"
default = "http://localhost"
[[parameters]]
name = "input.path.depth"
default = 1
[[parameters]]
name = "not a key"
[[parameters]]
name = "limits"
default = { low = 1, "high value" = 2.5, list = [true, "é"] }
choices = ["a", "b"]
[lockgate]
goals = ["translate", "localize"]
[lockgate.inputs.raw_jsonl]
key = "input.path"
rows = "messages"
glob = "*.jsonl"
[lockgate.outputs.new_jsonl]
key = ["output.dir", "output.copy"]
path = "made"
"""

MODEL = """
[step]
id = "sft/base"
[[consumes]]
type = "checkpoint"
[[consumes]]
type = "raw_jsonl"
required = false
[[produces]]
type = "checkpoint"
[[produces]]
type = "log_jsonl"
[lockgate.inputs.checkpoint]
key = "model"
base_of_adapter = true
[lockgate.inputs.raw_jsonl]
key = "model.data"
[lockgate.outputs.checkpoint]
key = "out"
[lockgate.outputs.log_jsonl]
key = "out"
path = "logs/*.jsonl"
"""


@pytest.fixture
def base(files, tmp_path, monkeypatch):
    """A catalog with two steps to begin from, and an empty working directory."""
    files.write("types.toml", '[raw_jsonl]\n[new_jsonl]\nis_a = "raw_jsonl"\n[checkpoint]\n')
    files.write("types.toml", (files.root / "types.toml").read_text() + "[log_jsonl]\n")
    files.write("translate/base/step.toml", DATA)
    files.write("sft/base/step.toml", MODEL)
    files.step("eval/base", ["checkpoint"], ["checkpoint"])
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return catalog.load_only([files.root], tmp_path)


@pytest.fixture
def made(base, tmp_path):
    """A function that makes a step and loads the catalog that it is in."""

    def make(identity, like, around=base):
        into = tmp_path / "work/catalog"
        new_step(base, identity, like, into, around)
        found = catalog.load_only([into, *(one.root for one in around.catalogs)], tmp_path)
        assert found.problems == []
        return found.step(identity)

    return make


def run(step, tmp_path, config):
    """Run a step with an overlay of its default configuration."""
    overlay = tmp_path / "overlay.yaml"
    default = str(step.directory / "config/default.yaml")
    overlay.write_text(yaml.safe_dump({"defaults": default, **config}))
    line = tools.get("catalog", "script", "test").command(step, overlay, "", dry=False)
    return subprocess.run(line, capture_output=True, text=True, cwd=tmp_path)


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def write_rows(path, number):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"n": n}) + "\n" for n in range(number)))
    return str(path)


def test_a_new_step_mirrors_the_one_it_is_like(made):
    step = made("translate/mine", "translate/base")
    assert [(port.type, port.required) for port in step.consumes] == [
        ("raw_jsonl", True),
        ("checkpoint", False),
    ]
    assert step.consumes[0].description == 'In "any" language.'
    assert [port.type for port in step.produces] == ["new_jsonl"]
    assert step.tags == ["translate", "mine", "x"]
    assert step.reference == {"like": "translate/base"}
    assert [one.name for one in step.parameters] == ["max_rows", "server.url", "limits"]
    limits = step.parameters[-1]
    assert limits.default == {"low": 1, "high value": 2.5, "list": [True, "é"]}
    assert limits.choices == ["a", "b"]
    assert step.runspec["resources"] == {"nodes": 1, "gpus_per_node": 0}
    assert step.runspec["config_dir"] == "translate/mine/config"


@pytest.mark.parametrize("like", ["translate/base", "sft/base", "eval/base"])
def test_its_program_is_clean(made, like):
    step = made("own/mine", like)
    program = step.directory / "step.py"
    line = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "E,F,I,UP,B", program]
    done = subprocess.run([*line, "--line-length", "120"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


def test_its_notes_say_what_the_plan_needs(made):
    notes = made("translate/mine", "translate/base").notes
    assert notes.goals == ("translate", "localize", "mine")
    assert notes.open_models
    raw = notes.inputs["raw_jsonl"]
    assert (raw.key, raw.rows, raw.glob) == (("input.path",), ("messages",), "*.jsonl")
    assert notes.inputs["checkpoint"].key == ("inputs.checkpoint",)
    output = notes.outputs["new_jsonl"]
    assert (output.key, output.path) == (("output.dir", "output.copy"), "made/data.jsonl")


def test_a_step_of_another_category_has_goals_of_its_own(made):
    assert made("redact/names", "translate/base").notes.goals == ("redact", "names")


def test_its_configuration_has_every_key_and_a_smaller_one(made):
    step = made("translate/mine", "translate/base")
    default = yaml.safe_load((step.directory / "config/default.yaml").read_text())
    assert default == {
        "input": {"path": None},
        "inputs": {"checkpoint": None},
        "output": {"dir": "output/mine/new_jsonl", "copy": "output/mine/new_jsonl"},
        "server": {"url": "http://localhost"},
        "limits": {"low": 1, "high value": 2.5, "list": [True, "é"]},
        "max_rows": None,
    }
    tiny = yaml.safe_load((step.directory / "config/tiny.yaml").read_text())
    assert tiny == {"defaults": "default.yaml", **step.notes.smoke}


def test_keys_that_cannot_be_mirrored_get_names_of_their_own(made):
    notes = made("sft/mine", "sft/base").notes
    assert notes.inputs["checkpoint"].key == ("model",)
    assert notes.inputs["checkpoint"].base_of_adapter
    assert notes.inputs["raw_jsonl"].key == ("inputs.raw_jsonl",)
    assert notes.outputs["checkpoint"].key == notes.outputs["log_jsonl"].key == ("out",)
    assert notes.outputs["log_jsonl"].path == "data.jsonl"
    assert notes.goals == ("mine",)


@pytest.mark.parametrize("given", ["rows.jsonl", "folder", "folder/*.jsonl", ["rows.jsonl"]])
def test_a_data_step_copies_rows_as_it_is(made, tmp_path, given):
    step = made("translate/mine", "translate/base")
    write_rows(tmp_path / "rows.jsonl", 3)
    write_rows(tmp_path / "folder/a.jsonl", 2)
    write_rows(tmp_path / "folder/b.jsonl", 1)
    done = run(step, tmp_path, {"input": {"path": given}, "output": {"dir": "out"}})
    assert (done.returncode, done.stderr) == (0, "")
    assert len(rows(tmp_path / "out/made/data.jsonl")) == 3


def test_a_small_run_reads_fewer_rows(made, tmp_path):
    step = made("translate/mine", "translate/base")
    given = write_rows(tmp_path / "rows.jsonl", 20)
    done = run(
        step, tmp_path, {"input": {"path": given}, "output": {"dir": "out"}, **step.notes.smoke}
    )
    assert done.returncode == 0
    assert rows(tmp_path / "out/made/data.jsonl") == [{"n": n} for n in range(8)]


def test_its_tiny_configuration_is_read_over_the_default_one(made, tmp_path):
    step = made("translate/mine", "translate/base")
    default = step.directory / "config/default.yaml"
    values = yaml.safe_load(default.read_text())
    values["input"]["path"] = write_rows(tmp_path / "rows.jsonl", 20)
    default.write_text(yaml.safe_dump(values))
    program, tiny = step.directory / "step.py", step.directory / "config/tiny.yaml"
    subprocess.run([sys.executable, program, "--config", tiny], check=True, cwd=tmp_path)
    assert len(rows(tmp_path / "output/mine/new_jsonl/made/data.jsonl")) == 8


def test_another_step_passes_its_input_on_with_a_record(made, tmp_path):
    step = made("sft/mine", "sft/base")
    (tmp_path / "model/deep").mkdir(parents=True)
    (tmp_path / "model/deep/weights").write_text("1")
    data = write_rows(tmp_path / "rows.jsonl", 2)
    done = run(step, tmp_path, {"model": "model", "inputs": {"raw_jsonl": data}, "out": "out"})
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out/deep/weights").read_text() == "1"
    record = json.loads((tmp_path / "out/given.json").read_text())
    assert record["inputs"] == {"checkpoint": "model", "raw_jsonl": data}
    assert step.notes.outputs["checkpoint"].verify == ("given.json",)
    assert rows(tmp_path / "out/data.jsonl") == [{"n": 0}, {"n": 1}]


def test_a_model_of_the_hub_has_no_files_to_copy(made, tmp_path):
    done = run(made("sft/mine", "sft/base"), tmp_path, {"model": "org/model", "out": "out"})
    assert done.returncode == 0
    assert json.loads((tmp_path / "out/given.json").read_text())["inputs"]["checkpoint"] == (
        "org/model"
    )
    assert rows(tmp_path / "out/data.jsonl") == [
        {"given": {"checkpoint": "org/model", "raw_jsonl": None}}
    ]


@pytest.mark.parametrize(
    ("config", "what"),
    [
        ({}, "there is no raw_jsonl: set input.path"),
        ({"input": {"path": "missing.jsonl"}}, "the raw_jsonl at input.path does not exist"),
        ({"input": {"path": "org/data"}}, "the raw_jsonl at input.path does not exist"),
        ({"input": {"path": "broken.jsonl"}}, "broken.jsonl: line 2 is not valid JSON"),
        ({"input": {"path": "empty.jsonl"}}, "no rows are left"),
        ({"defaults": "missing"}, "cannot read the configuration"),
    ],
)
def test_a_new_step_refuses_bad_input_and_writes_nothing(made, tmp_path, config, what):
    step = made("translate/mine", "translate/base")
    (tmp_path / "broken.jsonl").write_text("{}\n{\n")
    (tmp_path / "empty.jsonl").write_text("\n")
    done = run(step, tmp_path, {"output": {"dir": "out"}, **config})
    assert done.returncode == 1
    assert done.stderr.startswith("ERROR: ")
    assert what in done.stderr
    assert not (tmp_path / "out/made/data.jsonl").exists()


def test_a_new_step_does_not_write_into_its_input(made, tmp_path):
    (tmp_path / "model").mkdir()
    done = run(made("sft/mine", "sft/base"), tmp_path, {"model": "model", "out": "model/out"})
    assert done.returncode == 1
    assert "is inside of the input" in done.stderr


def test_types_that_are_not_known_are_defined(made, base, tmp_path):
    made("translate/mine", "translate/base")
    assert not (tmp_path / "work/catalog/types.toml").exists()
    nothing = catalog.merge([])
    step = made("translate/other", "translate/base", around=nothing)
    assert step.consumes[0].type == "raw_jsonl"
    types = tomllib.loads((tmp_path / "work/catalog/types.toml").read_text())
    assert list(types) == ["checkpoint", "new_jsonl", "raw_jsonl"]
    assert types["new_jsonl"]["is_a"] == ["raw_jsonl"]
    made("translate/third", "translate/base", around=nothing)


def test_nothing_that_exists_is_overwritten(base, tmp_path):
    into = tmp_path / "work/catalog"
    own = into / "translate/mine/config/tiny.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    with pytest.raises(LockgateError, match="is not overwritten") as error:
        new_step(base, "translate/mine", "translate/base", into, base)
    assert error.value.where == str(own)
    assert error.value.hint
    assert [path for path in into.rglob("*") if path.is_file()] == [own]


def test_types_are_never_added_to_a_file_that_exists(base, tmp_path):
    into = tmp_path / "work/catalog"
    into.mkdir()
    (into / "types.toml").write_text("[raw_jsonl]\n")
    with pytest.raises(LockgateError, match="would define checkpoint, new_jsonl"):
        new_step(base, "translate/mine", "translate/base", into, catalog.merge([]))


@pytest.mark.parametrize("identity", ["mine", "A/b", "a/../b", "a/", "/a/b", "a b/c", "a:b/c"])
def test_an_id_that_is_none_is_refused(base, tmp_path, identity):
    with pytest.raises(LockgateError, match="is no id of a step"):
        new_step(base, identity, "translate/base", tmp_path / "work", base)
    assert list((tmp_path / "work").iterdir()) == []


def test_a_taken_id_and_an_unknown_step_are_refused(base, tmp_path):
    with pytest.raises(LockgateError, match="has a step 'sft/base' already"):
        new_step(base, "sft/base", "translate/base", tmp_path / "work", catalog.merge([]))
    with pytest.raises(LockgateError, match="there is no step 'translate/bas'") as error:
        new_step(base, "a/b", "translate/bas", tmp_path / "work", base)
    assert "translate/base" in error.value.hint


@pytest.mark.parametrize(
    "value",
    [True, 3, 2.5, 1e-08, 'a "b"\n\\ é \U0001f600 \x7f', [1, ["a"]], {"a b": {"c": []}, "d": {}}],
)
def test_toml_is_written_as_it_is_read(value):
    assert tomllib.loads(f"key = {toml(value)}")["key"] == value
