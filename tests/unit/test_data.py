"""From records to rows, and from rows to splits."""

import pytest

from lockgate import data
from lockgate.errors import LockgateError

TEMPLATES = {"prompt": "{{ a }} + {{ b }} =", "completion": "{{ sum }}"}
SHARES = {"train": 0.7, "validation": 0.1, "test": 0.2}
RECORDS = [{"a": 1, "b": 2, "sum": 3}, {"a": 4, "b": 5, "sum": 9}]


def refused(records, **templates):
    with pytest.raises(LockgateError) as error:
        data.project(records, {**TEMPLATES, **templates}, "my.jsonl")
    assert error.value.hint
    return error.value


def rows(*prompts):
    return [{"id": f"{n:06d}", "prompt": prompt} for n, prompt in enumerate(prompts)]


def hundred():
    return rows(*(f"question {number}" for number in range(100)))


def test_a_row_is_made_of_each_record():
    assert data.project(RECORDS, TEMPLATES, "my.jsonl") == [
        {"id": "000000", "prompt": "1 + 2 =", "completion": "3", "fields": RECORDS[0]},
        {"id": "000001", "prompt": "4 + 5 =", "completion": "9", "fields": RECORDS[1]},
    ]


def test_space_around_a_text_is_taken_off():
    templates = {"prompt": "\n {{ a }}\n", "completion": " {{ b }} "}
    (row,) = data.project(RECORDS[:1], templates, "my.jsonl")
    assert (row["prompt"], row["completion"]) == ("1", "2")


def test_a_missing_field_is_named_with_its_record_and_the_fields_there_are():
    error = refused([RECORDS[0], {"a": 1, "sum": 2}])
    assert error.where == "my.jsonl"
    assert error.what == "record 2 cannot become a row: 'b' is undefined (data.rows.prompt)"
    assert error.hint == "its fields are: a, sum"


@pytest.mark.parametrize("empty", ["", "  \n"])
def test_an_empty_completion_is_refused(empty):
    error = refused([RECORDS[0], {**RECORDS[1], "sum": empty}])
    assert error.what == "record 2 gives an empty completion (data.rows.completion)"
    assert error.where == "my.jsonl"


@pytest.mark.parametrize("template", ["{{ a", "{% if %}", "{{ a | no_such_filter }}"])
def test_a_template_that_is_none_is_refused(template):
    error = refused(RECORDS, prompt=template)
    assert error.where == "data.rows.prompt"
    assert error.what.startswith("not a Jinja2 template: ")


def test_no_record_is_refused():
    assert refused([]).what == "there is no record"


def test_splits_have_the_sizes_asked_for_and_every_row_once():
    made = data.split(hundred(), SHARES, seed=1)
    assert {name: len(part) for name, part in made.items()} == {
        "train": 70,
        "validation": 10,
        "test": 20,
    }
    assert sorted(row["id"] for part in made.values() for row in part) == [
        row["id"] for row in hundred()
    ]


def test_splits_depend_on_the_seed_alone():
    made = data.split(hundred(), SHARES, seed=1)
    assert made == data.split(hundred(), SHARES, seed=1)
    assert made != data.split(hundred(), SHARES, seed=2)
    turned = data.split(hundred()[::-1], SHARES, seed=1)
    assert {row["id"] for row in turned["test"]} == {row["id"] for row in made["test"]}


@pytest.mark.parametrize("seed", range(5))
def test_rows_with_the_same_prompt_stay_together(seed):
    prompts = [f"question {number % 30}" for number in range(100)]
    prompts[::7] = [f" {prompt.upper()}\n" for prompt in prompts[::7]]
    made = data.split(rows(*prompts), SHARES, seed)
    seen = {name: {row["prompt"].strip().lower() for row in part} for name, part in made.items()}
    assert sum(map(len, made.values())) == 100
    assert not seen["train"] & seen["test"]
    assert not seen["train"] & seen["validation"]
    assert not seen["validation"] & seen["test"]


@pytest.mark.parametrize(
    ("prompts", "shares", "split"),
    [
        (["a"], SHARES, "test"),
        (["a", "a"], {"train": 0.5, "validation": 0.0, "test": 0.5}, "train"),
    ],
)
def test_a_split_without_a_row_is_refused(prompts, shares, split):
    with pytest.raises(LockgateError) as error:
        data.split(rows(*prompts), shares, seed=0)
    assert error.value.what == f"{len(prompts)} records leave nothing for the {split} split"
    assert error.value.where == "data.splits"
    assert error.value.hint


def test_no_validation_split_may_be_asked_for():
    made = data.split(hundred(), {"train": 0.8, "validation": 0.0, "test": 0.2}, seed=0)
    assert made["validation"] == []


@pytest.mark.parametrize(
    ("prompts", "count"),
    [(["a", "b"], 0), (["a", "A ", "a"], 2), (["a  b", "a b", "c", "C"], 2), ([], 0)],
)
def test_duplicates_are_rows_with_an_earlier_prompt(prompts, count):
    assert data.duplicates(rows(*prompts)) == count


@pytest.mark.parametrize("template", ["{{ a + 1 }}", "{{ 1 / 0 }}"])
def test_whatever_a_template_raises_is_one_message(template):
    with pytest.raises(LockgateError, match="record 1 cannot become a row"):
        data.project([{"a": "x"}], {"prompt": template, "completion": "y"}, "file")
