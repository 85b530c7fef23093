"""Records of an existing dataset: JSON Lines, JSON, CSV or Parquet, read into plain objects."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from lockgate.data import hub
from lockgate.errors import LockgateError
from lockgate.files import read_jsonl, read_text

Item = TypeVar("Item")

SPLIT = "lockgate_split"
"""Key of a record that says which split its file put it in; rows do not have it."""

NAMES = ("train", "validation", "test")

LEVELS = 100
"""Objects and lists within each other that a record may have."""

_FLATTEN = "flatten it: write what is within as text, or as fields of the record"

_SPLITS_FORM = (
    'a .json file is {"train": [{"input": "...", "output": "..."}, ...], "test": [...], '
    '"validation": [...]}, or one list of records'
)


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """Up to `most` of them, evenly spread, in their order."""
    taken = min(len(items), most)
    return [items[number * len(items) // taken] for number in range(taken)]


def read(path: Path | str, where: str = "data.files") -> list[dict[str, Any]]:
    """The records of a file, by its suffix: .json, .csv, .tsv, .parquet, else JSON Lines.

    Records of a .json file with splits of its own have the key `SPLIT`. Values of a .csv or .tsv
    file are texts.

    Args:
        path: the file, which may be on the Hub, see `lockgate.data.hub`.
        where: configuration key that names it, for messages.

    Raises:
        LockgateError: naming the file, and the line or record that is broken.
    """
    found = _read(hub.local(path) if isinstance(path, str) else path, where)
    for number, record in enumerate(found, 1):
        try:
            text = json.dumps(record, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise LockgateError(
                f"record {number} has half of a character (an escape like \\ud83d alone)",
                where=str(path),
                hint="mend the text, or take the record out",
            ) from None
        if text.count(b"[") + text.count(b"{") > LEVELS and _levels(record) > LEVELS:
            raise LockgateError(
                f"record {number} is nested too deeply", where=str(path), hint=_FLATTEN
            )
    return found


def _levels(value: Any) -> int:
    found, inner = 0, [value]
    while inner := [one for one in inner if isinstance(one, list | dict)]:
        inner = [o for one in inner for o in (one.values() if isinstance(one, dict) else one)]
        found += 1
    return found


def _read(path: Path, where: str) -> list[dict[str, Any]]:
    suffix = path.suffix.lower()
    if suffix == ".json":
        return _json(path, where)
    if suffix in (".csv", ".tsv"):
        return _table(path, where, "\t" if suffix == ".tsv" else ",")
    if suffix == ".parquet":
        return _parquet(path)
    return read_jsonl(path, where=where)


def own_splits(records: list[dict[str, Any]]) -> dict[str, int] | None:
    """Records of each split that the file itself made; None: it made none."""
    if not any(SPLIT in record for record in records):
        return None
    return {name: sum(record[SPLIT] == name for record in records) for name in NAMES}


def _json(path: Path | str, where: str) -> list[dict[str, Any]]:
    try:
        content = json.loads(read_text(path, where=where))
    except json.JSONDecodeError as error:
        raise LockgateError(
            f"not valid JSON: {error}",
            where=str(path),
            hint=f"{_SPLITS_FORM}; a file of one object a line is named .jsonl",
        ) from None
    except RecursionError:
        raise LockgateError(
            "a record is nested too deeply", where=str(path), hint=_FLATTEN
        ) from None
    if isinstance(content, list):
        return _objects(content, str(path))
    if not isinstance(content, dict):
        raise LockgateError(
            f"it is {type(content).__name__}, not records", where=str(path), hint=_SPLITS_FORM
        )
    for name in content:
        if name not in NAMES:
            raise LockgateError(
                f"there is no split '{name}'",
                where=str(path),
                hint=f"the splits are {', '.join(NAMES)}; {_SPLITS_FORM}",
            )
    found = []
    for name in NAMES:
        part = content.get(name, [])
        if not isinstance(part, list):
            raise LockgateError(
                f"'{name}' is {type(part).__name__}, not a list",
                where=str(path),
                hint=_SPLITS_FORM,
            )
        if not part and name != "validation":
            raise LockgateError(
                f"there is nothing in '{name}'",
                where=str(path),
                hint="a file with splits of its own has train and test; give one list of records "
                "to have them split here",
            )
        found += [{**one, SPLIT: name} for one in _objects(part, f"{path}: {name}")]
    return found


def _objects(values: list[Any], where: str) -> list[dict[str, Any]]:
    for number, value in enumerate(values, 1):
        if not isinstance(value, dict):
            raise LockgateError(
                f"record {number} is {type(value).__name__}, not an object",
                where=where,
                hint='each record is an object, like {"input": "...", "output": "..."}',
            )
    return values


def _table(path: Path | str, where: str, delimiter: str) -> list[dict[str, Any]]:
    text = read_text(path, where=where)
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
    try:
        lines = [(reader.line_num, line) for line in reader if line]
    except csv.Error as error:
        raise LockgateError(
            f"line {reader.line_num}: {error}",
            where=str(path),
            hint='a value with a comma, a quote or a line break is in quotes: "so ""it"" is"',
        ) from None
    if not lines:
        return []
    (_, header), *rest = lines
    twice = next((name for name in header if not name or header.count(name) > 1), None)
    if twice is not None:
        raise LockgateError(
            f"two columns are called '{twice}'" if twice else "a column has no name",
            where=f"{path}: line 1",
            hint="the first line names the columns, each once",
        )
    for number, line in rest:
        if len(line) != len(header):
            raise LockgateError(
                f"line {number} has {len(line)} values, the header has {len(header)}",
                where=str(path),
                hint="put a value with a comma or a line break in quotes",
            )
    return [dict(zip(header, line, strict=True)) for _, line in rest]


def _parquet(path: Path | str) -> list[dict[str, Any]]:
    import pyarrow
    from pyarrow import parquet

    def plain(value: Any) -> str:
        if isinstance(value, bytes):
            raise LockgateError(
                "a column holds bytes, not text or numbers",
                where=str(path),
                hint="leave the column out, or write it as text",
            )
        return str(value)

    try:
        rows = parquet.read_table(path).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise LockgateError(
            f"not a Parquet file: {error}", where=str(path), hint="correct the path, or the suffix"
        ) from None
    # dates and decimals become texts: records go through JSON
    return list(json.loads(json.dumps(rows, default=plain)))
