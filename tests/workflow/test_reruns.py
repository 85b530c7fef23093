"""The rerun table of the README, row by row, on real Snakemake."""

from __future__ import annotations

import csv
import json
from typing import Any

import pytest
from project import Project

pytestmark = pytest.mark.slow

LOW, HIGH = "tiny_learning-rate-0.001_lora-rank-4", "tiny_learning-rate-0.003_lora-rank-4"
CONTROL = "tiny_control"


def of_run(name: str) -> set[str]:
    """Every job of one trained run."""
    return {
        f"build_train:{name}",
        f"validate_config:train:{name}",
        f"train:{name}",
        f"build_eval:{name}",
        *evaluation(name),
    }


def evaluation(name: str) -> set[str]:
    return {f"validate_config:eval:{name}", f"eval:{name}"}


def variables(project: Project, **values: list[Any]) -> None:
    project.edit(lambda config: config["training"]["variables"].update(values))


def closed_then_approved(project: Project, gate: str) -> None:
    """The next call stops at this gate, and starts nothing that waits behind it."""
    result = project.run()
    assert result.status == 0, result.output
    assert result.closed == gate, result.output
    assert f"touch approvals/{project.config['experiment']['name']}/{gate}.approved" in (
        result.output
    )
    assert not any(job.startswith(("train:", "eval:", "generate")) for job in result.jobs)
    project.approve(gate)


def finished(project: Project) -> set[str]:
    """The next call ends; its heavy jobs."""
    result = project.run()
    assert result.status == 0, result.output
    assert result.closed is None, result.output
    return result.heavy


def score(project: Project, run: str) -> Any:
    return json.loads((project.results / f"train/{run}/manifest.json").read_text())["losses"]


def test_a_marker_touched_again(done: Project) -> None:
    done.approve("plan")
    done.approve("preview")
    result = done.run()
    assert (result.status, result.closed, result.jobs) == (0, None, set())


def test_the_learning_rate_of_one_run(done: Project) -> None:
    variables(done, learning_rate=[1e-3, 1e-2])
    changed = "tiny_learning-rate-0.01_lora-rank-4"
    assert done.dry_run().heavy == of_run(changed)
    closed_then_approved(done, "plan")
    assert finished(done) == of_run(changed)
    assert score(done, changed) != score(done, HIGH)


def test_a_new_rank(done: Project) -> None:
    variables(done, learning_rate=[1e-3], lora_rank=[4, 8])
    new = "tiny_learning-rate-0.001_lora-rank-8"
    planned = done.dry_run().heavy
    smoke = {job for job in planned if "smoke" in job or job.startswith("preview")}
    assert planned == of_run(new) | smoke
    assert sorted(job.split(":")[0] for job in smoke) == [
        "build_smoke",
        "preview_eval",
        "preview_train",
        "validate_config",
    ]
    closed_then_approved(done, "plan")
    closed_then_approved(done, "preview")
    assert finished(done) == {f"train:{new}", f"eval:{new}"}


def test_one_more_run_of_a_known_shape(done: Project) -> None:
    variables(done, learning_rate=[1e-3, 3e-3, 5e-3])
    closed_then_approved(done, "plan")
    assert finished(done) == of_run("tiny_learning-rate-0.005_lora-rank-4")


def test_a_run_removed(done: Project) -> None:
    variables(done, learning_rate=[1e-3])
    closed_then_approved(done, "plan")
    result = done.run()
    assert (result.status, result.closed, result.heavy) == (0, None, set())
    assert "report" in result.jobs
    assert HIGH not in (done.results / "report/results.csv").read_text()


def test_the_data(done: Project) -> None:
    data = done.path / done.config["data"]["files"]
    rows = data.read_text().splitlines()
    before = {run: score(done, run) for run in (LOW, HIGH)}
    data.write_text("\n".join(reversed(rows)) + "\n")
    closed_then_approved(done, "plan")
    closed_then_approved(done, "preview")
    jobs = finished(done)
    assert {"generate:0", "assemble", f"train:{LOW}", f"train:{HIGH}"} <= jobs
    assert {f"eval:{run}" for run in (LOW, HIGH, CONTROL)} <= jobs
    assert not any(job.startswith(("preview_train", "build_train", "build_eval")) for job in jobs)
    assert all(score(done, run) != before[run] for run in before)


def test_an_evaluation_setting(done: Project) -> None:
    done.edit(lambda config: config["evaluation"]["tasks"][0].update(max_tokens=2))
    closed_then_approved(done, "plan")
    expected = {job for run in (LOW, HIGH, CONTROL) for job in evaluation(run)}
    expected |= {f"build_eval:{run}" for run in (LOW, HIGH, CONTROL)}
    # the preview's evaluation of the model, whose speed it decides
    measured = "tiny_float32"
    expected |= {f"build_eval:{measured}", f"preview_eval:{measured}"}
    expected |= {f"validate_config:eval:{measured}"}
    assert finished(done) == expected


def test_threads_need_no_approval(done: Project) -> None:
    done.edit(lambda config: config["resources"].update(memory_mb=1900))
    first = done.run()
    assert first.status == 0 and first.heavy == set()
    assert "needs no new approval" in first.output
    assert finished(done) == set()


def test_the_hypothesis_closes_the_plan_and_reruns_nothing(done: Project) -> None:
    done.edit(lambda config: config["experiment"].update(hypothesis="It was clear all along."))
    closed_then_approved(done, "plan")
    assert finished(done) == set()


def test_a_deleted_manifest_is_made_again(done: Project) -> None:
    before = score(done, LOW)
    (done.results / f"train/{LOW}/manifest.json").unlink()
    assert finished(done) == {f"train:{LOW}", f"eval:{LOW}"}
    assert score(done, LOW) == before


def test_an_edit_of_code_reruns_nothing(done: Project) -> None:
    for path in ("scripts/build_config.py", "scripts/lockgate/jobs.py", "workflow/rules/train.smk"):
        with open(done.path / path, "a") as handle:
            handle.write("\n# a comment\n")
    assert done.run().jobs == set()


PICKY = """
from inspect_ai import Task, task
from inspect_ai.dataset import json_dataset
from inspect_ai.scorer import includes


@task
def picky(dataset: str) -> Task:
    if "/preview/" not in dataset:
        raise ValueError("not today")
    return Task(dataset=json_dataset(dataset), scorer=includes())
"""


def test_a_failed_run_leaves_a_report_on_the_others(done: Project) -> None:
    (done.path / "picky.py").write_text(PICKY)
    task = {"name": "picky", "task": "picky.py@picky", "max_tokens": 4}
    task["only"] = {"learning_rate": 3e-3}
    done.edit(lambda config: config["evaluation"]["tasks"].append(task))
    closed_then_approved(done, "plan")
    result = done.run()
    assert result.status != 0
    assert "the task 'picky' failed: ValueError: not today" in result.output
    # the control is asked the same task
    assert "1 of 3 runs have scores; a report on them: file://" in result.output
    page = (done.results / "report/partial/report.html").read_text()
    assert HIGH in page and "missing" in page
    with open(done.results / "report/partial/results.csv") as handle:
        scored = {row["run"] for row in csv.DictReader(handle) if row["score"]}
    assert scored == {LOW}
    done.edit(lambda config: config["evaluation"]["tasks"].pop())
    done.finish()
    assert not (done.results / "report/partial").exists()
