"""The panel plot and the losses stay readable with many runs."""

from lockgate import figures
from lockgate.figures import panels


def test_a_panel_holds_the_controls_and_the_best(table, caught):
    table.control([0, 0, 1, 0])
    for number in range(60):
        table.add(f"r{number:02d}", [1] * (number % 4) + [0] * 4, rank=number)
    panels.scores(table.results())
    (axes,) = caught[-1].axes
    shown = [tick.get_text() for tick in axes.get_yticklabels()]
    assert len(shown) == panels.ROWS and shown[0] == "control"
    assert all(f"r{number:02d}, epoch 0" in shown for number in range(60) if number % 4 == 3)
    assert axes.get_title(loc="left") == "exact (40 of 61 results: the controls and the best)"


def test_a_small_panel_holds_every_cell_missing_ones_too(table, caught):
    table.control([0, 1])
    table.add("a", [1, 1], rank=1)
    table.add("b", [1, 1], rank=2)
    table.scores["b"]["cells"] = []
    panels.scores(table.results())
    (axes,) = caught[-1].axes
    assert axes.get_title(loc="left") == "exact"
    assert [text.get_text() for text in axes.texts] == ["0.500", "1.000", "missing"]


def test_tasks_with_many_runs_have_a_figure_each(table, caught):
    for task in ("a", "b", "c"):
        for number in range(20 if task != "c" else 1):
            table.add(f"r{number}", [0, 1], task=task, rank=number)
    assert len(panels.scores(table.results())) == 2
    titles = [[axes.get_title(loc="left") for axes in figure.axes] for figure in caught]
    assert titles == [["a", "b"], ["c"]]


def test_many_losses_have_no_legend(table, caught):
    for number in range(panels.CURVES + 1):
        table.add(f"r{number}", [1], rank=number)
    panels.losses(table.trained)
    assert caught[-1].legends == [] and "33 runs" in caught[-1].get_supxlabel()
    del table.trained["r0"]
    panels.losses(table.trained)
    assert len(caught[-1].legends[0].get_texts()) == panels.CURVES


def test_figures_are_drawn_where_there_is_something_to_show(table):
    table.control([1, 0] * 10)
    for rank in (8, 16):
        for epoch in (0, 1):
            table.add(f"r{rank}", [1] * 20, rank=rank, epoch=epoch)
    found = figures.draw(table.plan(), table.results(), table.trained)
    assert [one.name for one in found] == ["scores", "by_rank", "by_epoch", "by_cost", "losses"]
    assert all(one.png.startswith(b"\x89PNG") and 3 < one.width < 9 for one in found)
    again = figures.draw(table.plan(), table.results(), table.trained)
    assert [one.png for one in again] == [one.png for one in found], "the same, byte by byte"
