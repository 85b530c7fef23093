"""Chains of catalog steps on real Snakemake: gates, reruns, own steps and a live checkout."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from project import Project, Result

from tiny_model import make_tiny_model

CONFIG = "config/chain.yaml"
STAGES = ("tidy", "label", "count")

TYPES = """
[labelled_jsonl]
description = "Rows that carry a label, one JSON object a line."
is_a = ["training_jsonl"]

[tally]
description = "A count of rows by label."
"""

MANIFEST = """
[step]
id = "{id}"
name = "{id}"
category = "shape"
description = "A step of the tests."

[[consumes]]
type = "{consumes}"

[[produces]]
type = "{produces}"

[[parameters]]
name = "word"
description = "What is added to each row."

[lockgate]
goals = ["{goal}"]
gpus = 0
smoke = {{ rows = 2 }}

[lockgate.inputs.{consumes}]
key = "input"

[lockgate.outputs.{produces}]
key = "output"
path = "{file}"
"""

PROGRAM = """
import argparse, json
from pathlib import Path
import yaml

parser = argparse.ArgumentParser()
parser.add_argument("--config", type=Path)
config = yaml.safe_load(parser.parse_args().config.read_text())
rows = [json.loads(line) for line in Path(config["input"]).read_text().splitlines()]
rows = [{**row, "word": config["word"]} for row in rows][: config["rows"]]
out = Path(config["output"])
out.mkdir(parents=True, exist_ok=True)
(out / "NAME").write_text("".join(json.dumps(row) + "\\n" for row in rows))
"""

DEFAULT = "input: ???\noutput: ???\nword: none\nrows: null\n"


def write_step(catalog: Path, name: str, consumes: str, produces: str, file: str) -> Path:
    """A step that passes rows on, each with a word added."""
    folder = catalog / "shape" / name
    (folder / "config").mkdir(parents=True)
    values = {"id": f"shape/{name}", "goal": name, "file": file}
    (folder / "step.toml").write_text(
        MANIFEST.format(**values, consumes=consumes, produces=produces)
    )
    (folder / "step.py").write_text(PROGRAM.replace("NAME", file))
    (folder / "config" / "default.yaml").write_text(DEFAULT)
    return folder


def write_catalog(project: Path) -> Path:
    catalog = project / "catalog"
    write_step(catalog, "tidy", "training_jsonl", "training_jsonl", "rows.jsonl")
    write_step(catalog, "label", "training_jsonl", "labelled_jsonl", "rows.jsonl")
    write_step(catalog, "count", "labelled_jsonl", "tally", "tally.json")
    write_step(catalog, "unused", "training_jsonl", "tally", "tally.json")
    (catalog / "types.toml").write_text(TYPES)
    return catalog


def write_rows(path: Path, count: int = 6) -> None:
    rows = [{"prompt": f"What is {n}?", "completion": str(n)} for n in range(count)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_design(project: Project, stages: list[dict[str, Any]], **more: Any) -> None:
    config = {
        "experiment": {
            "name": "chain_rows_2026-11-21",
            "kind": "sanity_check",
            "question": "Does the chain run?",
            "hypothesis": "It does.",
        },
        "stages": stages,
        "resources": {"threads": 1, "memory_mb": 500, "runtime_minutes": 5},
        **more,
    }
    project.config_path.write_text(yaml.safe_dump(config, sort_keys=False))


def chain_project(path: Path) -> Project:
    """A project whose own catalog has three steps in use, and one that is not."""
    project = Project.create(path, CONFIG)
    write_catalog(path)
    write_rows(path / "rows.jsonl")
    stages = [
        {"step": "shape/tidy", "name": "tidy", "data": "rows.jsonl"},
        {"step": "shape/label", "name": "label", "with": {"word": "blue"}},
        {"goal": "count", "name": "count"},
    ]
    write_design(project, stages)
    return project


@pytest.fixture
def chain(tmp_path: Path) -> Project:
    return chain_project(tmp_path / "project")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Project]:
    """A chain that ran to its report, and a copy to restore it from."""
    path = tmp_path_factory.mktemp("chain")
    project = chain_project(path / "project")
    project.finish()
    return project, project.copy(path / "kept")


@pytest.fixture
def finished(kept: tuple[Project, Project]) -> Iterator[Project]:
    """The chain that ran, as it was then, in the place where it ran."""
    project, copy = kept
    shutil.rmtree(project.path)
    yield copy.copy(project.path)


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def manifest(project: Project, stage: str, folder: str = "stages") -> Any:
    return read(project.results / folder / stage / "manifest.json")


def made(project: Project, stage: str, folder: str = "stages") -> list[dict[str, Any]]:
    (output,) = manifest(project, stage, folder)["outputs"]
    return [json.loads(line) for line in Path(output["path"]).read_text().splitlines()]


def plan(project: Project) -> Any:
    return read(project.results / "plan" / "plan.json")


def plan_page(project: Project) -> str:
    return (project.results / "plan" / "plan.md").read_text()


def of_stages(*names: str) -> set[str]:
    """Every job of stages whose documents changed."""
    rules = ("build_stage", "validate_stage", "smoke_stage", "stage")
    return {f"{rule}:{name}" for rule in rules for name in names}


def closed_then_approved(project: Project, *gates: str) -> set[str]:
    """The next calls stop at these gates, and then one ends; all their heavy jobs."""
    jobs: set[str] = set()
    for gate in gates:
        result = project.run()
        assert (result.status, result.closed) == (0, gate), result.output
        jobs |= result.heavy
        project.approve(gate)
    result = project.run()
    assert (result.status, result.closed) == (0, None), result.output
    return jobs | result.heavy


def failed(project: Project) -> Result:
    result = project.run()
    assert result.status != 0, result.output
    # Lockgate's own message, never the trace of a program
    assert "Traceback" not in result.output, result.output
    return result


def one_error(result: Result) -> str:
    """The one message of a call that failed before any job."""
    assert result.status != 0 and result.jobs == set(), result.output
    assert "Traceback" not in result.output
    errors = re.findall(r"^ERROR: .*$", result.output, re.MULTILINE)
    assert len(errors) == 1, result.output
    return result.output[result.output.index(errors[0]) :]


# ------------------------------------------------------------------------------------- the road


def test_a_dry_run_lists_every_stage_before_any_approval(chain: Project) -> None:
    result = chain.dry_run()
    assert result.status == 0, result.output
    assert of_stages(*STAGES) | {"review_stages", "report_stages", "plan"} <= result.jobs
    assert not chain.results.exists(), "a dry run writes nothing"


def test_a_chain_runs_through_its_gates_to_the_report(chain: Project) -> None:
    first = chain.run()
    assert (first.status, first.closed) == (0, "plan"), first.output
    assert first.jobs == {"resolve", "learn", "plan", "all"}
    page = plan_page(chain)
    for text in ("## Intent", "### 2. label", "`shape/label`", "`word: blue` (user)", "mermaid"):
        assert text in page, text
    assert (chain.results / "plan/plan.html").stat().st_size > 0
    chain.approve("plan")

    second = chain.run()
    assert (second.status, second.closed) == (0, "preview"), second.output
    smoke = {f"{rule}:{name}" for rule in ("smoke_stage", "build_stage") for name in STAGES}
    assert smoke <= second.jobs
    assert not any(job.startswith("stage:") for job in second.jobs)
    assert len(made(chain, "count", "preview/stages")) == 2
    review = read(chain.results / "preview/review.json")
    assert [stage["stage"] for stage in review["stages"]] == list(STAGES)
    assert not (chain.results / "stages").exists(), "the reduced run touches nothing of the real"
    chain.approve("preview")

    third = chain.run()
    assert (third.status, third.closed) == (0, None), third.output
    assert third.heavy == {f"stage:{name}" for name in STAGES}
    rows = made(chain, "count")
    assert len(rows) == 6 and rows[5]["prompt"] == "What is 5?"
    assert {row["word"] for row in made(chain, "label")} == {"blue"}
    report = (chain.results / "report/report.html").read_text()
    assert all(name in report for name in STAGES)
    assert not re.search(r"(src|href)=[\"\']?(https?:)?//", report), "it stands alone"
    assert "Approved by" in (chain.results / "build/experiment_summary.md").read_text()


@pytest.mark.slow
def test_a_second_run_does_nothing(finished: Project) -> None:
    result = finished.run()
    assert (result.status, result.closed, result.jobs) == (0, None, set())


@pytest.mark.slow
def test_the_built_configuration_runs_by_hand(finished: Project) -> None:
    command = re.search(r"`([^`]*shape/label/step.py [^`]*)`", plan_page(finished))
    assert command
    before = made(finished, "label")
    Path(manifest(finished, "label")["outputs"][0]["path"]).unlink()
    subprocess.run(command[1].split(), cwd=finished.path, check=True)
    assert made(finished, "label") == before


# ------------------------------------------------------------------------- what runs again, when


@pytest.mark.slow
def test_a_changed_value_reruns_its_stage_and_those_after_it(finished: Project) -> None:
    finished.edit(lambda config: config["stages"][1]["with"].update(word="green"))
    jobs = closed_then_approved(finished, "plan", "preview")
    assert jobs == of_stages("label", "count")
    assert {row["word"] for row in made(finished, "label")} == {"green"}
    report = (finished.results / "report/report.html").read_text()
    assert "green" in report and "blue" not in report


@pytest.mark.slow
def test_an_edited_file_of_a_step_in_use_closes_the_plan(finished: Project) -> None:
    for file in ("step.toml", "step.py", "config/default.yaml"):
        path = finished.path / "catalog/shape/label" / file
        path.write_text(path.read_text() + "\n# a word more\n")
        result = finished.run()
        assert (result.status, result.closed, result.heavy) == (0, "plan", set()), result.output
        finished.approve("plan")
    assert closed_then_approved(finished, "preview") == of_stages("label", "count")


@pytest.mark.slow
def test_an_edited_step_that_is_not_in_use_closes_nothing(finished: Project) -> None:
    folder = finished.path / "catalog/shape/unused"
    for file in ("step.toml", "step.py", "config/default.yaml"):
        (folder / file).write_text((folder / file).read_text() + "\n# a word more\n")
    result = finished.run()
    assert (result.status, result.closed, result.heavy) == (0, None, set()), result.output


@pytest.mark.slow
def test_an_edited_data_file_reruns_the_chain(finished: Project) -> None:
    write_rows(finished.path / "rows.jsonl", 7)
    assert closed_then_approved(finished, "plan", "preview") == of_stages(*STAGES)
    assert len(made(finished, "count")) == 7


@pytest.mark.slow
def test_a_deleted_manifest_is_made_again(finished: Project) -> None:
    (finished.results / "stages/label/manifest.json").unlink()
    result = finished.run()
    assert (result.status, result.closed) == (0, None), result.output
    assert result.heavy == {"stage:label", "stage:count"}


@pytest.mark.slow
def test_the_hypothesis_closes_the_plan_and_reruns_nothing(finished: Project) -> None:
    finished.edit(lambda config: config["experiment"].update(hypothesis="It was clear all along."))
    result = finished.run()
    assert (result.status, result.closed, result.heavy) == (0, "plan", set()), result.output
    assert finished.dry_run().heavy == set()


@pytest.mark.slow
def test_a_step_that_makes_nothing_is_not_trusted(chain: Project) -> None:
    program = chain.path / "catalog/shape/label/step.py"
    whole = program.read_text()
    program.write_text("print('all is well')\n")
    assert chain.run().closed == "plan"
    chain.approve("plan")
    result = failed(chain)
    assert "shape/label ended with status 0, but labelled_jsonl: " in result.output
    assert "is not there" in result.output
    assert "smoke_stage:tidy" in result.jobs and "smoke_stage:count" not in result.jobs
    assert not (chain.results / "preview/stages/label/manifest.json").exists()
    program.write_text(whole)
    assert chain.run().closed == "plan"
    chain.approve("plan")
    again = chain.run()
    assert (again.status, again.closed) == (0, "preview"), again.output
    assert {"smoke_stage:label", "smoke_stage:count"} <= again.jobs
    assert "smoke_stage:tidy" not in again.jobs
    assert len(made(chain, "count", "preview/stages")) == 2


@pytest.mark.slow
def test_a_step_that_fails_shows_its_own_words_and_stops_what_follows(chain: Project) -> None:
    program = chain.path / "catalog/shape/label/step.py"
    program.write_text("raise SystemExit('the paint is out')\n")
    assert chain.run().closed == "plan"
    chain.approve("plan")
    result = failed(chain)
    assert "the paint is out" in result.output
    assert "shape/label ended with status 1" in result.output
    assert "smoke_stage:count" not in result.jobs


# ------------------------------------------------------------------------ what the plan cannot do


def stays_blocked(project: Project, told: str) -> None:
    """The plan is written, and no approval opens it."""
    first = project.run()
    assert (first.status, first.closed) == (0, "plan"), first.output
    assert told in first.output and "Edit the configuration" in first.output
    assert "touch approvals" not in first.output
    project.approve("plan")
    again = project.run()
    assert (again.status, again.closed, again.jobs) == (0, "plan", set()), again.output
    assert not (project.results / "build").exists()
    assert not (project.approvals / "ledger.jsonl").exists()


def test_an_unsupported_goal_gets_a_plan_with_zero_stages(chain: Project) -> None:
    chain.edit(lambda config: config["stages"].append({"goal": "sing"}))
    stays_blocked(chain, "'sing' is not supported by any catalog")
    page = plan_page(chain)
    assert "Zero stages" in page and "lockgate steps new CATEGORY/NAME --like" in page
    assert plan(chain)["stages"] == []
    assert chain.dry_run().status == 0


@pytest.mark.slow
def test_open_questions_are_listed_with_their_options_until_they_are_answered(
    chain: Project,
) -> None:
    with open(chain.path / "catalog/shape/label/step.toml", "a") as handle:
        handle.write(
            '\n[[lockgate.questions]]\nkey = "word"\nask = "Which word?"\n'
            'options = ["red", "blue"]\n'
            '\n[[lockgate.questions]]\nkey = "rows"\nask = "How many rows?"\ndefault = 100\n'
        )
    chain.edit(lambda config: config["stages"][1].pop("with"))
    stays_blocked(chain, "it has open questions (label: word)")
    page = plan_page(chain)
    assert "| label | `word` | Which word? | red, blue | **none: it waits** |" in page
    assert "| label | `rows` | How many rows? | any | 100 |" in page
    (word, rows) = plan(chain)["questions"]
    assert (word["options"], word["default"], rows["default"]) == (["red", "blue"], None, 100)

    chain.edit(lambda config: config["stages"][1].update({"with": {"word": "red"}}))
    result = chain.run()
    assert result.closed == "plan" and "touch approvals" in result.output
    chain.approve("plan")
    assert chain.run().closed == "preview"
    assert {row["word"] for row in made(chain, "label", "preview/stages")} == {"red"}


# -------------------------------------------------------------------------------------- bad input


def test_an_unknown_step_gets_the_nearest_name(chain: Project) -> None:
    chain.edit(lambda config: config["stages"][1].update(step="shape/lable"))
    message = one_error(chain.run())
    assert f"{CONFIG}: stages[1].step" in message and "did you mean shape/label" in message
    assert not chain.results.exists()


@pytest.mark.slow
def test_an_unknown_key_is_a_warning_of_the_plan_and_never_runs(chain: Project) -> None:
    chain.edit(lambda config: config["stages"][1].update({"with": {"wrod": "blue"}}))
    assert chain.run().closed == "plan"
    assert "**WARNING: config.keys (label)**: shape/label has no wrod. Fix: write word." in (
        plan_page(chain)
    )
    chain.approve("plan")
    result = failed(chain)
    assert "written.keys" in result.output and "wrod: write word" in result.output
    assert "smoke_stage:label" not in result.jobs


@pytest.mark.slow
def test_types_that_go_in_a_circle_are_told_once_and_the_rest_works(chain: Project) -> None:
    with open(chain.path / "catalog/types.toml", "a") as handle:
        handle.write('\n[here]\nis_a = ["there"]\n\n[there]\nis_a = ["here"]\n')
    result = chain.run()
    assert (result.status, result.closed) == (0, "plan"), result.output
    assert "Traceback" not in result.output
    page = plan_page(chain)
    assert page.count("is_a goes in a circle: here -> there -> here") == 1
    assert "WARNING: catalog.file**: catalog:types.toml: here.is_a: " in page
    assert "Fix: remove one of these links" in page
    assert [stage["name"] for stage in plan(chain)["stages"]] == list(STAGES)


@pytest.mark.slow
def test_an_id_that_two_catalogs_have_says_which_one_is_taken(chain: Project) -> None:
    other = chain.path / "other"
    shutil.copytree(chain.path / "catalog/shape/label", other / "shape/label")
    chain.edit(lambda config: config.update(catalogs=[{"name": "other", "path": "other"}]))
    assert chain.run().closed == "plan"
    assert "`shape/label` (catalog other)" in plan_page(chain)
    assert (
        "catalog.precedence (label)**: shape/label of catalog other comes first; "
        "catalog:shape/label is there. Fix: write `step: catalog:shape/label`"
    ) in plan_page(chain)


def test_an_order_that_cannot_be_gets_the_one_that_can(chain: Project) -> None:
    chain.edit(lambda config: config["stages"].reverse())
    stays_blocked(chain, "it has no stages: no chain of steps reaches 'count'")
    assert "this order works: shape/tidy, shape/label, count" in plan_page(chain)


# ------------------------------------------------------------------------------- one's own step


@pytest.mark.slow
def test_a_new_step_of_ones_own_runs_as_it_is_once_it_is_approved(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "project", CONFIG)
    write_rows(project.path / "rows.jsonl", 20)
    lockgate = Path(sys.executable).with_name("lockgate")
    subprocess.run(
        [lockgate, "steps", "new", "translate/mine", "--like", "data/dataset"],
        cwd=project.path,
        check=True,
        capture_output=True,
    )
    stages = [
        {"goal": "translate", "name": "mine", "data": "rows.jsonl"},
        {"goal": "prepare", "name": "split"},
    ]
    write_design(project, stages)
    assert project.run().closed == "plan"
    page = plan_page(project)
    assert "**your own step: approving this plan approves it**" in page
    assert "### Explorer: mine" in page and "Made like: `data/dataset`" in page
    assert "contribute it to a catalog" in page
    (line,) = [item for item in plan(project)["covers"] if item.startswith("explorer/")]
    assert line.startswith("explorer/mine: translate/mine is your own step")
    explorer = plan(project)["stages"][0]["explorer"]
    assert explorer["like"] == "data/dataset" and "seed" in explorer["knobs"]
    assert {"step.toml", "step.py", "config/default.yaml"} <= set(explorer["files"])
    assert plan(project)["stages"][1]["explorer"] is None

    project.approve("plan")
    closed_then_approved(project, "preview")
    mine = manifest(project, "mine")["outputs"][0]
    split = manifest(project, "split")["outputs"][0]
    assert mine["rows"] == 20 and 0 < split["rows"] < 20
    assert manifest(project, "mine", "preview/stages")["outputs"][0]["rows"] == 8
    assert "translate/mine" in (project.results / "report/report.html").read_text()


# ---------------------------------------------------------------------------------- a live checkout

TUNE = """
[step]
id = "tune/steps"
name = "Tune"
category = "tune"
description = "Saves a checkpoint every second iteration."

