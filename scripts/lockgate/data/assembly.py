"""All shards' records as splits, with their card."""

from __future__ import annotations

from pathlib import Path

from lockgate.data import card, projection, splits
from lockgate.files import digest, read_json, write_json, write_jsonl, write_text
from lockgate.jobs import item, read_spec


def assemble(spec: Path, shards: list[Path], experiment: str, out: Path) -> None:
    """All shards' records as splits, a manifest and a data card in the directory `out`."""
    document = read_spec(spec)
    made = [read_json(path) for path in shards]
    records = [record for shard in made for record in shard["records"]]
    rows = projection.project(records, document["rows"], str(shards[0].parent))
    parts = splits.split(rows, document["splits"], document["seed"], document["similarity"])
    for name, part in parts.items():
        write_jsonl(out / f"{name}.jsonl", part)
    manifest = {
        "experiment": experiment,
        "item": item(spec, document),
        "tool": document["tool"],
        "versions": made[0]["versions"],
        "records": len(records),
        "rows": {name: len(parts[name]) for name in ("train", "validation", "test")},
        "columns": sorted({key for row in rows for key in row["fields"]}),
        "duplicates": splits.duplicates(rows),
        "near_duplicates": splits.near_duplicates(rows, document["similarity"]),
        "seed": document["seed"],
        "shards": len(shards),
        "seconds": round(sum(shard["seconds"] for shard in made), 2),
        "peak_memory_mb": max(shard["peak_memory_mb"] for shard in made),
        "digest": digest([parts[name] for name in sorted(parts)]),
    }
    write_text(out / "card.md", card.card(manifest))
    write_json(out / "manifest.json", manifest)
