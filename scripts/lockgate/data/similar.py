"""Prompts that are equal or nearly the same: which rows must not be held out from each other."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from os.path import commonprefix
from typing import Any

SHORT = 8
"""Prompts of fewer words are compared as a whole: in `What is 2 + 3?` each word counts."""

_RUN = 3  # words in one piece of what is compared
_PAIRS = 200_000  # compared at once; bounds the memory
_ROUNDING = 1e-9


def normal(text: str) -> str:
    """A text without case and spacing."""
    return " ".join(text.lower().split())


def groups(texts: list[str], similarity: float) -> list[int]:
    """For each text, the place of the first text of its group.

    Two texts are alike where they are equal without case and spacing, or where the Jaccard
    similarity of their sets of three-word runs is at least `similarity`; a group is everything
    that a chain of alike texts connects. Words that all texts begin or end with, as a template's
    do, are left out first. The result is exact: every alike pair is found, nothing is drawn.

    Args:
        texts: the prompts.
        similarity: above 0, up to 1; 1: equal texts only.
    """
    places: dict[str, int] = {}
    own = [places.setdefault(normal(text), len(places)) for text in texts]
    labels: Any = range(len(places))
    if similarity < 1 and len(places) > 1:
        labels = _alike(_without_shared([text.split() for text in places]), similarity)
    first: dict[int, int] = {}
    return [first.setdefault(int(labels[place]), at) for at, place in enumerate(own)]


def _without_shared(texts: list[list[str]]) -> list[list[str]]:
    """The texts without the words that all of them begin, and then end, with."""
    start = len(commonprefix(texts))
    texts = [words[start:] for words in texts]
    end = len(commonprefix([words[::-1] for words in texts]))
    return [words[: len(words) - end] for words in texts]


def _alike(texts: list[list[str]], similarity: float) -> Any:
    """A label for each text; alike ones have the same.

    Two sets of this similarity share a piece among the rarest of each: of n pieces, among the
    n - ceil(similarity * n) + 1 rarest. Only texts that do are compared, so that what a template
    repeats in every row costs nothing.
    """
    import numpy as np
    from scipy import sparse

    labels = np.arange(len(texts))
    longer = [at for at, words in enumerate(texts) if len(words) >= SHORT]
    if len(longer) < 2:
        return labels
    row, piece = _pieces([texts[at] for at in longer])
    ones = np.ones(len(row), dtype=np.int32)
    sets = sparse.csr_array((ones, (row, piece)), shape=(len(longer), int(piece.max()) + 1))
    sizes, common = np.bincount(row), np.bincount(piece)
    order = np.lexsort((piece, common[piece], row))
    row, piece = row[order], piece[order]
    rank = np.arange(len(row)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    needed = np.ceil(similarity * sizes - _ROUNDING).astype(int)
    rare = (rank <= (sizes - needed)[row]) & (common[piece] > 1)
    group = np.arange(len(longer))

    def compare(first: Any, second: Any) -> Any:
        """The groups, with those of the pairs that are alike made one."""
        shared = np.asarray(sets[first].multiply(sets[second]).sum(axis=1)).ravel()
        union = sizes[first] + sizes[second] - shared
        good = shared >= similarity * union - _ROUNDING
        edges = (np.ones(good.sum()), (group[first[good]], group[second[good]]))
        graph = sparse.coo_array(edges, shape=(len(group), len(group)))
        return sparse.csgraph.connected_components(graph, directed=False)[1][group]

    waiting: list[Any] = []
    held = 0
    for pairs in chain(_pairs(row[rare], piece[rare]), (None,)):
        if pairs is not None:
            low, high = np.sort(sizes[pairs], axis=0)
            fitting = (low >= similarity * high - _ROUNDING) & (group[pairs[0]] != group[pairs[1]])
            waiting.append(pairs[:, fitting])
            held += int(fitting.sum())
        if held and (pairs is None or held >= _PAIRS):
            first, second = np.concatenate(waiting, axis=1)
            for start in range(0, held, _PAIRS):
                part = slice(start, start + _PAIRS)
                group = compare(first[part], second[part])
            waiting, held = [], 0
    labels[longer] = np.array(longer)[np.unique(group, return_index=True)[1]][group]
    return labels


def _pieces(texts: list[list[str]]) -> tuple[Any, Any]:
    """Number of the text and of the run of words, for each different run of each text."""
    import numpy as np

    known: dict[str, int] = {}
    words = np.fromiter((known.setdefault(w, len(known)) for text in texts for w in text), int)
    row = np.repeat(np.arange(len(texts)), [len(text) for text in texts])
    piece = words
    for step in range(1, _RUN):
        piece = np.unique(piece[:-1] * len(known) + words[step:], return_inverse=True)[1]
    within = row[: 1 - _RUN] == row[_RUN - 1 :]
    count = int(piece.max()) + 1
    different = np.unique(row[: 1 - _RUN][within] * count + piece[within])
    return different // count, different % count


def _pairs(row: Any, piece: Any) -> Iterator[Any]:
    """Pairs of texts that share a piece, as arrays of two rows; short lists of texts first."""
    import numpy as np

    order = np.lexsort((row, piece))
    row, piece = row[order], piece[order]
    starts = np.flatnonzero(np.diff(piece, prepend=-1))
    lengths = np.diff(starts, append=len(piece))
    for length in np.unique(lengths[lengths > 1]):
        lists = row[starts[lengths == length][:, None] + np.arange(length)]
        for apart in range(1, length):
            yield np.stack((lists[:, :-apart].ravel(), lists[:, apart:].ravel()))