[[consumes]]
type = "training_jsonl"

[[produces]]
type = "checkpoint_iters"

[[parameters]]
name = "train.iters"
description = "Iterations."

[lockgate]
gpus = 0
smoke = { "train.iters" = 2 }

[lockgate.inputs.training_jsonl]
key = "data.path"

[lockgate.outputs.checkpoint_iters]
key = "checkpoint.save"
iterations = "iter_*"
"""

TURN = """
[step]
id = "turn/whole"
name = "Turn"
category = "turn"
description = "Makes one model of a concrete checkpoint."

[[consumes]]
type = "checkpoint_iters"

[[produces]]
type = "checkpoint_hf"

[lockgate]
gpus = 0

[lockgate.inputs.checkpoint_iters]
key = "iter_path"

[lockgate.outputs.checkpoint_hf]
key = "out"
verify = "config.json"
"""

HEADER = """
# /// script
# [tool.runspec]
# schema = "1"
# name = "steps/ID"
#
# [tool.runspec.run]
# launch = "python"
#
# [tool.runspec.config]
# dir = "./config"
# default = "default"
# ///
import argparse, json
from pathlib import Path
import yaml

parser = argparse.ArgumentParser()
parser.add_argument("--config", type=Path)
config = yaml.safe_load(parser.parse_args().config.read_text())
"""

TUNE_PROGRAM = """
assert Path(config["data"]["path"]).is_file()
save = Path(config["checkpoint"]["save"])
for iteration in range(2, config["train"]["iters"] + 1, 2):
    # as text iter_9 would come last; by its number it does not
    folder = save / f"iter_{iteration}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weights").write_text(str(iteration))
    (save / "latest_checkpointed_iteration.txt").write_text(str(iteration))
