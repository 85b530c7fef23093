"""What came out, in plain words: the headline, the tally, and what is missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lockgate.comparison import VERDICTS, Outcome, Result, resumed
from lockgate.decision import overall
from lockgate.gates import ORDER

_SENTENCES = {
    "better": "Fine-tuning helped on {task}: {who}, scores {tuned}, its untouched control "
    "{control}: {difference} ({evidence}).",
    "worse": "Fine-tuning made {task} worse: {who}, scores {tuned}, its untouched control "
    "{control}: {difference} ({evidence}).",
    "inconclusive": "Inconclusive on {task}: {who}, scores {tuned}, its untouched control "
    "{control}: {difference} ({evidence}). This could be chance.",
}


_INTERVALS = {
    "supported": "all of the interval is as expected",
    "contradicted": "none of the interval is as expected",
    "inconclusive": "the interval does not decide",
}


def decision(outcomes: list[Outcome]) -> dict[str, Any] | None:
    """The verdict on the hypothesis: `verdict`, `text`, and `rules` with the same of each rule.

    None where no rule was stated beforehand.
    """
    if not outcomes:
        return None
    rules = [{"verdict": one.verdict, "text": _decided(one)} for one in outcomes]
    verdict = overall([one.verdict for one in outcomes])
    text = f"The hypothesis is {verdict}"
    if verdict == "inconclusive":
        text = "The verdict on the hypothesis is inconclusive"
    by = "the rule" if len(rules) == 1 else f"the {len(rules)} rules, all of which must hold, as"
    return {"verdict": verdict, "text": f"{text}, by {by} stated beforehand.", "rules": rules}


def _decided(outcome: Outcome) -> str:
    found, rule = outcome.difference, outcome.statement
    text = f"{outcome.verdict.capitalize()}: {rule}. "
    if outcome.missing:
        return f"{text}No score of {', '.join(outcome.missing)}: this cannot be decided."
    if found.difference is None:
        return f"{text}The two sides share no sample."
    evidence = bounds(found.low, found.high, found.interval_method, signed)
    if found.low is not None:
        evidence += f" by {found.interval_method}; {_INTERVALS[outcome.verdict]}"
    return (
        f"{text}The mean difference is {signed(found.difference)} over {found.n} samples, "
        f"{_count(outcome.runs)} against {_count(outcome.others)} ({evidence})."
    )


def _count(runs: int) -> str:
    return "1 run" if runs == 1 else f"{runs} runs"


def headlines(results: list[Result]) -> list[dict[str, str]]:
    """For each task its outcome in one sentence: `verdict` and `text`."""
    lines = []
    corrected = sum(result.p_holm is not None for result in results) > 1
    for task in tasks(results):
        scored = _scored(results, task)
        best = best_tuned(results, task)
        if best is None:
            lines.append(
                {
                    "verdict": "missing",
                    "text": f"No result on {task}: no fine-tuned run has scores.",
                }
            )
            continue
        who = f"the {'fine-tuned run' if best.trained else 'checkpoint'}, {best.label}"
        if len(scored) > 1:
            kind = "fine-tuned results" if best.trained else "checkpoints"
            who = f"the best of {len(scored)} {kind}, {best.label}"
        found = best.difference
        if found is None or best.control is None or best.verdict == "not compared":
            text = (
                f"Nothing to compare on {task}: {who}, scores {score(best.score)} "
                f"({bounds(best.low, best.high, best.method)}), and there is no control on the "
                "same samples that says what the untouched model scores."
            )
            lines.append({"verdict": "not compared", "text": text})
            continue
        interval = bounds(found.low, found.high, found.interval_method, signed)
        text = _SENTENCES[best.verdict].format(
            task=task,
            who=who,
            tuned=score(best.score),
            control=score(best.control.score),
            difference=signed(found.difference),
            evidence=f"{interval}, {'Holm-corrected ' * corrected}{p_text(best.p_holm)}, "
            f"{found.n} samples",
        )
        lines.append({"verdict": best.verdict, "text": text})
    return lines


def tasks(results: list[Result]) -> list[str]:
    """The tasks, in the plan's order."""
    return list(dict.fromkeys(result.task for result in results))


def tally(results: list[Result]) -> str:
    """How all comparisons came out, and by name which tuned runs are worse."""
    tuned = [result for result in results if result.tuned]
    counts = {v: sum(result.verdict == v for result in tuned) for v in VERDICTS}
    told = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    text = f"Results against their controls: {told or 'none'}."
    if worse := [f"{r.label} ({r.task})" for r in tuned if r.verdict == "worse"]:
        text += f" Worse than the untouched model: {'; '.join(worse)}."
    return text


