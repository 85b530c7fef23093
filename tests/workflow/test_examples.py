"""Another model, dataset and kind of evaluation, by configuration alone."""

from __future__ import annotations

import csv
import json
from typing import Any

import pytest
from project import Project

from tiny_model import make_tiny_adapter, make_tiny_model


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


@pytest.mark.slow
def test_chat_rows_with_their_own_splits_listed_runs_and_a_rule(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("chat") / "project"
    project = Project.create(path, "config/examples/own_model.yaml")
    make_tiny_model(path / "models" / "tiny", chat_template=True)

    def row(number: int) -> dict[str, Any]:
        turns = [("system", "Add."), ("user", f"{number} + 1 ="), ("assistant", str(number + 1))]
        return {"messages": [{"role": role, "content": text} for role, text in turns]}

    splits = {"train": range(40), "validation": range(40, 44), "test": range(50, 62)}
    rows = {name: [row(number) for number in numbers] for name, numbers in splits.items()}
    (path / "chats.json").write_text(json.dumps(rows))

    def design(config: dict[str, Any]) -> None:
        rule = {"runs": {"learning_rate": 1e-3}, "expect": "equal", "at_least": 0.9}
        config["experiment"]["decision"] = [{**rule, "task": "exact"}]
        config["data"] = {"tool": "dataset", "files": "chats.json"}
        del config["training"]["variables"]
        config["training"] |= {"system_prompt": "Add.", "seeds": [1, 2]}
        config["training"]["runs"] = [{"learning_rate": 1e-3}, {"learning_rate": 1e-2}]
        config["training"]["parameters"]["epochs"] = 1
        config["evaluation"]["tasks"] = [
            {"name": "exact", "scorer": "exact", "max_tokens": 4},
            {"name": "overlap", "scorer": "f1", "max_tokens": 4, "only": {"learning_rate": 1e-2}},
        ]

    project.edit(design)
    project.finish()
    plan = (project.results / "plan/plan.md").read_text()
    assert "56 rows: train 40, validation 4, test 12" in plan
    assert "ok: parity of tiny (8 of 56 rows of chats.json" in plan
    with open(project.results / "report/results.csv") as handle:
        cells = [(row["run"], row["task"], row["n"]) for row in csv.DictReader(handle)]
    slow = [f"tiny_learning-rate-0.001_seed-{seed}" for seed in (1, 2)]
    fast = [f"tiny_learning-rate-0.01_seed-{seed}" for seed in (1, 2)]
    expected = {(run, "exact", "12") for run in ["tiny_control", *slow, *fast]}
    assert set(cells) == expected | {(run, "overlap", "12") for run in ["tiny_control", *fast]}
    report = (project.results / "report/report.html").read_text()
    assert "supported" in report.lower() and "no rule was stated" not in report.lower()


@pytest.mark.slow
def test_existing_checkpoints_prompts_sizes_epochs_and_a_model_that_comes_later(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("wide") / "project"
    project = Project.create(path, "config/examples/own_model.yaml")
    make_tiny_model(path / "models" / "tiny", chat_template=False)

    def design(config: dict[str, Any]) -> None:
        config["models"]["older"] = {"path": "models/older", "base": "tiny"}
        config["models"]["later"] = {"path": "models/later"}
        config["data"]["records"] = 100
        config["training"] |= {"variables": {}, "controls": True}
        config["training"]["parameters"] |= {"method": "lora", "lora_rank": 2, "epochs": 2}
        config["training"]["runs"] = [
            {"model": "tiny", "data.train_rows": 16},
            {"model": "tiny", "data.rows.prompt": "{{ prompt }} please"},
            {"model": "later", "data.train_rows": 16},
        ]
        config["evaluation"] |= {"models": ["older"], "epochs": "all"}
        config["evaluation"]["tasks"] = [
            {"name": "exact", "scorer": "exact", "max_tokens": 4},
            {"name": "overlap", "scorer": "f1", "max_tokens": 4, "epochs": "last"},
        ]

    project.edit(design)
    make_tiny_adapter(path / "models/tiny", path / "models/older")
    project.finish()
    small, asked = "tiny_train-rows-16", "tiny_rows-prompt-prompt-please"
    first = cells(project)
    untrained = ("tiny_control_rows-prompt-none", f"tiny_control_{asked[5:]}", "older_eval-only")
    assert set(first) == {
        *((run, "exact", epoch) for run in (small, asked) for epoch in "01"),
        *((run, "overlap", "1") for run in (small, asked)),
        *((run, task, "") for run in untrained for task in ("exact", "overlap")),
    }
    asked_rows = [
        json.loads(line)["prompt"]
        for file in (project.results / "eval" / asked).glob("*/test.jsonl")
        for line in file.read_text().splitlines()
    ]
    assert asked_rows and {row.count("please") for row in asked_rows} == {1}
    manifest = json.loads((project.results / f"train/{small}/manifest.json").read_text())
    assert manifest["steps"] == 4  # 16 rows, 8 at once, two epochs
    plan = (project.results / "plan/plan.md").read_text()
    assert "**WARNING: run later_train-rows-16** cannot start: models/later is neither" in plan
    assert "1. model later: models/later is neither" in plan

    make_tiny_model(path / "models" / "later", chat_template=False)
    result = project.run()
    assert result.closed == "plan"
    again = project.finish()
    assert not {job for job in again.heavy if small in job or asked in job}
    assert ("later_train-rows-16", "exact", "1") in cells(project)


def cells(project: Project) -> dict[tuple[str, str, str], str]:
    """Scores in the report's table that are there, by run, task and epoch."""
    with open(project.results / "report/results.csv") as handle:
        return {
            (row["run"], row["task"], row["epoch"]): row["score"]
            for row in csv.DictReader(handle)
            if row["score"]
        }
