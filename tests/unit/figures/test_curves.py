"""Score by variable, epoch and cost: axes, curves, seeds and controls."""

import pytest

from lockgate.figures import curves


def ones(count, of=20):
    return [1] * count + [0] * (of - count)


def points(axes, marker="o"):
    """Centres of the points with intervals."""
    return [
        (round(float(box.lines[0].get_xdata()[0]), 6), round(float(box.lines[0].get_ydata()[0]), 6))
        for box in axes.containers
    ]


def test_a_variable_over_more_than_a_decade_is_on_a_log_axis(table, caught):
    table.control(ones(2))
    for rate in (1e-5, 1e-4, 1e-3):
        table.add(f"r{rate}", ones(10), learning_rate=rate)
    assert curves.by_variable(table.results(), "learning_rate") == b"png"
    (axes,) = caught[-1].axes
    assert axes.get_xscale() == "log"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1e-05", "0.0001", "0.001"]
    assert points(axes) == [(1e-5, 0.5), (1e-4, 0.5), (1e-3, 0.5)]


def test_seeds_are_points_around_their_mean(table, caught):
    table.control(ones(2))
    for rank in (8, 16):
        for seed, right in ((1, 8), (2, 12)):
            table.add(f"r{rank}-{seed}", ones(right + rank // 4), seed=seed, rank=rank)
    curves.by_variable(table.results(), "rank")
    (axes,) = caught[-1].axes
    assert axes.get_xscale() == "linear"
    assert points(axes) == [(8, 0.6), (16, 0.7)]
    seeds = [line.get_ydata().tolist() for line in axes.lines if line.get_linestyle() == "None"]
    assert [0.5, 0.7] in seeds and [0.6, 0.8] in seeds


def test_a_curve_is_a_combination_of_the_other_variables(table, caught):
    for rank in (8, 16):
        for text in ("a", "b"):
            table.add(f"{rank}{text}", ones(10), rank=rank, system_prompt=text)
    curves.by_variable(table.results(), "rank")
    (axes,) = caught[-1].axes
    assert axes.get_legend_handles_labels()[1] == ["system_prompt a", "system_prompt b"]
    curves.by_variable(table.results(), "system_prompt")
    (axes,) = caught[-1].axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["a", "b"]
    assert axes.get_legend_handles_labels()[1] == ["rank 8", "rank 16"]


def test_long_labels_that_begin_alike_stay_two(table, caught):
    for rank in (8, 16):
        for text in ("x" * 200 + "a", "x" * 200 + "b"):
            table.add(f"{rank}{text[-1]}", ones(10), rank=rank, system_prompt=text)
    curves.by_variable(table.results(), "rank")
    (legend,) = caught[-1].legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert len(texts) == 2 and max(map(len, texts)) < 110


def test_only_the_last_epoch_counts_over_a_variable(table, caught):
    for rank in (8, 16):
        table.add(f"r{rank}", ones(4), rank=rank, epoch=0)
        table.add(f"r{rank}", ones(10), rank=rank, epoch=1)
    curves.by_variable(table.results(), "rank")
    assert {y for _, y in points(caught[-1].axes[0])} == {0.5}


def test_what_does_not_vary_has_no_figure(table):
    table.control(ones(2))
    table.add("run", ones(10), rank=8)
    assert curves.by_variable(table.results(), "rank") is None
    assert curves.by_epoch(table.results()) is None


def test_missing_cells_are_left_out(table, caught):
    for rank in (8, 16, 32):
        table.add(f"r{rank}", ones(10), rank=rank)
    table.scores["r16"]["cells"] = []
    curves.by_variable(table.results(), "rank")
    assert [x for x, _ in points(caught[-1].axes[0])] == [8, 32]


def test_the_score_by_epoch_is_a_curve_a_run(table, caught):
    table.control(ones(2))
    for epoch, right in ((0, 4), (2, 10)):
        table.add("run", ones(right), rank=8, epoch=epoch)
    assert curves.by_epoch(table.results()) == b"png"
    (axes,) = caught[-1].axes
    assert points(axes) == [(0, 0.2), (2, 0.5)]
    assert axes.get_xticks().tolist() == [0, 2]


def test_the_control_costs_nothing_and_a_resumed_run_is_left_out(table, caught):
    table.control(ones(2))
    table.add("a", ones(10), rank=8)
    table.add("b", ones(12), rank=16)
    table.trained["b"]["resumed_from_step"] = 3
    assert curves.by_cost(table.results(), table.trained, 2) == b"png"
    (axes,) = caught[-1].axes
    assert axes.get_xlabel() == "training, GPU hours a run"
    assert points(axes) == [(1.0, 0.5), (0, 0.1)]
    curves.by_cost(table.results(), table.trained, 0)
    assert caught[-1].axes[0].get_xlabel() == "training, compute minutes a run"
    table.trained["a"]["resumed_from_step"] = 3
    assert curves.by_cost(table.results(), table.trained, 0) is None


def test_a_checkpoint_is_a_line_and_no_curve(table, caught):
    table.control(ones(2))
    table.add("old_eval-only", ones(8), kind="eval-only")
    for rank in (8, 16):
        table.add(f"r{rank}", ones(10), rank=rank)
    curves.by_variable(table.results(), "rank")
    (axes,) = caught[-1].axes
    assert axes.get_legend_handles_labels()[1] == ["control", "old_eval-only"]
    assert len(points(axes)) == 2


@pytest.mark.parametrize(("count", "named"), [(curves.LEGEND, True), (curves.LEGEND + 1, False)])
def test_many_curves_have_no_names(table, caught, count, named):
    for other in range(count):
        for rank in (8, 16):
            table.add(f"r{rank}-{other}", ones(10, of=12), rank=rank, max_length=other)
    curves.by_variable(table.results(), "rank")
    (axes,) = caught[-1].axes
    assert len(axes.get_legend_handles_labels()[1]) == (count if named else 0)
    assert (f"{count} combinations" in axes.get_title(loc="left")) is not named
