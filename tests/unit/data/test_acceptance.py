"""Which records of a design count, and why the others do not."""

import dataclasses

import pytest

from lockgate.config.data import Accept
from lockgate.data import acceptance
from lockgate.errors import LockgateError
from lockgate.tools import Column

THING = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "size": {"type": "integer"}},
    "required": ["name"],
}
COLUMNS = [
    Column("topic", "sampled"),
    Column("answer", "written"),
    Column("thing", "structured", schema=THING),
    Column("code", "validator", passed="report.is_valid"),
    Column("quality", "judge", scores={"relevance": "relevance.score", "style": "style.score"}),
]
RECORD = {
    "topic": "",
    "answer": "Yes.",
    "thing": {"name": "a", "size": None},
    "code": {"report": {"is_valid": True}},
    "quality": {"relevance": {"score": 3}, "style": {"score": "2"}},
}


def verdict(changes=None, rows=None, **accept):
    rules = acceptance.Rules(Accept(**accept).model_dump(), COLUMNS, rows)
    return rules.verdict({**RECORD, **(changes or {})})


def test_a_record_that_is_all_right_counts():
    rows = {"prompt": "{{ answer }}", "completion": "{{ thing.name }}"}
    scores = {"quality.relevance": 3, "quality.style": 2}
    assert verdict(rows=rows, scores=scores, when="answer | length > 3") == ""


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"answer": " \n"}, "answer is empty"),
        ({"answer": None}, "answer is empty"),
        ({"thing": {}}, "thing is empty"),
        ({"answer": "I'm sorry, but I can't help with that."}, "answer refuses"),
        ({"thing": {"name": "As an AI language model, I"}}, "thing refuses"),
        ({"thing": {"size": 3}}, "thing does not fit its schema ($: required)"),
        ({"thing": {"name": 3}}, "thing does not fit its schema ($.name: type)"),
        ({"code": {"report": {"is_valid": False}}}, "validator code says no"),
        ({"code": None}, "validator code says nothing"),
    ],
)
def test_a_record_is_refused_with_the_column_and_the_reason(changes, reason):
    assert verdict(changes) == reason
    assert verdict(changes, valid=False, complete=False) == ""


@pytest.mark.parametrize(
    ("score", "reason"),
    [
        (2, "is 2, below 3"),
        ("1", "is 1, below 3"),
        (None, "gives no score"),
        ("good", "gives no number"),
        (True, "gives no number"),
        (float("nan"), "gives no number"),
    ],
)
def test_a_low_or_missing_score_is_refused(score, reason):
    quality = {"quality": {"relevance": {"score": score}, "style": {"score": 5}}}
    assert verdict(quality, scores={"quality.relevance": 3}) == f"judge quality.relevance {reason}"
    assert verdict({"quality": None}, scores={"quality.style": 1}).endswith("gives no score")


def test_a_column_stands_for_all_its_scores_and_a_score_for_itself():
    assert verdict(scores={"quality": 3}) == "judge quality.style is 2, below 3"
    assert verdict(scores={"quality": 3, "quality.style": 2}) == ""


@pytest.mark.parametrize(
    ("name", "hint"),
    [("quality.relevant", "did you mean 'quality.relevance'?"), ("code", "quality.style")],
)
def test_a_score_that_no_judge_gives_is_an_error(name, hint):
    with pytest.raises(LockgateError, match="no judge gives") as error:
        verdict(scores={name: 3})
    assert error.value.where == "data.accept.scores"
    assert hint in error.value.hint


def test_an_expression_decides():
    assert verdict(when="answer == 'No.'") == "accept.when is not true"
    assert verdict(when="anwser") == "accept.when fails: 'anwser' is undefined"
    assert verdict(when="answer.__class__").startswith("accept.when fails")
    with pytest.raises(LockgateError) as error:
        verdict(when="answer >")
    assert error.value.where == "data.accept.when"


def test_a_record_that_gives_no_row_is_refused():
    rows = {"prompt": "{{ topic }}", "completion": "{{ answer }}"}
    assert verdict(rows=rows) == "gives an empty prompt (data.rows.prompt)"


@pytest.mark.parametrize("left_out", [None, "none"])
def test_a_column_that_the_design_leaves_out_is_not_missed(left_out):
    columns = [dataclasses.replace(column, skipped=("none", None)) for column in COLUMNS]
    names = [column.name for column in columns]
    assert acceptance.checked(Accept().model_dump(), columns)["skipped"] == names
    accept = Accept(scores={"quality": 2}).model_dump()
    without = {column.name: left_out for column in columns}
    assert acceptance.Rules(accept, columns, None).verdict(without) == ""
    assert acceptance.Rules(accept, COLUMNS, None).verdict(without) != ""
    refused = {**without, "answer": "I cannot help with this."}
    assert acceptance.Rules(accept, columns, None).verdict(refused) == "answer refuses"


def test_what_is_checked_can_be_told():
    assert acceptance.checked(Accept().model_dump(), COLUMNS) == {
        "written": ["answer", "thing"], "validators": ["code"], "schemas": ["thing"], "skipped": []
    }  # fmt: skip
    accept = Accept(valid=False, complete=False).model_dump()
    assert not any(acceptance.checked(accept, COLUMNS).values())


def test_each_record_has_a_verdict():
    records = [RECORD, {**RECORD, "answer": ""}]
    assert acceptance.verdicts(records, Accept().model_dump(), COLUMNS, None) == [
        "", "answer is empty"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't assist with that request.",
        "I\u2019m sorry, I cannot provide that.",
        "  *I cannot help with this.*",
        "As an AI language model, I do not have opinions.",
        "As a large language model I",
        "I am an AI and",
        "I'm unable to provide medical advice.",
        "Sorry, but I can't generate that.",
        "Unfortunately, I cannot create this.",
    ],
)
def test_refusals(text):
    assert acceptance.refuses(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I cannot log in to my account.",
        "Sorry, I forgot my password.",
        "I'm sorry for the delay; your order is on its way.",
        "As an airline, we cannot change it.",
        "I can't help but notice the smell of bread.",
        "Unfortunately, I am unable to create an account on your site.",
        "I'm sorry, but I can't complete the checkout; my card is refused.",
        "I can't answer the phone at work, please write.",
        "I cannot provide a receipt for the order.",
        "I'm an AI engineer with five years of experience.",
        "I am unable to open the door.",
        "The assistant said: I'm sorry, but I can't help with that.",
    ],
)
def test_what_only_looks_like_a_refusal(text):
    assert not acceptance.refuses(text)


def test_a_field_may_have_any_name():
    record = {"self": 2, "answer": "yes"}
    rules = acceptance.Rules(Accept(when="answer == 'yes'").model_dump(), [], None)
    assert rules.verdict(record) == ""


def test_advice_names_a_key():
    for reason, key in (
        ("schema_name is empty", "accept.complete"),
        ("validator code says no", "accept.valid"),
        ("judge quality.style is 1, below 3", "accept.scores"),
        ("thing does not fit its schema ($: required)", "data.endpoint.constrain"),
        ("gives an empty prompt (data.rows.prompt)", "data.rows"),
        ("answer is empty", "accept.complete"),
    ):
        assert key in acceptance.advice(reason)