"""

TURN_PROGRAM = """
given = Path(config["iter_path"])
assert (given / "weights").is_file(), f"{given} is no checkpoint"
out = Path(config["out"])
out.mkdir(parents=True, exist_ok=True)
(out / "config.json").write_text(json.dumps({"given": str(given), "form": config["form"]}))
"""

NEMOTRON = """#!PYTHON
import argparse, json, os, subprocess, sys, tempfile
from pathlib import Path
import yaml

parser = argparse.ArgumentParser(prog="nemotron")
parser.add_argument("group", choices=["steps"])
parser.add_argument("verb", choices=["run"])
parser.add_argument("id")
parser.add_argument("-c", dest="config", type=Path, required=True)
parser.add_argument("-r", dest="profile")
parser.add_argument("-d", dest="dry", action="store_true")
options = parser.parse_args()
with open(Path(__file__).with_name("calls.jsonl"), "a") as handle:
    handle.write(json.dumps(sys.argv[1:]) + "\\n")


def merge(base, over):
    both = {key: merge(base[key], over[key]) for key in base.keys() & over.keys()
            if isinstance(base[key], dict) and isinstance(over[key], dict)}
    return {**base, **over, **both}


def load(path):
    values = yaml.safe_load(path.read_text())
    base = values.pop("defaults", None)
    return merge(load(path.parent / base), values) if base else values


