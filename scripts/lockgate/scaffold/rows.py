"""The rows of a folder handed over, or what makes them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from lockgate import documents, files, jobs, tools
from lockgate.data import projection, splits
from lockgate.matrix import Matrix
from lockgate.runs import Run

SPLITS = ("train", "validation", "test")

_OF_COLUMNS = ("name", "role", "passed", "scores", "schema", "skipped")
_KEPT = ("records", "accept", "rows", "splits", "seed", "similarity", "group")


def place(run: Run) -> str:
    """Directory of a run's rows in the folder."""
    own = run.rows or run.train_rows is not None or run.train_files is not None
    return f"data/{run.name}" if own else "data"


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
    found = projection.project(records, document["rows"], document["files"])
    return splits.split(
        found, document["splits"], document["seed"], document["similarity"], document["group"]
    )


def write(
    experiment: Matrix,
    runs: list[Run],
    found: dict[str, list[dict[str, Any]]],
    out: Path,
    root: Path,
) -> None:
    """The rows of all runs, and those of the runs that have rows of their own.

    Args:
        experiment: whose runs they are.
        runs: those that are handed over.
        found: what `find` gave.
        out: the folder.
        root: the project; relative paths in the configuration start there.

    Raises:
        LockgateError: as for a run's training, see `lockgate.data.own_rows`.
    """
    (out / "data").mkdir()
    for split, part in found.items():
        files.write_jsonl(out / "data" / f"{split}.jsonl", part)
    for run in runs:
        if place(run) == "data":
            continue
        own = documents.own_rows(run, experiment.config)
        if run.train_files is not None:
            own["train_files"] = str(root / run.train_files)
        for split, rows in projection.own_rows(own, found, experiment.source).items():
            files.write_jsonl(out / place(run) / f"{split}.jsonl", rows)


def train_files(runs: list[Run]) -> dict[str, str]:
    """Where the folder has each dataset that runs alone are trained on, by its path here."""
    given = dict.fromkeys(run.train_files for run in runs if run.train_files is not None)
    return {file: f"data/files/{n}/{Path(file).name}" for n, file in enumerate(given, 1)}


def recipe(experiment: Matrix, runs: list[Run]) -> dict[str, Any]:
    """What the program `make_rows` needs to take the same records, and make the same rows of them.

    Raises:
        LockgateError: if the user's design script does not say what its columns are.
    """
    document, places = experiment.documents["data/data"], train_files(runs)
    folders = {}
    for run in runs:
        if place(run) != "data":
            own = documents.own_rows(run, experiment.config)
            file = places[run.train_files] if run.train_files is not None else None
            folders[place(run)] = {**own, "train_files": file}
    adapter = tools.get("data", document["tool"], experiment.source)
    design = experiment.config.results / "build" / "data" / adapter.design_name
    columns = [
        {key: getattr(column, key) for key in _OF_COLUMNS}
        for column in adapter.describe(design, document)
    ]
    prompts = list(dict.fromkeys(run.system_prompt for run in runs))
    kept = {key: document[key] for key in _KEPT}
    return {**kept, "columns": columns, "system_prompts": prompts, "folders": folders}
