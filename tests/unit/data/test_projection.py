"""From records to rows, and the rows that a run has of its own."""

import json
import math

import pytest

from lockgate.config.data import Rows
from lockgate.data import projection, splits
from lockgate.data.records import SPLIT
from lockgate.errors import LockgateError
from lockgate.prompts import asked_text

TEMPLATES = {"prompt": "{{ a }} + {{ b }} =", "completion": "{{ sum }}"}
RECORDS = [{"a": 1, "b": 2, "sum": 3}, {"a": 4, "b": 5, "sum": 9}]


def refused(records, **templates):
    with pytest.raises(LockgateError) as error:
        projection.project(records, {**TEMPLATES, **templates}, "my.jsonl")
    assert error.value.hint
    return error.value


def test_a_row_is_made_of_each_record():
    assert projection.project(RECORDS, TEMPLATES, "my.jsonl") == [
        {"id": "000000", "prompt": "1 + 2 =", "completion": "3", "fields": RECORDS[0]},
        {"id": "000001", "prompt": "4 + 5 =", "completion": "9", "fields": RECORDS[1]},
    ]


def test_space_around_a_text_is_taken_off():
    templates = {"prompt": "\n {{ a }}\n", "completion": " {{ b }} "}
    (row,) = projection.project(RECORDS[:1], templates, "my.jsonl")
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


@pytest.mark.parametrize("template", ["{{ a + 1 }}", "{{ 1 / 0 }}"])
def test_whatever_a_template_raises_is_one_message(template):
    with pytest.raises(LockgateError, match="record 1 cannot become a row"):
        projection.project([{"a": "x"}], {"prompt": template, "completion": "y"}, "file")


def chat(number, system=None):
    told = [{"role": "system", "content": system}] if system else []
    asked = {"role": "user", "content": f"Question {number}?"}
    return {"messages": [*told, asked, {"role": "assistant", "content": f"Answer {number}."}]}


def test_records_that_are_rows_need_no_templates():
    records = [chat(0), {"prompt": "p", "completion": " c"}, {"input": "i", "output": "o", "n": 1}]
    made = projection.project(records, None, "my.jsonl")
    assert [(row["id"], row["prompt"], row["completion"]) for row in made] == [
        ("000000", "Question 0?", "Answer 0."),
        ("000001", "p", " c"),
        ("000002", "i", "o"),
    ]
    assert [row["fields"] for row in made] == records


@pytest.mark.parametrize(
    ("record", "what"),
    [
        ({"question": "a", "answer": "b"}, "neither 'messages' nor .*it has: question, answer"),
        ({"messages": [*chat(0)["messages"], *chat(0)["messages"][1:]]}, "message 3 is not the u"),
        (chat(1, system="Be kind."), "its system message is not that of the other rows"),
        ({"input": "a", "output": 5}, "the assistant's message 2 is empty or not text"),
        ({"input": "a", "output": "b", "instruction": "Sum."}, "'input' has an 'instruction'"),
    ],
)
def test_a_record_that_is_no_row_is_named_where_there_are_no_templates(record, what):
    with pytest.raises(LockgateError, match=what) as error:
        projection.project([chat(0), record], None, "my.jsonl")
    assert error.value.where == "my.jsonl: record 2"
    assert error.value.hint.endswith("; of other fields, data.rows makes rows")


USER, ASSISTANT = "user", "assistant"


def said(*texts, system=None):
    """A conversation in which user and assistant take turns."""
    told = [{"role": "system", "content": system}] if system else []
    return [*told, *({"role": (USER, ASSISTANT)[n % 2], "content": t} for n, t in enumerate(texts))]


TALK = said("Hi.", "Hello.", "How much is it?", "Five.")


def test_the_last_answer_of_a_conversation_is_learned():
    records = [{"chat": {"messages": said(*"abcd", system="Be kind."), "n": 1}}]
    (row,) = projection.project(records, {"messages": "chat.messages"}, "my.jsonl")
    assert row == {
        "id": "000000",
        "prompt": "c",
        "completion": "d",
        "history": said("a", "b"),
        "messages": said(*"abcd", system="Be kind."),
        "fields": records[0],
    }


def test_a_conversation_of_one_turn_has_no_history():
    records = [{"talk": said("a", "b")}]
    (row,) = projection.project(records, {"messages": "talk"}, "my.jsonl")
    assert (row["prompt"], row["completion"], "history" in row) == ("a", "b", False)


@pytest.mark.parametrize(
    "talk",
    [
        json.dumps(TALK),
        [{**one, "content": [{"type": "text", "text": one["content"]}], "n": 1} for one in TALK],
    ],
    ids=["text of a table", "blocks of text"],
)
def test_conversations_come_in_other_forms_too(talk):
    (row,) = projection.project([{"talk": talk}], {"messages": "talk"}, "my.jsonl")
    assert (row["messages"], row["history"]) == (TALK, TALK[:2])


