"""Phase report: what came out, in plain words, tables and figures, on a page that stands alone."""

from __future__ import annotations

import base64
import itertools
import os
from pathlib import Path
from typing import Any

from lockgate import actuals, comparison, figures, findings, groups, pages, scoring, tables
from lockgate.comparison import SIGNIFICANT, Result
from lockgate.data import projection
from lockgate.files import read_json, read_jsonl, read_text, write_bytes, write_text
from lockgate.gates import read_ledger
from lockgate.groups import Rows
from lockgate.prompts import asked_text

SHOWN = 8
LONGEST_ANSWER = 600
"""Characters of a text shown in the page; the rest is in the evaluation's log."""

_OUTCOMES = ("tuned worse", "neither right", "tuned better", "both right", "no control")


def write(
    plan: Path,
    review: Path,
    data_manifest: Path,
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
        data_manifest: of the data, whose card is beside it.
        summary: the approved summary.
        manifests: of each run's training (a control has one too).
        scores: of each run.
        ledger: the approvals.
        rows: the splits' files (`test.jsonl`), for the samples' prompts and fields; may be empty.
        out: paths `html` (written last), `results`, `groups`, `estimates`; directory `figures`.

    Raises:
        LockgateError: if a score is no score, or no row has a field to group by.
    """
    planned, measured, made = read_json(plan), read_json(review), read_json(data_manifest)
    trained, evaluated = comparison.read_by_run(manifests), comparison.read_by_run(scores)
    approvals = read_ledger(ledger)
    results = comparison.compare(planned, evaluated)
    versions = package_versions([planned, made, *trained.values(), *evaluated.values()])
    faults = findings.problems(
        planned, results, trained, evaluated, approvals, versions, made["rows"]
    )
    known = {(Path(path).stem, str(row["id"])): row for path in rows for row in read_jsonl(path)}
    grouped = groups.split(planned, results, known)
    names = {run["name"] for run in planned["runs"]}
    trained = {name: manifest for name, manifest in trained.items() if name in names}
    pictures = figures.draw(planned, results, trained)
    taken = actuals.jobs(planned, measured, made, trained, evaluated)
    page = pages.render(
        "report.html.j2",
        plan=planned,
        data=made | {"licence": planned["data"]["licence"]},
        card=os.path.relpath(data_manifest.with_name("card.html"), out["html"].parent),
        decision=findings.decision(comparison.decide(planned, results)),
        headlines=findings.headlines(results),
        tally=findings.tally(results),
        problems=faults,
        significant=SIGNIFICANT,
        comparisons=sum(result.p_holm is not None for result in results),
        tasks={task: [r for r in results if r.task == task] for task in findings.tasks(results)},
        replicates=comparison.replicates(results),
        grouped=grouped,
        few=groups.FEW,
        most=groups.MOST,
        shown=groups.shown,
        metrics=comparison.metric_names,
        varied=[key for key in comparison.variables(planned["runs"]) if key != "model"],
        examples=examples(results, planned, known),
        trained=[manifest for manifest in trained.values() if manifest.get("losses")],
        jobs=taken,
        models={m["model"]["name"]: m["model"]["digest"] for m in trained.values()},
        versions=versions,
        approvals=approvals,
        summary=read_text(summary),
        pictures=[(one, base64.b64encode(one.png).decode()) for one in pictures],
        say=findings,
        plain=tables.plain,
    )
    write_text(out["estimates"], actuals.table(taken))
    write_text(out["results"], tables.results(planned, results, trained))
    parts = [part for one in grouped for part in one.parts]
    write_text(out["groups"], tables.groups(planned, parts))
    for old in out["figures"].glob("*.png"):
        old.unlink()
    for one in pictures:
        write_bytes(out["figures"] / f"{one.name}.png", one.png)
    write_text(out["html"], page)


def partial(results: Path, runs: list[str], ledger: Path) -> Path:
    """Write a report on the runs that have scores, while others are missing; its page.

    Args:
        results: the experiment's.
        runs: their names.
        ledger: the approvals.

    Raises:
        LockgateError: see `write`.
    """
    out = results / "report" / "partial"
    names = {"html": "report.html", "results": "results.csv", "groups": "groups.csv"}
    names |= {"estimates": "estimates.csv", "figures": "figures"}
    write(
        results / "plan/plan.json",
        results / "preview/review.json",
        results / "data/manifest.json",
        results / "build/experiment_summary.md",
        [results / "train" / name / "manifest.json" for name in runs],
        [results / "eval" / name / "scores.json" for name in runs],
        ledger,
        [results / "data" / f"{split}.jsonl" for split in ("validation", "test")],
        {key: out / name for key, name in names.items()},
    )
    return (out / names["html"]).resolve()


def examples(results: list[Result], plan: dict[str, Any], rows: Rows) -> list[dict[str, Any]]:
    """For each task some samples of the best tuned run beside its control's, every kind of
    outcome in turn, so that a frequent one does not crowd out the failures.

    With each come the fields of its row that results are grouped by.
    """
    tasks = {task["name"]: task for task in plan["tasks"]}
    found = []
    for task in findings.tasks(results):
        best = findings.best_tuned(results, task)
        if best is None:
            continue
        others = best.control.samples if best.control else {}
        kinds: dict[str, list[dict[str, Any]]] = {name: [] for name in _OUTCOMES}
        for key, sample in best.samples.items():
            row = rows.get((tasks[task].get("split", "test"), key))
            if row and best.run.get("rows"):
                row = projection.revise([{**row}], best.run["rows"], best.label)[0]
            other = others.get(key)
            outcome = _outcome(sample["score"], other["score"] if other else None)
            kinds[outcome].append(
                {
                    "id": key,
                    "outcome": outcome,
                    "fields": {name: groups.value(row, name) for name in plan.get("groups") or []},
                    "prompt": _text(row and _asked(tasks[task], {**row})),
                    "target": _text(sample["target"]),
                    "tuned": _text(sample["answer"]),
                    "tuned_score": sample["score"],
                    "control": _text(other["answer"]) if other else None,
                    "control_score": other["score"] if other else None,
                }
            )
        turns = [row for turn in itertools.zip_longest(*kinds.values()) for row in turn if row]
        chosen = sorted(turns[:SHOWN], key=lambda row: _OUTCOMES.index(row["outcome"]))
        found.append({"task": task, "label": best.label, "n": len(turns), "rows": chosen})
    return found


def _asked(task: dict[str, Any], row: dict[str, Any]) -> str:
    """What a task asks for a row, after what was said before; a task of the user's own may ask
    anything."""
    if task.get("task"):
        return ""
    return asked_text({**row, "prompt": scoring.question(task.get("prompt"), row)})


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
