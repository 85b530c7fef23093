"""What the rows of a data file are: artifact types are coarse, so the rows are looked at too."""

from __future__ import annotations

import glob
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from lockgate.stages.kinds import FIELDS, kinds_of

LARGE = 200_000_000
"""Bytes up to which all rows are counted; of more data only the first rows are read."""

_SUFFIXES = (".jsonl", ".json", ".parquet")
_LONGEST_LINE = 16_000_000  # bytes; a longer line is no row, and must not fill the memory
_SHOWN = 5


@dataclass(frozen=True)
class Probe:
    """What was seen of a data set's rows.

    Attributes:
        count: rows of all files; None: there is too much to count.
        looked: rows that were looked at.
        kinds: those of `FIELDS` that every row looked at has, without a fault.
        majority: the kind that most rows have; empty: none has any.
        breaks: rows looked at that are not of that kind.
        broken: the first of them, as `file:line: why` (files relative to the path probed).
        columns: names of all fields seen, sorted.
        longest: characters of text in the longest row looked at.
    """

    count: int | None
    looked: int
    kinds: tuple[str, ...]
    majority: str
    breaks: int
    broken: tuple[str, ...]
    columns: tuple[str, ...]
    longest: int


class _Row(NamedTuple):
    """One row: `where` it is, and its `value`, or `why` there is none."""

    where: str
    value: Any
    why: str = ""


