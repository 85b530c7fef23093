"""What becomes of a manifest's strategies and of patterns, from what is known of a stage."""

import pytest

from lockgate.catalog.model import Advice, Need, Notes, Pattern, Question, Step, Strategy
from lockgate.stages.advice import CONDITIONS, Facts, judge, matched, patterns, problems

KNOWN = Facts(
    model="Maker/Great-Super-30B",
    method="full",
    goal="sft",
    gpus=8,
    gpu="H100",
    rows=500,
    kinds=("messages",),
    sequence_length=4096,
    upstream=("prep/pack", "translate/corpus"),
    downstream=("rl/big/dpo",),
    inputs=("packed", "checkpoint"),
    config={"train": {"steps": 10, "fast": True}, "backend": "llm", "empty": None, "later": "???"},
    goals=("translate", "sft", "dpo"),
    endpoint=False,
)


@pytest.mark.parametrize(
    ("test", "holds"),
    [
        ({}, True),
        ({"model": "*super*"}, True),
        ({"model": ["*nano*", "*SUPER-30b"]}, True),
        ({"model": "super"}, False),
        ({"model_not": ["*nano*"]}, True),
        ({"model_not": ["*nano*", "*super*"]}, False),
        ({"method": "full"}, True),
        ({"method": ["lora"]}, False),
        ({"goal": ["sft", "dpo"]}, True),
        ({"goals_any": "dpo"}, True),
        ({"goals_any": ["rlvr"]}, False),
        ({"gpus_max": 8}, True),
        ({"gpus_max": 7}, False),
        ({"gpus_min": 8}, True),
        ({"gpus_min": 9}, False),
        ({"gpu_memory_max": 80}, True),
        ({"gpu_memory_max": 40}, False),
        ({"gpu_memory_min": 80}, True),
        ({"rows_max": 499}, False),
        ({"rows_min": 500}, True),
        ({"rows": ["messages", "text"]}, True),
        ({"rows": "preference"}, False),
        ({"sequence_length_min": 4097}, False),
        ({"sequence_length_max": 4096}, True),
        ({"upstream": "translate/*"}, True),
        ({"upstream": "rl/*"}, False),
        ({"downstream": ["rl/*/dpo"]}, True),
        ({"input": "packed"}, True),
        ({"input": ["raw"]}, False),
        ({"endpoint": False}, True),
        ({"endpoint": True}, False),
        ({"value": {"train.steps": 10, "backend": ["nmt", "llm"]}}, True),
        ({"value": {"train.steps": 10, "backend": "nmt"}}, False),
        ({"value": {"train.fast": True}}, True),
        ({"value": {"train.fast": 1}}, False),
        ({"value": {"absent.key": 1}}, False),
        ({"value": {"absent.key": None, "empty": None}}, True),
        ({"goal": "sft", "gpus_max": 2}, False),
        ({"goal": "sft", "gpus_max": 8}, True),
    ],
    ids=str,
)
def test_a_test_holds_where_all_of_its_conditions_do(test, holds):
    assert judge(test, KNOWN) is holds


@pytest.mark.parametrize(
    "test",
    [{name: "x"} for name in CONDITIONS if not name.endswith(("_min", "_max", "value", "endpoint"))]
    + [{name: 1} for name in CONDITIONS if name.endswith(("_min", "_max"))]
    + [{"endpoint": True}, {"value": {"a": 1}}],
    ids=str,
)
def test_what_is_not_known_decides_nothing(test):
    assert judge(test, Facts()) is None


def test_one_condition_that_fails_outweighs_what_is_not_known():
    facts = Facts(goal="sft")
    assert judge({"goal": "dpo", "gpus_max": 2}, facts) is False
    assert judge({"goal": "sft", "gpus_max": 2}, facts) is None


def test_a_value_that_is_filled_in_later_is_not_known():
    assert judge({"value": {"later": 1}}, KNOWN) is None
    assert judge({"value": {"later": "???"}}, KNOWN) is True
    facts = Facts(config={"path": "${oc.env:HOME}/data"})
    assert judge({"value": {"path": "/data"}}, facts) is None


def test_what_is_known_to_be_none_fails_rather_than_being_unknown():
    nothing = Facts(model="", method="", upstream=(), goals=())
    assert judge({"model": "*"}, nothing) is False
    assert judge({"model_not": "*super*"}, nothing) is False
    assert judge({"method": "lora"}, nothing) is False
    assert judge({"upstream": "*"}, nothing) is False


def test_a_gpu_that_the_table_does_not_have_leaves_its_memory_unknown():
    assert judge({"gpu_memory_max": 40}, Facts(gpu="Abacus 1")) is None


def test_an_unknown_condition_decides_nothing():
    assert judge({"moon": "full"}, KNOWN) is None
    assert judge({"gpus_max": "two"}, KNOWN) is None


