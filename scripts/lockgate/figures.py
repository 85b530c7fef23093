"""The report's figures, as PNG."""

from __future__ import annotations

import io
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lockgate.comparison import Result

CONTROL, TUNED, GRID = "#6b7785", "#1f6fb2", "#e3e8ee"
_COLORS = ["#1f6fb2", "#d98200", "#2a9d6f", "#b5478a", "#7a5cc0", "#a0522d", "#0097a7", "#c0392b"]
_STYLE: Any = {
    "text.parse_math": False,  # a name may hold a dollar sign
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9aa5b1",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "text.color": "#1c2733",
    "axes.labelcolor": "#3c4855",
    "xtick.color": "#3c4855",
    "ytick.color": "#1c2733",
}


def scores(results: list[Result]) -> bytes:
    """Each cell's score with its 95% interval, one panel a task."""
    tasks = list(dict.fromkeys(result.task for result in results))
    panels = [[result for result in results if result.task == task] for task in tasks]
    heights = [0.34 * len(panel) + 0.95 for panel in panels]
    with matplotlib.rc_context(_STYLE):
        figure = Figure((8.5, sum(heights) + 0.35), layout="constrained")
        grid = figure.subplots(
            len(panels), 1, squeeze=False, sharex=True, gridspec_kw={"height_ratios": heights}
        )
        for axes, task, panel in zip(grid[:, 0], tasks, panels, strict=True):
            _panel(axes, panel)
            axes.set_title(task)
        metrics = " or ".join(sorted({r.metric for r in results if r.metric}))
        grid[-1, 0].set_xlabel(f"score ({metrics})" if metrics else "score")
        marks = [
            matplotlib.lines.Line2D([], [], color=CONTROL, marker="s", ls="", label="control"),
            matplotlib.lines.Line2D([], [], color=TUNED, marker="o", ls="", label="fine-tuned"),
            matplotlib.lines.Line2D([], [], color=CONTROL, lw=1.6, label="95% interval"),
        ]
        figure.legend(handles=marks, loc="outside upper right", ncols=3, frameon=False)
        return _png(figure)


def losses(trained: dict[str, dict[str, Any]]) -> bytes:
    """Training and validation loss of each run by optimizer step."""
    runs = {name: manifest for name, manifest in trained.items() if manifest.get("losses")}
    held_out = {
        name: [(e["step"], e["validation"]) for e in m["losses"] if e.get("validation") is not None]
        for name, m in runs.items()
    }
    columns = 2 if any(held_out.values()) else 1
    with matplotlib.rc_context(_STYLE):
        figure = Figure((8.5, 3.6 + 0.19 * ((len(runs) + 1) // 2)), layout="constrained")
        grid = figure.subplots(1, columns, squeeze=False, sharex=True)[0]
        for axes, title in zip(grid, ("training loss", "validation loss"), strict=False):
            axes.set_title(title)
            axes.set_xlabel("optimizer step")
            axes.set_ylabel("loss")
            axes.grid(color=GRID)
            axes.set_axisbelow(True)
        lines = []
        for index, (name, manifest) in enumerate(runs.items()):
            color = _COLORS[index % len(_COLORS)]
            style = ("-", "--", ":", "-.")[index // len(_COLORS) % 4]
            steps = [entry["step"] for entry in manifest["losses"]]
            values = [entry["loss"] for entry in manifest["losses"]]
            grid[0].plot(steps, values, color=color, lw=0.8, alpha=0.3)
            lines += grid[0].plot(steps, _smooth(values), style, color=color, lw=1.6, label=name)
            if held_out[name]:
                grid[1].plot(*zip(*held_out[name], strict=True), style, color=color, marker="o")
        if lines:
            figure.legend(handles=lines, loc="outside lower left", ncols=2, frameon=False)
        else:
            grid[0].text(
                0.5, 0.5, "no run recorded a loss", ha="center", transform=grid[0].transAxes
            )
        return _png(figure)


def _panel(axes: Axes, panel: list[Result]) -> None:
    """One row a cell, from the top down, with the score written at the right."""
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(len(panel) - 0.4, -0.6)
    axes.set_yticks(range(len(panel)), [result.label for result in panel])
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=GRID)
    axes.set_axisbelow(True)
    for row, result in enumerate(panel):
        color, marker = (TUNED, "o") if result.tuned else (CONTROL, "s")
        text = "missing" if result.score is None else f"{result.score:.3f}"
        axes.text(1.03, row, text, va="center_baseline", transform=axes.get_yaxis_transform())
        if result.score is None:
            continue
        spread = None
        if result.low is not None and result.high is not None:
            # a bootstrap's interval need not hold the mean itself
            ends = (result.score - result.low, result.high - result.score)
            spread = [[max(0.0, end)] for end in ends]
        axes.errorbar(
            [result.score], [row], xerr=spread, fmt=marker, color=color, ms=6, capsize=3, lw=1.6,
            clip_on=False, zorder=3,
        )  # fmt: skip
    for row, result in enumerate(panel):
        last = max(n for n, r in enumerate(panel) if r.run["model"] == result.run["model"])
        if not result.tuned and result.score is not None and last > row:
            axes.vlines(result.score, row, last + 0.3, color=CONTROL, lw=1, ls=":", zorder=1)


def _smooth(values: list[float]) -> list[float]:
    """Mean of each value and its neighbours, over about a twentieth of the curve."""
    side = len(values) // 40
    windows = [values[max(0, i - side) : i + side + 1] for i in range(len(values))]
    return [sum(window) / len(window) for window in windows]


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160, metadata={"Software": None})
    return buffer.getvalue()
