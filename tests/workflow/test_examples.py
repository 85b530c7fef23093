"""Another model, dataset and kind of evaluation, by configuration alone."""

from __future__ import annotations

import csv

import pytest
from project import Project

from tiny_model import make_tiny_model


@pytest.mark.slow
def test_own_model_dataset_and_task(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("own") / "project"
    project = Project.create(path, "config/examples/own_model.yaml")
    make_tiny_model(path / "models" / "tiny", chat_template=False)
    project.finish()
    with open(project.results / "report/results.csv") as handle:
        rows = {(row["run"], row["task"]): row for row in csv.DictReader(handle)}
    assert len(rows) == 6
    # all weights of an untrained model: after four epochs its answers are numbers near the sum
    assert float(rows["tiny_epochs-4", "closeness"]["score"]) > float(
        rows["tiny_control", "closeness"]["score"]
    )
