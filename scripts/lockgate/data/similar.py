"""Prompts that are equal or nearly the same: which rows must not be held out from each other."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain, count
from typing import Any

from lockgate.data import jaccard

SHORT = 8
"""Prompts of fewer words are compared as a whole: in `What is 2 + 3?` each word counts."""

# Thai to Burmese, Khmer, Chinese and Japanese; Korean has spaces
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fdf\u3040-\u30ff\u3400-\u9fff"
    "\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
_WORD = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]+")


def normal(text: str) -> str:
    """A text without case and spacing."""
    return " ".join(text.lower().split())


def words(text: str) -> list[str]:
    """The words of a text; of scripts without spaces between words, each character is one."""
    return text.split() if text.isascii() else _WORD.findall(text)


def groups(texts: list[str], similarity: float) -> list[int]:
    """For each text, the place of the first text of its group.

    Two texts are alike where they are equal without case and spacing, or where the Jaccard
    similarity of their sets of three-word runs is at least `similarity`; a group is everything
    that a chain of alike texts connects. Words that all texts begin or end with, as a template's
    do, are left out first.

    No pair counts as alike that is not. Every alike pair is found, unless very many texts share
    their rare pieces, as 100,000 rows of a template with few values in it may: then MinHash draws
    (the same each time) which pairs to compare, see `lockgate.data.jaccard.groups`.

    Args:
        texts: the prompts.
        similarity: above 0, up to 1; 1: equal texts only.
    """
    places: dict[str, int] = {}
    own = [places.setdefault(normal(text), len(places)) for text in texts]
    labels: Any = range(len(places))
    if similarity < 1 and len(places) > 1:
        labels = _alike(list(places), similarity)
    first: dict[int, int] = {}
    return [first.setdefault(int(labels[place]), at) for at, place in enumerate(own)]


def nearest(
    texts: list[str], ones: Sequence[int], others: Sequence[int]
) -> list[tuple[float, int, int]]:
    """For each of some texts the most alike of some others, each pair compared.

    Texts of fewer than `SHORT` words, beside what all begin or end with, are left out.

    Returns:
        Their Jaccard similarity, the other's place and its own.
    """
    import numpy as np

    if not len(ones) or not len(others):
        return []
    number, row = _numbered(texts)
    lengths = np.bincount(row, minlength=len(texts))
    held, there = (
        np.array([at for at in some if lengths[at] >= SHORT], np.int64) for some in (ones, others)
    )
    if not len(held) or not len(there):
        return []
    longer = np.flatnonzero(lengths >= SHORT)
    kept = lengths[row] >= SHORT
    place = np.repeat(np.arange(len(longer)), lengths[longer])
    alike, at = jaccard.nearest(
        number[kept], place, np.searchsorted(longer, held), np.searchsorted(longer, there)
    )
    return list(zip(alike.tolist(), there[at].tolist(), held.tolist(), strict=True))


def _alike(texts: list[str], similarity: float) -> Any:
    """A label for each of some different texts; alike ones have the same."""
    import numpy as np

    labels = np.arange(len(texts))
    number, row = _numbered(texts)
    lengths = np.bincount(row, minlength=len(texts))
    longer = np.flatnonzero(lengths >= SHORT)
    if len(longer) < 2:
        return labels
    kept = lengths[row] >= SHORT
    place = np.repeat(np.arange(len(longer)), lengths[longer])
    group = jaccard.groups(number[kept], place, similarity)
    labels[longer] = longer[np.unique(group, return_index=True)[1]][group]
    return labels


def _numbered(texts: list[str]) -> tuple[Any, Any]:
    """Number of each word and of its text, without what all texts begin, and then end, with."""
    import numpy as np

    known: defaultdict[str, int] = defaultdict(count().__next__)
    lengths: list[int] = []

    def said() -> Iterator[list[str]]:
        for text in texts:
            own = words(text)
            lengths.append(len(own))
            yield own

    number = np.fromiter(map(known.__getitem__, chain.from_iterable(said())), np.int64)
    size = np.array(lengths)
    end = np.cumsum(size)
    start, left = end - size, size.min()
    first = last = 0
    while first < left and (number[start + first] == number[start[0] + first]).all():
        first += 1
    while last < left - first and (number[end - 1 - last] == number[end[0] - 1 - last]).all():
        last += 1
    row = np.repeat(np.arange(len(texts)), size)
    place = np.arange(len(number))
    kept = (place >= (start + first)[row]) & (place < (end - last)[row])
    return number[kept], row[kept]
