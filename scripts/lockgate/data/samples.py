"""The preview of the data: sample records, what is to be said of them, and the time of the rest."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

from lockgate import attempts, gates, process, tools
from lockgate.data import (
    acceptance,
    endpoints,
    iterations,
    page,
    projection,
    quality,
    splits,
    suggestions,
    trial,
)
from lockgate.data.records import spread
from lockgate.errors import LockgateError
from lockgate.files import write_json, write_jsonl, write_text, write_yaml
from lockgate.jobs import check_design, item, read_manifests, read_spec

MOST_ROWS = 1000
"""At most so many records and rows of a file are kept to be looked at."""

Parts = dict[str, list[dict[str, Any]]]
"""Rows by split."""


def preview_data(
    spec: Path,
    design: Path,
    models: list[Path],
    records: int,
    ledger: Path,
    threads: int,
    summary: Path,
    rows: Path,
) -> None:
    """Make the sample records and the rows they become, examine them, and time the generation.

    Beside the summary are `records.jsonl`, `review.json` and `review.html` then, and all of it
    once more in `iterations`. Of a file all records are examined, and up to `MOST_ROWS`, evenly
    spread, are kept.

    Raises:
        LockgateError: if no record is accepted; the page in `iterations` shows them.
    """
    document = read_spec(spec)
    name = item(spec, document)
    gates.require(ledger, "plan", name)
    check_design(document, design)
    adapter = tools.get("data", document["tool"], str(spec))
    out = summary.parent
    out.mkdir(parents=True, exist_ok=True)
    root = out / "iterations"
    with attempts.attempt(summary, name, "the samples are being made"):
        number, previous = iterations.place(root, name)
        manifests = read_manifests(models)
        with endpoints.serving(document, manifests, threads, out / "server.log") as running:
            made = trial.make(adapter, design, document, records, running, out)
        columns = adapter.describe(design, document)
        verdicts = _verdicts(made.records, columns, document)
        kept = [one for one, why in zip(made.records, verdicts, strict=True) if not why]
        projected = projection.project(kept, document["rows"], str(out)) if kept else []
        alike = splits.labels(projected, document["similarity"])
        parts = _parts(projected, document, alike)
        figures = quality.examine(
            made.records,
            projected,
            columns,
            axes=document["axes"],
            verdicts=verdicts,
            similarity=document["similarity"],
            leaks=parts,
            alike=alike,
        )
        accepted = len(kept) + _verdicts(made.timed, columns, document).count("")
        expected = trial.estimate(document, made, accepted)
        counts = {
            "item": name,
            "tool": document["tool"],
            "records": len(made.records),
            "accepted": len(kept),
            "acceptance": accepted / expected["made"],
            "rows": min(len(projected), MOST_ROWS),
            "timed": len(made.timed or made.records),
            "records_planned": expected["wanted"],
            "records_to_make": expected["records_to_make"],
            "splits": {part: len(own) for part, own in parts.items()}
            if parts and document["files"]
            else None,
            "shards": document["shards"],
            "start_seconds": round(made.start_seconds, 2),
            "seconds_per_record": made.seconds_per_record,
            "at_most": made.at_most,
            "peak_memory_mb": round(process.peak_memory_mb()),
            "pages": made.pages,
            "versions": adapter.versions(),
        }
        review = {
            "item": name,
            "experiment": ledger.parent.name,
            "iteration": number,
            "files": document["files"],
            "figures": figures,
            "suggestions": suggestions.suggest(figures, document),
            "estimate": expected,
            "command": [
                gates.approval(ledger.parent, "preview"),
                os.environ.get(gates.CALL, "then the same command again"),
            ],
        }
        review["difference"] = iterations.difference(previous, document, review)
        shown = spread(range(len(made.records)), MOST_ROWS)
        samples = [(at, made.records[at], verdicts[at]) for at in shown]
        links = _links(out, made.pages, document["files"])
        with iterations.kept(root, number) as folder:
            write_text(folder / design.name, design.read_text(encoding="utf-8"))
            write_yaml(folder / iterations.DOCUMENT, document)
            write_json(folder / "summary.json", counts)
            _write(folder, root / number, review, samples, links)
        if not kept:
            raise _nothing(verdicts, root / number / "review.html")
        _write(out, out, review, samples, links)
        write_jsonl(rows, spread(projected, MOST_ROWS))
        write_json(summary, counts)


def _verdicts(
    records: list[dict[str, Any]], columns: list[tools.Column], document: dict[str, Any]
) -> list[str]:
    if document["files"]:
        return [""] * len(records)  # all of them count, or the data is refused
    return acceptance.verdicts(records, document["accept"], columns, document["rows"])


def _parts(rows: list[dict[str, Any]], document: dict[str, Any], alike: list[int]) -> Parts | None:
    """The rows in splits; None: sample rows are too few for them."""
    splits.check_group(rows, document["group"])
    try:
        return splits.split(
            rows,
            document["splits"],
            document["seed"],
            document["similarity"],
            document["group"],
            alike,
        )
    except LockgateError:
        if document["files"]:
            raise
        return None


def _links(out: Path, pages: list[str], files: str | None) -> dict[str, Path]:
    """What else there is to read, in and around the preview's directory."""
    links = {}
    if pages:
        links["the tool's own pages"] = out / pages[0]
    if files and Path(files).exists():
        links["the dataset"] = Path(files)
    return {
        **links,
        "all previews": out / "iterations",
        "the review of the whole experiment": out.parent / "review.html",
        "the data card, once the full set is there": out.parent.parent / "data" / "card.md",
    }


def _write(
    folder: Path,
    place: Path,
    review: dict[str, Any],
    samples: list[tuple[int, dict[str, Any], str]],
    links: dict[str, Path],
) -> None:
    """Write records and page to a folder that is going to be at another place."""
    write_jsonl(folder / "records.jsonl", [record for _, record, _ in samples])
    links = {"records": place / "records.jsonl", **links}
    page.write(folder / "review.html", review, samples, links)
    write_json(folder / iterations.REVIEW, review)


def _nothing(verdicts: list[str], shown: Path) -> LockgateError:
    reasons = Counter(verdicts).most_common(3)
    told = "; ".join(f"{reason} ({count} of {len(verdicts)})" for reason, count in reasons)
    return LockgateError(
        f"no sample record is accepted: {told}",
        where="data.accept",
        hint=f"change {acceptance.advice(reasons[0][0])}; the records are shown in "
        f"{shown.resolve().as_uri()}",
    )
