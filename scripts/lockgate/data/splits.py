"""Splits in which alike rows stay together, and the counts of alike rows."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from lockgate.data import similar
from lockgate.errors import LockgateError
from lockgate.prompts import asked_text


def split_sizes(records: int, splits: dict[str, float]) -> dict[str, int]:
    """Rows in each split."""
    sizes = {name: round(records * splits[name]) for name in ("validation", "test")}
    return {"train": records - sum(sizes.values()), **sizes}


def split(
    rows: list[dict[str, Any]],
    shares: dict[str, float],
    seed: int,
    similarity: float = 1.0,
    group: str | None = None,
    alike: list[int] | None = None,
) -> dict[str, list[dict[str, Any]]]:
    """Deterministic splits in which rows with alike prompts, or of one group, stay together.

    A held-out prompt, or nearly the same one, is never trained on. No row is left out. Rows are in
    an order that the seed decides, for files are often sorted. Rows whose file put them in a split
    (`split`) stay there, in their order.

    Args:
        rows: with `prompt`, and with `fields` if there is a `group`.
        shares: of the rows, by split.
        seed: another one draws other splits, and another order.
        similarity: of prompts that are alike, see `lockgate.data.similar`; 1: equal ones alone.
        group: field whose equal values keep rows together, see `data.group`.
        alike: labels of the prompts, see `labels`, where they are known.

    Raises:
        LockgateError: if train or test has no row, a file's own splits leak, or a row lacks the
            field of `group`.
    """
    kin = _kin(rows, labels(rows, similarity) if alike is None else alike, group)
    if any("split" in row for row in rows):
        return _kept(rows, kin, group)
    families: dict[int, list[dict[str, Any]]] = {}
    for row, label in zip(rows, kin, strict=True):
        families.setdefault(label, []).append(row)

    def drawn(rows: list[dict[str, Any]]) -> bytes:
        return _draw(seed, min(similar.normal(asked_text(row)) for row in rows))

    sizes = split_sizes(len(rows), shares)
    parts: dict[str, list[list[dict[str, Any]]]] = {"test": [], "validation": [], "train": []}
    filled = dict.fromkeys(parts, 0)
    for family in sorted(families.values(), key=drawn):
        fits = (n for n in ("test", "validation") if filled[n] + len(family) <= sizes[n])
        name = next(fits, "train")
        parts[name].append(family)
        filled[name] += len(family)
    for name in ("test", "validation"):
        # every family is larger than the split: it gets the smallest
        if sizes[name] and not parts[name] and len(parts["train"]) > 1:
            smallest = min(parts["train"], key=len)
            parts["train"].remove(smallest)
            parts[name].append(smallest)
    for name in ("train", "test"):
        if not parts[name]:
            together = "near-duplicates" + (f" or have the same {group}" if group else "")
            raise LockgateError(
                f"{len(rows)} records leave nothing for the {name} split",
                where="data.splits",
                hint=f"they are {together}, {len(families)} group(s) in all, and each group stays "
                "in one split: add records of another kind, or raise data.similarity if they only "
                "look alike (1: only equal prompts stay together)"
                if len(families) < len(rows)
                else "add records, or change the shares",
            )
    return {
        name: _shuffled([row for family in part for row in family], seed)
        for name, part in parts.items()
    }


def labels(rows: list[dict[str, Any]], similarity: float) -> list[int]:
    """For each row a label that rows with alike prompts share, see `lockgate.data.similar`."""
    return similar.groups([asked_text(row) for row in rows], similarity)


def check_group(rows: list[dict[str, Any]], group: str | None, where: str = "data.group") -> None:
    """Refuse rows without the field that groups them.

    Args:
        rows: with `fields`.
        group: the field, maybe within another one; None: rows are not grouped.
        where: key that asks for it, for the message.

    Raises:
        LockgateError: naming the first such row, with the nearest field.
    """
    if group is None:
        return
    for number, row in enumerate(rows, 1):
        try:
            _value(row["fields"], group)
        except KeyError:
            near = difflib.get_close_matches(group, map(str, row["fields"]), 1)
            raise LockgateError(
                f"record {number} has no field '{group}'",
                where=where,
                hint=f"did you mean '{near[0]}'?"
                if near
                else f"its fields are: {', '.join(map(str, row['fields']))}",
            ) from None


def _value(fields: Mapping[str, Any], path: str) -> Any:
    """The value of a field, or of one within it (`chat.topic`).

    Raises:
        KeyError: if there is none.
    """
    if path in fields:
        return fields[path]
    value: Any = fields
    for name in path.split("."):
        if not isinstance(value, Mapping):
            raise KeyError(path)
        value = value[name]
    return value


def _kin(rows: list[dict[str, Any]], alike: list[int], group: str | None) -> list[int]:
    """Labels that rows share which have alike prompts, or an equal value (not null) of `group`,
    or are so connected through other rows."""
    if group is None or not rows:
        return alike
    from scipy import sparse

    check_group(rows, group)
    places: dict[str, int] = {}
    joined = list(enumerate(alike))
    for number, row in enumerate(rows):
        value = _value(row["fields"], group)
        if value is not None:
            text = json.dumps(value, sort_keys=True)
            joined.append((number, places.setdefault(text, len(rows) + len(places))))
    first, second = zip(*joined, strict=True)
    size = len(rows) + len(places)
    graph = sparse.coo_array(([1] * len(joined), (first, second)), shape=(size, size))
    found = sparse.csgraph.connected_components(graph, directed=False)[1]
    return [int(label) for label in found[: len(rows)]]


def _draw(seed: int, text: str) -> bytes:
    """Where a text stands in the order of a seed."""
    return hashlib.sha256(f"{seed}:{text}".encode()).digest()


def _shuffled(rows: list[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    """Rows in an order that stays when others join them; equal prompts are scattered, too."""
    seen: Counter[str] = Counter()
    places = []
    for row in rows:
        text = similar.normal(asked_text(row))
        places.append(_draw(seed, f"{text}:{seen[text]}" if seen[text] else text))
        seen[text] += 1
    return [rows[at] for at in sorted(range(len(rows)), key=places.__getitem__)]


def _kept(
    rows: list[dict[str, Any]], kin: list[int], group: str | None
) -> dict[str, list[dict[str, Any]]]:
    """The splits that the file made.

    Raises:
        LockgateError: if a held-out row is like one that is trained on.
    """
    result: dict[str, list[dict[str, Any]]] = {"test": [], "validation": [], "train": []}
    trained: dict[int, int] = {}
    places = []
    for row, label in zip(rows, kin, strict=True):
        result[row["split"]].append(row)
        places.append(len(result[row["split"]]))
        if row["split"] == "train":
            trained.setdefault(label, places[-1])
    for name in ("test", "validation"):
        leaks = [
            (place, trained[label])
            for row, label, place in zip(rows, kin, places, strict=True)
            if row["split"] == name and label in trained
        ]
        if leaks:
            shown = ", ".join(f"{name} row {own} as train row {other}" for own, other in leaks[:3])
            raise LockgateError(
                f"{len(leaks)} of {len(result[name])} {name} rows have {_leak(group)}: "
                f"{shown}{', ...' if len(leaks) > 3 else ''}",
                where="data.files",
                hint="remove them from one of the two: what was trained on cannot be tested. If "
                "they only look alike, raise data.similarity (1: only equal prompts count)",
            )
    return result


def _leak(group: str | None) -> str:
    same = f", or its {group}" if group else ""
    return f"the prompt of a train row, or nearly the same{same}"


def check_apart(
    trained: list[dict[str, Any]],
    held_out: list[dict[str, Any]],
    similarity: float,
    where: str,
    hint: str,
    group: str | None = None,
) -> None:
    """Refuse rows to train on that are like held-out rows.

    Args:
        trained, held_out: rows with `prompt` and `id`, and with `fields` if there is a `group`.
        similarity: of prompts that are alike, see `lockgate.data.similar`; 1: equal ones alone.
        where: file or key, for the message.
        hint: what to do about it.
        group: field whose equal values make rows alike, too.

    Raises:
        LockgateError: saying how many, and one of them.
    """
    rows = [*trained, *held_out]
    check_group(rows, group, where)
    kin = _kin(rows, labels(rows, similarity), group)
    known = set(kin[: len(trained)])
    leaks = [
        row for row, label in zip(held_out, kin[len(trained) :], strict=True) if label in known
    ]
    if leaks:
        raise LockgateError(
            f"{len(leaks)} of {len(held_out)} held-out rows have {_leak(group)}, like row "
            f"{leaks[0]['id']}",
            where=where,
            hint=hint,
        )


def duplicates(rows: list[dict[str, Any]]) -> int:
    """Rows whose prompt an earlier row has already."""
    return len(rows) - len({similar.normal(asked_text(row)) for row in rows})


def near_duplicates(rows: list[dict[str, Any]], alike: list[int]) -> dict[str, int]:
    """Number of `groups` of rows whose prompts are alike but not all equal, and their `rows`.

    Args:
        rows: with `prompt`.
        alike: their `labels`.
    """
    groups: dict[int, list[str]] = {}
    for row, label in zip(rows, alike, strict=True):
        groups.setdefault(label, []).append(similar.normal(asked_text(row)))
    found = [len(group) for group in groups.values() if len(set(group)) > 1]
    return {"rows": sum(found), "groups": len(found)}
