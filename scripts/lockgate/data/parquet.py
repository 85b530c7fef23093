"""Records and rows as Parquet, whatever their values are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lockgate.files import write_bytes


def columns(records: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], list[str]]:
    """Columns of records as Arrow arrays, and the names of those that hold JSON text.

    A column is of a type of its own where every value comes back as it was; where it does not, as
    with text among numbers or objects of different fields, each value is JSON text. A record
    without a field has null there.
    """
    names = dict.fromkeys(name for record in records for name in record)
    found, as_text = {}, []
    for name in names:
        values = [record.get(name) for record in records]
        found[name] = _array(values)
        if found[name] is None:
            as_text.append(name)
            found[name] = _json(values)
    return found, as_text


def write(
    path: Path,
    columns: Mapping[str, Any],
    fields: Mapping[str, Any] | None = None,
    only: Sequence[int] | None = None,
) -> None:
    """Write columns as one file, whole or not at all.

    Args:
        path: the file.
        columns: as `columns` gives them.
        fields: columns that are written as one, `fields`, of objects.
        only: numbers of the rows to write, in their order; None: all.
    """
    import pyarrow as pa
    from pyarrow import parquet

    made = dict(columns)
    if fields:
        made["fields"] = pa.StructArray.from_arrays(list(fields.values()), list(fields))
    table = pa.table(made) if only is None else pa.table(made).take(pa.array(only, pa.int64()))
    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink)
    write_bytes(path, sink.getvalue())


def _array(values: list[Any]) -> Any:
    """The values in a type that holds them all, or None."""
    import pyarrow as pa

    try:
        array = pa.array(values)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        return None
    return array if _storable(array.type) and array.to_pylist() == values else None


def _storable(kind: Any) -> bool:
    """Parquet has no objects without fields."""
    from pyarrow import types

    within = [kind.field(at).type for at in range(kind.num_fields)]
    return all(map(_storable, within)) and bool(within or not types.is_struct(kind))


def _json(values: list[Any]) -> Any:
    import pyarrow as pa

    texts = [None if one is None else json.dumps(one, ensure_ascii=False) for one in values]
    return pa.array(texts, pa.string())
