"""What the report's figures have in common: colours, fonts, legends and the file format."""

from __future__ import annotations

import io
import textwrap
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

CONTROL, TUNED, CHECKPOINT = "#6b7785", "#1f6fb2", "#7a5cc0"
GRID, PALE = "#e3e8ee", "#a9c6de"
COLORS = ["#1f6fb2", "#d98200", "#2a9d6f", "#b5478a", "#7a5cc0", "#a0522d", "#0097a7", "#c0392b"]
DASHES = ("-", "--", ":", "-.")
WIDTH = 8.5
"""Inches."""

DPI = 160

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
    "legend.fontsize": 8.5,
    "legend.frameon": False,
}


def styled() -> Any:
    """The context in which a figure is made."""
    return matplotlib.rc_context(_STYLE)


def grid(panels: int, columns: int, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of panels, row by row.

    Args:
        panels: how many.
        columns: at most this many beside one another.
        height: of each, in inches.
    """
    columns = min(panels, columns)
    rows = -(-panels // columns)
    width = WIDTH if columns > 1 else 0.72 * WIDTH
    figure = Figure((width, rows * height), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for unused in axes[panels:]:
        unused.set_axis_off()
    return figure, axes[:panels]


def legend(figure: Figure, grid: list[Axes]) -> None:
    """One legend below all panels, with each label once; the figure grows by it."""
    known: dict[str, Any] = {}
    for axes in grid:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            known.setdefault(label, handle)
    columns = 2 if len(known) > 3 and all(len(label) <= 50 for label in known) else 1
    rows = -(-len(known) // columns)
    figure.set_figheight(figure.get_figheight() + 0.2 * rows + 0.1)
    if known:
        handles, labels = [*known.values()], [short(label, 105) for label in known]
        figure.legend(handles, labels, loc="outside lower left", ncols=columns)


def look(number: int) -> dict[str, Any]:
    """Colour and dashes of the curve with this number; they repeat after 32."""
    return {
        "color": COLORS[number % len(COLORS)],
        "linestyle": DASHES[number // len(COLORS) % len(DASHES)],
    }


def ends(score: float, low: float | None, high: float | None) -> list[list[float]] | None:
    """An interval as matplotlib's error bar; None where there is none."""
    if low is None or high is None:
        return None
    # a bootstrap's interval need not hold the mean itself
    return [[max(0.0, score - low)], [max(0.0, high - score)]]


def short(text: Any, longest: int = 24) -> str:
    """A label that leaves room for the figure."""
    text = " ".join(str(text).split())
    return text if len(text) <= longest else text[: longest - 1] + "\N{HORIZONTAL ELLIPSIS}"


def title(axes: Axes, text: str) -> None:
    """A title that may be long, in three lines at most."""
    lines = textwrap.wrap(text, 34, max_lines=3, placeholder=" \N{HORIZONTAL ELLIPSIS}")
    axes.set_title("\n".join(lines), fontsize=9.5)


def png(figure: Figure) -> bytes:
    """The figure's file; the same figure gives the same bytes."""
    small = io.BytesIO()
    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    drawn = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    # few colours: a palette makes the file a third as large
    drawn.quantize(128, Image.Quantize.MAXCOVERAGE).save(small, format="png", optimize=True)
    return small.getvalue()