folder = Path("src/nemotron/steps") / options.id
config = load(options.config)
if options.dry:
    print(yaml.safe_dump(config))
    sys.exit(0 if (folder / "step.py").is_file() else 2)
with tempfile.NamedTemporaryFile("w", suffix=".yaml") as compiled:
    yaml.safe_dump(config, compiled)
    compiled.flush()
    done = subprocess.run([sys.executable, folder / "step.py", "--config", compiled.name])
sys.exit(done.returncode)
"""


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project, and beside it a checkout whose own program runs its steps."""
    checkout, programs = tmp_path / "checkout", tmp_path / "bin"
    steps = checkout / "src/nemotron/steps"
    for name, manifest_text, program, default in (
        (
            "tune/steps",
            TUNE,
            TUNE_PROGRAM,
            "data:\n  path: ???\ntrain:\n  iters: 10\ncheckpoint:\n  save: ???\n",
        ),
        ("turn/whole", TURN, TURN_PROGRAM, "iter_path: ???\nout: ???\nform: plain\n"),
    ):
        (steps / name / "config").mkdir(parents=True)
        (steps / name / "step.toml").write_text(manifest_text)
        (steps / name / "step.py").write_text(HEADER.replace("ID", name) + program)
        (steps / name / "config/default.yaml").write_text(default)
    (checkout / "pyproject.toml").write_text('[project]\nname = "nemotron"\n')
    (steps / "types.toml").write_text(
        '[training_jsonl]\ndescription = "Rows."\n\n[raw_jsonl]\nis_a = ["training_jsonl"]\n\n'
        '[checkpoint_hf]\ndescription = "A model."\n\n'
        '[checkpoint_iters]\ndescription = "Checkpoints by iteration."\n'
    )
    programs.mkdir()
    (programs / "nemotron").write_text(NEMOTRON.replace("PYTHON", sys.executable))
    (programs / "nemotron").chmod(0o755)
    monkeypatch.setenv("LOCKGATE_CATALOGS", str(checkout))
    monkeypatch.setenv("PATH", f"{programs}:{without('nemotron', 'uv')}")
    project = Project.create(tmp_path / "project", CONFIG)
    write_rows(project.path / "rows.jsonl")
    stages = [
        {"step": "tune/steps", "name": "tune", "data": "rows.jsonl"},
        {"step": "turn/whole", "name": "turn", "profile": "near"},
    ]
    write_design(project, stages, install_configs=True)
    return project


