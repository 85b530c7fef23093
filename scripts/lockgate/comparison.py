"""Every planned cell with its score and interval, compared with the control of its model."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lockgate import decision
from lockgate.errors import LockgateError
from lockgate.estimates import to_csv
from lockgate.files import read_json
from lockgate.statistics import (
    Difference,
    Spread,
    averaged,
    holm,
    interval,
    paired_difference,
    spread,
)

SIGNIFICANT = 0.05
VERDICTS = ("better", "worse", "inconclusive", "not compared")
_FIELDS = [
    *("task", "epoch", "metric", "n", "score", "low", "high", "interval_method", "control"),
    *("difference", "difference_low", "difference_high", "p_value", "p_holm"),
    *("train_seconds", "eval_seconds"),
]


@dataclass
class Result:
    """One planned cell.

    Attributes:
        run: its row of the plan (`name`, `kind`, `model`, `seed`, `varied`).
        epoch: counted from 0; None for a control.
        samples: by id (as text): `id`, `score` (0 to 1), `answer`, `target`; none: not scored.
        score: mean over the samples; None: the cell is missing.
        low, high, method: 95% interval of the score.
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
    control: Result | None = None
    difference: Difference | None = None
    p_holm: float | None = None

    @property
    def tuned(self) -> bool:
        return bool(self.run["kind"] != "control")

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
    """Cells that differ only in their seed.

    Attributes:
        cells: all that were planned, scored or not.
        spread: of the scores; None where there is none.
        difference: of the seeds' mean from the control, by sample.
    """

    cells: list[Result]
    spread: Spread | None
    difference: Difference | None = None

    @property
    def seeds(self) -> list[Any]:
        """Seeds of the cells that are scored."""
        return [cell.run["seed"] for cell in self.cells if cell.score is not None]


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


def compare(plan: dict[str, Any], scores: dict[str, dict[str, Any]]) -> list[Result]:
    """A result for each planned cell, each model's control before its tuned runs.

    Args:
        plan: plan.json.
        scores: scores.json by run.
    """
    runs = {run["name"]: run for run in plan["runs"]}
    models = list(dict.fromkeys(run["model"] for run in plan["runs"]))
    results = [_result(runs[cell["run"]], cell, scores) for cell in plan["cells"]]
    results.sort(key=lambda result: (models.index(result.run["model"]), result.tuned))
    controls = {(r.run["name"], r.task): r for r in results if not r.tuned}
    tuned = [result for result in results if result.tuned]
    for result in tuned:
        control = decision.control_of(result.run, plan["runs"])
        result.control = controls.get((control["name"], result.task)) if control else None
        if result.control and result.samples and result.control.samples:
            result.difference = paired_difference(_scores(result), _scores(result.control))
    corrected = holm([r.difference.p_value if r.difference else None for r in tuned])
    for result, p_value in zip(tuned, corrected, strict=True):
        result.p_holm = p_value
    return results


def replicates(results: list[Result]) -> list[Replicates]:
    """Cells of runs that differ only in their seed, where there are several, in order."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        if result.tuned:
            key = [result.task, result.epoch, result.run["kind"], decision.settings(result.run)]
            groups.setdefault(json.dumps(key, sort_keys=True), []).append(result)
    return [_replicates(group) for group in groups.values() if len(group) > 1]


def decide(plan: dict[str, Any], results: list[Result]) -> list[Outcome]:
    """What each rule of the plan's `experiment.decision` comes to; no rule: an empty list.

    A run counts with the last epoch at which it was measured. Where a cell is missing the verdict
    is `inconclusive`: what is missing need not be missing by chance.

    Raises:
        LockgateError: if a rule does not fit the plan.
    """
    last: dict[tuple[str, str], Result] = {}
    for result in sorted(results, key=lambda r: -1 if r.epoch is None else r.epoch):
        last[result.run["name"], result.task] = result
    outcomes = []
    for rule in plan["experiment"].get("decision") or []:
        found = decision.contrast(rule, plan["runs"], plan["cells"])
        groups = [[[last[name, found.task] for name in side] for side in g] for g in found.groups]
        sides = [[r for group in groups for r in group[side]] for side in (0, 1)]
        scored = [[[_scores(r) for r in side if r.samples] for side in g] for g in groups]
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


def table(plan: dict[str, Any], results: list[Result], trained: dict[str, dict[str, Any]]) -> str:
    """results.csv: one row a cell, empty where nothing is known.

    `train_seconds` are the whole run's (its last attempt's, if it was resumed), `eval_seconds`
    this cell's (without loading the model).
    """
    head = ["experiment", "run", "kind", "model", "seed"]
    names = [key for run in plan["runs"] for key in run["varied"]]
    varied = [key for key in dict.fromkeys(names) if key not in [*head, *_FIELDS]]
    rows = []
    for result in results:
        found = result.difference
        manifest = trained.get(result.run["name"], {})
        row = {
            "experiment": plan["experiment"]["name"],
            "run": result.run["name"],
            **{key: result.run[key] for key in ("kind", "model", "seed")},
            **{key: plain(result.run["varied"].get(key)) for key in varied},
            "task": result.task,
            "epoch": result.epoch,
            "metric": result.metric,
            "n": len(result.samples),
            "score": result.score,
            "low": result.low,
            "high": result.high,
            "interval_method": result.method,
            "control": result.control.run["name"] if result.control else None,
            "difference": found.difference if found else None,
            "difference_low": found.low if found else None,
            "difference_high": found.high if found else None,
            "p_value": found.p_value if found else None,
            "p_holm": result.p_holm,
            "train_seconds": manifest["seconds"]["total"] if manifest and result.tuned else None,
            "eval_seconds": result.seconds,
        }
        rows.append({key: _rounded(value) for key, value in row.items()})
    return to_csv(rows, [*head, *varied, *_FIELDS])


def plain(value: Any) -> Any:
    """A varied parameter's value as one cell of a table."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else value


def _replicates(group: list[Result]) -> Replicates:
    scores = [result.score for result in group if result.score is not None]
    seeds = [_scores(result) for result in group if result.samples]
    found = Replicates(group, spread(scores) if scores else None)
    control = group[0].control
    if seeds and control is not None and control.samples:
        found.difference = paired_difference(averaged(seeds), _scores(control))
    return found


def _result(run: dict[str, Any], cell: dict[str, Any], scores: dict[str, dict[str, Any]]) -> Result:
    result = Result(run, cell["task"], cell["epoch"])
    wanted = (cell["task"], cell["epoch"])
    for found in scores.get(run["name"], {}).get("cells", []):
        if (found["task"], found["epoch"]) != wanted or not found["samples"]:
            continue
        result.metric, result.seconds = found["metric"], found["seconds"]
        result.samples = {str(sample["id"]): sample for sample in found["samples"]}
        numbers = list(_scores(result).values())
        if not all(0 <= number <= 1 for number in numbers):
            raise LockgateError(
                f"run '{run['name']}', task '{cell['task']}': a score is not between 0 and 1",
                hint="delete the run's scores.json and evaluate it again",
            )
        result.score = sum(numbers) / len(numbers)
        result.low, result.high, result.method = interval(numbers)
    return result


def _scores(result: Result) -> dict[str, float]:
    return {key: sample["score"] for key, sample in result.samples.items()}


def _rounded(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value
