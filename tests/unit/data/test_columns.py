"""Statistics of a column, against what was put in it."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.data.columns import as_text, at, describe, distinct, histogram, is_empty, summary


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["a", "b", 1], "text"),
        ([1, 2.5, "x"], "number"),
        ([True, False, None], "boolean"),
        ([[1], [2, 3]], "list"),
        ([{"a": 1}, {}], "object"),
        ([None, "", "  ", [], {}, math.nan], "empty"),
        ([], "empty"),
    ],
)
def test_the_kind_is_that_of_most_values(values, kind):
    assert describe(values)["kind"] == kind


def test_empty_values_are_counted_and_left_out():
    found = describe(["one two", "  ", None, "", "one two", "three"])
    assert (found["present"], found["empty"], found["unique"]) == (3, 3, 2)
    assert found["top"] == [["one two", 2], ["three", 1]]
    assert found["words"] == {"min": 1, "median": 2, "mean": 1.6667, "p95": 2, "max": 2}
    assert not is_empty(0) and not is_empty(False) and is_empty(math.inf)


def test_equal_objects_are_one_value_whatever_the_order_of_their_keys():
    assert describe([{"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 2}])["unique"] == 2
    assert as_text("1") == as_text(1)  # asked shares name values as texts


def test_the_most_common_values_are_told_only_where_some_come_twice():
    assert describe([f"text {n}" for n in range(30)])["top"] == []
    assert describe([f"text {n % 60}" for n in range(600)])["top"] == []
    found = describe([n % 20 for n in range(45)])["top"]
    assert found[:6] == [["0", 3], ["1", 3], ["2", 3], ["3", 3], ["4", 3], ["10", 2]]
    assert len(found) == 10


def test_diversity_is_the_share_of_different_runs_of_words():
    texts = ["the cat sat", "The cat ran"]
    assert distinct(texts, 1, 6) == round(4 / 6, 4)
    assert distinct(texts, 2, 6) == 0.75
    assert distinct(["word", "other"], 2, 2) is None
    found = describe(texts)
    assert (found["distinct_1"], found["distinct_2"]) == (0.6667, 0.75)


def test_diversity_of_much_text_is_that_of_a_sample_of_it():
    texts = [f"a{n} b{n} c{n}" for n in range(2003)] * 10
    # every seventh text: 2862, among which each of them comes
    assert describe(texts)["distinct_2"] == round(2003 / 2862, 4)
    assert describe(["a b c"] * 20_000)["distinct_2"] < 0.001


SENTENCES = [
    "we were asked about the price of bread and said " + "it is low " * k + "there."
    for k in range(10)
]


def test_texts_that_end_amid_a_sentence_near_the_longest_are_cut():
    long = "the whole answer goes on and on about bread and butter and " + "much more " * 20
    assert describe([*SENTENCES, long + "of", long + "until", long + "so"])["cut"] == 3
    assert describe([*SENTENCES, long + "end."])["cut"] == 0
    # where nobody writes full stops, nothing is known
    assert describe([text.rstrip(".") for text in SENTENCES])["cut"] == 0
    assert describe(["今天下午三点在市中心的图书馆有一个讲座。"] * 4)["cut"] == 0


@given(st.lists(st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False))))
def test_a_histogram_holds_every_number_once(numbers):
    found = histogram(numbers)
    assert sum(found["counts"]) == len(numbers)
    assert len(found["edges"]) == len(found["counts"]) + bool(numbers)
    assert found["edges"] == sorted(found["edges"]) and len(found["counts"]) <= 21
    figures = summary(numbers)
    if numbers:
        assert figures["min"] <= figures["median"] <= figures["max"]
    json.dumps([found, figures], allow_nan=False)


def test_whole_numbers_have_whole_edges():
    assert histogram([3, 4, 4, 6]) == {"edges": [3, 4, 5, 6, 7], "counts": [1, 2, 0, 1]}
    assert histogram([7, 7]) == {"edges": [7, 8], "counts": [2]}
    assert histogram(list(range(100)))["counts"] == [5] * 20
    assert histogram([0.5, 0.5]) == {"edges": [0.5, 0.5], "counts": [2]}
    assert describe([10**400, 1, 2])["max"] == 1e150


def test_a_dotted_path_leads_into_objects_and_nowhere_else():
    value = {"clarity": {"score": 3}}
    assert at(value, "clarity.score") == 3
    assert at(value, "clarity.score.x") is None and at(None, "a") is None
