"""Confusion, calibration and numbers: what is counted, and when there is nothing to show."""

import pytest

from lockgate.figures import answers


def sample(target, answer, score=0.0, **more):
    return {"target": target, "answer": answer, "score": score, **more}


def test_labels_are_few_texts_that_several_samples_have():
    assert answers.labels([sample(t, "") for t in ["b ", "A", "a", "B"]]) == ["a", "b"]
    assert answers.labels([sample("a", "")] * 4) == []  # one label
    assert answers.labels([sample(t, "") for t in "abc"]) == []  # texts, each its own
    assert answers.labels([sample(["a"], ""), sample(["b"], "")] * 2) == []
    assert answers.labels([sample(str(n % 21), "") for n in range(100)]) == []
    assert len(answers.labels([sample(str(n % 20), "") for n in range(100)])) == 20
    assert answers.labels([sample(t, t, value=1.0) for t in "1212"]) == []


def test_answers_are_counted_as_the_scorer_reads_them():
    table = answers.confusion(
        [
            sample("yes", " YES\n", 1.0),
            sample("yes", "It is yes.", 1.0),  # the scorer found the target in it
            sample("yes", "It is yes."),
            sample("no", "yes"),
            sample("no", "I say yes", option="yes"),
            sample("no", "dunno", option=None),
        ],
        ["no", "yes"],
    )
    assert table.columns.tolist() == ["no", "yes", "other"]
    assert table.loc["yes"].tolist() == [0, 2, 1]
    assert table.loc["no"].tolist() == [0, 2, 1]


def test_a_label_that_is_called_other_keeps_its_own_column():
    table = answers.confusion([sample("other", "other", 1.0), sample("x", "?")], ["other", "x"])
    assert table.to_numpy().tolist() == [[1, 0, 0], [0, 0, 1]]


def test_confidence_is_the_share_of_the_likeliest_option():
    found, right = answers.confidences(
        [
            sample("a", "a", 1.0, probabilities={"a": 0.6, "b": 0.2}),
            sample("a", "b", 0.0, probabilities={"a": 0.1, "b": 0.9}),
            sample("a", "a", 1.0),
        ]
    )
    assert found == pytest.approx([0.75, 0.9])
    assert right == [True, False]


def test_bins_hold_every_sample_once():
    confidence = [0.05, 0.5, 0.55, 0.58, 1.0]  # an edge belongs to the bin below it
    found = answers.bins(confidence, [False, True, True, False, True])
    assert [one.n for one in found] == [1, 1, 2, 1]
    assert found[2].confidence == pytest.approx(0.565)
    assert (found[2].right, found[-1].right) == (0.5, 1.0)
    assert found[2].low < 0.5 < found[2].high


def test_the_calibration_of_tuned_and_control_is_drawn(table, caught):
    def asked(p, times):
        return [
            sample("a", "a", float(n < times), probabilities={"a": p, "b": 1 - p})
            for n in range(20)
        ]

    table.control(asked(0.9, 10))
    table.add("run", asked(0.8, 16), rate=1)
    table.scores["run"]["cells"][0]["metrics"] = {"ece": 0.01, "brier": None}
    control, run = table.results()
    assert answers.calibration(run, []) == b"png"
    top, low = caught[-1].axes
    assert top.get_legend_handles_labels()[1] == ["run, epoch 0: ECE 0.010", "control"]
    assert sum(patch.get_height() for patch in low.patches) == 40


def test_numbers_beyond_the_panel_are_counted(table, caught):
    table.control([sample("10", "", value=None), sample("20", "", value=1e9)])
    table.add("run", [sample("10", "", value=11.0), sample("20", "", value=19.0)], rate=1)
    control, run = table.results()
    assert answers.numbers(run, control) == b"png"
    left, right = caught[-1].axes
    assert "1 of 2 without a number, 1 beyond the panel" in left.get_xlabel()
    assert right.get_xlim() == right.get_ylim() == (7.5, 22.5)
    assert left.get_position().width > 0.3, "nothing pushes the panels aside"


def test_other_tasks_have_no_such_figure(table):
    table.add("run", [1, 0, 1], rate=1)
    (run,) = table.results()
    assert answers.confused(run, None) is None
    assert answers.calibration(run, []) is None
    assert answers.numbers(run, None) is None


def test_confusion_has_one_panel_where_there_is_no_control(table, caught):
    table.add("run", [sample("a", "a", 1.0), sample("b", "a")] * 4, rate=1)
    (run,) = table.results()
    assert answers.confused(run, None) == b"png"
    (axes,) = caught[-1].axes
    assert [text.get_text() for text in axes.texts] == ["4", "4"]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["a", "b", "other"]
