"""The pages of a chain: the review of its reduced run, and the report."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from lockgate import pages, statistics
from lockgate.files import read_json, write_json, write_text
from lockgate.gates import read_ledger

SHOWN = 3
"""Rows shown of each file of rows that a stage made."""

_LONGEST = 600


def review(
    plan: Path,
    manifests: list[Path],
    records: list[Path],
    covers: list[str],
    out: Path,
    html: Path,
) -> None:
    """Write review.json, last, and its page.

    Args:
        plan: plan.json.
        manifests: of the reduced run's stages, in order.
        records: what validation found, in the same order.
        covers: items that an approval of the review covers.
        out: review.json.
        html: the page.
    """
    stages = [_told(path) for path in manifests]
    checks = [check for path in records for check in read_json(path)["checks"]]
    document = {
        "covers": covers,
        "stages": stages,
        "checks": checks,
        "seconds": sum(stage["seconds"] for stage in stages),
    }
    page = pages.render("chain_review.html.j2", plan=read_json(plan), review=document)
    write_text(html, page)
    write_json(out, document)


def report(plan: Path, manifests: list[Path], ledger: Path, html: Path) -> None:
    """Write the report's page.

    Args:
        plan: plan.json.
        manifests: of the stages, in order.
        ledger: the approvals.
        html: the page.
    """
    page = pages.render(
        "chain_report.html.j2",
        plan=read_json(plan),
        stages=[_told(path) for path in manifests],
        approvals=read_ledger(ledger),
    )
    write_text(html, page)


def scores(path: Path) -> list[dict[str, Any]]:
    """Each task's score with its 95% interval, from every `scores.json` at a path.

    Returns:
        For each `task`, `metric`, `n`, `score`, `low`, `high`.
    """
    found = []
    for file in sorted(path.rglob("scores.json")) if path.is_dir() else []:
        for task in read_json(file).get("tasks", []):
            values = [sample["score"] for sample in task.get("samples", [])]
            if values:
                low, high, _ = statistics.interval(values)
                named = {"task": task["task"], "metric": task["metric"], "n": len(values)}
                score = sum(values) / len(values)
                found.append({**named, "score": score, "low": low, "high": high})
    return found


def _told(path: Path) -> dict[str, Any]:
    """A stage's manifest, with the first rows of what it made, and its scores."""
    manifest: dict[str, Any] = read_json(path)
    for output in manifest["outputs"]:
        output["samples"] = samples(Path(output["path"]))
        output["scores"] = scores(Path(output["path"]))
    return manifest


def samples(path: Path) -> list[dict[str, str]]:
    """The first rows of each file of rows at a path: `file` and `text`."""
    files = [path] if path.is_file() else sorted(path.rglob("*")) if path.is_dir() else []
    found = []
    for file in files:
        if file.suffix != ".jsonl":
            continue
        with open(file, encoding="utf-8", errors="replace") as handle:
            lines = [line for line in itertools.islice(handle, SHOWN) if line.strip()]
        found += [{"file": file.name, "text": line[:_LONGEST]} for line in lines]
    return found[: 4 * SHOWN]
