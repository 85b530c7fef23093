"""What is suggested for a poor figure, and that nothing is for a good one."""

import dataclasses
import random

import pytest

from lockgate.data import quality
from lockgate.data.suggestions import suggest
from lockgate.tools import Column

COLUMNS = [
    Column("topic", "sampled", asked={"bread": 0.5, "milk": 0.25, "salt": 0.25}),
    Column("question", "written"),
    Column("answer", "written"),
    Column("check", "validator", passed="is_valid"),
    Column("quality", "judge", scores={"clarity": "clarity.score"}),
]
WORDS = [f"word{number}" for number in range(500)]
OURS = {"files": None, "accept": {"most": 3}}
FILES = {"files": "some.jsonl"}


def made(count=24, **changes):
    draw = random.Random(4)
    topics = ["bread", "bread", "milk", "salt"]
    records = [
        {
            "topic": topics[number % 4],
            "question": " ".join(draw.choices(WORDS, k=12)) + "?",
            "answer": " ".join(draw.choices(WORDS, k=20)) + ".",
            "check": {"is_valid": True},
            "quality": {"clarity": {"score": 3 + number % 2}},
        }
        for number in range(count)
    ]
    for name, values in changes.items():
        for number, value in values.items():
            records[number][name] = value
    return records


def said(records, section=OURS, verdicts=None, **more):
    rows = [
        {"id": str(n), "prompt": one["question"], "completion": one["answer"] or "-"}
        for n, one in enumerate(records)
        if not (verdicts and verdicts[n])
    ]
    columns = more.pop("columns", COLUMNS)
    return suggest(quality.examine(records, rows, columns, verdicts=verdicts, **more), section)


def every(value, count=24):
    return dict.fromkeys(range(count), value)


def test_nothing_is_suggested_where_no_figure_is_poor():
    assert said(made()) == []
    assert said(made(), FILES, columns=[]) == []
    sparse = [{**one, "note": "so it is" if n == 3 else None} for n, one in enumerate(made())]
    assert said(sparse, FILES, columns=[]) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"answer": {3: "I'm sorry, but I can't help with that.", 9: "As an AI, no."}},
            "answer refuses to answer in 2 of 24 records (records 3, 9). Fix: reword the prompt "
            "of answer in data.design, or use another model.",
        ),
        (
            {"answer": {5: ""}},
            "answer is empty in 1 of 24 records (record 5). Fix: raise max_tokens of the model of "
            "answer in data.design (one that thinks may spend them all before it answers), or "
            "reword its prompt.",
        ),
        (
            {"answer": {n: "word " * 30 + f"and so on{n} of" for n in (1, 2, 3, 4)}},
            "answer ends amid a sentence, near the length of the longest, in 4 of 24 records. "
            "Fix: raise max_tokens of the model of answer in data.design, or ask for shorter "
            "answers.",
        ),
        (
            {"check": {n: {"is_valid": False, "why": "no table"} for n in range(6)}},
            "validator check passes 18 of 24 records, most often: no table. Fix: say in the prompt "
            "of what it checks what is valid, give an example there, or use a larger model.",
        ),
        (
            {"check": every({"is_valid": None})},
            "validator check says nothing of any record. Fix: see that what it checks is not "
            "empty, and that it can run here.",
        ),
        (
            {"quality": every({"clarity": {"score": 4}})},
            "judge quality.clarity gives 4 to all 24 records. Fix: describe in its options in "
            "data.design what tells one score from the next, or judge with a larger model.",
        ),
        (
            {"quality": {0: None}},
            "judge quality.clarity gives no score for 1 of 24 records. Fix: set "
            "data.endpoint.constrain to true, which keeps answers to the schema, or use a larger "
            "model.",
        ),
        (
            {"question": {n: f"why {n}" for n in range(24)}},
            "prompts are very short (half of them have at most 2 words). Fix: say in data.rows "
            "what is asked for, not the input alone.",
        ),
        (
            {"question": {n: "the very same question is asked here again" for n in range(5)}},
            "4 of 24 rows repeat the prompt of another. Fix: draw more of what the prompts say "
            "with samplers in data.design (more axes, more values), or raise the temperature of "
            "the model that writes them.",
        ),
        (
            {"answer": {n: " ".join(WORDS[n % 3 : n % 3 + 20]) + "." for n in range(24)}},
            "answer has 3 different texts in 24 records. Fix: name more axes in the prompt of "
            "answer in data.design, or raise the temperature of its model.",
        ),
        (
            {"answer": {n: f"x{n} " + " ".join(WORDS[:20]) + "." for n in range(24)}},
            "answer repeats itself (9% of its pairs of words are different). Fix: name more axes "
            "in the prompt of answer in data.design, or raise the temperature of its model.",
        ),
    ],
)
def test_a_poor_figure_gives_one_sentence_with_its_fix(changes, expected):
    assert said(made(**changes)) == [expected]


