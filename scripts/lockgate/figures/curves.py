"""Score by each variable, by epoch and by cost: one panel a task, with 95% intervals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from matplotlib.axes import Axes

from lockgate.comparison import (
    Replicates,
    Result,
    last_epochs,
    numeric,
    replicates,
    resumed,
    variables,
)
from lockgate.decision import settings, told
from lockgate.figures import style
from lockgate.figures.style import CHECKPOINT, CONTROL, GRID, PALE

LEGEND = 16
"""Curves that the legend names; where there are more, all are pale and unnamed."""

_HEIGHT = 3.0
"""Of a panel, in inches."""

Curves = dict[str, list[tuple[float, Replicates]]]
"""By label: positions on the x axis, and the cells of all seeds there."""


def by_variable(results: list[Result], name: str) -> bytes | None:
    """Score at each run's last epoch over one variable; None where it has one value only.

    A curve is one combination of the other variables; small points are the seeds.
    """
    names = variables([result.run for result in results])
    panels = []
    for task in dict.fromkeys(result.task for result in results):
        cells = last_epochs([result for result in results if result.task == task])
        groups = _groups(cells)
        values = _values(name, groups)
        if len(values) > 1:
            panels.append((task, values, groups, cells))
    if not panels:
        return None
    with style.styled():
        figure, grid = style.grid(len(panels), 2, _HEIGHT)
        for axes, (task, values, groups, cells) in zip(grid, panels, strict=True):
            others = [other for other in names if other != name]
            place = _scale(axes, name, values)
            _draw(axes, task, _curves(groups, others, name, place), cells, joined=numeric(values))
        style.legend(figure, grid)
        return style.png(figure)


def by_epoch(results: list[Result]) -> bytes | None:
    """Score over the epochs; None where no run was measured at several."""
    names = variables([result.run for result in results])
    panels = []
    for task in dict.fromkeys(result.task for result in results):
        cells = [result for result in results if result.task == task]
        groups = _groups(cells)
        epochs = sorted({group.cells[0].epoch or 0 for group in groups})
        if len(epochs) > 1:
            panels.append((task, epochs, groups, cells))
    if not panels:
        return None
    with style.styled():
        figure, grid = style.grid(len(panels), 2, _HEIGHT)
        for axes, (task, epochs, groups, cells) in zip(grid, panels, strict=True):
            axes.set_xlabel("epoch (counted from 0)")
            axes.set_xticks(epochs)
            curves: Curves = {}
            for group in groups:
                label = _label(group.cells[0], names)
                curves.setdefault(label, []).append((float(group.cells[0].epoch or 0), group))
            _draw(axes, task, curves, cells, joined=True)
        style.legend(figure, grid)
        return style.png(figure)


def by_cost(results: list[Result], trained: dict[str, dict[str, Any]], gpus: int) -> bytes | None:
    """Score at each run's last epoch over what its training took; None where nothing is known.

    Args:
        results: every cell.
        trained: manifests by run; a resumed run is left out, for the seconds of its earlier
            attempts are not known.
        gpus: of a training job; 0: compute hours are shown.
    """
    names = variables([result.run for result in results])
    costs = {
        name: manifest["seconds"]["total"] * max(1, gpus)
        for name, manifest in trained.items()
        if manifest["kind"] == "fine-tuned" and not resumed(manifest)
    }
    panels = []
    for task in dict.fromkeys(result.task for result in results):
        cells = last_epochs([result for result in results if result.task == task])
        known = [r for r in cells if r.score is not None and r.run["name"] in costs]
        if known:
            panels.append((task, known, cells))
    if not panels:
        return None
    most = max(costs[result.run["name"]] for _, known, _ in panels for result in known)
    unit, seconds = ("hours", 3600) if most >= 3600 else ("minutes", 60)
    with style.styled():
        figure, grid = style.grid(len(panels), 2, _HEIGHT)
        for axes, (task, known, cells) in zip(grid, panels, strict=True):
            axes.set_xlabel(f"training, {'GPU' if gpus else 'compute'} {unit} a run")
            axes.set_xlim(-0.04 * most / seconds, 1.08 * most / seconds)
            curves: Curves = {}
            for result in known:
                (one,) = replicates([result], least=1)
                at = costs[result.run["name"]] / seconds
                curves.setdefault(_label(result, names), []).append((at, one))
            _draw(axes, task, curves, cells, joined=False, aside=False)
            for control in (r for r in cells if not r.tuned and r.score is not None):
                bar = style.ends(control.score or 0.0, control.low, control.high)
                axes.errorbar(
                    [0], [control.score or 0.0], yerr=bar, fmt="s", color=CONTROL, capsize=3
                )
        style.legend(figure, grid)
        return style.png(figure)


def _groups(cells: list[Result]) -> list[Replicates]:
    """The scored cells that were trained here, those that differ only in the seed together."""
    found = replicates([cell for cell in cells if cell.trained], least=1)
    return [group for group in found if group.spread]


def _values(name: str, groups: list[Replicates]) -> list[Any]:
    """A variable's values: numbers by size, others in order."""
    values: list[Any] = []
    for group in groups:
        value = settings(group.cells[0].run).get(name)
        values += [value] if value not in values else []
    return sorted(values) if numeric(values) else values


