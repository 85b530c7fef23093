"""Every planned cell with its score and interval, compared with the control of its model."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lockgate import decision
from lockgate.errors import LockgateError
from lockgate.files import read_json
from lockgate.statistics import (
    Difference,
    Interval,
    Spread,
    averaged,
    holm,
    interval,
    paired_difference,
    spread,
)

SIGNIFICANT = 0.05
VERDICTS = ("better", "worse", "inconclusive", "not compared")


@dataclass
class Result:
    """One planned cell.

    Attributes:
        run: its row of the plan (`name`, `kind`, `model`, `seed`, `varied`).
        epoch: counted from 0; None for a control.
        samples: by id (as text): `id`, `score` (0 to 1), `answer`, `target`; none: not scored.
        score: mean over the samples; None: the cell is missing.
        low, high, method: 95% interval of the score.
        metrics: further measures of the whole cell, by name.
        control: the same task's cell of the untouched model, if there is one.
        difference: from the control, paired by sample.
        p_holm: its p-value, corrected over all comparisons of the report.
        seconds: answering and scoring this cell.
    """

    run: dict[str, Any]
    task: str
    epoch: int | None
    metric: str = ""
    samples: dict[str, dict[str, Any]] = field(default_factory=dict)
    score: float | None = None
    low: float | None = None
    high: float | None = None
    method: str = "none: this cell is missing"
    seconds: float | None = None
    metrics: dict[str, float | None] = field(default_factory=dict)
    control: Result | None = None
    difference: Difference | None = None
    p_holm: float | None = None

    @property
    def tuned(self) -> bool:
        """It is no control: trained here, or a checkpoint that was there already."""
        return bool(self.run["kind"] != "control")

    @property
    def trained(self) -> bool:
        """It was trained in this experiment."""
        return bool(self.run["kind"] == "fine-tuned")

    @property
    def label(self) -> str:
        """Run and epoch, for people."""
        return str(self.run["name"]) + ("" if self.epoch is None else f", epoch {self.epoch}")

    @property
    def verdict(self) -> str:
        """One of `VERDICTS`: better or worse only where interval and corrected p agree."""
        found = self.difference
        if found is None or found.difference is None or self.p_holm is None:
            return "not compared"
        if found.low is not None and found.high is not None and found.low <= 0 <= found.high:
            return "inconclusive"
        if self.p_holm >= SIGNIFICANT:
            return "inconclusive"
        return "better" if found.difference > 0 else "worse"


@dataclass
class Replicates:
    """Cells that differ only in their seed, all that were planned, scored or not."""

    cells: list[Result]

    @property
    def seeds(self) -> list[Any]:
        """Seeds of the cells that are scored."""
        return [cell.run["seed"] for cell in self.cells if cell.score is not None]

    @functools.cached_property
    def spread(self) -> Spread | None:
        """Of the scores; None where there is none."""
        found = [cell.score for cell in self.cells if cell.score is not None]
        return spread(found) if found else None

    @functools.cached_property
    def interval(self) -> Interval:
        """95% interval of the mean, each sample's scores averaged over the seeds first."""
        return interval(list(self._averaged().values()))

    @functools.cached_property
    def difference(self) -> Difference | None:
        """Of the seeds' mean from the control, by sample."""
        control = self.cells[0].control
        if not self.seeds or control is None or not control.samples:
            return None
        return paired_difference(self._averaged(), scores_of(control))

    def _averaged(self) -> dict[str, float]:
        return averaged([scores_of(cell) for cell in self.cells if cell.samples])


@dataclass
class Outcome:
    """What a rule about the hypothesis came to.

    Attributes:
        statement: the rule in words.
        verdict: `supported`, `contradicted` or `inconclusive`.
        difference: mean difference of the two sides, by sample.
        runs, others: how many runs each side has.
        missing: cells of either side that have no scores.
    """

    statement: str
    task: str
    verdict: str
    difference: Difference
    runs: int
    others: int
    missing: list[str]


def read_by_run(paths: Iterable[Path | str]) -> dict[str, dict[str, Any]]:
    """Manifests or scores by run; a file that is not there is left out."""
    documents = [read_json(path) for path in paths if Path(path).exists()]
    return {document["run"]: document for document in documents}


def resumed(manifest: dict[str, Any]) -> bool:
    """Whether a training continued an earlier attempt's work."""
    seconds = manifest["seconds"]
    # kept work shows as a part that took longer than the whole
    return bool(manifest.get("resumed_from_step")) or seconds.get("train", 0) > seconds["total"] + 1


def compare(plan: dict[str, Any], scores: dict[str, dict[str, Any]]) -> list[Result]:
    """A result for each planned cell: by model, its controls first, then by what varies.

    Args:
        plan: plan.json.
        scores: scores.json by run.
    """
    runs = {run["name"]: run for run in plan["runs"]}
    results = [_result(runs[cell["run"]], cell, scores) for cell in plan["cells"]]
    place = {run["name"]: number for number, run in enumerate(ordered(plan["runs"]))}
    tasks = list(dict.fromkeys(result.task for result in results))
    results.sort(key=lambda r: (place[r.run["name"]], tasks.index(r.task), r.epoch or 0))
    controls = {(r.run["name"], r.task): r for r in results if not r.tuned}
    tuned = [result for result in results if result.tuned]
    for result in tuned:
        control = decision.control_of(result.run, plan["runs"])
        result.control = controls.get((control["name"], result.task)) if control else None
        if result.control and result.samples and result.control.samples:
            result.difference = paired_difference(scores_of(result), scores_of(result.control))
    corrected = holm([r.difference.p_value if r.difference else None for r in tuned])
    for result, p_value in zip(tuned, corrected, strict=True):
        result.p_holm = p_value
    return results


