"""Scores of answers, and what a task asks of its rows."""

import subprocess
import sys

import pytest

from lockgate import scoring
from lockgate.config.evaluation import Task
from lockgate.errors import LockgateError

TEAMS = ["Billing", "Delivery", "Home delivery"]


@pytest.mark.parametrize(
    ("scorer", "answer", "target", "score"),
    [
        ("exact", " Billing\n", "billing", 1),
        ("exact", "billing.", "billing", 0),
        ("exact", "C", "C++", 0),
        ("exact", "A", "a", 1),
        ("match", "billing, of course", "Billing", 1),
        ("match", "it is billing", "billing", 0),
        ("includes", "It is BILLING.", "billing", 1),
        ("includes", "shipping", "billing", 0),
        ("f1", "the red car", "the blue car", 2 / 3),
        ("f1", "red red red", "red", 0.5),
        ("f1", "", "red", 0),
        ("f1", "+", "+", 1),
    ],
)
def test_text_is_compared_ignoring_case(scorer, answer, target, score):
    assert scoring.score_text(scorer, answer, target) == pytest.approx(score)


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("42", 42),
        ("It costs $1,234.50.", 1234.5),
        ("about 12,345,678 people", 12345678),
        ("-3 degrees", -3),
        ("\u22127", -7),
        ("+6", 6),
        ("1.5e-3 m", 0.0015),
        (".5", 0.5),
        ("5.", 5),
        ("5kg", 5),
        ("3-4", 3),
        ("1,23", 1),
        ("v2 has 7", 7),
        ("1e999 or 2", 2),
        ("no number in v1.2 or R2D2", None),
        ("", None),
    ],
)
def test_the_first_number_of_a_text(text, first):
    found = scoring.number(text)
    assert (found if found is None else float(found)) == first


def test_a_number_is_right_within_its_tolerance():
    assert scoring.score_number("1.1", "1", 0.1) == (1.0, 1.1)  # 1.1 - 1 > 0.1 in floats
    assert scoring.score_number("1.11", "1", 0.1) == (0.0, 1.11)
    assert scoring.score_number("1,000", "1000", 0) == (1.0, 1000.0)
    assert scoring.score_number("none", "1000", 5) == (0.0, None)


@pytest.mark.parametrize(
    ("answer", "option"),
    [
        ("billing", "Billing"),
        (" DELIVERY.\n", "Delivery"),
        ("The home delivery team.", "Home delivery"),
        ("I think that billing can do it", "Billing"),
        ("Billing; the delivery team cannot", "Billing"),
        ("It is not billing but delivery", None),
        ("rebilling", None),
        ("nobody", None),
        ("", None),
    ],
)
def test_the_option_that_an_answer_chooses(answer, option):
    assert scoring.chosen(answer, TEAMS) == option


def test_options_may_be_signs():
    assert scoring.chosen("C++, I think", ["C", "C++"]) == "C++"
    assert scoring.chosen("Answer: (B)", ["A", "B"]) == "B"


def test_options_may_be_the_row_s_own():
    row = {"prompt": "?", "completion": "x", "fields": {"teams": ["x", "y"], "n": 3}}
    assert scoring.options_of("teams", row) == ["x", "y"]
    for name, message in (("absent", "no field 'absent'"), ("n", "is not a list of texts")):
        with pytest.raises(LockgateError, match=message):
            scoring.options_of(name, row)


def test_a_task_may_ask_in_its_own_words():
    row = {"prompt": "1 + 1 =", "completion": "2", "fields": {"a": 1}}
    assert scoring.question(None, row) == "1 + 1 ="
    assert (
        scoring.question("Compute {{ prompt }} ({{ a }} first)", row) == "Compute 1 + 1 = (1 first)"
    )
    with pytest.raises(LockgateError, match="cannot be filled.*'b' is undefined") as caught:
        scoring.question("{{ b }}", row)
    assert "prompt, a" in caught.value.hint
    with pytest.raises(LockgateError, match="comes out empty"):
        scoring.question("{% if a > 1 %}x{% endif %}", row)


@pytest.mark.parametrize(
    ("task", "target", "key", "message"),
    [
        ({"scorer": "numeric"}, "many", "scorer", "the target 'many' has no number"),
        ({"scorer": "numeric"}, "3 or 4", "scorer", "'3 or 4' has 2 numbers, not one"),
        (
            {"scorer": "choice", "options": ["a", "b"]},
            "c",
            "options",
            r"the target 'c' is none of its options \('a', 'b'\)",
        ),
        ({"scorer": "probabilities", "options": "given"}, "x", "options", "no field 'given'"),
        ({"scorer": "probabilities", "options": "few"}, "x", "options", "has 1 option; two"),
        ({"scorer": "exact", "prompt": "{{ q }}"}, "x", "prompt", "'q' is undefined"),
    ],
)
def test_a_target_that_cannot_be_scored_is_named(task, target, key, message):
    tasks = [Task(name="first", scorer="exact"), Task(name="second", **task)]
    tasks = [one.model_dump() for one in tasks]
    rows = [{"prompt": "?", "completion": target, "fields": {"few": ["x"]}, "id": "r1"}]
    with pytest.raises(LockgateError, match=message) as caught:
        scoring.check_targets(tasks, {"test": rows})
    assert caught.value.what.startswith("task 'second', row r1: ")
    assert caught.value.where == f"evaluation.tasks[1].{key}"
    assert caught.value.hint
    scoring.check_targets(tasks, {"validation": rows})


def test_targets_that_can_be_scored_pass():
    rows = [{"prompt": "?", "completion": " B ", "fields": {}}]
    scoring.check_targets(
        [
            Task(name="a", scorer="choice", options=["a", "b"]).model_dump(),
            Task(name="b", task="mine.py@mine").model_dump(),
        ],
        {"test": rows},
    )
    rows[0]["completion"] = "42 km"
    scoring.check_targets([Task(name="n", scorer="numeric").model_dump()], {"test": rows})


def test_nothing_heavy_is_imported():
    code = "import sys, lockgate.scoring, lockgate.config; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "lockgate.scoring" in loaded
    assert not {"torch", "transformers", "sklearn", "numpy", "pandas"} & set(loaded)
