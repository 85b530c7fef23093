"""Rules about the hypothesis held against scores, and runs that differ in their seed."""

import math

import pytest

from lockgate.comparison import compare, decide, replicates


def rule(**changes):
    base = {"task": None, "runs": {}, "against": "control", "expect": "better", "at_least": 0.05}
    return {**base, **changes}


class Experiment:
    """A plan, and scores of 0 or 1 by sample for each run (and epoch)."""

    def __init__(self):
        self.runs, self.cells, self.scores = [], [], {}

    def add(self, name, scores, seed=None, epoch=0, model="m", task="exact", **varied):
        kind = "fine-tuned" if seed is not None else "control"
        at = epoch if seed is not None else None
        if name not in self.scores:
            self.runs.append(
                {
                    "name": name, "kind": kind, "model": model, "seed": seed, "varied": varied,
                    "parameters": varied,
                }
            )  # fmt: skip
        self.cells.append({"run": name, "task": task, "epoch": at})
        samples = [
            {"id": i, "score": float(score), "answer": "", "target": ""}
            for i, score in enumerate(scores or [])
        ]
        found = self.scores.setdefault(name, {"run": name, "cells": []})
        if scores is not None:
            found["cells"].append(
                {"task": task, "epoch": at, "metric": "exact", "seconds": 1.0, "samples": samples}
            )

    def plan(self, *rules):
        return {"experiment": {"decision": list(rules)}, "runs": self.runs, "cells": self.cells}

    def decide(self, wanted):
        plan = self.plan(wanted)
        (outcome,) = decide(plan, compare(plan, self.scores))
        return outcome


@pytest.fixture
def experiment():
    return Experiment()


def ones(count, of=40):
    return [1] * count + [0] * (of - count)


def normal(values):
    """The 95% interval of the mean by the normal distribution."""
    mean = sum(values) / len(values)
    half = 1.96 * math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1) / len(values))
    return pytest.approx(mean - half, abs=0.03), pytest.approx(mean + half, abs=0.03)


def test_all_runs_are_averaged_and_held_against_their_control(experiment):
    experiment.add("control", ones(4))
    for rate, right in ((0.1, 12), (0.3, 20)):
        for seed in (1, 2):
            experiment.add(f"{rate}-{seed}", ones(right + seed), seed, learning_rate=rate)
    found = experiment.decide(rule())
    assert (found.verdict, found.runs, found.others) == ("supported", 4, 1)
    # 13, 14, 21 and 22 of 40 right, the control 4
    assert found.difference.difference == pytest.approx((13 + 14 + 21 + 22) / 160 - 0.1)
    assert found.difference.n == 40
    gains = [0] * 4 + [1] * 9 + [3 / 4] + [1 / 2] * 7 + [1 / 4] + [0] * 18
    assert (found.difference.low, found.difference.high) == normal(gains)
    assert experiment.decide(rule(at_least=0.6)).verdict == "contradicted"
    assert experiment.decide(rule(at_least=0.3)).verdict == "inconclusive"


def test_a_setting_with_more_seeds_counts_no_more(experiment):
    experiment.add("control", ones(0))
    experiment.add("a1", ones(10), 1, rank=1)
    for seed in (1, 2, 3):
        experiment.add(f"b{seed}", ones(30), seed, rank=2)
    assert experiment.decide(rule()).difference.difference == pytest.approx(20 / 40)


def test_each_model_is_held_against_its_own_control(experiment):
    experiment.add("m_control", ones(0), model="m")
    experiment.add("n_control", ones(20), model="n")
    experiment.add("m_run", ones(20), 1, model="m")
    experiment.add("n_run", ones(20), 1, model="n")
    found = experiment.decide(rule())
    assert (found.runs, found.others) == (2, 2)
    assert found.difference.difference == pytest.approx(10 / 40)
    assert experiment.decide(rule(runs={"model": "n"})).difference.difference == 0
    other = experiment.decide(rule(runs={"model": "m"}, against={"model": "n"}, expect="equal"))
    assert other.difference.difference == 0


def test_runs_are_held_against_runs(experiment):
    for rank in (8, 16):
        experiment.add(f"low-{rank}", ones(10), 1, rate=0.1, rank=rank)
        experiment.add(f"high-{rank}", ones(30), 1, rate=0.3, rank=rank)
    rates = {"runs": {"rate": 0.1}, "against": {"rate": 0.3}}
    found = experiment.decide(rule(**rates))
    assert found.difference.difference == pytest.approx(-0.5)
    assert found.verdict == "contradicted"
    assert experiment.decide(rule(**rates, expect="worse")).verdict == "supported"
    ranks = rule(runs={"rank": 8}, against={"rank": 16}, expect="equal", at_least=0.1)
    found = experiment.decide(ranks)
    # alike on each of 40 samples: within 1 - 0.025^(1/40) = 0.088
    assert found.difference.high == pytest.approx(1 - 0.025 ** (1 / 40))
    assert found.verdict == "supported"
    assert experiment.decide({**ranks, "at_least": 0.05}).verdict == "inconclusive"