def strategies(*names):
    return [Strategy(when=name, then=f"do {name}") for name in names]


def test_each_strategy_says_what_became_of_it():
    advice = [
        Advice(when="small", test={"rows_max": 1000}, set={"steps": 5}),
        Advice(when="full", test={"method": "full"}),
        Advice(when="few GPUs", test={"gpus_max": 2}, set={"tp": 1}),
        Advice(when="long", test={"sequence_length_min": 9, "gpu_memory_max": 40}),
        Advice(when="prose, changed since", test={}),
    ]
    step = Step(
        id="sft/x",
        strategies=[
            *strategies("small", "full", "few GPUs", "long"),
            Strategy(when="prose", then="think", skill="skills/think.md"),
        ],
        notes=Notes(advice=advice),
    )
    found = matched(step, Facts(rows=10, method="full", gpus=8))
    assert [(one["when"], one["status"], one["set"]) for one in found] == [
        ("small", "followed", {"steps": 5}),
        ("full", "applies", {}),
        ("few GPUs", "does not apply", {}),
        ("long", "not known: the sequence length, the memory of a GPU", {}),
        ("prose", "for the reader", {}),
    ]
    assert found[4]["then"] == "think"
    assert found[4]["skill"] == "skills/think.md"


def test_only_what_is_lacking_is_said_to_be_not_known():
    step = Step(
        id="x",
        strategies=strategies("s"),
        notes=Notes(advice=[Advice(when="s", test={"gpus_max": 8, "value": {"a.b": 1}})]),
    )
    (record,) = matched(step, Facts(gpus=1))
    assert record["status"] == "not known: the value of a.b"


def test_of_several_tests_for_one_text_the_first_that_holds_counts():
    advice = [
        Advice(when="s", test={"gpus_max": 1}, set={"k": 1}),
        Advice(when="s", test={"gpus_max": 4}, set={"k": 4}),
        Advice(when="s", test={"gpus_max": 8}, set={"k": 8}),
    ]
    step = Step(id="x", strategies=strategies("s"), notes=Notes(advice=advice))
    assert matched(step, Facts(gpus=3))[0]["set"] == {"k": 4}
    assert matched(step, Facts(gpus=9))[0]["status"] == "does not apply"
    assert matched(step, Facts())[0]["status"] == "not known: the number of GPUs"


def pattern(name, triggers, *advice):
    return Pattern(id=name, title=f"About {name}", triggers=triggers, advice=list(advice))


def test_patterns_are_cited_with_the_trigger_that_matched():
    found = patterns(
        [
            pattern(
                "small-data",
                ["few rows", "narrow task", "no budget"],
                Advice(when="few rows", test={"rows_max": 9999}, set={"lr": 0.1}),
                Advice(when="no budget", test={"gpus_max": 1}),
            ),
            pattern("prose", ["you feel like it"]),
            pattern("other", ["one GPU"], Advice(when="one GPU", test={"gpus_max": 1})),
            pattern("dark", ["sequences"], Advice(when="sequences", test={"goals_any": "dpo"})),
        ],
        Facts(rows=10, gpus=8),
    )
    assert [one["id"] for one in found] == ["small-data", "prose", "dark"]
    assert found[0] == {
        "id": "small-data",
        "title": "About small-data",
        "confidence": "",
        "status": "applies",
        "matched": ["few rows"],
        "not_known": [],
        "reader": ["narrow task"],
        "set": {"lr": 0.1},
    }
    assert (found[1]["status"], found[1]["reader"]) == ("for the reader", ["you feel like it"])
    assert found[2]["status"] == "not known: the goals of the chain"
    assert found[2]["not_known"] == ["sequences"]


def test_tests_that_cannot_be_evaluated_are_reported():
    notes = Notes(
        advice=[Advice(when="a", test={"moon": "full", "gpus_max": "two", "model": ["*"]})],
        needs=[Need(why="b", test={"endpoint": "yes"})],
        questions=[Question(key="k", ask="?", test={"value": 3, "goal": [1]})],
    )
    found = problems(
        [Step(id="sft/x", notes=notes)], [pattern("p", ["t"], Advice(when="t", test={"x": 1}))]
    )
    assert [(one.where, one.what) for one in found] == [
        ("sft/x: lockgate.advice", "a test has no condition 'moon'"),
        ("sft/x: lockgate.advice", "'gpus_max' of a test is 'two'"),
        ("sft/x: lockgate.needs", "'endpoint' of a test is 'yes'"),
        ("sft/x: lockgate.questions", "'value' of a test is 3"),
        ("sft/x: lockgate.questions", "'goal' of a test is [1]"),
        ("p: advice", "a test has no condition 'x'"),
    ]
    assert found[1].hint == "give it a number"
    assert found[2].hint == "give it true or false"
    assert "goals_any" in found[0].hint
