"""Measures of one evaluation's samples beyond the mean score, by scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    accuracy_score,
    brier_score_loss,
    f1_score,
    mean_absolute_error,
    roc_auc_score,
    root_mean_squared_error,
)

from lockgate.scoring import number

BINS = 10
"""Bins of equal width over the highest probability, for the calibration error."""

Samples = list[dict[str, Any]]


def of(scorer: str | None, samples: Samples) -> dict[str, float | None]:
    """Measures by name; None where one is undefined. A task without any has none.

    Args:
        scorer: of the task; None: the user's own task.
        samples: one or more of `score`, `answer`, `target`, and of `value` (numeric), `option`
            (choice) or `probabilities`.
    """
    if scorer == "numeric":
        return numeric(samples)
    if scorer == "probabilities":
        return probabilities(samples)
    return choice(samples) if scorer == "choice" else {}


def numeric(samples: Samples) -> dict[str, float | None]:
    """`mae` and `rmse` over the answers that have a number, `parse_rate`: their share of all."""
    parsed = [(float(number(one["target"]) or 0), one["value"]) for one in samples]
    parsed = [(target, value) for target, value in parsed if value is not None]
    measured: dict[str, float | None] = {"mae": None, "rmse": None}
    if parsed:
        targets, values = zip(*parsed, strict=True)
        measured["mae"] = float(mean_absolute_error(targets, values))
        measured["rmse"] = float(root_mean_squared_error(targets, values))
    return {**measured, "parse_rate": len(parsed) / len(samples)}


def choice(samples: Samples) -> dict[str, float | None]:
    """`accuracy`, `macro_f1` over the targets that occur, `parse_rate`: answers with an option.

    An answer without an option is wrong, and of no class.
    """
    targets = [one["target"] for one in samples]
    given = [one["option"] or "" for one in samples]
    found = f1_score(targets, given, labels=sorted(set(targets)), average="macro", zero_division=0)
    return {
        "accuracy": float(accuracy_score(targets, given)),
        "macro_f1": float(found),
        "parse_rate": sum(map(bool, given)) / len(given),
    }


def probabilities(samples: Samples) -> dict[str, float | None]:
    """`accuracy`, `ece`, `brier` and `auc` of the options' probabilities.

    - `ece`: expected calibration error. Samples are put in 10 bins of equal width by their
      highest probability; it is the mean distance of a bin's accuracy from its mean highest
      probability, weighted by the bin's samples.
    - `brier`: the mean over samples of the sum over options of (probability - truth) squared,
      with truth 1 for the target and 0 for the rest: from 0 (best) to 2.
    - `auc`: area under the ROC curve; with more than two options each against the rest, and
      their plain mean. None where the rows differ in their options, or one is never the target.
    """
    targets = [one["target"] for one in samples]
    # rows may have options of their own: one that a row does not have has no probability there
    options = sorted({option for one in samples for option in one["probabilities"]})
    table = np.array([[one["probabilities"].get(o, 0.0) for o in options] for one in samples])
    table = table / table.sum(axis=1, keepdims=True)
    hits = np.array([one["score"] for one in samples])
    return {
        "accuracy": float(hits.mean()),
        "ece": _calibration_error(hits, table.max(axis=1)),
        "brier": float(brier_score_loss(targets, table, labels=options, scale_by_half=False)),
        "auc": _auc(samples, targets, options, table),
    }


def _calibration_error(hits: Any, highest: Any) -> float:
    right, predicted = calibration_curve(hits.astype(int), highest, n_bins=BINS, pos_label=1)
    edges = np.linspace(0, 1, BINS + 1)[1:-1]
    counts = np.bincount(np.searchsorted(edges, highest), minlength=BINS)  # as the curve's bins
    return float(np.average(np.abs(right - predicted), weights=counts[counts > 0]))


def _auc(samples: Samples, targets: list[str], options: list[str], table: Any) -> float | None:
    alike = all(set(one["probabilities"]) == set(options) for one in samples)
    if not alike or set(targets) != set(options):
        return None
    if len(options) == 2:
        return float(roc_auc_score([target == options[1] for target in targets], table[:, 1]))
    return float(roc_auc_score(targets, table, multi_class="ovr", labels=options))
