"""Sets whose Jaccard similarity is high: rare pieces that they share, or MinHash, find candidates,
and each of those is compared exactly."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

MOST_PAIRS = 200_000_000
PERMUTATIONS = 128

_RUN = 3  # words in one piece of what is compared
_BATCH = 500_000  # pairs at once; bounds the memory
_VERIFIED = 50_000  # of them, pairs of whole sets at once
_BUCKETED = 10_000_000  # pairs of one band that are compared
_MISSED = 0.005  # share of pairs of just the similarity asked for that MinHash may miss
_SEED = 20250101
_ROUNDING = 1e-9


def groups(number: Any, row: Any, similarity: float) -> Any:
    """The group of each text: what a chain of pairs connects whose sets of three-word runs have at
    least this Jaccard similarity.

    Every such pair is found where at most `MOST_PAIRS` pairs of texts share one of their rare
    pieces. Of more, those are compared whose `PERMUTATIONS` seeded hashes agree in a band (see
    `band_size`): of the pairs of just this similarity 1 in 200 is missed, of those more alike
    fewer. If more than `_BUCKETED` pairs of different groups agree in one band, each text is
    compared with some of these only, and nothing is promised.

    Args:
        number: of each word of all texts, three or more of each.
        row: the text that it is in, from 0, ascending.
        similarity: above 0, below 1.
    """
    sets = _Sets(number, row, similarity)
    lists = sets.shared()
    if int(lists[2].sum()) <= MOST_PAIRS:
        sets.match_lists(*lists)
    else:
        sets.match_buckets()
    return sets.group


def nearest(number: Any, row: Any, ones: Any, others: Any) -> tuple[Any, Any]:
    """For each text of `ones` the highest Jaccard similarity to one of `others`, and which.

    Each pair is compared; `number` and `row` are those of `groups`.
    """
    import numpy as np
    from scipy import sparse

    row, piece, size = _pieces(number, row)
    wanted = np.zeros(int(piece.max()) + 1, bool)
    wanted[piece[np.isin(row, ones)]] = True
    row, piece = _chosen(wanted[piece], row, piece)
    sets = sparse.csr_array(
        (np.ones(len(row), np.int32), (row, piece)), shape=(len(size), len(wanted))
    )
    there = sets[others].T.tocsr()
    alike, at = [], []
    for one in ones:
        common = (sets[[one]] @ there).toarray()[0]
        shares = common / (size[one] + size[others] - common)
        at.append(shares.argmax())
        alike.append(shares[at[-1]])
    return np.array(alike), np.array(at)


class _Sets:
    """Texts as sets of pieces; `group` is what was found so far of each."""

    def __init__(self, number: Any, row: Any, similarity: float) -> None:
        import numpy as np
        from scipy import sparse

        self._least = similarity
        self._row, self._piece, self._size = _pieces(number, row)
        texts = len(self._size)
        self._common = np.bincount(self._piece)
        self.group = np.arange(texts)
        shared = self._common[self._piece] > 1
        self._sets = sparse.csr_array(
            (np.ones(shared.sum(), np.int32), (self._row[shared], self._piece[shared])),
            shape=(texts, len(self._common)),
        )
        # a bit of each piece: texts differ in at least as many pieces as in bits
        draw = np.random.default_rng(_SEED)
        bit = draw.integers(256, size=len(self._common), dtype=np.uint16)
        self._bits = np.zeros((4, texts), np.uint64)
        own = bit[self._piece]
        mask = np.left_shift(np.uint64(1), (own % 64).astype(np.uint64))
        np.bitwise_or.at(self._bits, (own // 64, self._row), mask)

    def _match(self, first: Any, second: Any) -> None:
        """Put those pairs of texts that are alike in one group."""
        import numpy as np
        from scipy import sparse

        first, second = _chosen(self.group[first] != self.group[second], first, second)
        differ = np.zeros(len(first), np.int16)
        for bits in self._bits:
            differ += np.bitwise_count(bits[first] ^ bits[second])
        most = (1 - self._least) / (1 + self._least) * (self._size[first] + self._size[second])
        first, second = _chosen(differ <= most + _ROUNDING, first, second)
        for start in range(0, len(first), _VERIFIED):
            one, other = first[start : start + _VERIFIED], second[start : start + _VERIFIED]
            one, other = _chosen(self.group[one] != self.group[other], one, other)
            common = np.asarray(self._sets[one].multiply(self._sets[other]).sum(axis=1)).ravel()
            union = self._size[one] + self._size[other] - common
            one, other = _chosen(common >= self._least * union - _ROUNDING, one, other)
            if len(one):
                edges = (np.ones(len(one)), (self.group[one], self.group[other]))
                graph = sparse.coo_array(edges, shape=(len(self.group), len(self.group)))
                joined = sparse.csgraph.connected_components(graph, directed=False)[1]
                self.group = joined[self.group]

    def shared(self) -> tuple[Any, Any, Any]:
        """Which texts share a rare piece.

        Two sets of this similarity share a piece among the rarest of each: of n pieces, among the
        n - ceil(similarity * n) + 1 rarest, and of the smaller set among fewer still. So what a
        template repeats in every row costs nothing.

        Returns:
            Places among the pieces, in lists by piece, texts by size; for each, where in these
            lists the first text is that it is to be compared with, and how many there are.
        """
        import numpy as np

        size, row, piece = self._size, self._row, self._piece
        needed = np.ceil(self._least * size - _ROUNDING).astype(int)
        place = np.arange(len(row)) - (np.cumsum(size) - size)[row]
        at = np.flatnonzero((place <= (size - needed)[row]) & (self._common[piece] > 1))
        at = at[np.lexsort((row[at], size[row[at]], piece[at]))]
        # pieces that the same texts have, as those around one word of a template: one is enough
        start = np.flatnonzero(np.diff(piece[at], prepend=-1))
        if len(start):
            draw = np.random.default_rng(_SEED)
            mark = draw.integers(2**63, size=len(size), dtype=np.uint64)
            sums = np.add.reduceat(mark[row[at]], start)
            only = np.zeros(len(start), bool)
            only[np.unique(sums, return_index=True)[1]] = True
            at = at[np.repeat(only, np.diff(start, append=len(at)))]
        most = int(size.max()) + 1
        key = piece[at].astype(np.int64) * most + size[row[at]]
        largest = np.minimum(np.floor(size / self._least + _ROUNDING), most - 1).astype(int)
        end = np.searchsorted(key, key + (largest - size)[row[at]], "right")
        begin = np.arange(1, len(at) + 1)
        least = np.ceil(2 * self._least / (1 + self._least) * size - _ROUNDING).astype(int)
        first = place[at] <= (size - least)[row[at]]
        return at, begin, np.where(first, end - begin, 0)

    def match_lists(self, at: Any, begin: Any, count: Any) -> None:
        """Compare what `shared` found, and can be alike by the places of the shared piece."""
        import numpy as np

        row = self._row[at]
        rest = self._size[row] - (at - (np.cumsum(self._size) - self._size)[row])
        share = self._least / (1 + self._least)

        def fitting() -> Iterator[tuple[Any, Any]]:
            for one, other in _windows(begin, count):
                first, second = row[one], row[other]
                least = share * (self._size[first] + self._size[second]) - _ROUNDING
                yield _chosen(
                    (np.minimum(rest[one], rest[other]) >= least)
                    & (self.group[first] != self.group[second]),
                    first,
                    second,
                )

        self._match_all(fitting())

    def match_buckets(self) -> None:
        """Compare texts that agree in all hashes of a band."""
        import numpy as np

        for key in self._bands():
            order = np.argsort(key, kind="stable")
            for apart in (1, 2, 4, 8, 16):
                first, second = order[:-apart], order[apart:]
                self._match_all(iter([self._other(key, first, second)]))
            order = np.lexsort((self.group, key))
            bucket = np.cumsum(np.diff(key[order], prepend=key[order][0]) != 0)
            both = bucket.astype(np.int64) * len(key) + self.group[order]
            begin = np.searchsorted(both, both, "right")
            count = np.searchsorted(bucket, bucket, "right") - begin
            most = _BUCKETED // len(key)
            if count.sum() > _BUCKETED:
                count = np.minimum(count, most)
            pairs = (
                self._other(key, order[one], order[other]) for one, other in _windows(begin, count)
            )
            self._match_all(pairs)

    def _other(self, key: Any, first: Any, second: Any) -> tuple[Any, Any]:
        """Pairs of one bucket, of groups that are not one yet."""
        apart = (key[first] == key[second]) & (self.group[first] != self.group[second])
        return _chosen(apart, first, second)

    def _match_all(self, pairs: Iterator[tuple[Any, Any]]) -> None:
        import numpy as np

        waiting: list[tuple[Any, Any]] = []
        held = 0
        for found in chain(pairs, (None,)):
            if found is not None and len(found[0]):
                waiting.append(found)
                held += len(found[0])
            if held and (found is None or held >= _BATCH):
                first, second = (np.concatenate(side) for side in zip(*waiting, strict=True))
                for start in range(0, held, _BATCH):
                    self._match(first[start : start + _BATCH], second[start : start + _BATCH])
                waiting, held = [], 0

    def _bands(self) -> Iterator[Any]:
        """For each band a key of each text; two texts have the same with the probability
        `similarity ** hashes`."""
        import numpy as np

        draw = np.random.default_rng(_SEED)
        hashed = draw.integers(2**32, size=len(self._common), dtype=np.uint32)[self._piece]
        start = np.cumsum(self._size) - self._size
        hashes = band_size(self._least)
        for _ in range(PERMUTATIONS // hashes):
            key = np.zeros(len(self._size), np.uint64)
            for factor, offset in draw.integers(2**32, size=(hashes, 2), dtype=np.uint32):
                least = np.minimum.reduceat(hashed * (factor | np.uint32(1)) + offset, start)
                key = key * np.uint64(0x9E3779B97F4A7C15) + least
            yield key


def band_size(similarity: float) -> int:
    """Hashes in a band: as many as leave at most `_MISSED` of the pairs of this similarity without
    a band in which they agree."""
    fitting = [
        hashes
        for hashes in range(1, PERMUTATIONS + 1)
        if (1 - similarity**hashes) ** (PERMUTATIONS // hashes) <= _MISSED
    ]
    return max(fitting, default=1)


def _pieces(number: Any, row: Any) -> tuple[Any, Any, Any]:
    """Text and piece of each different run of words of a text, by text, its rarest pieces first
    (a piece has a lower number than one that is in more texts); and how many each text has."""
    import numpy as np

    total = int(number.max()) + 1
    run, bound = number, total
    for step in range(1, _RUN):
        if bound * total >= 2**62:
            run, bound = _dense(run)
        run = run[:-1] * total + number[step:]
        bound *= total
    within = row[: 1 - _RUN] == row[_RUN - 1 :]
    piece, most = _dense(run[within])
    both = np.sort(row[: 1 - _RUN][within] * most + piece)
    both = both[np.diff(both, prepend=-1) > 0]
    row, piece = both // most, both % most
    rank = np.empty(most, np.int64)
    rank[np.argsort(np.bincount(piece), kind="stable")] = np.arange(most)
    both = np.sort(row * most + rank[piece])
    row, piece = (both // most).astype(np.int32), (both % most).astype(np.int32)
    return row, piece, np.bincount(row)


def _dense(values: Any) -> tuple[Any, int]:
    """Numbers from 0 for values, the same for equal ones; and how many there are."""
    import numpy as np

    order = np.argsort(values)
    steps = np.cumsum(np.diff(values[order], prepend=values[order[:1]]) > 0)
    found = np.empty(len(values), np.int64)
    found[order] = steps
    return found, int(steps[-1]) + 1


def _windows(begin: Any, count: Any) -> Iterator[tuple[Any, Any]]:
    """Pairs of each place with so many others from `begin` on, about `_BATCH` at once."""
    import numpy as np

    end = np.cumsum(count)
    if not len(end):
        return
    cuts = np.unique(np.searchsorted(end, np.arange(0, int(end[-1]) + _BATCH, _BATCH)))
    for low, high in zip(cuts, [*cuts[1:], len(count)], strict=True):
        own = count[low:high]
        shift = np.repeat(begin[low:high] - (np.cumsum(own) - own), own)
        yield np.repeat(np.arange(low, high), own), np.arange(len(shift)) + shift


def _chosen(which: Any, first: Any, second: Any) -> tuple[Any, Any]:
    return first[which], second[which]
