"""The records that a reader should see first: refused ones, low scores, outliers, alike prompts."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, zip_longest
from typing import Any

from lockgate.data.columns import as_text, summary
from lockgate.data.records import SPLIT
from lockgate.data.similar import normal, words
from lockgate.prompts import asked_text

MOST = 10
"""At most so many examples are told."""

_LONGEST = 2000  # characters of an example


def pick(
    records: Sequence[Mapping[str, Any]], written: Sequence[str], *kinds: Iterator[tuple[int, str]]
) -> list[dict[str, Any]]:
    """Examples of each kind in turn, each record once."""
    found: dict[int, str] = {}
    for turn in zip_longest(*(islice(kind, MOST) for kind in kinds)):
        for one in turn:
            if one is not None and len(found) < MOST:
                found.setdefault(*one)
    return [
        {"record": number, "why": why, "text": _shown(records[number], written)}
        for number, why in found.items()
    ]


def _shown(record: Mapping[str, Any], written: Sequence[str]) -> str:
    names = [name for name in written if name in record] or [n for n in record if n != SPLIT]
    return "\n".join(f"{name}: {as_text(record[name])}" for name in names)[:_LONGEST]


def refused(verdicts: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Refused records: one of each reason, the most frequent first, then the others."""
    places: dict[str, list[int]] = {}
    for number, verdict in enumerate(verdicts):
        if verdict:
            places.setdefault(verdict, []).append(number)
    for turn in zip_longest(*sorted(places.values(), key=len, reverse=True)):
        for number in turn:
            if number is not None:
                yield number, f"refused: {verdicts[number]}"


def low(judged: list[list[tuple[float, int, str]]]) -> Iterator[tuple[int, str]]:
    """Records with the lowest scores, of judges that do not give all the same."""
    lows = []
    for places in judged:
        best = max((score for score, _, _ in places), default=0.0)
        lows.append(heapq.nsmallest(MOST, (place for place in places if place[0] < best)))
    for turn in zip_longest(*lows):
        for place in turn:
            if place is not None:
                yield place[1], f"{place[2]} is {place[0]:g}"


def outliers(rows: list[dict[str, Any]], kept: list[int]) -> Iterator[tuple[int, str]]:
    """The shortest and the longest text of each side, where it is a quarter or four times of what
    is usual."""
    for side, own in (
        ("completion", (row["completion"] for row in rows)),
        ("prompt", map(asked_text, rows)),
    ):
        lengths = [len(words(text)) for text in own]
        usual = summary(lengths)["median"] or 0.0
        if not lengths:
            continue
        for length in (max(lengths), min(lengths)):
            if length > 4 * max(usual, 5) or 4 * length < usual:
                yield kept[lengths.index(length)], f"{side} of {length} words, usual are {usual:g}"


def near(
    rows: list[dict[str, Any]], labels: list[int], kept: list[int]
) -> Iterator[tuple[int, str]]:
    """A row of each group of nearly the same prompts, the largest groups first."""
    sizes = Counter(labels)
    first = {label: place for place, label in reversed(list(enumerate(labels)))}
    told: set[int] = set()
    for place in sorted(range(len(rows)), key=lambda k: (-sizes[labels[k]], k)):
        label = labels[place]
        if sizes[label] == 1:
            return
        other = first[label]
        texts = (normal(asked_text(rows[k])) for k in (place, other))
        if label not in told and len(set(texts)) == 2:
            told.add(label)
            many = f", in a group of {sizes[label]}" if sizes[label] > 2 else ""
            yield kept[place], f"prompt nearly that of record {kept[other]}{many}"
