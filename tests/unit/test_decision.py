"""Which runs a rule about the hypothesis compares, and when it holds."""

import pytest

from lockgate.decision import check_decision, contrast, control_of, overall, statement, verdict
from lockgate.errors import LockgateError


def rule(**changes):
    base = {"task": None, "runs": {}, "against": "control", "expect": "better", "at_least": 0.0}
    return {**base, **changes}


def run(name, seed=1, kind="fine-tuned", model="m", prompt=None, **varied):
    return {
        "name": name, "kind": kind, "model": model, "seed": seed, "varied": varied,
        "parameters": {"precision": "float32", "epochs": 2, **varied}, "system_prompt": prompt,
    }  # fmt: skip


def control(name="control", **more):
    return {**run(name, None, "control", **more), "parameters": {"precision": "float32"}}


RUNS = [
    control(),
    *(
        run(f"{rate}-{rank}-{seed}", seed, learning_rate=rate, lora_rank=rank)
        for rate in (0.001, 0.003)
        for rank in (8, 16)
        for seed in (1, 2)
    ),
]


def cells(runs=RUNS, tasks=("exact",)):
    return [{"run": one["name"], "task": task, "epoch": 0} for one in runs for task in tasks]


def refused(*rules, runs=RUNS, measured=None):
    with pytest.raises(LockgateError) as error:
        check_decision(rules, runs, cells(runs) if measured is None else measured)
    assert error.value.hint
    return str(error.value)


def test_every_setting_is_a_group_held_against_its_control():
    found = contrast(rule(), RUNS, cells())
    assert found.task == "exact"
    assert found.groups == [
        (["0.001-8-1", "0.001-8-2"], ["control"]),
        (["0.001-16-1", "0.001-16-2"], ["control"]),
        (["0.003-8-1", "0.003-8-2"], ["control"]),
        (["0.003-16-1", "0.003-16-2"], ["control"]),
    ]
    chosen = contrast(rule(runs={"learning_rate": 0.003, "lora_rank": 16}), RUNS, cells())
    assert chosen.groups == [(["0.003-16-1", "0.003-16-2"], ["control"])]


def test_runs_against_runs_are_grouped_by_what_the_rule_does_not_name():
    rates = rule(runs={"learning_rate": 0.003}, against={"learning_rate": 0.001})
    assert contrast(rates, RUNS, cells()).groups == [
        (["0.003-8-1", "0.003-8-2"], ["0.001-8-1", "0.001-8-2"]),
        (["0.003-16-1", "0.003-16-2"], ["0.001-16-1", "0.001-16-2"]),
    ]


def test_a_list_is_any_of_its_values():
    found = contrast(rule(runs={"learning_rate": [0.001, 0.003], "lora_rank": 8}), RUNS, cells())
    assert [names[0] for names, _ in found.groups] == ["0.001-8-1", "0.003-8-1"]
    targets = [run("a", lora_targets=["q", "v"]), run("b", lora_targets=["q"])]
    wanted = rule(runs={"lora_targets": ["q", "v"]}, against={"lora_targets": ["q"]})
    assert contrast(wanted, targets, cells(targets)).groups == [(["a"], ["b"])]


def test_only_runs_that_take_the_task_count():
    some = [cell for cell in cells() if not cell["run"].startswith("0.001")]
    assert len(contrast(rule(), RUNS, some).groups) == 2


def test_a_control_is_of_the_same_model_precision_and_prompt():
    runs = [control("a"), control("b", prompt="Be brief."), control("c", model="n")]
    assert control_of(run("x", prompt="Be brief.", rank=8), runs)["name"] == "b"
    assert control_of(run("x", model="n"), runs)["name"] == "c"
    assert control_of(run("x", precision="bfloat16"), runs) is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"task": "exat"}, "[0].task: there is no task 'exat'\nHint: name one of exact"),
        (
            {"runs": {"epochs": 2}},
            "[0].runs.epochs: 'epochs' does not vary between the runs of this task\n"
            "Hint: what varies: learning_rate, lora_rank",
        ),
        (
            {"runs": {"seed": 1}},
            "[0].runs.seed: 'seed' does not vary",
        ),
        (
            {"runs": {"lora_rank": 32}},
            "[0].runs.lora_rank: no run has lora_rank 32\nHint: runs have: 8, 16",
        ),
        (
            {"runs": {"lora_rank": 8}, "against": {"lora_rank": [16, 4]}},
            "[0].against.lora_rank: no run has lora_rank 4\nHint: runs have: 8, 16",
        ),
        (
            {"against": {"lora_rank": 8}},
            "[0].against: run '0.001-8-1' is on both sides of the comparison",
        ),
    ],
)
def test_a_rule_that_fits_no_run_is_refused(changes, expected):
    assert refused(rule(**changes)).startswith(f"experiment.decision{expected}")