def probe(path: str, limit: int = 2000) -> Probe | None:
    """Look at the first rows of a file, a glob or a directory.

    Args:
        path: of `.jsonl`, `.json` (rows, or one list of them) or `.parquet`.
        limit: rows to look at, shared among the files.

    Returns:
        None where there is nothing to look at: it is absent, on the Hub, or not rows.
    """
    base, files = _files(path)
    files = [file for file in files if _holds_rows(file)]
    if not files:
        return None
    small = sum(file.stat().st_size for file in files) <= LARGE
    share = max(1, limit // len(files))
    count: int | None = 0
    rows: list[_Row] = []
    for file in files:
        name = file.name if file == base else str(file.relative_to(base))
        try:
            counted, first = _read(file, name, share, small)
        except OSError as error:
            counted, first = None, [_Row(name, None, f"cannot be read: {error.strerror}")]
        rows += first
        count = None if count is None or counted is None else count + counted
    return _judge(rows, count)


def _files(path: str) -> tuple[Path, list[Path]]:
    """The directory that names are relative to (or the file itself), and the files, sorted."""
    whole = Path(path).expanduser()
    if whole.is_file():
        return whole, [whole] if whole.suffix in _SUFFIXES else []
    if whole.is_dir():
        found = sorted(item for item in whole.rglob("*") if item.suffix in _SUFFIXES)
        found = [item for item in found if not _hidden(item.relative_to(whole))]
        rows = [item for item in found if item.suffix != ".json"]
        # .json beside rows tells about them
        return whole, [item for item in rows or found if item.is_file()]
    parts = whole.parts
    fixed = next((at for at, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    if fixed == len(parts):
        return whole, []
    base = Path(*parts[:fixed])
    found = sorted(map(Path, glob.glob(str(whole), recursive=True)))
    return base, [item for item in found if item.suffix in _SUFFIXES and item.is_file()]


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _holds_rows(file: Path) -> bool:
    """A `.json` file may be one object (a model's configuration, a list of other files)."""
    if file.suffix != ".json":
        return True
    try:
        with open(file, "rb") as handle:
            lines = (line for _, line in _lines(handle) if line.strip())
            line, more = next(lines, b"").strip(), next(lines, b"")
    except OSError:
        return True  # reading it will say why it cannot be read
    if line.startswith(b"["):
        return True
    return _is_object(line) and (_is_object(more) or bool(kinds_of(json.loads(line))))


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _read(file: Path, name: str, limit: int, small: bool) -> tuple[int | None, list[_Row]]:
    """Number of rows (None: not counted) and the first of them."""
    if file.suffix == ".parquet":
        return _read_parquet(file, name, limit)
    with open(file, "rb") as handle:
        if file.suffix == ".json" and handle.read(64).lstrip().startswith(b"["):
            return _read_list(file, name, limit)
        handle.seek(0)
        lines = ((number, line) for number, line in _lines(handle) if line.strip())
        first = [_parse(f"{name}:{number}", line) for number, line in islice(lines, limit)]
        return (len(first) + sum(1 for _ in lines) if small else None), first


def _lines(handle: Any) -> Iterator[tuple[int, bytes]]:
    number = 0
    while line := handle.readline(_LONGEST_LINE):
        number += 1
        yield number, line
        while len(line) == _LONGEST_LINE and not line.endswith(b"\n"):
            line = handle.readline(_LONGEST_LINE)


def _parse(where: str, line: bytes) -> _Row:
    if len(line) == _LONGEST_LINE:
        return _Row(where, None, f"longer than {_LONGEST_LINE // 1_000_000} MB")
    try:
        return _Row(where, json.loads(line.decode("utf-8")))
    except UnicodeDecodeError:
        return _Row(where, None, "not UTF-8 text")
    except RecursionError:
        return _Row(where, None, "nested too deeply")
    except ValueError as error:
        return _Row(where, None, f"not JSON: {getattr(error, 'msg', error)}")


def _read_list(file: Path, name: str, limit: int) -> tuple[int | None, list[_Row]]:
    whole = _parse(name, file.read_bytes()) if file.stat().st_size < _LONGEST_LINE else None
    if whole is None:
        return None, [_Row(name, None, "a list this long cannot be read: write one row a line")]
    if whole.why:
        return None, [whole]
    first = [_Row(f"{name}: row {at}", row) for at, row in enumerate(whole.value[:limit], 1)]
    return len(whole.value), first


def _read_parquet(file: Path, name: str, limit: int) -> tuple[int | None, list[_Row]]:
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(file)
        batch = next(table.iter_batches(batch_size=limit), None)
        rows = batch.to_pylist() if batch is not None else []
    except (pyarrow.ArrowException, OSError) as error:
        return None, [_Row(name, None, f"not Parquet: {str(error).splitlines()[0]}")]
    return table.metadata.num_rows, [
        _Row(f"{name}: row {at}", row) for at, row in enumerate(rows, 1)
    ]


def _judge(rows: list[_Row], count: int | None) -> Probe:
    found = [kinds_of(row.value) for row in rows]
    totals = {kind: sum(kinds.get(kind) == "" for kinds in found) for kind in FIELDS}
    # rows with a fault still say what they were meant to be
    meant = {kind: sum(kind in kinds for kinds in found) for kind in FIELDS}
    majority = max(FIELDS, key=lambda kind: (totals[kind], meant[kind]))
    if not meant[majority]:
        majority = ""
    broken = [
        f"{row.where}: {row.why or _fault(row.value, kinds, majority)}"
        for row, kinds in zip(rows, found, strict=True)
        if kinds.get(majority) != ""
    ]
    objects = [row.value for row in rows if isinstance(row.value, dict)]
    return Probe(
        count=count,
        looked=len(rows),
        kinds=tuple(kind for kind in FIELDS if rows and totals[kind] == len(rows)),
        majority=majority,
        breaks=len(broken),
        broken=tuple(broken[:_SHOWN]),
        columns=tuple(sorted({str(name) for row in objects for name in row})),
        longest=max((_characters(row) for row in objects), default=0),
    )


def _fault(row: Any, kinds: dict[str, str], kind: str) -> str:
    if not isinstance(row, dict):
        return f"{type(row).__name__}, not an object"
    if kinds.get(kind):
        return kinds[kind]
    wanted = FIELDS[kind] if kind else "the fields of any kind of rows"
    return f"has not {wanted} (its fields: {', '.join(map(str, row)) or 'none'})"


def _characters(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_characters, value.values()))
    return sum(map(_characters, value)) if isinstance(value, list) else 0
