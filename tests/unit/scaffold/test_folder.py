"""What is in a folder handed over."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lockgate import scaffold, tools
from lockgate.errors import LockgateError
from lockgate.files import read_jsonl

BIN = Path(sys.executable).parent


@pytest.fixture(params=["rows-made", "rows-not-made"])
def changes(request, generated):
    """Of the configuration: rows that are there, and rows that the folder makes."""
    return {} if request.param == "rows-made" else generated


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
    line = task.read_text().count("\n")
    assert built.notes == [f"tasks/closeness.py, line {line}, names a place of this machine."]
    told = (folder / "README.md").read_text()
    assert built.notes[0] in told and str(tmp_path) not in told


def test_an_own_task_brings_the_modules_beside_it(built):
    task = built.project.task
    task.with_name("words.py").write_text("import numpy\n")
    task.write_text(task.read_text().replace("import re\n", "import re\nimport words\n"))
    folder = built.build().hand_over()
    assert (folder / "tasks/words.py").read_text() == "import numpy\n"
    assert "numpy==" in (folder / "requirements.txt").read_text()
    assert "words" not in (folder / "requirements.txt").read_text()


def test_an_own_task_brings_the_package_beside_it(built):
    task = built.project.task
    package = task.with_name("lists")
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "words.py").write_text("from lists.more import MORE\nimport peft\n")
    (package / "more.py").write_text("MORE = 1\n")
    task.write_text(task.read_text().replace("import re\n", "import re\nimport lists.words\n"))
    folder = built.build().hand_over()
    assert {path.name for path in folder.glob("tasks/lists/*")} == {
        *("__init__.py", "words.py", "more.py")
    }
    assert built.notes == []


def test_files_of_the_users_own_are_copied_byte_by_byte(built):
    task = built.project.task
    task.write_bytes(task.read_bytes().replace(b"\n", b"\r\n"))
    folder = built.build().hand_over()
    assert (folder / "tasks/closeness.py").read_bytes() == task.read_bytes()


@pytest.mark.parametrize("name", ["train", "evaluate", "summarize"])
def test_an_own_file_never_takes_the_place_of_a_program(built, name):
    Path(f"{name}.py").write_text("def rows(tokenizer, path):\n    return []\n")
    extra = {"dataset": {"_component_": f"{name}.rows", "path": "${tokens}"}}
    built.build(training__tool="torchtune", training__parameters__extra=extra)
    with pytest.raises(LockgateError) as caught:
        built.hand_over()
    assert caught.value.what == f"two files of the folder would be {name}.py"
    assert caught.value.where == built.project.source
    assert "rename your own file" in caught.value.hint


def test_each_task_is_measured_at_its_own_epochs(built):
    tasks = [
        {"name": "last", "scorer": "exact"},
        {"name": "first", "scorer": "exact", "epochs": [0, 2]},
        {"name": "each", "scorer": "exact", "epochs": "all"},
    ]
    folder = built.build(evaluation__tasks=tasks, training__variables={"epochs": [3]}).hand_over()
    found = []
    for run in ("tiny_control", "tiny_epochs-3"):
        config = yaml.safe_load((folder / f"configs/eval/{run}.yaml").read_text())
        measured = config["measured"]
        known = built.experiment.documents[f"eval/{run}"]["epochs"]
        assert [{"epoch": m["epoch"], "tasks": m["tasks"]} for m in measured] == known
        found.append({m["epoch"]: (m["weights"], m["tasks"]) for m in measured})
    out = "results/tiny_epochs-3/train/epoch-"
    assert found == [
        {None: (None, ["last", "first", "each"])},
        {
            2: (f"{out}2", ["last", "first", "each"]),
            0: (f"{out}0", ["first", "each"]),
            1: (f"{out}1", ["each"]),
        },
    ]


def test_a_run_whose_model_is_not_here_is_left_out_and_told(built):
    models = {"tiny": {"path": "models/tiny"}, "gone": {"path": str(Path("gone").absolute())}}
    changes = {"models": models, "training__variables": {"model": ["tiny", "gone"]}}
    found = texts(built.build(**changes).hand_over())
    (note,) = built.notes
    assert note.startswith("Runs left out, because their model was not here: gone_control (gone), ")
    assert note in found["README.md"]
    scripts = [name for name in found if name.startswith("sbatch/")]
    assert scripts == ["sbatch/tiny_control.sh", "sbatch/tiny_fine-tuned.sh"]
    assert not any(name.startswith("configs/") and "gone" in name for name in found)
    assert "MODEL_GONE" not in "".join(found.values())
    assert str(Path.cwd()) not in "".join(found.values())


def test_a_folder_without_a_run_is_refused(built):
    built.build(models={"tiny": {"path": "models/gone"}})
    with pytest.raises(LockgateError, match="no run can be handed over: models/gone is"):
        built.hand_over()


def test_resources_of_the_plan_are_those_of_the_jobs(built):
    changes = {"threads": 3, "memory_mb": 900, "gpus": 2, "runtime_minutes": 7}
    changes |= {"partition": "long", "account": "lab"}
    folder = built.build(**{f"resources__{key}": one for key, one in changes.items()}).hand_over()
    script = (folder / "sbatch/tiny_epochs-1.sh").read_text()
    asked = dict(re.findall(r"^#SBATCH --([\w-]+)=(.*)", script, re.MULTILINE))
    assert asked["cpus-per-task"] == "3" and asked["mem"] == "900M" and asked["gpus"] == "2"
    assert asked["time"] == "7" and asked["partition"] == "long" and asked["account"] == "lab"
    assert 'threads="${THREADS:-3}"' in (folder / "settings.sh").read_text()


def test_what_is_not_given_is_what_training_and_evaluation_are_expected_to_need(built):
    built.build(resources__qos="high", resources__constraint="a100")
    place = built.experiment.config.results / "plan/estimates.csv"
    place.parent.mkdir(parents=True)
    place.write_text(
        "run,phase,high,memory_mb\ntiny_epochs-1,train,3600,2000\ntiny_epochs-1,eval,60,4000\n"
    )
    folder = built.hand_over()
    script = (folder / "sbatch/tiny_epochs-1.sh").read_text()
    assert "--mem=5700M" in script and "--time=105\n" in script
    assert "--qos=high" in script and "--constraint=a100" in script
    script = (folder / "sbatch/tiny_control.sh").read_text()
    assert "--mem=4000M" in script and "--time=120\n" in script


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


def test_an_adapter_that_was_there_is_measured_on_its_base(built, tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own/adapter_config.json").write_text("{}")
    shutil.copy(built.project.model, tmp_path / "own/adapter_model.safetensors")
    models = {"tiny": {"path": "models/tiny"}, "own": {"path": "own", "base": "tiny"}}
    changes = {"models": models, "training__model": "tiny", "evaluation__models": ["own"]}
    script = texts(built.build(**changes).hand_over())["sbatch/own_eval-only.sh"]
    assert 'MODEL="$MODEL_TINY"\n' in script and 'ADAPTER="$MODEL_OWN"\n' in script
    assert '--adapter "$ADAPTER"' in script and "train.py" not in script


def test_a_checkpoint_that_was_there_is_measured_alone(built):
    shutil.copytree("models/tiny", "models/own")
    models = {"tiny": {"path": "models/tiny"}, "old": {"path": "models/gone"}}
    models["own"] = {"path": "models/own", "base": "old"}
    changes = {"models": models, "training__model": "tiny", "evaluation__models": ["own"]}
    told = texts(built.build(**changes).hand_over())
    assert built.notes == []
    script = told["sbatch/own_eval-only.sh"]
    assert 'MODEL="$MODEL_OWN"\n' in script and "ADAPTER" not in script
    assert "MODEL_OLD" not in told["run.sh"]
    config = yaml.safe_load(told["configs/eval/own_eval-only.yaml"])
    assert [(part["epoch"], part["weights"]) for part in config["measured"]] == [(None, None)]


def test_keys_are_named_and_never_written(built, generated, monkeypatch):
    monkeypatch.setenv("LAB_KEY", "sk-very-secret")
    judge = {"url": "http://localhost:1/v1", "model": "m", "api_key_env": "LAB_KEY"}
    task = {"name": "graded", "scorer": "graded", "judge": judge}
    endpoint = {"url": "http://localhost:1/v1", "model": "m", "api_key_env": "LAB_KEY"}
    changes = {**generated, "data__endpoint": endpoint, "evaluation__tasks": [task]}
    told = texts(built.build(**changes).hand_over())
    assert "sk-very-secret" not in "".join(told.values())
    assert commands(told["README.md"]).count("export LAB_KEY=...") == 2
    assert "api_key: LAB_KEY" in told["data/tool/model_providers.yaml"]
    assert "openai==" in told["requirements.txt"]


def test_settings_of_tasks_are_handed_over(built):
    judge = {"url": "http://localhost:1/v1", "model": "m", "api_key_env": "LAB_KEY"}
    task = {"name": "asked", "scorer": "graded", "judge": judge}
    task |= {"prompt": "{{ a }} und {{ b }}?", "system_prompt": "Be brief.", "limit": 3}
    changes = {"evaluation__tasks": [task], "evaluation__temperature": 0.5}
    folder = built.build(**changes).hand_over()
    config = yaml.safe_load((folder / "configs/eval/tiny_epochs-1.yaml").read_text())
    del config["measured"]
    assert config == built.experiment.documents["eval/tiny_epochs-1"]["config"]
    assert config["temperature"] == 0.5
    assert {key: config["tasks"][0][key] for key in ("prompt", "system_prompt", "limit")} == {
        key: task[key] for key in ("prompt", "system_prompt", "limit")
    }
    assert config["tasks"][0]["judge"]["api_key_env"] == "LAB_KEY"
    assert "fields" in read_jsonl(folder / "data/test.jsonl")[0]  # what its prompt is made of


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
    own.write_bytes(
        b"import torchtune\r\n\r\n\r\ndef rows(tokenizer, path):\r\n    return [torchtune]\r\n"
    )
    extra = {"dataset": {"_component_": "mine.rows.rows", "path": "${tokens}"}}
    changes = {"training__tool": "torchtune", "training__parameters__extra": extra}
    folder = built.build(**changes).hand_over()
    assert built.notes == []
    told = commands((folder / "README.md").read_text())
    assert "tune/bin/pip install -r requirements-torchtune.txt" in told
    assert 'export TUNE_PYTHON="$PWD/tune/bin/python"' in told
    assert "torchtune==" in (folder / "requirements-torchtune.txt").read_text()
    assert "torchtune" not in (folder / "requirements.txt").read_text()
    assert (folder / own).read_bytes() == own.read_bytes()
    check = [BIN / "ruff", "check", "--isolated", "--select", "F,E9", folder]
    done = subprocess.run(check, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    config = "configs/train/tiny_epochs-1.yaml"
    known = built.experiment.documents["train/tiny_epochs-1"]["config"]
    assert yaml.safe_load((folder / config).read_text()) == known