def without(*programs: str) -> str:
    """The search path without the directories that have one of these programs."""
    folders = os.environ["PATH"].split(os.pathsep)
    return os.pathsep.join(
        folder for folder in folders if not any(Path(folder, name).exists() for name in programs)
    )


def test_a_stage_of_a_live_checkout_is_run_by_its_own_program(live: Project) -> None:
    checkout, programs = live.path.parent / "checkout", live.path.parent / "bin"
    assert live.run().closed == "plan"
    page = plan_page(live)
    built = live.results / "build/configs/chain_rows_2026-11-21"
    assert f"`nemotron steps run tune/steps -c {built}_tune.yaml`" in page
    assert f"`nemotron steps run turn/whole -c {built}_turn.yaml -r near`" in page
    assert "(the newest complete `iter_*`)" in page
    live.approve("plan")
    closed_then_approved(live, "preview")

    (turned,) = manifest(live, "turn")["outputs"]
    saved = Path(manifest(live, "tune")["outputs"][0]["path"])
    assert read(Path(turned["path"]) / "config.json") == {
        "given": str(saved / "iter_10"),
        "form": "plain",
    }
    (reduced,) = manifest(live, "turn", "preview/stages")["outputs"]
    assert read(Path(reduced["path"]) / "config.json")["given"].endswith("/iter_2")

    calls = [json.loads(line) for line in (programs / "calls.jsonl").read_text().splitlines()]
    dry = {call[2] for call in calls if "-d" in call}
    assert dry == {"tune/steps", "turn/whole"}
    assert [call[2] for call in calls if "-d" not in call] == ["tune/steps", "turn/whole"] * 2
    for name in ("tune", "turn"):
        checks = read(live.results / f"validate/stages/{name}.json")["checks"]
        (told,) = [check for check in checks if check["code"] == "dry-run"]
        assert told["status"] == "ok" and "nemotron steps run" in told["compared"]

    folder = checkout / "src/nemotron/steps/tune/steps/config"
    installed = yaml.safe_load((folder / "chain_rows_2026-11-21_tune.yaml").read_text())
    assert installed["defaults"] == "default.yaml"
    again = live.run()
    assert (again.status, again.closed, again.jobs) == (0, None, set()), again.output