def variables(runs: list[dict[str, Any]]) -> list[str]:
    """What varies between the runs of a plan, in the plan's order."""
    return list(dict.fromkeys(key for run in runs for key in run["varied"]))


def numeric(values: Iterable[Any]) -> bool:
    """Whether all values are numbers."""
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def ordered(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Runs by base model, controls first, then by each variable and the seed.

    Numbers go by size, other values in the plan's order.
    """
    names = variables(runs)
    kinds = ("control", "eval-only", "fine-tuned")
    models = list(dict.fromkeys(run.get("base") or run["model"] for run in runs))
    ranks: dict[str, list[Any]] = {}
    for name in names:
        values = [run["varied"][name] for run in runs if name in run["varied"]]
        ranks[name] = sorted(values) if numeric(values) else values

    def key(run: dict[str, Any]) -> list[Any]:
        own = run["varied"]
        places = [ranks[name].index(own[name]) if name in own else -1 for name in names]
        model = models.index(run.get("base") or run["model"])
        return [model, kinds.index(run["kind"]), *places, run["seed"] or 0]

    return sorted(runs, key=key)


def last_epochs(results: list[Result]) -> list[Result]:
    """Of each run and task the cell at its last epoch."""
    last = {}
    for result in sorted(results, key=lambda r: -1 if r.epoch is None else r.epoch):
        last[result.run["name"], result.task] = result
    return [result for result in results if last[result.run["name"], result.task] is result]


def replicates(results: list[Result], least: int = 2) -> list[Replicates]:
    """Cells of runs that differ only in their seed, where there are `least` or more, in order."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        if result.tuned:
            key = [result.task, result.epoch, result.run["kind"], decision.settings(result.run)]
            groups.setdefault(json.dumps(key, sort_keys=True), []).append(result)
    return [Replicates(group) for group in groups.values() if len(group) >= least]


def decide(plan: dict[str, Any], results: list[Result]) -> list[Outcome]:
    """What each rule of the plan's `experiment.decision` comes to; no rule: an empty list.

    A run counts with the last epoch at which it was measured. Where a cell is missing the verdict
    is `inconclusive`: what is missing need not be missing by chance.

    Raises:
        LockgateError: if a rule does not fit the plan.
    """
    last = {(result.run["name"], result.task): result for result in last_epochs(results)}
    outcomes = []
    for rule in plan["experiment"].get("decision") or []:
        found = decision.contrast(rule, plan["runs"], plan["cells"])
        groups = [[[last[name, found.task] for name in side] for side in g] for g in found.groups]
        sides = [[r for group in groups for r in group[side]] for side in (0, 1)]
        scored = [[[scores_of(r) for r in side if r.samples] for side in g] for g in groups]
        left, right = (averaged([averaged(group[side]) for group in scored]) for side in (0, 1))
        difference = paired_difference(left, right)
        missing = list(dict.fromkeys(r.label for r in [*sides[0], *sides[1]] if not r.samples))
        verdict = decision.verdict(rule, difference.low, difference.high)
        outcomes.append(
            Outcome(
                statement=decision.statement(rule, found.task),
                task=found.task,
                verdict="inconclusive" if missing else verdict,
                difference=difference,
                runs=len({r.run["name"] for r in sides[0]}),
                others=len({r.run["name"] for r in sides[1]}),
                missing=missing,
            )
        )
    return outcomes


def metric_names(results: list[Result]) -> list[str]:
    """The further metrics that some cell has a number for."""
    names = dict.fromkeys(name for result in results for name in result.metrics)
    return [name for name in names if any(r.metrics.get(name) is not None for r in results)]


def _result(run: dict[str, Any], cell: dict[str, Any], scores: dict[str, dict[str, Any]]) -> Result:
    result = Result(run, cell["task"], cell["epoch"])
    wanted = (cell["task"], cell["epoch"])
    for found in scores.get(run["name"], {}).get("cells", []):
        if (found["task"], found["epoch"]) != wanted or not found["samples"]:
            continue
        result.metric, result.seconds = found["metric"], found["seconds"]
        result.metrics = dict(found.get("metrics") or {})
        result.samples = {str(sample["id"]): sample for sample in found["samples"]}
        numbers = list(scores_of(result).values())
        if not all(0 <= number <= 1 for number in numbers):
            raise LockgateError(
                f"run '{run['name']}', task '{cell['task']}': a score is not between 0 and 1",
                hint="delete the run's scores.json and evaluate it again",
            )
        result.score = sum(numbers) / len(numbers)
        result.low, result.high, result.method = interval(numbers)
    return result


def scores_of(result: Result) -> dict[str, float]:
    """Score by sample id."""
    return {key: sample["score"] for key, sample in result.samples.items()}
