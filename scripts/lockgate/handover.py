"""What a tool puts into a plain folder that runs without Lockgate."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class PlainRun:
    """A run in a folder that runs without Lockgate; each path starts at that folder.

    Attributes:
        name: of the run.
        config: what `render` gave.
        path: where the adapter puts its configuration.
        data: directory of its rows, `train.jsonl`, `validation.jsonl` and `test.jsonl`.
        out: directory of its results.
        measured: for an evaluation, epochs with their weights' directory and their tasks' names;
            a run that is not trained has one, without epoch and directory.
        adapter: what is measured is an adapter, which is in `$ADAPTER`.
    """

    name: str
    config: dict[str, Any]
    path: str
    data: str
    out: str
    measured: tuple[tuple[int | None, str | None, list[str]], ...] = ()
    adapter: bool = False


@dataclass(frozen=True)
class Job:
    """One command of a run in such a folder.

    Attributes:
        command: a line of shell: `"$PYTHON"` is Python, `"$MODEL"` the base model's directory.
        result: the file that it writes last.
        inputs: files that make it run again when they are newer.
        checkpoints: of a training, the directory of each epoch's weights.
    """

    command: str
    result: str
    inputs: tuple[str, ...]
    checkpoints: tuple[str, ...] = ()


@dataclass(frozen=True)
class Handover:
    """A tool's part of such a folder: the text of each file, and each run's job by its name.

    A trainer and an evaluator may have a method `scaffold(runs: list[PlainRun], root: Path)` that
    gives it (`root` resolves relative paths in the configurations). Nothing in it imports
    Lockgate, or names a path of this machine. An evaluation's result is a JSON file with `cells`:
    `task`, `epoch`, `n`, `score`, and what `evaluate` returns. A data generator may have
    `scaffold(data: dict[str, Any], root: Path)` for records that are not made yet: one job,
    `data`, makes them of `data/<design_name>`, as JSON Lines; that file is the built design where
    `files` has no other.
    """

    files: dict[str, str]
    jobs: dict[str, Job]
    imports: tuple[str, ...] = ()
    """Modules that the tool imports without a word of it in `files`."""
    setup: str = ""
    """Lines of shell that make an environment of the tool's own; where there are any, its
    `versions` are not those of the folder's requirements.txt."""
    own: dict[str, Path] = field(default_factory=dict)
    """The user's own files, copied byte by byte: where each goes, and where it is here."""
    apart: tuple[str, ...] = ()
    """Files of `files` and `own` that run in the tool's own environment: what they import is not
    in the folder's requirements.txt."""
    notes: tuple[str, ...] = ()
    """What the folder's reader has to know, one sentence each."""
