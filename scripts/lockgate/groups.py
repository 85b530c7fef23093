"""Scores by group: the samples split by a field of their rows, each part compared on its own."""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lockgate.comparison import Result, numeric, scores_of
from lockgate.errors import LockgateError
from lockgate.statistics import Difference, holm, interval, paired_difference

FEW = 10
"""Samples below which a group's interval tells little."""

MOST = 20
"""Values of one field that are looked at, the most frequent ones."""

LONGEST = 60
"""Rows of a table by group in the page; where there are more, only the best runs are shown."""

NONE = "(none)"
"""Stands for the value where a sample's row lacks the field."""

Rows = Mapping[tuple[str, str], Mapping[str, Any]]
"""Rows of the data by split and id; `fields` holds a row's fields."""


@dataclass
class Part:
    """A cell's samples of one group.

    Attributes:
        result: the cell.
        field, value: what the samples have in common.
        n: samples.
        score, low, high, method: their mean and its 95% interval.
        difference: from the control on the same samples; None without one.
        p_holm: its p-value, corrected over all groups of the field.
    """

    result: Result
    field: str
    value: str
    n: int
    score: float
    low: float | None
    high: float | None
    method: str
    difference: Difference | None = None
    p_holm: float | None = None


@dataclass
class Grouping:
    """One field's parts.

    Attributes:
        field: its name.
        parts: by task, value, and the cells' order.
        values: different values in the data; more than `MOST`: the others are left out.
        unknown: tasks whose samples are no rows of the data, so that they have no field.
    """

    field: str
    parts: list[Part]
    values: int
    unknown: list[str]


def split(plan: Mapping[str, Any], results: list[Result], rows: Rows) -> list[Grouping]:
    """Each field of the plan's `groups` with the parts that it makes of every cell.

    Raises:
        LockgateError: if no row has one of the fields.
    """
    splits = {task["name"]: task.get("split", "test") for task in plan["tasks"]}
    asked = list(dict.fromkeys(plan.get("groups") or []))
    known = list(dict.fromkeys(name for row in rows.values() for name in row.get("fields", {})))
    check_fields(asked, known, plan["config_source"])
    return [_grouping(name, results, rows, splits) for name in asked]


def _grouping(field: str, results: list[Result], rows: Rows, splits: Mapping[str, str]) -> Grouping:
    parts: list[Part] = []
    unknown, most = [], 0
    for task in dict.fromkeys(result.task for result in results):
        cells = [result for result in results if result.task == task]
        ids = dict.fromkeys(key for cell in cells for key in cell.samples)
        known = {key: rows[splits[task], key] for key in ids if (splits[task], key) in rows}
        if ids and not known:
            unknown.append(task)
            continue
        values = {key: known.get(key, {}).get("fields", {}).get(field) for key in ids}
        texts = {key: value(known.get(key), field) for key in ids}
        counts = Counter(texts.values())
        most = max(most, len(counts))
        kept = {text for text, _ in counts.most_common(MOST)}
        for text in _sorted({texts[key]: values[key] for key in ids}):
            if text in kept:
                own = {key for key in ids if texts[key] == text}
                parts += [_part(cell, field, text, own) for cell in cells if own & {*cell.samples}]
    corrected = holm([part.difference.p_value if part.difference else None for part in parts])
    for part, p_value in zip(parts, corrected, strict=True):
        part.p_holm = p_value
    return Grouping(field, parts, most, unknown)


def _part(cell: Result, field: str, value: str, ids: set[str]) -> Part:
    scores = {key: score for key, score in scores_of(cell).items() if key in ids}
    numbers = list(scores.values())
    part = Part(cell, field, value, len(numbers), sum(numbers) / len(numbers), *interval(numbers))
    if cell.control is not None:
        difference = paired_difference(scores, scores_of(cell.control))
        part.difference = difference if difference.n else None
    return part


def check_fields(groups: Iterable[str], known: list[str], source: str) -> None:
    """Refuse to group by a field that no row has.

    Args:
        groups: `evaluation.groups`.
        known: fields of the rows.
        source: the configuration's file, for the message.

    Raises:
        LockgateError: with the nearest field.
    """
    for number, field in enumerate(groups):
        if field not in known:
            near = difflib.get_close_matches(field, known, 1)
            have = f"rows have: {', '.join(known) or 'none'}"
            raise LockgateError(
                f"no row has the field '{field}'",
                where=f"{source}: evaluation.groups[{number}]",
                hint=f"did you mean '{near[0]}'?" if near else have,
            )


def value(row: Mapping[str, Any] | None, field: str) -> str:
    """The value of a row's field as text; `NONE` where there is none."""
    found = (row or {}).get("fields", {}).get(field)
    if found is None:
        return NONE
    return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)


def shown(parts: list[Part]) -> list[Part]:
    """The parts of one task that the page shows: all, or of many those of the controls and of
    the best tuned cell of each control."""
    if len(parts) <= LONGEST:
        return parts
    tuned = {id(part.result): part.result for part in parts if part.result.tuned}
    best: dict[str, Result] = {}
    for result in tuned.values():
        control = result.control.run["name"] if result.control else ""
        if control not in best or (result.score or 0) > (best[control].score or 0):
            best[control] = result
    chosen = {id(result) for result in best.values()}
    return [part for part in parts if not part.result.tuned or id(part.result) in chosen]


def _sorted(values: Mapping[str, Any]) -> list[str]:
    """Numbers by size, other values by name; `NONE` last."""
    given = [text for text, value in values.items() if value is not None]
    key = values.__getitem__ if numeric(values[text] for text in given) else str
    return sorted(given, key=key) + [NONE] * (len(given) < len(values))
