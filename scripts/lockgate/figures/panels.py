"""Each cell's score with its interval, and the losses of each run."""

from __future__ import annotations

from typing import Any

import matplotlib.lines
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lockgate.comparison import Result
from lockgate.figures import style
from lockgate.figures.style import CHECKPOINT, CONTROL, GRID, TUNED

ROWS = 40
"""Most rows of one panel, and of a figure with several."""

CURVES = 32
"""Curves that colours and dashes can tell apart."""

_MARKS = {"control": (CONTROL, "s"), "eval-only": (CHECKPOINT, "D"), "fine-tuned": (TUNED, "o")}


def scores(results: list[Result]) -> list[bytes]:
    """Each cell's score with its 95% interval, one panel a task, in as many figures as it takes.

    A panel with more than `ROWS` cells shows the controls and the best, and says so.
    """
    figures: list[list[list[Result]]] = []
    rows = ROWS
    for task in dict.fromkeys(result.task for result in results):
        cells = [result for result in results if result.task == task]
        rows += min(ROWS, len(cells))
        if rows > ROWS:
            figures.append([])
            rows = min(ROWS, len(cells))
        figures[-1].append(cells)
    return [_scores(cells) for cells in figures]


def _scores(cells: list[list[Result]]) -> bytes:
    """One figure; `cells` by task."""
    panels = [_most(panel) for panel in cells]
    results = [result for panel in panels for result in panel]
    heights = [0.34 * len(panel) + 0.95 for panel in panels]
    with style.styled():
        figure = Figure((style.WIDTH, sum(heights) + 0.35), layout="constrained")
        grid = figure.subplots(
            len(panels), 1, squeeze=False, sharex=True, gridspec_kw={"height_ratios": heights}
        )
        for axes, panel, every in zip(grid[:, 0], panels, cells, strict=True):
            _panel(axes, panel)
            cut = f" ({len(panel)} of {len(every)} results: the controls and the best)"
            axes.set_title(every[0].task + cut * (len(panel) < len(every)))
        metrics = " or ".join(sorted({r.metric for r in results if r.metric}))
        grid[-1, 0].set_xlabel(f"score ({metrics})" if metrics else "score")
        marks = [
            matplotlib.lines.Line2D([], [], color=color, marker=marker, ls="", label=kind)
            for kind, (color, marker) in _MARKS.items()
            if any(result.run["kind"] == kind for result in results)
        ]
        marks.append(matplotlib.lines.Line2D([], [], color=CONTROL, lw=1.6, label="95% interval"))
        figure.legend(handles=marks, loc="outside upper right", ncols=4)
        return style.png(figure)


def losses(trained: dict[str, dict[str, Any]]) -> bytes:
    """Training and validation loss of each run by optimizer step."""
    runs = {name: manifest for name, manifest in trained.items() if manifest.get("losses")}
    held_out = {
        name: [(e["step"], e["validation"]) for e in m["losses"] if e.get("validation") is not None]
        for name, m in runs.items()
    }
    columns = 2 if any(held_out.values()) else 1
    told = len(runs) <= CURVES
    with style.styled():
        legend = 0.19 * ((len(runs) + 1) // 2) if told else 0.2
        figure = Figure((style.WIDTH, 3.6 + legend), layout="constrained")
        grid = figure.subplots(1, columns, squeeze=False, sharex=True)[0]
        for axes, title in zip(grid, ("training loss", "validation loss"), strict=False):
            axes.set_title(title)
            axes.set_xlabel("optimizer step")
            axes.set_ylabel("loss")
            axes.grid(color=GRID)
            axes.set_axisbelow(True)
        lines = []
        for index, (name, manifest) in enumerate(runs.items()):
            look = style.look(index) if told else {"color": TUNED, "alpha": 0.35}
            steps = [entry["step"] for entry in manifest["losses"]]
            values = [entry["loss"] for entry in manifest["losses"]]
            if told:
                grid[0].plot(steps, values, color=look["color"], lw=0.8, alpha=0.3)
            lines += grid[0].plot(steps, _smooth(values), **look, lw=1.6, label=name)
            if held_out[name]:
                grid[1].plot(*zip(*held_out[name], strict=True), **look, marker="o", ms=4)
        if lines and told:
            figure.legend(handles=lines, loc="outside lower left", ncols=2)
        elif lines:
            figure.supxlabel(f"{len(runs)} runs: too many to tell apart by colour", fontsize=8.5)
        else:
            grid[0].text(
                0.5, 0.5, "no run recorded a loss", ha="center", transform=grid[0].transAxes
            )
        return style.png(figure)


def _most(panel: list[Result]) -> list[Result]:
    """The rows that a panel has room for, in their order."""
    if len(panel) <= ROWS:
        return panel
    best = sorted(panel, key=lambda r: (r.tuned, 1.0 if r.score is None else -r.score))
    kept = {id(result) for result in best[:ROWS]}
    return [result for result in panel if id(result) in kept]


def _panel(axes: Axes, panel: list[Result]) -> None:
    """One row a cell, from the top down, with the score written at the right."""
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(len(panel) - 0.4, -0.6)
    axes.set_yticks(range(len(panel)), [style.short(result.label, 60) for result in panel])
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=GRID)
    axes.set_axisbelow(True)
    for row, result in enumerate(panel):
        color, marker = _MARKS[result.run["kind"]]
        text = "missing" if result.score is None else f"{result.score:.3f}"
        axes.text(1.03, row, text, va="center_baseline", transform=axes.get_yaxis_transform())
        if result.score is None:
            continue
        axes.errorbar(
            [result.score], [row], xerr=style.ends(result.score, result.low, result.high),
            fmt=marker, color=color, ms=6, capsize=3, lw=1.6, clip_on=False, zorder=3,
        )  # fmt: skip
    for row, result in enumerate(panel):
        last = max([n for n, r in enumerate(panel) if r.control is result], default=row)
        if not result.tuned and result.score is not None and last > row:
            axes.vlines(result.score, row, last + 0.3, color=CONTROL, lw=1, ls=":", zorder=1)


def _smooth(values: list[float]) -> list[float]:
    """Mean of each value and its neighbours, over about a twentieth of the curve."""
    side = len(values) // 40
    windows = [values[max(0, i - side) : i + side + 1] for i in range(len(values))]
    return [sum(window) / len(window) for window in windows]
