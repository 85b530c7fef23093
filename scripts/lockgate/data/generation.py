"""The jobs of the data design: its check, and the making of one shard."""

from __future__ import annotations

import time
from pathlib import Path

from lockgate import attempts, process, tools
from lockgate.data import endpoints, projection, splits
from lockgate.files import digest, write_json
from lockgate.gates import require
from lockgate.jobs import check_design, item, read_manifests, read_spec


def validate_data(spec: Path, design: Path, models: list[Path], threads: int, out: Path) -> None:
    """Check the built design with its tool, and every row of an existing dataset."""
    document = read_spec(spec)
    check_design(document, design)
    adapter = tools.get("data", document["tool"], str(spec))
    work = out.parent / "data"
    work.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    with endpoints.serving(
        document, read_manifests(models), threads, work / "server.log"
    ) as running:
        adapter.validate(design, document, running, work)
    available = document["records"]
    if document["files"]:
        made = adapter.generate(design, {**document, "shards": 1}, 0, None, work)
        splits.split(
            projection.project(made, document["rows"], document["files"]),
            document["splits"],
            document["seed"],
            document["similarity"],
        )
        available = len(made)
    write_json(
        out,
        {
            "item": item(spec, document),
            "status": "ok",
            "seconds": round(time.perf_counter() - start, 2),
            "available": available,
        },
    )


def generate_data(
    spec: Path, design: Path, models: list[Path], shard: int, ledger: Path, threads: int, out: Path
) -> None:
    """Make one shard's records; finished ones in its own directory are kept."""
    document = read_spec(spec)
    name = item(spec, document)
    require(ledger, "plan", name)
    require(ledger, "preview", name)
    check_design(document, design)
    manifests = read_manifests(models)
    adapter = tools.get("data", document["tool"], str(spec))
    weights = {key: manifest["digest"] for key, manifest in manifests.items()}
    # rows and splits are made of the records afterwards
    made = {
        key: value for key, value in document.items() if key not in ("rows", "splits", "similarity")
    }
    work = out.parents[1] / "work" / digest([made, weights]) / f"shard-{shard}"
    with (
        attempts.attempt(out, name, f"shard {shard} is being made"),
        endpoints.serving(document, manifests, threads, work / "server.log") as running,
    ):
        records = adapter.generate(design, document, shard, running, work)
    write_json(
        out,
        {
            "item": name,
            "shard": shard,
            "records": records,
            "seconds": round(process.seconds(), 2),
            "peak_memory_mb": round(process.peak_memory_mb()),
            "versions": adapter.versions(),
        },
    )
