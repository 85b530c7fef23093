"""A design's seed dataset: its files, and its columns from the head of the first of them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from lockgate.errors import LockgateError

_SOURCE = "data.design.seed_config.source"
WHERE = f"{_SOURCE}.path"
SUFFIXES = (".parquet", ".csv", ".json", ".jsonl")
_FOLDERS = ("directory", "file_contents")
_LISTED = ["source_kind", "source_path", "relative_path", "file_name"]
"""Columns of a source that is a folder of files."""
_LINES = 200
"""Lines of a JSON Lines file whose keys are looked at."""


def source(design: dict[str, Any]) -> dict[str, Any] | None:
    """The seed dataset's source, if it is a path on this machine.

    Raises:
        LockgateError: if the path is no text.
    """
    found = (design.get("seed_config") or {}).get("source") or {}
    if found.get("path") and not isinstance(found["path"], str):
        raise LockgateError(
            f"{found['path']} is no path", where=WHERE, hint="put a name of digits in quotes"
        )
    return found if found.get("path") and found.get("seed_type", "local") != "hf" else None


def files(source: dict[str, Any], root: Path) -> list[Path]:
    """The files that a source's path stands for, sorted; they must exist.

    Raises:
        LockgateError: if there is none.
    """
    path = root / source["path"]
    if source.get("seed_type") in _FOLDERS:
        walk = path.rglob if source.get("recursive", True) else path.glob
        found = _matches(walk, source.get("file_pattern", "*"), f"{_SOURCE}.file_pattern")
        found = [one for one in found if one.is_file()]
    else:
        found = _matches(path.parent.glob, path.name, WHERE) if "*" in path.name else [path]
        if path.suffix.lower() not in SUFFIXES:
            raise LockgateError(
                f"{path.name} cannot be a seed dataset",
                where=WHERE,
                hint=f"a seed file ends with {', '.join(SUFFIXES)}",
            )
    if not found or not all(one.is_file() for one in found):
        raise LockgateError(f"the file {path} does not exist", where=WHERE, hint="correct the path")
    return found


def _matches(walk: Callable[[str], Iterable[Path]], pattern: Any, where: str) -> list[Path]:
    try:
        return sorted(walk(pattern))
    except (NotImplementedError, ValueError, TypeError) as error:
        raise LockgateError(
            f"{pattern!r} is no pattern of files: {error}",
            where=where,
            hint="write one like *.txt, which starts at the folder",
        ) from None


def columns(design: dict[str, Any], root: Path) -> list[str] | None:
    """Names of the seed dataset's columns; None: only the tool can tell.

    Args:
        design: in the tool's declarative form.
        root: resolves a relative path.

    Raises:
        LockgateError: if the file is not there, is broken or has no records.
    """
    given = (design.get("seed_config") or {}).get("source") or {}
    if not given:
        return []
    if given.get("columns") is not None:  # of a table in memory, as the user's script told them
        return list(given["columns"])
    kind, local = given.get("seed_type", "local"), source(design)
    if local is None or kind not in ("local", *_FOLDERS):
        return None
    first = files(local, root)[0]
    if kind in _FOLDERS:
        return _LISTED + ["content"] * (kind == "file_contents")
    try:
        names = _header(first)
    except (OSError, ValueError, csv.Error) as error:
        raise LockgateError(
            f"{first.name} cannot be read: {error}",
            where=WHERE,
            hint="each line of a .csv or .jsonl file is one record, and a .csv names its columns",
        ) from None
    if not names:
        raise LockgateError(f"{first.name} has no records", where=WHERE, hint="add records to it")
    return names


def _header(path: Path) -> list[str]:
    """Column names of one file, none where it has no records; only its head is read.

    Raises:
        OSError, ValueError, csv.Error: if it is not what its suffix says.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        try:
            told = pyarrow.parquet.read_metadata(path)
        except pyarrow.ArrowException as error:
            raise ValueError(str(error)) from None
        return list(told.schema.to_arrow_schema().names) if told.num_rows else []
    with path.open(encoding="utf-8-sig", newline="") as stream:
        if suffix == ".csv":
            csv.field_size_limit(max(csv.field_size_limit(), path.stat().st_size))
            head = list(islice(csv.reader(stream), 2))
            return head[0] if len(head) == 2 else []
        whole = suffix == ".json" and stream.read(1) == "["
        stream.seek(0)
        lines = [] if whole else [line for line in islice(stream, _LINES) if line.strip()]
        records = json.load(stream) if whole else [json.loads(line) for line in lines]
    if not all(isinstance(record, dict) for record in records):
        raise ValueError("a record is not an object")
    return list(dict.fromkeys(name for record in records for name in record))
