"""The rows of a folder handed over, or what makes them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from lockgate import data, files, jobs, splits, tools
from lockgate.matrix import Matrix
from lockgate.runs import Run

SPLITS = ("train", "validation", "test")


def place(run: Run) -> str:
    """Directory of a run's rows in the folder."""
    return f"data/{run.name}" if run.rows or run.train_rows is not None else "data"


def find(experiment: Matrix) -> dict[str, list[dict[str, Any]]] | None:
    """The rows of each split: generated before, or read from the user's file; None: not made.

    Raises:
        LockgateError: whatever is wrong with the user's file.
    """
    config, document = experiment.config, experiment.documents["data/data"]
    made = config.results / "data"
    item = f"data/data:{files.digest(document)}"
    if (made / "manifest.json").exists() and files.read_json(made / "manifest.json")[
        "item"
    ] == item:
        return {split: files.read_jsonl(made / f"{split}.jsonl") for split in SPLITS}
    adapter = tools.get("data", document["tool"], experiment.source)
    design = config.results / "build" / "data" / adapter.design_name
    jobs.check_design(document, design)
    if not document["files"]:
        return None
    with tempfile.TemporaryDirectory() as work:  # no more than reading a file
        records = adapter.generate(design, {**document, "shards": 1}, 0, None, Path(work))
    found = data.project(records, document["rows"], document["files"])
    return splits.split(found, document["splits"], document["seed"], document["similarity"])


def write(experiment: Matrix, found: dict[str, list[dict[str, Any]]], out: Path) -> None:
    """The rows of all runs, and those of the runs that have rows of their own.

    Args:
        experiment: whose runs they are.
        found: what `find` gave.
        out: the folder.
    """
    (out / "data").mkdir()
    for split, part in found.items():
        files.write_jsonl(out / "data" / f"{split}.jsonl", part)
    for run in experiment.runs.values():
        for split, part in found.items() if place(run) != "data" else ():
            own = data.revise(part, run.rows, place(run))
            own = own[: run.train_rows] if split == "train" else own
            files.write_jsonl(out / place(run) / f"{split}.jsonl", own)


def recipe(experiment: Matrix) -> dict[str, Any]:
    """What the program `make_rows` needs to make the same rows of the records."""
    document = experiment.documents["data/data"]
    own = {
        place(run): {"rows": run.rows, "train_rows": run.train_rows}
        for run in experiment.runs.values()
        if place(run) != "data"
    }
    kept = {key: document[key] for key in ("rows", "splits", "seed", "similarity")}
    return {**kept, "folders": own}
