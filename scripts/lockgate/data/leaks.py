"""Held-out rows that are found among those to train on, looked for in the finished splits: by
other means than those that made the splits, so that their faults show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lockgate.data import similar
from lockgate.data.records import spread
from lockgate.prompts import asked_text

COMPARED = 200
"""At most so many held-out prompts are compared with all to train on."""


def find(parts: Mapping[str, Sequence[Mapping[str, Any]]], similarity: float) -> dict[str, Any]:
    """Held-out rows that are like a row to train on.

    Every held-out prompt is looked up among those to train on, without case and spacing. Up to
    `COMPARED` of them, evenly spread, are compared with each of those, as far as both have
    `similar.SHORT` words beside a template.

    Args:
        parts: rows by split.
        similarity: from which on prompts are alike, see `lockgate.data.similar`; 1: if equal.

    Returns:
        `pairs`, how many held-out rows were found to be like one to train on, with `examples` (ids
        of the row to train on and of the other); how many rows are `held_out`, and how many of
        them were `compared`; `nearest`, of these the highest `similarity` (up to 1) and its `rows`,
        or None.
    """
    trained = list(parts["train"])
    held = [row for name, part in parts.items() if name != "train" for row in part]
    texts = [similar.normal(asked_text(row)) for row in (*trained, *held)]
    first: dict[str, int] = {}
    for place, text in enumerate(texts[: len(trained)]):
        first.setdefault(text, place)
    rows, own = [*trained, *held], range(len(trained), len(texts))
    pairs = [(first[texts[place]], place) for place in own if texts[place] in first]
    others = [place for place in own if texts[place] not in first]
    compared = spread(others, COMPARED)
    found = similar.nearest(texts, compared, range(len(trained)))
    if similarity < 1:
        pairs += [(other, place) for alike, other, place in found if alike >= similarity]
    alike, *nearest = max(found, default=(0.0, 0, 0))
    return {
        "pairs": len(pairs),
        "examples": [[rows[place]["id"] for place in pair] for pair in pairs[:5]],
        "held_out": len(held),
        "compared": len(found),
        "nearest": {"similarity": round(alike, 4), "rows": [rows[at]["id"] for at in nearest]}
        if found
        else None,
    }
