"""What was answered: labels confused, confidence against success, numbers against their targets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from scipy import stats

from lockgate.comparison import Result
from lockgate.figures import style
from lockgate.figures.style import CONTROL, GRID, PALE, TUNED
from lockgate.scoring import number

MOST_LABELS = 20
OTHER = "other"
"""Column of the answers that are none of the labels."""

BINS = 10

Sample = Mapping[str, Any]


@dataclass
class Bin:
    """Samples of about the same confidence.

    Attributes:
        n: samples.
        confidence: their mean.
        right: share of them that were right.
        low, high: its 95% interval (Wilson).
    """

    n: int
    confidence: float
    right: float
    low: float
    high: float


def labels(samples: Iterable[Sample]) -> list[str]:
    """The targets as labels, by name; empty where they are none.

    Labels are 2 to `MOST_LABELS` texts that on average two or more samples have.
    """
    samples = list(samples)
    targets = [sample["target"] for sample in samples]
    if any(not isinstance(target, str) for target in targets):
        return []
    if any("value" in sample for sample in samples):
        return []
    found = sorted({_plain(target) for target in targets})
    fits = 2 <= len(found) <= MOST_LABELS and len(samples) >= 2 * len(found)
    return found if fits else []


def confusion(samples: Iterable[Sample], names: list[str]) -> pd.DataFrame:
    """Counts by target (row) and answer (column); the last column holds all other answers.

    An answer counts as the option that the scorer read in it (`option`), if it names one; an
    answer that the scorer took for right counts as its target, whatever else it says.
    """
    pairs = []
    for sample in samples:
        target, answer = _plain(sample["target"]), _plain(sample.get("option", sample["answer"]))
        if sample["score"] == 1:
            answer = target
        pairs.append((target, names.index(answer) if answer in names else len(names)))
    targets, answers = zip(*pairs, strict=True)
    table = pd.crosstab(pd.Series(targets), pd.Series(answers))
    table = table.reindex(index=names, columns=range(len(names) + 1), fill_value=0)
    return table.set_axis([*names, OTHER], axis="columns")


def confidences(samples: Iterable[Sample]) -> tuple[list[float], list[bool]]:
    """Of each sample with probabilities that of the likeliest option, and whether it was right."""
    found, right = [], []
    for sample in samples:
        options = (sample.get("probabilities") or {}).values()
        if options and sum(options) > 0:
            found.append(float(max(options) / sum(options)))
            right.append(sample["score"] == 1)
    return found, right


def bins(confidence: list[float], right: list[bool]) -> list[Bin]:
    """`BINS` equal bins of confidence from 0 to 1; empty ones are left out."""
    edges = np.linspace(0, 1, BINS + 1)
    # the same bins as the calibration error's: an edge belongs to the bin below it
    place = np.digitize(confidence, edges[1:-1], right=True)
    found = []
    for one in np.unique(place):
        own = [n for n, at in enumerate(place) if at == one]
        hits = sum(right[n] for n in own)
        around = stats.binomtest(hits, len(own)).proportion_ci(0.95, "wilson")
        mean = float(np.mean([confidence[n] for n in own]))
        found.append(Bin(len(own), mean, hits / len(own), float(around.low), float(around.high)))
    return found


def confused(best: Result, control: Result | None) -> bytes | None:
    """Confusion matrices beside each other; None where the targets are no labels."""
    names = labels(best.samples.values())
    if not names:
        return None
    shown = [result for result in (control, best) if result and result.samples]
    tables = [confusion(result.samples.values(), names) for result in shown]
    with style.styled():
        wide = len(names) <= 8
        side = 1.4 + (0.42 if wide else 0.3) * len(names)
        figure, grid = style.grid(len(shown), 2 if wide else 1, max(2.6, side))
        for axes, result, table in zip(grid, shown, tables, strict=True):
            _matrix(axes, table)
            style.title(axes, _who(result))
        return style.png(figure)


def calibration(best: Result, others: list[Result]) -> bytes | None:
    """Reliability and confidence of the best run, its control and the other tuned runs."""
    shown = [(best, TUNED, "o"), *((best.control, CONTROL, "s"),) * bool(best.control)]
    with_any = [(r, c, m, *confidences(r.samples.values())) for r, c, m in shown if r is not None]
    with_any = [one for one in with_any if one[3]]
    if not with_any:
        return None
    with style.styled():
        figure, (top, low) = style.grid(2, 2, 4.0)
        top.plot([0, 1], [0, 1], color=CONTROL, lw=1, ls=":")
        for other in others:
            confidence, right = confidences(other.samples.values())
            found = bins(confidence, right) if confidence else []
            top.plot([b.confidence for b in found], [b.right for b in found], color=PALE, lw=1)
        for result, color, marker, confidence, right in with_any:
            found = bins(confidence, right)
            xs, ys = [b.confidence for b in found], [b.right for b in found]
            bars = [style.ends(b.right, b.low, b.high) or [[0], [0]] for b in found]
            top.errorbar(
                xs, ys, yerr=np.concatenate(bars, axis=1), marker=marker, color=color, capsize=3,
                lw=1.4, label=_measured(result),
            )  # fmt: skip
            low.hist(
                confidence, bins=list(np.linspace(0, 1, 2 * BINS + 1)), color=color, alpha=0.55,
                label=_who(result),
            )  # fmt: skip
        top.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), ylabel="share that was right")
        low.set(xlim=(-0.03, 1.03), ylabel="samples")
        for axes, title in ((top, "reliability"), (low, "how sure it was")):
            axes.set_title(title)
            axes.set_xlabel("probability of the chosen option")
            axes.grid(color=GRID)
            axes.set_axisbelow(True)
        style.legend(figure, [top])
        return style.png(figure)


def numbers(best: Result, control: Result | None) -> bytes | None:
    """Answers against their targets; None where the answers are no numbers."""
    shown = [result for result in (control, best) if result and result.samples]
    points = [_numbers(result.samples.values()) for result in shown]
    if not points or not any(points):
        return None
    targets = [target for found in points for target, _ in found]
    least, most = min(targets), max(targets)
    room = 0.25 * (most - least) or max(1.0, abs(most))
    ends = (least - room, most + room)
    with style.styled():
        figure, grid = style.grid(len(shown), 2, 4.0)
        for axes, result, found in zip(grid, shown, points, strict=True):
            axes.plot(ends, ends, color=CONTROL, lw=1, ls=":")
            inside = [(t, v) for t, v in found if v is not None and ends[0] <= v <= ends[1]]
            outside = [(t, v) for t, v in found if v is not None and not ends[0] <= v <= ends[1]]
            color = TUNED if result.tuned else CONTROL
            axes.plot([t for t, _ in inside], [v for _, v in inside], "o", ms=4, alpha=0.6,
                      color=color)  # fmt: skip
            for sign, mark in ((1, "^"), (-1, "v")):
                far = [t for t, v in outside if sign * (v - ends[0]) > 0]
                edge = ends[1] if sign > 0 else ends[0]
                if far:  # an empty curve that is not clipped spoils the layout
                    axes.plot(far, [edge] * len(far), mark, ms=6, color="#c0392b", clip_on=False)
            none = sum(value is None for _, value in found)
            style.title(axes, _who(result))
            axes.grid(color=GRID)
            axes.set_axisbelow(True)
            told = f"{none} of {len(found)} without a number, {len(outside)} beyond the panel"
            axes.set(xlim=ends, ylim=ends, xlabel=f"target\n{told}", ylabel="answer")
        return style.png(figure)


def _matrix(axes: Axes, table: pd.DataFrame) -> None:
    counts = table.to_numpy()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.25, aspect="auto")
    axes.set_xticks(
        range(len(table.columns)), [style.short(name, 18) for name in table.columns],
        rotation=40, ha="right", rotation_mode="anchor",
    )  # fmt: skip
    axes.set_yticks(range(len(table.index)), [style.short(name, 18) for name in table.index])
    axes.set_xlabel("answer")
    axes.set_ylabel("target")
    axes.tick_params(length=0)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            color = "white" if shares[row, column] > 0.75 else "#1c2733"
            weight = "bold" if row == column else "normal"
            axes.text(column, row, str(count), ha="center", va="center", color=color,
                      fontweight=weight)  # fmt: skip
    # the other answers stand apart from the labels
    axes.axvline(len(table.columns) - 1.5, color="#9aa5b1", lw=1)


def _numbers(samples: Iterable[Sample]) -> list[tuple[float, float | None]]:
    """Target and answer of each sample whose target is a number."""
    found = []
    for sample in samples:
        if "value" not in sample:
            continue
        target, value = number(str(sample["target"])), sample["value"]
        if target is not None:
            found.append((float(target), None if value is None else float(value)))
    return found


def _who(result: Result) -> str:
    return result.label if result.tuned else "control"


def _measured(result: Result) -> str:
    names = {"ece": "ECE", "brier": "Brier", "auc": "AUC"}
    found = [(text, result.metrics.get(name)) for name, text in names.items()]
    told = ", ".join(f"{text} {value:.3f}" for text, value in found if value is not None)
    return f"{_who(result)}{': ' * bool(told)}{told}"


def _plain(text: Any) -> str:
    """A text as the scorers compare it."""
    return str(text).strip().casefold()
