"""An experiment trained in an environment of its own, from its example to the report."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from project import Project


@pytest.mark.slow
def test_the_example_waits_for_its_environment_and_runs_to_the_report(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    tune_environment: Path,
) -> None:
    path = tmp_path_factory.mktemp("torchtune") / "project"
    project = Project.create(path, "config/examples/torchtune.yaml")
    project.edit(lambda config: config["resources"].update(threads=1))  # as the smoke example
    name = project.config["training"]["tool"]
    with monkeypatch.context() as patch:
        patch.setenv("LOCKGATE_CACHE", str(path / "empty"))
        told = project.run()
        assert told.closed == "plan", told.output  # what is missing does not stop the plan
    plan = (project.results / "plan/plan.md").read_text()
    assert f"training tool {name}: the environment '{name}' is missing" in plan
    assert f"lockgate env create {name}" in plan

    project.finish()
    (run,) = project.results.glob("train/*_learning-rate-0.001")
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["versions"]["torchtune"] == "0.6.1"
    losses = [entry["loss"] for entry in manifest["losses"]]
    assert len(losses) == manifest["steps"] == manifest["checkpoints"][-1]["step"]
    assert sum(losses[-4:]) < sum(losses[:4]) / 2
    held = [entry["validation"] for entry in manifest["losses"] if entry["validation"]]
    assert len(held) == 2
    adapter = run / manifest["checkpoints"][-1]["path"]
    note = json.loads((adapter / "adapter_config.json").read_text())
    assert note["base_model_name_or_path"] == manifest["model"]["path"]
    with open(project.results / "report/results.csv") as handle:
        rows = {(row["run"], row["epoch"]): float(row["score"]) for row in csv.DictReader(handle)}
    assert {epoch for _, epoch in rows} == {"", "0", "1"}
    assert rows[run.name, "1"] > rows["smollm2-135m_control", ""]
