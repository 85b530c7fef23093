"""Phase report: what came out, in plain words, tables and figures, on a page that stands alone."""

from __future__ import annotations

import base64
import itertools
from pathlib import Path
from typing import Any

from lockgate import comparison, figures, findings, pages
from lockgate.comparison import SIGNIFICANT, Result
from lockgate.files import read_json, read_jsonl, read_text, write_bytes, write_text
from lockgate.gates import read_ledger

SHOWN = 8
LONGEST_ANSWER = 600
"""Characters of a text shown in the page; the rest is in the evaluation's log."""

_OUTCOMES = ("tuned worse", "neither right", "tuned better", "both right", "no control")


def write(
    plan: Path,
    review: Path,
    data: Path,
    summary: Path,
    manifests: list[Path],
    scores: list[Path],
    ledger: Path,
    rows: list[Path],
    out: dict[str, Path],
) -> None:
    """Write the report; a run whose files are not there is reported as missing.

    Args:
        plan: plan.json.
        review: review.json, for the estimates revised by what was measured.
        data: manifest of the data.
        summary: the approved summary.
        manifests: of each run's training (a control has one too).
        scores: of each run.
        ledger: the approvals.
        rows: the splits' files (`test.jsonl`), for the samples' prompts; may be empty.
        out: paths `html` (written last), `results`, `scores`, `losses`.
    """
    planned, measured, made = read_json(plan), read_json(review), read_json(data)
    trained, evaluated = comparison.read_by_run(manifests), comparison.read_by_run(scores)
    approvals = read_ledger(ledger)
    results = comparison.compare(planned, evaluated)
    versions = package_versions([planned, made, *trained.values(), *evaluated.values()])
    faults = findings.problems(planned, results, trained, evaluated, approvals, versions)
    names = {run["name"] for run in planned["runs"]}
    trained = {name: manifest for name, manifest in trained.items() if name in names}
    pictures = {"scores": figures.scores(results), "losses": figures.losses(trained)}
    page = pages.render(
        "report.html.j2",
        plan=planned,
        data=made,
        decision=findings.decision(comparison.decide(planned, results)),
        headlines=findings.headlines(results),
        tally=findings.tally(results),
        problems=faults,
        significant=SIGNIFICANT,
        comparisons=sum(result.p_holm is not None for result in results),
        tasks={task: [r for r in results if r.task == task] for task in findings.tasks(results)},
        replicates=comparison.replicates(results),
        varied=sorted({key for run in planned["runs"] for key in run["varied"]} - {"model"}),
        examples=examples(results, planned, rows),
        trained=[manifest for manifest in trained.values() if manifest.get("losses")],
        jobs=jobs(planned, measured, made, trained, evaluated),
        models={m["model"]["name"]: m["model"]["digest"] for m in trained.values()},
        versions=versions,
        approvals=approvals,
        summary=read_text(summary),
        pictures={name: base64.b64encode(png).decode() for name, png in pictures.items()},
        say=findings,
        plain=comparison.plain,
    )
    write_text(out["results"], comparison.table(planned, results, trained))
    for name, png in pictures.items():
        write_bytes(out[name], png)
    write_text(out["html"], page)


def examples(results: list[Result], plan: dict[str, Any], rows: list[Path]) -> list[dict[str, Any]]:
    """For each task some samples of the best tuned run beside its control's, every kind of
    outcome in turn, so that a frequent one does not crowd out the failures."""
    splits = {task["name"]: task.get("split") for task in plan["tasks"]}
    prompts = {
        (Path(path).stem, str(row["id"])): row["prompt"]
        for path in rows
        for row in read_jsonl(path)
    }
    tables = []
    for task in findings.tasks(results):
        best = findings.best_tuned(results, task)
        if best is None:
            continue
        others = best.control.samples if best.control else {}
        groups: dict[str, list[dict[str, Any]]] = {name: [] for name in _OUTCOMES}
        for key, sample in best.samples.items():
            other = others.get(key)
            outcome = _outcome(sample["score"], other["score"] if other else None)
            groups[outcome].append(
                {
                    "id": key,
                    "outcome": outcome,
                    "prompt": _text(prompts.get((str(splits.get(task)), key))),
                    "target": _text(sample["target"]),
                    "tuned": _text(sample["answer"]),
                    "tuned_score": sample["score"],
                    "control": _text(other["answer"]) if other else None,
                    "control_score": other["score"] if other else None,
                }
            )
        turns = [row for turn in itertools.zip_longest(*groups.values()) for row in turn if row]
        chosen = sorted(turns[:SHOWN], key=lambda row: _OUTCOMES.index(row["outcome"]))
        tables.append({"task": task, "label": best.label, "n": len(turns), "rows": chosen})
    return tables


def jobs(
    plan: dict[str, Any],
    review: dict[str, Any],
    data: dict[str, Any],
    trained: dict[str, dict[str, Any]],
    evaluated: dict[str, dict[str, Any]],
) -> list[dict[str, Any]]:
    """Each heavy job's estimates and what it took.

    Returns:
        For each job `phase`, `run`, `planned` and `revised` (estimates or None), `actual`
        (seconds or None), `error` (of each estimate, relative to `actual`), `peak` (MB), `part`
        (`actual` holds only the last attempt).
    """
    names = [run["name"] for run in plan["runs"]]
    tuned = [run["name"] for run in plan["runs"] if run["kind"] != "control"]
    rows = [_job(plan, review, "generate", None, data, data["seconds"])]
    rows += [_job(plan, review, "train", name, trained.get(name)) for name in tuned]
    rows += [_job(plan, review, "eval", name, evaluated.get(name)) for name in names]
    return rows


def _job(
    plan: dict[str, Any],
    review: dict[str, Any],
    phase: str,
    run: str | None,
    result: dict[str, Any] | None,
    seconds: float | None = None,
) -> dict[str, Any]:
    key = (phase, run)
    estimates = {
        name: next((e for e in table["estimates"] if (e["phase"], e["run"]) == key), None)
        for name, table in (("planned", plan), ("revised", review))
    }
    part = False
    if result is not None and seconds is None:
        seconds = result["seconds"]["total"]
        # kept work shows as parts that took longer than the whole
        parts = [cell["seconds"] for cell in result.get("cells", [])]
        parts.append(result["seconds"].get("train", 0.0))
        part = bool(result.get("resumed_from_step")) or sum(parts) > seconds + 1
    error = {
        name: estimate["seconds"]["expected"] / seconds - 1
        for name, estimate in estimates.items()
        if estimate and seconds and not part
    }
    peak = (result or {}).get("peak_memory_mb")
    return {
        "phase": phase,
        "run": run,
        **estimates,
        "actual": seconds,
        "error": error,
        "peak": peak,
        "part": part,
    }


def package_versions(documents: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Every version seen of each package that shaped the result."""
    seen: dict[str, list[str]] = {}
    for document in documents:
        for package, version in (document.get("versions") or {}).items():
            if version not in seen.setdefault(package, []):
                seen[package].append(version)
    return dict(sorted(seen.items()))


def _outcome(tuned: float, control: float | None) -> str:
    if control is None:
        return "no control"
    if tuned != control:
        return "tuned better" if tuned > control else "tuned worse"
    return "both right" if tuned == 1 else "neither right"


def _text(value: Any) -> str:
    """An answer or target as text, cut where it is very long."""
    text = " | ".join(map(str, value)) if isinstance(value, list) else str(value or "")
    return (
        text if len(text) <= LONGEST_ANSWER else text[:LONGEST_ANSWER] + " \N{HORIZONTAL ELLIPSIS}"
    )
