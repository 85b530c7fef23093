"""What is good and what is poor about records and the rows they become, in figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from lockgate.data import columns as own_columns
from lockgate.data import leaks as leaking
from lockgate.data import splits, worst
from lockgate.data.acceptance import refuses
from lockgate.data.columns import as_text, at, describe, distinct, histogram, is_empty, summary
from lockgate.data.records import SPLIT
from lockgate.data.similar import words
from lockgate.prompts import asked_text
from lockgate.tools import Column

_WRITTEN = ("written", "structured", "given")  # roles of what somebody wrote
_DRAWS = 1000
_SEED = 20250101
_MOST_VALUES = 50  # of an axis that are told
_BINNED = 20  # different numbers on an axis of which ranges are told


def examine(
    records: Sequence[Mapping[str, Any]],
    rows: Sequence[dict[str, Any]],
    columns: Sequence[Column],
    *,
    axes: Sequence[str] | None = None,
    verdicts: Sequence[str] | None = None,
    similarity: float = 0.8,
    leaks: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    alike: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Figures of all there is to know before records are approved; the same for the same input.

    Args:
        records: as they were made or read.
        rows: one for each record that counts, in their order.
        columns: of the design; none: all fields of the records, each of the role `given`.
        axes: fields whose values should be diverse; None: the columns with shares that were asked.
        verdicts: for each record nothing, or why it does not count; None: all count.
        similarity: of prompts that are alike, see `lockgate.data.similar`.
        leaks: the rows by split, see `lockgate.data.leaks`; None: there are no splits.
        alike: `splits.labels` of the rows, where they are known.

    Returns:
        `records`, `accepted`, `refused` (count by reason), `columns` (see
        `lockgate.data.columns.describe`), `axes`, `rows`, `validators`, `judges`, `refusals` and
        `empty` (numbers of records by column, from 0), `worst` and `leaks`.
    """
    verdicts = [""] * len(records) if verdicts is None else verdicts
    columns = columns or _given(records)
    kept = [number for number, verdict in enumerate(verdicts) if not verdict]
    rows = list(rows)
    if len(kept) != len(rows):
        raise ValueError(f"{len(rows)} rows of {len(kept)} records that count")
    labels = list(splits.labels(rows, similarity) if alike is None else alike)
    written = [column for column in columns if column.role in _WRITTEN]
    refusals = _numbers(records, written, lambda value: any(map(refuses, own_columns.texts(value))))
    empty = _numbers(records, written, is_empty)
    judges = _judges(records, columns)
    reasons = Counter(verdict for verdict in verdicts if verdict)
    return {
        "records": len(records),
        "accepted": len(kept),
        "refused": dict(sorted(reasons.items(), key=lambda one: (-one[1], one[0]))),
        "columns": [_column(records, column) for column in columns],
        "axes": _axes([records[number] for number in kept], columns, axes),
        "rows": _rows(rows, labels),
        "validators": _validators(records, columns),
        "judges": [figures for figures, _ in judges],
        "refusals": refusals,
        "empty": empty,
        "worst": worst.pick(
            records,
            [column.name for column in written],
            worst.refused(verdicts),
            worst.low([places for _, places in judges]),
            (
                (number, f"{name} refuses to answer")
                for name in refusals
                for number in refusals[name]
            ),
            ((number, f"{name} is empty") for name in empty for number in empty[name]),
            worst.outliers(rows, kept),
            worst.near(rows, labels, kept),
        ),
        "leaks": None if leaks is None else leaking.find(leaks, similarity),
    }


def _given(records: Sequence[Mapping[str, Any]]) -> list[Column]:
    names = {str(name): None for record in records for name in record if name != SPLIT}
    return [Column(name, "given") for name in names]


def _column(records: Sequence[Mapping[str, Any]], column: Column) -> dict[str, Any]:
    """Figures of a column where it is not skipped, and in how many records it is."""
    values = [record.get(column.name) for record in records]
    there = [value for value in values if value not in column.skipped]
    skipped = len(values) - len(there)
    return {"name": column.name, "role": column.role, "skipped": skipped} | describe(there)


def _numbers(
    records: Sequence[Mapping[str, Any]], columns: Sequence[Column], poor: Any
) -> dict[str, list[int]]:
    found = {
        column.name: [
            number
            for number, record in enumerate(records)
            if poor(value := record.get(column.name)) and value not in column.skipped
        ]
        for column in columns
    }
    return {name: numbers for name, numbers in found.items() if numbers}


def _axes(
    records: Sequence[Mapping[str, Any]], columns: Sequence[Column], axes: Sequence[str] | None
) -> list[dict[str, Any]]:
    asked = {column.name: column.asked for column in columns if column.asked}
    return [_axis(name, records, asked.get(name)) for name in (asked if axes is None else axes)]