@pytest.mark.parametrize(
    ("talk", "what"),
    [
        (5, "'talk' is not a list of messages"),
        ("Hi.", "'talk' is not a list of messages"),
        ([], "it does not end with an answer of the assistant"),
        (TALK[:3], "it does not end with an answer of the assistant"),
        ([TALK[0], *TALK[2:]], "message 2 is not the assistant's: the user and the assistant take"),
        (said("a", "b", system="c")[::2], "message 2 is not the user's: the user and the"),
        ([TALK[0], {"role": "tool", "content": "x"}, TALK[1]], "message 2 has the role 'tool'"),
        (said("a", " "), "the assistant's message 2 is empty or not text"),
        ([*said("a"), {"role": ASSISTANT, "content": [{"type": "image"}]}], "the assistant's mess"),
    ],
)
def test_a_conversation_that_is_none_is_refused(talk, what):
    with pytest.raises(LockgateError) as error:
        projection.project([{"talk": TALK}, {"talk": talk}], {"messages": "talk"}, "my.jsonl")
    assert error.value.where == "my.jsonl"
    assert error.value.what.startswith(f"record 2 cannot become a row: {what}")
    assert error.value.what.endswith("(data.rows.messages)") and error.value.hint


@pytest.mark.parametrize(
    "record", [{"a": {}, "b": 1}, {"a": {"x": TALK}, "b": 1}, {"a": 2, "b": 1}]
)
def test_a_missing_conversation_is_refused(record):
    with pytest.raises(LockgateError) as error:
        projection.project([record], {"messages": "a.talk"}, "my.jsonl")
    assert error.value.what == "record 1 has no field 'a.talk' (data.rows.messages)"
    assert error.value.hint == "its fields are: a, b"


@pytest.mark.parametrize("other", [None, "Be short."])
def test_conversations_share_their_system_message(other):
    records = [{"talk": said("a", "b", system=text)} for text in ("Be kind.", other)]
    with pytest.raises(LockgateError, match="its system message is not that of the other") as error:
        projection.project(records, {"messages": "talk"}, "my.jsonl")
    assert error.value.where == "my.jsonl: record 2"


PAIR = {"prompt": "{{ q }}", "chosen": "{{ good }}", "rejected": "{{ bad }}"}


def test_the_better_answer_of_a_pair_is_learned():
    record = {"q": "Is it?", "good": " Yes. ", "bad": "No."}
    (row,) = projection.project([record], PAIR, "my.jsonl")
    assert row == {
        "id": "000000",
        "prompt": "Is it?",
        "completion": "Yes.",
        "chosen": "Yes.",
        "rejected": "No.",
        "fields": record,
    }


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"bad": " Yes."}, "prefers nothing: chosen and rejected are equal (data.rows.rejected)"),
        ({"bad": ""}, "gives an empty rejected (data.rows.rejected)"),
        ({"good": " "}, "gives an empty chosen (data.rows.chosen)"),
        ({"q": ""}, "gives an empty prompt (data.rows.prompt)"),
    ],
)
def test_an_empty_preference_is_refused(change, what):
    records = [{"q": "Is it?", "good": "Yes.", "bad": "No.", **change}]
    form = projection.compile_rows(PAIR)
    assert projection.problem(records[0], form) == what
    with pytest.raises(LockgateError) as error:
        projection.project(records, PAIR, "my.jsonl")
    assert error.value.what == f"record 1 {what}"
    assert error.value.hint


@pytest.mark.parametrize(
    ("rows", "record"),
    [
        (TEMPLATES, RECORDS[0]),
        ({"messages": "talk"}, {"talk": TALK}),
        (PAIR, dict(q=1, good=2, bad=3)),
    ],
)
def test_a_single_record_is_judged_as_all_are(rows, record):
    form = projection.compile_rows({**dict.fromkeys(Rows.model_fields), **rows})
    assert projection.problem(record, form) == ""
    made = projection.project([record], rows, "my.jsonl")[0]
    assert projection.row_of(record, form) == {
        k: made[k] for k in made if k not in ("id", "fields")
    }
    assert projection.problem({}, form)


def test_records_of_several_turns_are_rows_too():
    (row,) = projection.project([{"messages": TALK}], None, "my.jsonl")
    assert row == {
        "id": "000000",
        "prompt": "How much is it?",
        "completion": "Five.",
        "history": TALK[:2],
        "fields": {"messages": TALK},
    }


def test_the_split_that_a_file_made_is_no_field():
    records = [{**record, SPLIT: "test"} for record in RECORDS]
    made = projection.project(records, TEMPLATES, "my.json")
    assert [row["split"] for row in made] == ["test", "test"]
    assert [row["fields"] for row in made] == RECORDS


def write(path, value):
    path.write_text(json.dumps(value))
    return path


