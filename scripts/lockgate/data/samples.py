"""The preview of the data: sample records, and the time that the rest is going to take."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from lockgate import attempts, process, tools
from lockgate.data import endpoints, projection, splits
from lockgate.files import write_json, write_jsonl
from lockgate.gates import require
from lockgate.jobs import check_design, item, read_manifests, read_spec

TIMED_RECORDS = 24
"""At most so many records are made to time the generation."""
MOST_ROWS = 1000
"""At most so many rows of a file are looked at."""


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
    """Make the sample records and the rows they become, and time the generation.

    Of a file up to `MOST_ROWS` rows are taken, evenly spread.
    """
    document = read_spec(spec)
    require(ledger, "plan", item(spec, document))
    check_design(document, design)
    adapter = tools.get("data", document["tool"], str(spec))
    out = summary.parent
    out.mkdir(parents=True, exist_ok=True)
    sizes, manifests = None, read_manifests(models)
    with (
        attempts.attempt(summary, item(spec, document), "the samples are being made"),
        endpoints.serving(document, manifests, threads, out / "server.log") as running,
    ):
        started = process.seconds()
        asked = {**document, "preview_records": records}
        made = adapter.preview(design, asked, running, out)
        shown = process.seconds() - started
        if document["files"]:
            made = adapter.generate(design, {**document, "shards": 1}, 0, running, out / "timing")
            planned, count, per_record = len(made), len(made), 0.0
            start = process.seconds()
        else:
            planned = document["records"]
            count = min(TIMED_RECORDS, planned, max(planned // 5, 2 * records))
            timed = _generate(adapter, design, document, count, running, out / "timing")
            per_record = _slope(len(made), shown, count, timed)
            start = started + max(0.0, timed - count * per_record)
    shutil.rmtree(out / "timing", ignore_errors=True)
    projected = projection.project(made, document["rows"], str(out))
    if document["files"]:
        parts = splits.split(
            projected, document["splits"], document["seed"], document["similarity"]
        )
        sizes = {name: len(part) for name, part in parts.items()}
    taken = min(len(projected), MOST_ROWS)
    write_jsonl(rows, [projected[k * len(projected) // taken] for k in range(taken)])
    write_json(
        summary,
        {
            "item": item(spec, document),
            "tool": document["tool"],
            "records": len(made),
            "rows": taken,
            "timed": count,
            "records_planned": planned,
            "splits": sizes,
            "shards": document["shards"],
            "start_seconds": round(start, 2),
            "seconds_per_record": per_record,
            "peak_memory_mb": round(process.peak_memory_mb()),
            "pages": sorted(str(page.relative_to(out)) for page in out.rglob("*.html")),
            "versions": adapter.versions(),
        },
    )


def _generate(
    adapter: Any,
    design: Path,
    document: dict[str, Any],
    count: int,
    running: tools.Endpoint | None,
    work: Path,
) -> float:
    """Seconds in which `count` records are made as in the real job, afresh."""
    shutil.rmtree(work, ignore_errors=True)
    start = process.seconds()
    adapter.generate(design, {**document, "records": count, "shards": 1}, 0, running, work)
    return process.seconds() - start


def _slope(few: int, seconds_few: float, many: int, seconds_many: float) -> float:
    """Seconds a record, from the times of two calls that both pay for the tool's start."""
    slope = (seconds_many - seconds_few) / (many - few) if many != few else 0.0
    return slope if slope > 0 else seconds_many / many
