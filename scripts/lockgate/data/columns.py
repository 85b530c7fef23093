"""Statistics of one column of records: its kind, lengths, diversity and most common values."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lockgate.data.similar import words

TOP = 10
"""At most so many of the most common values are told, each cut at `_SHOWN` characters."""
SAMPLE = 10_000
"""Diversity is that of about so many words: it falls with the amount of text, so that previews
and full sets could not be compared."""

_FEW = 50  # different values; of more, the most common ones say little
_SHOWN = 100
_BINS = 20
_SENTENCE = 8  # words from which on a text should end like a sentence
_NEAR_LONGEST = 0.8
_LARGEST = 1e150
_END = re.compile(r"[.!?…:;。！？」』।؟)\]}>\"'”’`*|$\d]\s*\Z")


def describe(values: Sequence[Any]) -> dict[str, Any]:
    """What there is to tell of a column.

    Values of another kind than most are counted, and left out of what follows.

    Args:
        values: one for each record; None where the record has none.

    Returns:
        `kind` (text, number, boolean, list, object, or empty), `present` and `empty` (records),
        `unique` (different values), `top` (see `TOP`; nothing where no value comes twice, or there
        are many). Of text also `words` (see `summary`), `characters` (a histogram), `distinct_1`
        and `distinct_2` (see `distinct`), and `cut`: texts that end amid a sentence, near the
        length of the longest. Of numbers `min`, `median`, `mean`, `p95`, `max`, `histogram`.
    """
    there = [value for value in values if not is_empty(value)]
    kinds = Counter(map(_kind, there))
    kind = kinds.most_common(1)[0][0] if kinds else "empty"
    counts = Counter(map(as_text, there))
    result: dict[str, Any] = {
        "kind": kind,
        "present": len(there),
        "empty": len(values) - len(there),
        "unique": len(counts),
        "top": _top(counts),
    }
    own = [value for value in there if _kind(value) == kind]
    if kind == "text":
        result |= _text_figures(own)
    elif kind == "number":
        result |= summary(own) | {"histogram": histogram(own)}
    return result


def is_empty(value: Any) -> bool:
    """Nothing is there: no value, blank text, an empty list or object, or not a number."""
    if isinstance(value, str):
        return not value or value.isspace()
    if isinstance(value, float):
        return not math.isfinite(value)
    return value is None or (isinstance(value, list | dict) and not value)


def as_text(value: Any) -> str:
    """A value as text; equal ones, and only those, give the same."""
    if isinstance(value, str):
        return value
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    return str(value)


def at(value: Any, path: str) -> Any:
    """What is at a dotted path within a value; None where there is nothing."""
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def texts(value: Any) -> Iterator[str]:
    """All texts within a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for one in value.values() if isinstance(value, dict) else value:
            yield from texts(one)


def summary(numbers: Sequence[float]) -> dict[str, float | None]:
    """`min`, `median`, `mean`, `p95` and `max`; None of no numbers."""
    import numpy as np

    if not len(numbers):
        return dict.fromkeys(("min", "median", "mean", "p95", "max"))
    array = _array(numbers).astype(float)
    low, median, p95, high = np.quantile(array, (0, 0.5, 0.95, 1))
    found = {"min": low, "median": median, "mean": array.mean(), "p95": p95, "max": high}
    return {name: round(float(value), 4) for name, value in found.items()}


def histogram(numbers: Sequence[float]) -> dict[str, list[Any]]:
    """`edges` of up to 20 bins of one width, and their `counts`; of whole numbers whole edges."""
    import numpy as np

    if not len(numbers):
        return {"edges": [], "counts": []}
    array = _array(numbers)
    low, high = array.min().item(), array.max().item()
    if isinstance(low, int):
        wide = -(-(high - low + 1) // _BINS)
        edges = np.array([low + wide * k for k in range((high - low) // wide + 2)], dtype=float)
    elif high - low <= 1e-9 * max(abs(low), abs(high)):
        edges = np.array([low, high])  # too near each other for bins between them
    else:
        edges = np.linspace(low, high, _BINS + 1)
    counts = np.histogram(array.astype(float), edges)[0]
    told = [int(edge) if edge.is_integer() else round(edge, 6) for edge in edges.tolist()]
    return {"edges": told, "counts": counts.tolist()}


def distinct(own: Sequence[str], run: int, total: int) -> float | None:
    """Different runs of so many words, as a share of all runs; None: there is none.

    Args:
        own: texts; of more than `SAMPLE` words every second, third ... is looked at.
        run: words in a run.
        total: words in all texts.
    """
    seen: Counter[tuple[str, ...]] = Counter()
    for text in own[:: max(1, math.ceil(total / SAMPLE))]:
        said = words(text.lower())
        seen.update(zip(*(said[k:] for k in range(run)), strict=False))
    return round(len(seen) / seen.total(), 4) if seen else None


def _array(numbers: Sequence[float]) -> Any:
    """The numbers; those that are too large to reckon with are the largest that are not."""
    import numpy as np

    array = np.asarray([min(max(number, -_LARGEST), _LARGEST) for number in numbers])
    return array if array.dtype.kind == "i" else array.astype(float)


def _text_figures(own: list[str]) -> dict[str, Any]:
    lengths = [len(words(text)) for text in own]
    characters = [len(text) for text in own]
    longest = max(characters)
    return {
        "words": summary(lengths),
        "characters": histogram(characters),
        "distinct_1": distinct(own, 1, sum(lengths)),
        "distinct_2": distinct(own, 2, sum(lengths)),
        "cut": _cut(own, lengths, longest),
    }


def _cut(own: list[str], lengths: list[int], longest: int) -> int:
    """Texts that seem to be cut off; none where others end amid a sentence, too."""
    ends = [
        len(text) >= _NEAR_LONGEST * longest
        for text, length in zip(own, lengths, strict=True)
        if length >= _SENTENCE and not _END.search(text[-40:])
    ]
    return sum(ends) if sum(ends) >= _NEAR_LONGEST * len(ends) else 0


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return "list" if isinstance(value, list) else "object" if isinstance(value, dict) else "text"


def _top(counts: Counter[str]) -> list[list[Any]]:
    if not counts or len(counts) > _FEW or max(counts.values()) < 2:
        return []
    most = sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:TOP]
    return [[value[:_SHOWN], count] for value, count in most]