def _scale(axes: Axes, name: str, values: list[Any]) -> Callable[[Any], float]:
    """Set the x axis up; gives a value's position on it."""
    axes.set_xlabel(name)
    if not numeric(values):
        axes.set_xticks(range(len(values)), [style.short(told({"": v}).strip()) for v in values])
        axes.set_xlim(-0.5, len(values) - 0.5)
        return lambda value: float(values.index(value))
    if values[0] > 0 and values[-1] / values[0] > 9.999:
        axes.set_xscale("log")
    if len(values) <= 8:
        axes.set_xticks(values, [f"{value:g}" for value in values])
        axes.minorticks_off()
    return float


def _curves(
    groups: list[Replicates], others: list[str], name: str, place: Callable[[Any], float]
) -> Curves:
    curves: Curves = {}
    for group in groups:
        at = place(settings(group.cells[0].run).get(name))
        curves.setdefault(_label(group.cells[0], others), []).append((at, group))
    return curves


def _label(result: Result, names: list[str]) -> str:
    own = settings(result.run)
    return ", ".join(told({name: own.get(name)}) for name in names) or "fine-tuned"


def _draw(
    axes: Axes,
    task: str,
    curves: Curves,
    cells: list[Result],
    joined: bool,
    aside: bool = True,
) -> None:
    """Means over the seeds with intervals, the seeds as small points, and the controls.

    Args:
        axes, task: the panel and its title.
        curves: what is drawn; the x axis is set up already.
        cells: of the task, for the controls.
        joined: connect a curve's points.
        aside: shift the curves a little, so that their intervals do not cover one another.
    """
    axes.set_title(task)
    axes.set_ylim(-0.03, 1.03)
    axes.set_ylabel("score")
    axes.grid(color=GRID)
    axes.set_axisbelow(True)
    _controls(axes, cells)
    named = len(curves) <= LEGEND
    places = sorted({at for curve in curves.values() for at, _ in curve})
    for number, (label, curve) in enumerate(curves.items()):
        look = style.look(number) if named else {"color": PALE, "linestyle": "-"}
        curve = sorted(curve, key=lambda point: point[0])
        shift = (number - (len(curves) - 1) / 2) / max(1, len(curves))
        xs = [_moved(axes, at, places, shift * aside) for at, _ in curve]
        means = [group.spread.mean if group.spread else 0.0 for _, group in curve]
        if joined:
            axes.plot(xs, means, **look, lw=1.6)
        for x, mean, (_, group) in zip(xs, means, curve, strict=True):
            axes.errorbar(
                [x], [mean], yerr=style.ends(mean, *group.interval[:2]), fmt="o", ms=5.5,
                color=look["color"], capsize=3, lw=1.4, zorder=3,
            )  # fmt: skip
            seeds = [cell.score for cell in group.cells if cell.score is not None]
            if len(seeds) > 1:
                axes.plot([x] * len(seeds), seeds, "o", ms=4, mfc="white", color=look["color"],
                          zorder=4)  # fmt: skip
        if named and len(curves) > 1:
            axes.plot([], [], **look, marker="o", ms=5, label=label)
    if not named:
        axes.set_title(f"{task} ({len(curves)} combinations)")


def _controls(axes: Axes, cells: list[Result]) -> None:
    """A line for each model that was not trained here: grey for controls."""
    untrained = [result for result in cells if not result.trained and result.score is not None]
    controls = [result for result in untrained if not result.tuned]
    for number, control in enumerate(untrained):
        alone = len(controls) == 1 and not control.tuned
        label = "control" if alone else control.run["name"]
        dashes = (0, (1 + 2 * number, 2))
        color = CHECKPOINT if control.tuned else CONTROL
        axes.axhline(control.score or 0.0, color=color, ls=dashes, lw=1.3, label=label, zorder=1)
    for control in controls:
        if len(controls) == 1 and control.low is not None and control.high is not None:
            axes.axhspan(control.low, control.high, color=CONTROL, alpha=0.1, lw=0, zorder=0)


def _moved(axes: Axes, at: float, places: list[float], shift: float) -> float:
    """A position moved by `shift` (-0.5 to 0.5) of the room that a point has."""
    if len(places) < 2:
        return at + shift * 0.3
    if axes.get_xscale() == "log":
        step = min(b / a for a, b in zip(places, places[1:], strict=False))
        return float(at * step ** (shift * 0.25))
    step = min(b - a for a, b in zip(places, places[1:], strict=False))
    return at + shift * 0.25 * step