def test_the_second_rule_is_named_as_such():
    assert refused(rule(), rule(task="x")).startswith("experiment.decision[1].task: ")


def test_of_several_tasks_one_is_named():
    measured = cells(tasks=("exact", "f1"))
    told = refused(rule(), measured=measured)
    assert "[0].task: there are several tasks, and the rule names none" in told
    check_decision([rule(task="f1")], RUNS, measured)


def test_controls_that_are_not_there_are_missed():
    told = refused(rule(), runs=RUNS[1:])
    assert "[0].against: run '0.001-8-1' has no control on this task" in told
    unmeasured = [cell for cell in cells() if cell["run"] != "control"]
    assert "has no control on this task" in refused(rule(), measured=unmeasured)
    check_decision([rule(runs={"lora_rank": 8}, against={"lora_rank": 16})], RUNS[1:], cells())


def test_sides_that_differ_in_more_are_refused():
    runs = [one for one in RUNS if not one["name"].startswith("0.003-16")]
    rates = rule(runs={"learning_rate": 0.001}, against={"learning_rate": 0.003})
    told = refused(rates, runs=runs)
    assert "[0].against: run '0.001-16-1' has no counterpart" in told
    both = {"runs": {"learning_rate": 0.001, "lora_rank": 8}}
    check_decision([{**rates, **both}], runs, cells(runs))


def test_values_that_no_run_has_together_are_refused():
    runs = [one for one in RUNS if not one["name"].startswith("0.003-16")]
    told = refused(rule(runs={"learning_rate": 0.003, "lora_rank": 16}), runs=runs)
    assert "[0].runs: no run has learning_rate 0.003 and lora_rank 16" in told


@pytest.mark.parametrize(
    ("expect", "at_least", "low", "high", "expected"),
    [
        ("better", 0.05, 0.06, 0.20, "supported"),
        ("better", 0.05, 0.05, 0.20, "supported"),
        ("better", 0.05, 0.05 - 1e-12, 0.20, "supported"),
        ("better", 0.05, 0.04, 0.20, "inconclusive"),
        ("better", 0.05, 0.01, 0.04, "contradicted"),  # a gain, but too small to count
        ("better", 0.05, -0.10, 0.05, "inconclusive"),
        ("better", 0.0, 0.01, 0.20, "supported"),
        ("better", 0.0, 0.0, 0.20, "inconclusive"),
        ("better", 0.0, -0.2, 0.0, "inconclusive"),
        ("better", 0.0, -0.2, -0.1, "contradicted"),
        ("worse", 0.05, -0.20, -0.06, "supported"),
        ("worse", 0.05, -0.20, -0.04, "inconclusive"),
        ("worse", 0.05, -0.04, 0.20, "contradicted"),
        ("equal", 0.05, -0.04, 0.04, "supported"),
        ("equal", 0.05, -0.04, 0.05, "inconclusive"),
        ("equal", 0.05, -0.20, 0.20, "inconclusive"),
        ("equal", 0.05, 0.05, 0.20, "contradicted"),
        ("equal", 0.05, -0.20, -0.06, "contradicted"),
        ("equal", 0.05, None, None, "inconclusive"),
    ],
)
def test_the_whole_interval_decides(expect, at_least, low, high, expected):
    assert verdict(rule(expect=expect, at_least=at_least), low, high) == expected


def test_all_rules_have_to_be_supported():
    assert overall(["supported", "supported"]) == "supported"
    assert overall(["supported", "inconclusive"]) == "inconclusive"
    assert overall(["inconclusive", "contradicted", "supported"]) == "contradicted"


def test_a_rule_in_words():
    assert statement(rule()) == ("the fine-tuned runs score on average better than their controls")
    wanted = rule(
        task="f1", runs={"model": "m", "lora_rank": [8, 16]}, expect="equal", at_least=0.02,
        against={"model": "n"},
    )  # fmt: skip
    assert statement(wanted) == (
        "on f1, the runs with model m and lora_rank [8, 16] score on average within 0.02 of the "
        "runs with model n"
    )
    assert statement(rule(expect="worse", at_least=0.1), "exact") == (
        "on exact, the fine-tuned runs score on average worse than their controls, by at least 0.1"
    )