def _axis(
    name: str, records: Sequence[Mapping[str, Any]], asked: Mapping[str, float] | None
) -> dict[str, Any]:
    """How often each value of a field came, against what was asked.

    `distance` is the total variation distance of the two: the share of records that would have to
    change. `chance` is the share of `_DRAWS` seeded draws of as many records from what was asked
    that are as far off: where it is small, chance does not explain the distance.
    """
    import numpy as np

    values = [record[name] if name in record else at(record, name) for record in records]
    there = [value for value in values if not is_empty(value)]
    numbers = [one for one in there if isinstance(one, int | float) and not isinstance(one, bool)]
    if asked is None and len(numbers) == len(there) and len(set(numbers)) > _BINNED:
        bins = histogram(numbers)
        ranges = zip(bins["edges"][:-1], bins["edges"][1:], strict=True)
        counts = Counter(
            {f"{a:g} to {b:g}": n for (a, b), n in zip(ranges, bins["counts"], strict=True)}
        )
        order = list(counts)
    else:
        counts = Counter(map(as_text, there))
        more = sorted(set(counts) - set(asked or ()), key=lambda value: (-counts[value], value))
        order = [*(asked or ()), *more]
    total = counts.total()
    found = np.array([counts[value] for value in order], dtype=float) / max(1, total)
    distance = chance = None
    if asked and total:
        shares = np.array([asked.get(value, 0.0) for value in order])
        distance = float(np.abs(found - shares).sum() / 2)
        draws = np.random.default_rng(_SEED).multinomial(total, shares / shares.sum(), _DRAWS)
        far = np.abs(draws / total - shares).sum(axis=1) / 2 >= distance - 1e-9
        chance = float(far.mean())
    present = found[found > 0]
    entropy = float(-(present * np.log(present)).sum() / np.log(max(2, len(order))))
    return {
        "name": name,
        "values": [
            {
                "value": value,
                "asked": asked.get(value, 0.0) if asked else None,
                "found": round(float(share), 4),
                "count": counts[value],
            }
            for value, share in zip(order[:_MOST_VALUES], found, strict=False)
        ],
        "different": len(order),
        "count": total,
        "distance": None if distance is None else round(distance, 4),
        "chance": chance,
        "missing": [value for value in asked or () if asked and asked[value] and not counts[value]],
        "entropy": round(abs(entropy), 4),
    }


def _rows(rows: list[dict[str, Any]], labels: list[int]) -> dict[str, Any]:
    sides = {
        "prompt": [asked_text(row) for row in rows],
        "completion": [row["completion"] for row in rows],
    }
    lengths = {side: [len(words(text)) for text in own] for side, own in sides.items()}
    return {
        "count": len(rows),
        "prompt_words": summary(lengths["prompt"]),
        "completion_words": summary(lengths["completion"]),
        "histograms": {side: histogram(lengths[side]) for side in sides},
        "unique": {side: len(set(own)) for side, own in sides.items()},
        "duplicates": splits.duplicates(rows),
        "near_duplicates": splits.near_duplicates(rows, labels),
        **{
            f"distinct_{run}": {
                side: distinct(own, run, sum(lengths[side])) for side, own in sides.items()
            }
            for run in (1, 2)
        },
    }


def _validators(
    records: Sequence[Mapping[str, Any]], columns: Sequence[Column]
) -> list[dict[str, Any]]:
    found = []
    for column in columns:
        if not column.passed:
            continue
        values = [record.get(column.name) for record in records]
        said = [value for value in values if isinstance(at(value, column.passed), bool)]
        failed = [value for value in said if not at(value, column.passed)]
        reasons = Counter(reason for value in failed for reason in set(_reasons(value)))
        found.append(
            {
                "column": column.name,
                "checked": len(said),
                "passed": len(said) - len(failed),
                "rate": round(1 - len(failed) / len(said), 4) if said else None,
                "reasons": [
                    list(one) for one in sorted(reasons.items(), key=lambda r: (-r[1], r[0]))[:5]
                ],
            }
        )
    return found


def _reasons(value: Any) -> list[str]:
    """What a validator says, without its codes where there are sentences."""
    said = [" ".join(text.split())[:200] for text in own_columns.texts(value) if text.strip()]
    return [text for text in said if " " in text] or said


def _judges(
    records: Sequence[Mapping[str, Any]], columns: Sequence[Column]
) -> list[tuple[dict[str, Any], list[tuple[float, int, str]]]]:
    """Figures of each score, and of those that are numbers the value, its record and its name."""
    found = []
    for column in columns:
        for name, path in column.scores.items():
            given = [
                (number, value)
                for number, record in enumerate(records)
                if not is_empty(value := at(record.get(column.name), path))
            ]
            counts = Counter(as_text(value) for _, value in given)
            scored = {value: score for value in counts if (score := _number(value)) is not None}
            places = [
                (scored[as_text(value)], number, f"{column.name}.{name}")
                for number, value in given
                if as_text(value) in scored
            ]
            mean = sum(score for score, _, _ in places) / len(places) if places else None
            order = sorted(counts, key=lambda value: (scored.get(value, float("inf")), value))
            figures = {
                "column": column.name,
                "score": name,
                "count": len(given),
                "skipped": sum(record.get(column.name) in column.skipped for record in records),
                "mean": None if mean is None else round(mean, 4),
                "distribution": {value: counts[value] for value in order},
            }
            found.append((figures, places))
    return found


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if not is_empty(number) else None
