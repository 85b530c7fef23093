"""The ready data designs, from their plan to their data card, on the embedded model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from project import ROOT, Project

from lockgate import matrix, tools

DESIGNS = sorted((ROOT / "config/examples/designs").glob("*.yaml"))
PARTS = {
    "classification": {"prompt", "completion"},
    "chat": {"prompt", "completion", "history", "messages"},
    "documents": {"prompt", "completion"},
    "preferences": {"prompt", "completion", "chosen", "rejected"},
    "sql": {"prompt", "completion"},
}
"""What each row of an example has, beside its `id` and the record's `fields`."""


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("path", DESIGNS, ids=lambda path: path.stem)
def test_a_design_is_planned_and_rendered(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    source = str(path.relative_to(ROOT))
    experiment = matrix.read(yaml.safe_load(path.read_text()), source)
    data = experiment.config.data.model_dump()
    assert f"--configfile {source}\n" in path.read_text()
    assert data["records"] >= 16
    adapter = tools.get("data", data["tool"], source)
    compile(adapter.render(data, ROOT), source, "exec")
    assert all(file.is_file() for file in adapter.inputs(data, ROOT))


@pytest.mark.slow
@pytest.mark.parametrize("path", DESIGNS, ids=lambda path: path.stem)
def test_a_design_gives_enough_accepted_records(path: Path, tmp_path: Path) -> None:
    project = Project.create(tmp_path / "project", str(path.relative_to(ROOT)))

    def small(config: dict) -> None:
        config["data"].update(preview_records=1, records=16)
        config["resources"]["threads"] = 1  # two beside a busy neighbour are many times slower

    project.edit(small)
    assert project.run().closed == "plan"
    project.approve("plan")
    results = project.results.relative_to(project.path)
    shown = project.run(f"{results}/preview/data/summary.json")
    assert shown.status == 0, shown.output
    assert (project.results / "preview/data/browser/index.html").exists()

    project.pass_preview()
    made = project.run(f"{results}/data/card.md")
    assert made.status == 0, made.output

    data = project.results / "data"
    manifest = json.loads((data / "manifest.json").read_text())
    assert manifest["records"] == project.config["data"]["records"] >= 16
    assert manifest["made"] <= manifest["records"] / 0.6 + 1
    assert manifest["statistics"]["refusals"] == {} == manifest["statistics"]["empty"]
    splits = {name: lines(data / f"{name}.jsonl") for name in ("train", "validation", "test")}
    assert {name: len(rows) for name, rows in splits.items()} == manifest["rows"]
    rows = [row for part in splits.values() for row in part]
    assert len(rows) == manifest["records"] and splits["train"] and splits["test"]
    assert {frozenset(row) for row in rows} == {frozenset(PARTS[path.stem] | {"id", "fields"})}
    check(path.stem, splits)
    assert (data / "card.md").read_text().count("##") >= 3


def check(name: str, splits: dict[str, list[dict]]) -> None:
    """What only one of the examples promises."""
    rows = [row for part in splits.values() for row in part]
    if name == "documents":
        held = {row["fields"]["document"] for row in [*splits["validation"], *splits["test"]]}
        assert held and not held & {row["fields"]["document"] for row in splits["train"]}
        assert all(row["completion"] in row["fields"]["text"] for row in rows)
    elif name == "chat":
        roles = [[said["role"] for said in row["messages"]] for row in rows]
        assert roles == [["user", "assistant"] * 2] * len(rows)
    elif name == "sql":
        assert all(row["fields"]["parsed"]["is_valid"] is True for row in rows)
        assert all(row["fields"]["low"] < row["fields"]["high"] for row in rows)
    elif name == "preferences":
        assert all(row["chosen"] == row["completion"] != row["rejected"] for row in rows)
    else:
        assert {row["completion"] for row in rows} <= {
            "animals", "space", "cooking", "gardening", "music",
        }  # fmt: skip
