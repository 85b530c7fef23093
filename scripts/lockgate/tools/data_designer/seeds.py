"""A design's seed dataset: its files, and its columns as DuckDB, with which the tool reads it,
finds them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from lockgate.errors import LockgateError

_SOURCE = "data.design.seed_config.source"
WHERE = f"{_SOURCE}.path"
SUFFIXES = (".parquet", ".csv", ".json", ".jsonl")
_FOLDERS = ("directory", "file_contents")
_LISTED = ["source_kind", "source_path", "relative_path", "file_name"]
"""Columns of a source that is a folder of files."""


def source(design: dict[str, Any]) -> dict[str, Any] | None:
    """The seed dataset's source, if it is a path on this machine.

    Raises:
        LockgateError: if the path is no text, or a token is given.
    """
    found = (design.get("seed_config") or {}).get("source") or {}
    if found.get("path") and not isinstance(found["path"], str):
        raise LockgateError(
            f"{found['path']} is no path", where=WHERE, hint="put a name of digits in quotes"
        )
    if found.get("token"):
        raise LockgateError(
            "a token in the design would be written to files",
            where=f"{_SOURCE}.token",
            hint="leave it out, and export HF_TOKEN=... with it, which the tool takes",
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
        if Path(pattern).is_absolute():
            raise ValueError("it is absolute")
        return sorted(walk(pattern))
    except (ValueError, TypeError) as error:
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
    if given.get("seed_type") == "df" and isinstance(given.get("columns"), list):
        # a table in memory, as the script told
        return list(given["columns"])
    kind, local = given.get("seed_type", "local"), source(design)
    if local is None or kind not in ("local", *_FOLDERS):
        return None
    files(local, root)
    if kind in _FOLDERS:
        return _LISTED + ["content"] * (kind == "file_contents")
    path = root / local["path"]
    names, found = _read(path, 1)
    if not found:
        raise LockgateError(f"{path.name} has no records", where=WHERE, hint="add records to it")
    return names


def rows(design: dict[str, Any], most: int, root: Path = Path()) -> int | None:
    """How many rows the seed dataset has, `most` at most; None: only the tool can tell.

    Args:
        design, root: as for `columns`.
        most: no more are counted.
    """
    local = source(design)
    kind = (local or {}).get("seed_type", "local")
    if local is None or kind not in ("local", *_FOLDERS):
        return None
    if kind in _FOLDERS:
        return min(len(files(local, root)), most)
    return _read(root / local["path"], most)[1]


def check_rows(design: dict[str, Any], shards: int) -> None:
    """Check that there is a seed row for each shard, where that can be told.

    Raises:
        LockgateError: if there are too few.
    """
    found = rows(design, shards) if shards > 1 else None
    if found is not None and found < shards:
        raise LockgateError(
            f"the seed dataset has {found} rows for {shards} shards",
            where="data.shards",
            hint=f"{found} at most",
        )


def _read(path: Path, most: int) -> tuple[list[str], int]:
    """Column names, and how many rows there are, `most` at most, as the tool reads the files.

    Raises:
        LockgateError: if they are not what their suffix says.
    """
    import duckdb

    table = "'" + str(path).replace("'", "''") + "'"
    try:
        with duckdb.connect() as reader:
            told = reader.execute(f"DESCRIBE SELECT * FROM {table}").fetchall()
            counted = f"SELECT COUNT(*) FROM (SELECT 1 FROM {table} LIMIT {most})"
            [(found,)] = reader.execute(counted).fetchall()
    except duckdb.Error as error:
        raise LockgateError(
            f"{path.name} cannot be read: {' '.join(str(error).split())[:300]}",
            where=WHERE,
            hint="each line of a .csv or .jsonl file is one record, and a .csv names its columns",
        ) from None
    return [name for name, *_ in told], found