def test_what_the_design_leaves_out_is_not_missed():
    columns = [*COLUMNS[:2], *(dataclasses.replace(one, skipped=(None,)) for one in COLUMNS[2:])]
    some = dict.fromkeys(range(6))
    assert said(made(answer=some, check=some, quality=some), columns=columns) == []
    (told,) = said(made(quality=every(None)), columns=columns)
    assert told.startswith("quality is skipped in all 24 records. Fix: see skip.when")


def test_the_same_completion_everywhere():
    found = said(made(answer=every("yes")))
    assert (
        "all 24 rows have the same completion. Fix: let data.rows take a field that differs."
        in (found)
    )


def test_an_axis_that_is_off_by_more_than_chance_explains():
    found = said(made(topic=dict.fromkeys(range(24), "milk")))
    assert found == [
        "topic is 75% off what was asked (of draws of 24 records none of a thousand are as far "
        "off). Fix: change the values and weights of topic in data.design.",
        "topic is never bread, salt in 24 records. Fix: change the values and weights of topic in "
        "data.design.",
    ]
    # four records that are all bread are no finding: one draw in sixteen is
    few = said(made(4, topic=dict.fromkeys(range(4), "bread")))
    assert not any(text.startswith("topic") for text in few)


def test_an_axis_that_the_refusals_have_changed():
    verdicts = ["answer is empty" if n % 4 > 1 else "" for n in range(24)]
    found = said(made(), verdicts=verdicts)
    assert found[0] == (
        "12 of 24 records are accepted (most are refused for: answer is empty, 12). Fix: change "
        "the column's prompt or its model, or accept.complete."
    )
    assert found[1].endswith(
        "Fix: see for which values of topic records are refused, or change its values."
    )


def test_an_acceptance_that_the_limit_does_not_allow_for():
    verdicts = ["validator check says no"] * 20 + [""] * 4
    assert said(made(), verdicts=verdicts)[0].startswith(
        "4 of 24 records are accepted, too few for data.accept.most"
    )


def test_axes_that_are_named_but_uneven_or_not_there_or_none():
    records = [{**one, "kind": "a" if n else "b"} for n, one in enumerate(made())]
    uneven, missing = said(records, axes=["kind", "nothing"])
    assert uneven.startswith("kind is uneven (96% are a, evenness 0.25). Fix: draw kind")
    assert missing == (
        "no record has the axis nothing. Fix: name fields of the records in data.axes."
    )
    assert said(made(), columns=COLUMNS[1:]) == [
        "no field is an axis of diversity. Fix: draw what should vary with a sampler in "
        "data.design, or name fields in data.axes."
    ]


def test_leaks_and_poor_records_of_a_file():
    records = made(answer={3: "I'm sorry, but I can't help with that."})
    records[20]["question"] = records[1]["question"]
    rows = [
        {"id": str(n), "prompt": one["question"], "completion": one["answer"]}
        for n, one in enumerate(records)
    ]
    parts = {"train": rows[:20], "validation": [], "test": rows[20:]}
    found = suggest(quality.examine(records, rows, [], leaks=parts), FILES)
    assert found == [
        "answer refuses to answer in 1 of 24 records (record 3). Fix: take these records out of "
        "the file.",
        "1 held-out row is like a row to train on (row 20 like 1). Fix: take them out of one of "
        "the splits, or raise data.similarity if they only look alike.",
    ]


def test_few_records_tell_little():
    assert said(made(8)) == [
        "8 records tell little (what is true of all of them may be true of 69% only). Fix: raise "
        "data.preview_records to 20 or more for shares to rely on."
    ]
    assert said(made(8), FILES, columns=[]) == [
        "there are 8 records. Fix: add records: so few are hardly learned from."
    ]
    assert said([]) == []