ROWS = [
    {"id": "a", "prompt": "one", "completion": "1", "fields": {"word": "one", "kind": "odd"}},
    {"id": "b", "prompt": "two", "completion": "2", "fields": {"word": "two", "kind": "even"}},
]


def test_rows_get_another_prompt_and_keep_the_rest():
    made = projection.revise(ROWS, {"prompt": "{{ kind }}: {{ prompt }}"}, "rows.jsonl")
    assert [row["prompt"] for row in made] == ["odd: one", "even: two"]
    assert [(row["id"], row["completion"]) for row in made] == [("a", "1"), ("b", "2")]
    assert projection.revise(ROWS, {}, "rows.jsonl") == ROWS
    with pytest.raises(LockgateError, match="'colour' is undefined .data.rows.prompt"):
        projection.revise(ROWS, {"prompt": "{{ colour }}"}, "rows.jsonl")


def test_another_prompt_is_the_last_one_of_a_conversation():
    rows = projection.project([{"talk": TALK}], {"messages": "talk"}, "my.jsonl")
    (row,) = projection.revise(rows, {"prompt": "{{ prompt }} Say it."}, "rows.jsonl")
    assert (row["prompt"], row["completion"]) == ("How much is it? Say it.", "Five.")
    assert row["history"] == TALK[:2]
    assert "messages" not in row  # they hold the former prompt


def test_conversations_with_one_last_question_are_not_alike():
    talks = [said(f"I want {n}.", "Yes.", "How much is it?", "Five.") for n in range(3)]
    rows = projection.project([{"talk": talk} for talk in talks], {"messages": "talk"}, "my.jsonl")
    assert asked_text(rows[1]) == "I want 1.\n\nYes.\n\nHow much is it?"
    assert splits.duplicates(rows) == 0
    parts = {"train": rows[:1], "validation": [], "test": rows[1:]}
    made = projection.own_rows(own(rows={"prompt": "{{ prompt }} Say it."}), parts, "my.yaml")
    assert len(made["test"]) == 2
    with pytest.raises(LockgateError, match="1 of 1 held-out rows"):
        same = {**parts, "test": rows[:1]}
        projection.own_rows(own(rows={"prompt": "{{ prompt }} Say it."}), same, "my.yaml")


def own(**changes):
    """What a run has of its own."""
    return {"rows": {}, "train_rows": None, "train_files": None, **changes}


def test_templates_that_make_held_out_prompts_of_trained_ones_are_refused():
    parts = {"train": ROWS[:1], "validation": [], "test": ROWS[1:]}
    assert projection.own_rows(own(), parts, "my.yaml") == parts
    told = projection.own_rows(own(rows={"prompt": "Say {{ word }}"}), parts, "my.yaml")
    assert told["test"][0]["prompt"] == "Say two"
    with pytest.raises(LockgateError, match="1 of 1 held-out rows have the prompt of a train row"):
        projection.own_rows(own(rows={"prompt": "What is it?"}), parts, "my.yaml")


def test_a_run_may_be_trained_on_other_rows_but_not_on_held_out_ones(tmp_path):
    path = tmp_path / "more.json"
    write(path, [{"prompt": f"{word} more", "completion": "3"} for word in ("three", "four")])
    parts = {"train": ROWS[:1], "validation": [], "test": ROWS[1:]}
    other = own(train_files=str(path), projection=None, similarity=0.8)
    made = projection.own_rows({**other, "train_rows": 1}, parts, "my.yaml")
    assert [row["prompt"] for row in made["train"]] == ["three more"]
    assert made["test"] == ROWS[1:]
    write(path, [{"prompt": "three", "completion": "3"}, {"prompt": "Two", "completion": "2"}])
    with pytest.raises(LockgateError, match="data.train_files: 1 of 1 held-out rows have the"):
        projection.own_rows(other, parts, "my.yaml")


def test_other_rows_are_those_to_train_on_of_a_file_with_splits(tmp_path):
    names = {"train": "question", "test": "query"}
    given = {
        name: [{"input": f"{word} {n}", "output": "a"} for n in range(5)]
        for name, word in names.items()
    }
    path = write(tmp_path / "own.json", given)
    run = own(train_files=str(path), projection=None, similarity=0.8)
    assert [row["prompt"] for row in projection.other_rows(run)] == [
        f"question {n}" for n in range(5)
    ]


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_a_value_that_is_not_there_becomes_no_text(value):
    form = projection.compile_rows({"prompt": "Say {{ a }} {{ b.c }}", "completion": "x"})
    assert projection.problem({"a": 0.5, "b": {"c": ""}}, form) == ""
    for record in ({"a": value, "b": {"c": 1}}, {"a": 1, "b": {"c": value}}):
        reason = projection.problem(record, form)
        assert reason == "cannot become a row: a field in it has no value (data.rows.prompt)"
