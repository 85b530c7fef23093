"""Intervals, paired differences and Holm's correction, for scores between 0 and 1.

What cannot be computed honestly is None, with the reason in place of the method's name.
"""

from __future__ import annotations

from collections.abc import Sequence
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


def interval(scores: Sequence[float]) -> Interval:
    """95% interval of the mean score, and the method's name.

    Wilson's where every score is 0 or 1, else a bootstrap with a fixed seed.
    """
    if not scores:
        return None, None, "none: no samples"
    if set(scores) <= {0, 1}:
        found = stats.binomtest(int(sum(scores)), len(scores)).proportion_ci(LEVEL, "wilson")
        return float(found.low), float(found.high), "Wilson"
    return _bootstrap(np.asarray(scores, dtype=float), "scores")


def paired_difference(tuned: dict[Any, float], control: dict[Any, float]) -> Difference:
    """Compare two runs on the samples that both answered.

    Args:
        tuned: score (0 to 1) by sample id.
        control: the same for the untouched model.
    """
    shared = [key for key in tuned if key in control]
    if not shared:
        return Difference(0, None, None, None, "none: no shared samples", None, "none")
    a = np.array([tuned[key] for key in shared], dtype=float)
    b = np.array([control[key] for key in shared], dtype=float)
    low, high, method = _bootstrap(a - b, "differences")
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


def _bootstrap(values: np.ndarray, what: str) -> Interval:
    n = len(values)
    if n < FEWEST:
        return None, None, f"none: too few {what} for a bootstrap ({n})"
    if np.ptp(values) < 1e-12:
        return None, None, f"none: all {n} {what} are equal, so a bootstrap shows no spread"
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
