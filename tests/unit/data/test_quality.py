"""The figures of a set of records, against what was put in it."""

import dataclasses
import json
import random

import pytest

from lockgate.data import quality, splits
from lockgate.data.records import SPLIT
from lockgate.tools import Column

COLUMNS = [
    Column("topic", "sampled", asked={"bread": 0.5, "milk": 0.25, "salt": 0.25}),
    Column("question", "written"),
    Column("answer", "written"),
    Column("check", "validator", passed="is_valid"),
    Column("quality", "judge", scores={"clarity": "clarity.score", "use": "use.score"}),
]
WORDS = [f"word{number}" for number in range(500)]


def made(count=12, **changes):
    """Records that are all well, and all different; `changes` by field name give other values."""
    draw = random.Random(4)
    topics = ["bread", "bread", "milk", "salt"]
    records = [
        {
            "topic": topics[number % 4],
            "question": " ".join(draw.choices(WORDS, k=12)) + "?",
            "answer": " ".join(draw.choices(WORDS, k=20)) + ".",
            "check": {"is_valid": True, "error_messages": ""},
            "quality": {"clarity": {"score": 3 + number % 2, "reasoning": "so it is"}},
        }
        for number in range(count)
    ]
    for name, values in changes.items():
        for number, value in values.items():
            records[number][name] = value
    return records


def rows_of(records, verdicts=None):
    return [
        {"id": f"{n:06d}", "prompt": one["question"], "completion": one["answer"], "fields": one}
        for n, one in enumerate(records)
        if not (verdicts and verdicts[n])
    ]


def examine(records, verdicts=None, **more):
    columns = more.pop("columns", COLUMNS)
    rows = more.pop("rows", None) or rows_of(records, verdicts)
    return quality.examine(records, rows, columns, verdicts=verdicts, **more)


def test_figures_of_a_column_are_of_records_that_it_is_not_skipped_in():
    columns = [dataclasses.replace(column, skipped=("none", None)) for column in COLUMNS]
    records = made(answer={0: "none", 1: None, 2: ""})
    rows = rows_of(made())
    found = examine(records, columns=columns, rows=rows)
    (answer,) = (one for one in found["columns"] if one["name"] == "answer")
    assert (answer["skipped"], answer["present"], answer["empty"]) == (2, 9, 1)
    assert found["empty"] == {"answer": [2]}
    empty = [one["record"] for one in found["worst"] if one["why"] == "answer is empty"]
    assert empty == [2]


def test_figures_are_plain_and_the_same_each_time():
    records = made()
    found = examine(records)
    assert json.loads(json.dumps(found, allow_nan=False)) == found == examine(records)
    assert (found["records"], found["accepted"], found["refused"]) == (12, 12, {})
    assert [(one["name"], one["role"], one["kind"]) for one in found["columns"]] == [
        ("topic", "sampled", "text"),
        ("question", "written", "text"),
        ("answer", "written", "text"),
        ("check", "validator", "object"),
        ("quality", "judge", "object"),
    ]
    assert found["leaks"] is None


def test_an_axis_is_compared_with_what_was_asked():
    axis = examine(made())["axes"][0]
    assert axis["name"] == "topic" and axis["distance"] == 0 and axis["chance"] == 1
    assert axis["values"][0] == {"value": "bread", "asked": 0.5, "found": 0.5, "count": 6}
    assert axis["missing"] == [] and axis["entropy"] == pytest.approx(0.9464)
    far = examine(made(topic=dict.fromkeys(range(12), "milk") | {0: "rye"}))["axes"][0]
    # 11 milk, 1 rye: 0.5 bread and 0.25 salt are missing
    assert far["distance"] == 0.75 and far["chance"] == 0 and far["missing"] == ["bread", "salt"]
    assert {"value": "rye", "asked": 0.0, "found": 0.0833, "count": 1} in far["values"]


def test_chance_is_how_often_draws_are_as_far_off():
    """One of four records too few: that happens to more than half of all draws."""
    axis = examine(made(4, topic={0: "milk"}))["axes"][0]
    assert axis["distance"] == 0.25
    # exactly 1 - P(2, 1, 1) of the multinomial, as no other draw is nearer than 0.25
    assert axis["chance"] == pytest.approx(1 - 12 * 0.25 * 0.25 * 0.25, abs=0.05)


def test_axes_are_counted_among_the_records_that_count():
    verdicts = ["no" if number % 4 == 2 else "" for number in range(12)]
    axis = examine(made(), verdicts)["axes"][0]
    assert axis["missing"] == ["milk"] and sum(one["count"] for one in axis["values"]) == 9


def test_axes_without_shares_and_within_objects_and_of_numbers():
    records = [
        {**one, "level": n / 7, "more": {"kind": "ab"[n % 2]}} for n, one in enumerate(made(40))
    ]
    level, kind, none = examine(records, axes=["level", "more.kind", "nothing"])["axes"]
    assert len(level["values"]) == 20 and sum(one["count"] for one in level["values"]) == 40
    assert [one["value"] for one in kind["values"]] == ["a", "b"]
    assert kind["distance"] is None and kind["chance"] is None and kind["entropy"] == 1
    assert none["values"] == [] and none["entropy"] == 0


def test_validators_tell_their_rate_and_reasons():
    wrong = {"is_valid": False, "error_messages": "a column is  missing"}
    unknown = {"is_valid": None, "error_messages": "not run"}
    found = examine(made(check={1: wrong, 5: wrong, 7: unknown, 8: None}))["validators"]
    assert found == [
        {
            "column": "check",
            "checked": 10,
            "passed": 8,
            "rate": 0.8,
            "reasons": [["a column is missing", 2]],
        }
    ]