def best_tuned(results: list[Result], task: str) -> Result | None:
    """The highest tuned score on a task; the first of equals. What was trained here comes first."""
    return max(_scored(results, task), key=lambda result: result.score or 0.0, default=None)


def _scored(results: list[Result], task: str) -> list[Result]:
    """Scored cells of the runs trained here; of the checkpoints where none was to be trained."""
    tuned = [result for result in results if result.task == task and result.tuned]
    wanted = [result for result in tuned if result.trained] or tuned
    return [result for result in wanted if result.score is not None]


def problems(
    plan: dict[str, Any],
    results: list[Result],
    trained: dict[str, dict[str, Any]],
    evaluated: dict[str, dict[str, Any]],
    approvals: list[dict[str, Any]],
    versions: dict[str, list[str]],
    rows: dict[str, int],
) -> list[str]:
    """What is missing, incomplete or not as planned.

    Args:
        plan: plan.json.
        results: every planned cell.
        trained, evaluated: manifests and scores by run.
        approvals: the ledger.
        versions: every version seen of each package.
        rows: of each split of the data.
    """
    found = []
    names = [run["name"] for run in plan["runs"]]
    lacking = {run["name"]: run["blocked"] for run in plan["runs"] if run.get("blocked")}
    for name in names:
        if name in lacking and name not in trained and name not in evaluated:
            found.append(f"Run {name} did not start: {lacking[name]}.")
            continue
        if name not in trained:
            found.append(f"Run {name} has no training manifest.")
        elif trained[name].get("truncated_rows"):
            found.append(f"Run {name}: {trained[name]['truncated_rows']} training rows were cut.")
        if name in trained and resumed(trained[name]):
            step = trained[name].get("resumed_from_step")
            after = f", after step {step}" if step else ""
            found.append(
                f"Run {name} was resumed{after}: the times and the memory given for it are those "
                "of its last attempt."
            )
        if name not in evaluated:
            found.append(f"Run {name} was not evaluated: it has no scores.")
    for name in sorted({*trained, *evaluated} - set(names)):
        found.append(f"Run {name} is not part of the plan: it is left out.")
    most = _expected(plan, rows)
    for result in results:
        most[result.task] = max(most.get(result.task, 0), len(result.samples))
    for result in results:
        name, count, of = result.run["name"], len(result.samples), most[result.task]
        if result.score is None and name in evaluated:
            found.append(f"{result.label} has no score on {result.task}, though it was planned.")
        elif result.score is not None and count < of:
            found.append(f"{result.label} answered {count} of {of} samples of {result.task}.")
        wanted = result.trained or (result.tuned and result.run.get("base"))
        if wanted and result.control is None:
            found.append(f"{result.label} has no control on {result.task} to compare with.")
        if result.difference and result.difference.n < count:
            found.append(
                f"{result.label} and its control share {result.difference.n} of {count} samples "
                f"of {result.task}: only those are compared."
            )
    for package, seen in versions.items():
        if len(seen) > 1:
            found.append(f"Package {package} had several versions: {', '.join(seen)}.")
    for gate in ORDER:
        if not any(entry["gate"] == gate for entry in approvals):
            found.append(f"The ledger records no approval at the gate {gate}.")
    return found


def _expected(plan: dict[str, Any], rows: dict[str, int]) -> dict[str, int]:
    """Samples that each built-in task has; a user's own task may take as many as it likes."""
    return {
        task["name"]: min(rows[task["split"]], task.get("limit") or rows[task["split"]])
        for task in plan["tasks"]
        if task.get("scorer") and task["split"] in rows
    }


def score(value: float | None) -> str:
    """A score, or `missing`."""
    return "missing" if value is None else f"{value:.3f}"


def signed(value: float | None) -> str:
    """A difference with its sign."""
    return "unknown" if value is None else f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")


def p_text(value: float | None) -> str:
    """A p-value as `p = ...`, or what there is instead."""
    if value is None:
        return "no p-value"
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def bounds(
    low: float | None,
    high: float | None,
    method: str,
    text: Callable[[float | None], str] = score,
) -> str:
    """A 95% interval, or why there is none."""
    if low is None or high is None:
        return f"no interval: {method.removeprefix('none: ')}"
    return f"95% interval {text(low)} to {text(high)}"