@pytest.mark.slow
def test_without_the_program_the_plan_names_it_and_the_job_says_what_installs_it(
    live: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", without("nemotron", "uv"))
    assert live.run().closed == "plan"
    prerequisites = read(live.results / "resolve/resources.json")["prerequisites"]
    assert [(one["number"], one["name"]) for one in prerequisites] == [
        (1, "tune/steps"),
        (2, "turn/whole"),
    ]
    assert "1. step tune/steps: neither nemotron nor uv is on the PATH" in plan_page(live)
    live.approve("plan")
    result = failed(live)
    assert "tune/steps cannot run here" in result.output and "install uv" in result.output
    checks = read(live.results / "validate/stages/tune.json")["checks"]
    (told,) = [check for check in checks if check["code"] == "dry-run"]
    assert told["status"] == "not checked" and "install uv" in told["fix"]
    assert not (live.results / "preview/stages/tune/manifest.json").exists()


# --------------------------------------------------------------------------------------- real parts


@pytest.mark.slow
def test_the_example_reaches_its_report_also_when_it_is_killed_while_it_trains(
    tmp_path: Path,
) -> None:
    project = Project.create(tmp_path / "project", "config/examples/chain.yaml")
    make_tiny_model(project.path / "models" / "tiny", chat_template=True)
    # long enough that it does not end before it is killed
    project.edit(lambda config: config["stages"][2]["with"].update(epochs=40))
    for gate in ("plan", "preview"):
        result = project.run()
        assert (result.status, result.closed) == (0, gate), result.output
        project.approve(gate)
    directory = project.results / "stages/peft-trl"
    project.kill_when(lambda: bool(list(directory.rglob("checkpoint-*/trainer_state.json"))))
    project.wait_until_quiet()
    assert not (directory / "manifest.json").exists()

    result = project.run()
    assert (result.status, result.closed) == (0, None), result.output
    again = {"stage:peft-trl", "stage:convert-merge-lora-peft", "stage:measure"}
    assert again <= result.heavy <= {*again, "stage:before"}
    (adapter,) = manifest(project, "peft-trl")["outputs"]
    told = read(Path(adapter["path"]).with_name("training.json"))
    assert told["resumed_from_step"] >= 1
    assert told["losses"][-1]["loss"] < told["losses"][0]["loss"]
    (scores,) = manifest(project, "measure")["outputs"]
    assert scores["files"] > 0
    report = (project.results / "report/report.html").read_text()
    assert "includes" in report and "eval/inspect_ai" in report
