"""Measures of samples, against values worked out by hand."""

import math

import pytest

from lockgate import measures


def weighed(target, **probabilities):
    best = max(probabilities, key=probabilities.get)
    return {
        "target": target,
        "answer": best,
        "score": float(best == target),
        "probabilities": probabilities,
    }


def test_numbers_have_errors_over_the_answers_that_have_one():
    samples = [
        {"target": "10", "value": 13.0},
        {"target": "1,000 km", "value": 996.0},
        {"target": "5", "value": None},
        {"target": "5", "value": 5.0},
    ]
    found = measures.of("numeric", samples)
    assert found["mae"] == pytest.approx(7 / 3)
    assert found["rmse"] == pytest.approx(math.sqrt(25 / 3))
    assert found["parse_rate"] == 0.75


def test_errors_without_any_number_are_undefined():
    found = measures.of("numeric", [{"target": "10", "value": None}])
    assert found == {"mae": None, "rmse": None, "parse_rate": 0.0}


def test_choices_have_accuracy_and_f1_of_each_target():
    pairs = [("a", "a"), ("a", "b"), ("b", "b"), ("b", None)]
    found = measures.of("choice", [{"target": t, "option": o} for t, o in pairs])
    # a: precision 1, recall 1/2; b: precision 1/2, recall 1/2
    assert found["macro_f1"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert (found["accuracy"], found["parse_rate"]) == (0.5, 0.75)


def test_two_options():
    samples = [
        weighed("yes", yes=0.9, no=0.1),
        weighed("no", yes=0.6, no=0.4),
        weighed("no", yes=0.2, no=0.8),
        weighed("yes", yes=0.7, no=0.3),
    ]
    found = measures.of("probabilities", samples)
    assert found["accuracy"] == 0.75
    assert found["auc"] == 1.0
    assert found["brier"] == pytest.approx((2 * 0.01 + 2 * 0.36 + 2 * 0.04 + 2 * 0.09) / 4)
    assert found["ece"] == pytest.approx((0.1 + 0.6 + 0.2 + 0.3) / 4)  # a bin each


def test_one_bin_has_its_mean_probability_against_its_accuracy():
    samples = [weighed(target, a=0.75, b=0.25) for target in "aaab"]
    assert measures.of("probabilities", samples)["ece"] == pytest.approx(0)
    samples = [weighed(target, a=0.72, b=0.28) for target in "ab"]
    assert measures.of("probabilities", samples)["ece"] == pytest.approx(0.22)


def test_three_options_are_taken_one_against_the_rest():
    samples = [
        weighed("a", a=0.5, b=0.3, c=0.2),
        weighed("b", a=0.4, b=0.3, c=0.3),
        weighed("c", a=0.1, b=0.4, c=0.5),
    ]
    found = measures.of("probabilities", samples)
    # b (0.3) against 0.3 and 0.4: half a pair of two
    assert found["auc"] == pytest.approx((1 + 0.25 + 1) / 3)
    brier = 0.25 + 0.09 + 0.04, 0.16 + 0.49 + 0.09, 0.01 + 0.16 + 0.25
    assert found["brier"] == pytest.approx(sum(brier) / 3)


def test_the_curve_is_undefined_where_an_option_is_never_the_target_or_options_differ():
    samples = [weighed("a", a=0.5, b=0.3, c=0.2), weighed("b", a=0.4, b=0.3, c=0.3)]
    assert measures.of("probabilities", samples)["auc"] is None
    samples = [weighed("a", a=0.8, b=0.2), weighed("c", c=0.6, d=0.4)]
    found = measures.of("probabilities", samples)
    assert found["auc"] is None
    assert found["brier"] == pytest.approx((0.08 + 0.32) / 2)
    one = measures.of("probabilities", [weighed("a", a=1.0, b=0.0)])
    assert one == {"accuracy": 1.0, "ece": 0.0, "brier": 0.0, "auc": None}


@pytest.mark.parametrize("scorer", [None, "exact", "f1", "graded"])
def test_other_tasks_have_none(scorer):
    assert measures.of(scorer, [{"score": 1.0, "answer": "a", "target": "a"}]) == {}