def test_a_run_counts_with_its_last_epoch(experiment):
    experiment.add("control", ones(4))
    experiment.add("run", ones(38), 1, epoch=2)
    experiment.add("run", ones(1), 1, epoch=0)
    found = experiment.decide(rule())
    assert found.difference.difference == pytest.approx(34 / 40)


def test_the_rules_task_decides(experiment):
    for task, right in (("exact", 38), ("f1", 4)):
        experiment.add("control", ones(4), task=task)
        experiment.add("run", ones(right), 1, task=task)
    assert experiment.decide(rule(task="exact")).verdict == "supported"
    assert experiment.decide(rule(task="f1")).verdict == "inconclusive"
    assert experiment.decide(rule(task="f1", at_least=0.1)).verdict == "contradicted"


@pytest.mark.parametrize("name", ["control", "a2"])
def test_a_missing_cell_leaves_it_undecided(experiment, name):
    experiment.add("control", None if name == "control" else ones(4))
    experiment.add("a1", ones(38), 1)
    experiment.add("a2", None if name == "a2" else ones(38), 2)
    found = experiment.decide(rule())
    assert found.verdict == "inconclusive"
    assert found.missing == ["control" if name == "control" else "a2, epoch 0"]


def test_only_samples_that_all_runs_answered_are_compared(experiment):
    experiment.add("control", ones(0, of=30))
    experiment.add("a1", ones(20, of=40), 1)
    experiment.add("a2", ones(20, of=20), 2)
    assert (experiment.decide(rule()).difference.n) == 20


def test_without_a_rule_nothing_is_decided(experiment):
    experiment.add("control", ones(4))
    experiment.add("run", ones(38), 1)
    plan = experiment.plan()
    assert decide(plan, compare(plan, experiment.scores)) == []
    del plan["experiment"]["decision"]
    assert decide(plan, compare(plan, experiment.scores)) == []


def test_runs_of_several_seeds_have_mean_and_spread(experiment):
    experiment.add("control", ones(4))
    for seed, right in ((3, 8), (4, 16), (5, 36)):
        experiment.add(f"a{seed}", ones(right), seed, rank=1)
    experiment.add("b3", ones(20), 3, rank=2)
    plan = experiment.plan()
    (found,) = replicates(compare(plan, experiment.scores))
    assert found.seeds == [3, 4, 5]
    assert (found.spread.n, found.spread.low, found.spread.high) == (3, 0.2, 0.9)
    assert found.spread.mean == pytest.approx(0.5)
    assert found.spread.deviation == pytest.approx(math.sqrt(0.13))
    assert found.difference.difference == pytest.approx(0.4)
    assert found.difference.n == 40  # samples, not samples times seeds
    gains = [0] * 4 + [1] * 4 + [2 / 3] * 8 + [1 / 3] * 20 + [0] * 4
    assert (found.difference.low, found.difference.high) == normal(gains)


def test_epochs_and_tasks_are_not_seeds(experiment):
    for task in ("exact", "f1"):
        for epoch in (0, 1):
            for seed in (1, 2):
                experiment.add(f"a{seed}", ones(20), seed, epoch=epoch, task=task)
    plan = experiment.plan()
    found = replicates(compare(plan, experiment.scores))
    assert [(one.cells[0].task, one.cells[0].epoch, one.seeds) for one in found] == [
        ("exact", 0, [1, 2]), ("exact", 1, [1, 2]), ("f1", 0, [1, 2]), ("f1", 1, [1, 2]),
    ]  # fmt: skip
    assert found[0].difference is None


def test_seeds_without_scores_are_left_out_of_the_mean(experiment):
    experiment.add("a1", ones(20), 1)
    experiment.add("a2", None, 2)
    plan = experiment.plan()
    (found,) = replicates(compare(plan, experiment.scores))
    assert (found.seeds, len(found.cells)) == ([1], 2)
    assert (found.spread.mean, found.spread.deviation) == (0.5, None)
    experiment.scores["a1"]["cells"] = []
    (found,) = replicates(compare(plan, experiment.scores))
    assert (found.seeds, found.spread, found.difference) == ([], None, None)
