"""Intervals, paired differences and Holm's correction, for scores between 0 and 1.

What cannot be computed honestly is None, with the reason in place of the method's name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

LEVEL = 0.95
RESAMPLES = 9999
SEED = 20250101
FEWEST = 5
"""Samples below which a bootstrap shows little but the samples themselves."""

Interval = tuple[float | None, float | None, str]
Scores = Mapping[Any, float]
"""Score (0 to 1) by sample id."""


@dataclass(frozen=True)
class Difference:
    """Mean of `tuned - control` over the samples that both answered.

    Attributes:
        n: samples that both answered.
        difference: mean difference of the scores; None without a shared sample.
        low, high: 95% interval of it; None where there is none.
        interval_method: how it was computed, or why there is none.
        p_value: two-sided, of no difference; None without a shared sample.
        test: how it was computed.
    """

    n: int
    difference: float | None
    low: float | None
    high: float | None
    interval_method: str
    p_value: float | None
    test: str


@dataclass(frozen=True)
class Spread:
    """Scores of runs that differ only in their seed.

    Attributes:
        n: runs, one a seed.
        mean: of their scores.
        deviation: standard deviation between them (n - 1); None for one run.
        low, high: the lowest and the highest; this is a range, not an interval.
    """

    n: int
    mean: float
    deviation: float | None
    low: float
    high: float


def interval(scores: Sequence[float]) -> Interval:
    """95% interval of the mean score, and the method's name.

    Wilson's where every score is 0 or 1, else a bootstrap with a fixed seed.
    """
    if not scores:
        return None, None, "none: no samples"
    if set(scores) <= {0, 1}:
        found = stats.binomtest(int(sum(scores)), len(scores)).proportion_ci(LEVEL, "wilson")
        return float(found.low), float(found.high), "Wilson"
    return _bootstrap(np.asarray(scores, dtype=float), "scores", 0.0)


def averaged(runs: Sequence[Scores]) -> dict[Any, float]:
    """Each sample's mean score over several runs, of the samples that all of them answered.

    Comparing such means keeps a sample one unit: three seeds on 60 samples are 60 paired
    differences, not 180. The bootstrap then draws samples with all their seeds together (samples
    are the clusters). Its interval tells what other samples could change, with these seeds; what
    other seeds could change is told by `spread`.
    """
    shared = [key for key in runs[0] if all(key in run for run in runs)] if runs else []
    return {key: float(np.mean([run[key] for run in runs])) for key in shared}


def spread(scores: Sequence[float]) -> Spread:
    """Mean, standard deviation and range of at least one run's scores."""
    deviation = float(np.std(scores, ddof=1)) if len(scores) > 1 else None
    return Spread(
        len(scores), float(np.mean(scores)), deviation, float(min(scores)), float(max(scores))
    )


def paired_difference(tuned: Scores, control: Scores) -> Difference:
    """Compare two runs on the samples that both answered.

    Args:
        tuned: a run's scores, or several runs' `averaged` ones.
        control: the same for what it is compared with.
    """
    shared = [key for key in tuned if key in control]
    if not shared:
        return Difference(0, None, None, None, "none: no shared samples", None, "none")
    a = np.array([tuned[key] for key in shared], dtype=float)
    b = np.array([control[key] for key in shared], dtype=float)
    low, high, method = _bootstrap(a - b, "differences", -1.0)
    p_value, test = _test(a, b)
    return Difference(len(shared), float(np.mean(a - b)), low, high, method, p_value, test)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction; None (nothing was compared) stays None and does not count."""
    order = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, index) in enumerate(order):
        largest = max(largest, min(1.0, p * (len(order) - rank)))
        corrected[index] = largest
    return corrected


def _bootstrap(values: np.ndarray, what: str, least: float) -> Interval:
    """Interval of the mean of values between `least` and 1."""
    n = len(values)
    if n < FEWEST:
        return None, None, f"none: too few {what} for a bootstrap ({n})"
    if np.ptp(values) < 1e-12:
        # no spread to resample; but at least this share of all samples has the value, and the
        # others have at worst one of the two ends
        share = float(stats.binomtest(n, n).proportion_ci(LEVEL, "exact").low)
        low, high = (share * values[0] + (1 - share) * end for end in (least, 1.0))
        return float(low), float(high), f"bound for {n} equal {what} (Clopper-Pearson)"
    for method, name in (("BCa", "bootstrap (BCa)"), ("percentile", "bootstrap (percentile)")):
        found = stats.bootstrap(
            (values,),
            np.mean,
            confidence_level=LEVEL,
            n_resamples=RESAMPLES,
            method=method,
            batch=max(1, 10**6 // n),
            rng=np.random.default_rng(SEED),
        ).confidence_interval
        if np.isfinite([found.low, found.high]).all():
            return float(found.low), float(found.high), name
    return None, None, f"none: the bootstrap of {n} {what} gave no finite interval"


def _test(a: np.ndarray, b: np.ndarray) -> tuple[float, str]:
    """Two-sided p-value of no difference between paired scores, and the test's name."""
    if set(a) | set(b) <= {0.0, 1.0}:
        wins, losses = int(np.sum(a > b)), int(np.sum(a < b))
        if wins + losses == 0:
            return 1.0, "exact McNemar (no discordant pairs)"
        return float(stats.binomtest(wins, wins + losses).pvalue), "exact McNemar"
    if len(a) == 1:
        return 1.0, "paired permutation (one pair: nothing to permute)"
    found = stats.permutation_test(
        (a, b),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=max(1, 10**6 // len(a)),
        rng=np.random.default_rng(SEED),
    )
    return float(found.pvalue), "paired permutation"