def test_judges_tell_the_distribution_of_each_score():
    said = {"clarity": {"score": "none"}, "use": {"score": 2}}
    clarity, use = examine(made(quality={0: said, 1: None}))["judges"]
    assert clarity == {
        "column": "quality",
        "score": "clarity",
        "count": 11,
        "skipped": 0,
        "mean": 3.5,
        "distribution": {"3": 5, "4": 5, "none": 1},
    }
    assert use["count"] == 1 and use["distribution"] == {"2": 1}


def test_refusals_and_empty_answers_have_their_records():
    sorry = "I'm sorry, but I can't help with that."
    records = made(answer={2: sorry, 3: " ", 4: None}, topic={5: ""})
    found = examine(records, rows=rows_of(made()))
    assert found["refusals"] == {"answer": [2]}
    assert found["empty"] == {"answer": [3, 4]}  # only what is written


def test_alike_prompts_and_leaks_between_splits():
    records = made(40)
    records[7]["question"] = records[3]["question"]
    records[9]["question"] = records[3]["question"].replace("?", " and so on?")
    rows = rows_of(records)
    rows_figures = examine(records, similarity=0.6)["rows"]
    assert rows_figures["duplicates"] == 1
    assert rows_figures["near_duplicates"] == {"rows": 3, "groups": 1}
    assert rows_figures["unique"] == {"prompt": 39, "completion": 40}
    parts = splits.split(rows, {"train": 0.8, "validation": 0.1, "test": 0.1}, 0, 0.6)
    assert examine(records, similarity=0.6, leaks=parts)["leaks"]["pairs"] == 0
    leaking = {"train": rows[:8], "validation": [], "test": rows[8:]}
    for labels in (None, list(range(40))):  # whatever the splits were made by
        found = examine(records, similarity=0.6, leaks=leaking, alike=labels)["leaks"]
        assert (found["pairs"], found["examples"]) == (1, [["000003", "000009"]])


def test_prompts_of_conversations_are_all_that_was_said_before():
    records = made()
    rows = rows_of(records)
    for number, row in enumerate(rows):
        said = " ".join(WORDS[10 * number : 10 * number + 10])
        row["prompt"] = "Please go on."
        row["history"] = [
            {"role": "user", "content": said},
            {"role": "assistant", "content": "And so it is."},
        ]
    found = examine(records, rows=rows)["rows"]
    assert found["unique"]["prompt"] == 12 and found["duplicates"] == 0
    assert found["prompt_words"]["min"] >= 17


def test_the_lengths_of_rows():
    found = examine(made())["rows"]
    assert found["count"] == 12
    assert found["prompt_words"]["mean"] == 12 and found["completion_words"]["max"] == 20
    assert found["histograms"]["completion"] == {"edges": [20, 21], "counts": [12]}
    assert found["distinct_2"]["prompt"] > 0.9


def test_the_worst_come_first_each_once_and_at_most_ten():
    records = made(60, quality={20: {"clarity": {"score": 1}}})
    records[30]["question"] = records[29]["question"] + " word1 word2 x?"
    records[31]["answer"] = "word " * 200
    records[32]["answer"] = "yes"
    verdicts = [""] * 60
    for number in range(40, 55):
        verdicts[number] = "check says no" if number % 5 else "answer is empty"
    found = examine(records, verdicts, similarity=0.6)
    why = {one["record"]: one["why"] for one in found["worst"]}
    assert len(why) == len(found["worst"]) == 10
    assert why[41] == "refused: check says no" and why[40] == "refused: answer is empty"
    assert why[20] == "quality.clarity is 1"
    assert why[30] == "prompt nearly that of record 29"
    assert why[31] == "completion of 200 words, usual are 20"
    assert why[32] == "completion of 1 words, usual are 20"
    text = {one["record"]: one["text"] for one in found["worst"]}
    assert text[32] == f"question: {records[32]['question']}\nanswer: yes"
    assert len(text[31]) <= 2000


def test_of_records_that_are_all_well_there_is_no_worst_one():
    records = made(quality={n: {"clarity": {"score": 4}} for n in range(12)})
    assert examine(records)["worst"] == []


def test_an_existing_dataset_has_the_fields_of_its_records():
    records = [{"question": "What is it?", "answer": "It is so.", SPLIT: "train"} for _ in range(3)]
    records[1]["note"] = "I'm sorry, but I cannot help with that."
    found = examine(records, columns=[])
    assert [(one["name"], one["role"]) for one in found["columns"]] == [
        ("question", "given"),
        ("answer", "given"),
        ("note", "given"),
    ]
    assert found["axes"] == [] and found["rows"]["duplicates"] == 2
    assert found["refusals"] == {"note": [1]}
    assert found["empty"] == {"note": [0, 2]}


def test_without_an_accepted_record_there_are_figures_all_the_same():
    found = examine(made(3), ["no"] * 3)
    assert found["accepted"] == 0 and found["refused"] == {"no": 3}
    assert found["rows"]["count"] == 0 and found["rows"]["prompt_words"]["mean"] is None
    assert found["axes"][0]["distance"] is None
    assert len(found["worst"]) == 3
    assert quality.examine([], [], [])["records"] == 0


def test_rows_that_are_not_those_of_the_records_are_a_mistake():
    with pytest.raises(ValueError, match="11 rows of 12 records"):
        examine(made(), rows=rows_of(made())[1:])
