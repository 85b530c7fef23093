"""All shards' records as splits, with a manifest of what they are and how they were made."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import lockgate
from lockgate import tools
from lockgate.data import acceptance, hub, parquet, projection, quality, splits
from lockgate.data.records import NAMES, SPLIT
from lockgate.errors import LockgateError
from lockgate.files import digest, file_digest, read_json, write_json, write_jsonl
from lockgate.jobs import item, read_spec
from lockgate.tools import Column

_KEPT = ("columns", "axes", "rows", "validators", "judges", "leaks")  # of the figures


def assemble(
    spec: Path, shards: list[Path], experiment: str, out: Path, design: Path | None = None
) -> None:
    """Write to the directory `out` the records and the rows of each split, as JSON Lines and as
    Parquet, and then their manifest, `manifest.json`.

    Args:
        spec: the built document of the data.
        shards: what the jobs made, in their order.
        experiment: its name.
        out: where everything goes.
        design: the built design, which says what each column is; None: that is not told.

    Raises:
        LockgateError: if a record gives no row, or the rows cannot be split.
    """
    document = read_spec(spec)
    made = [read_json(path) for path in shards]
    given = [record for shard in made for record in shard.pop("records")]
    rows = projection.project(given, document["rows"], str(shards[0].parent))
    records = [row["fields"] for row in rows]
    alike = splits.labels(rows, document["similarity"])
    parts = splits.split(
        rows,
        document["splits"],
        document["seed"],
        document["similarity"],
        document["group"],
        alike,
    )
    columns = _columns(document, design)
    figures = quality.examine(
        records,
        rows,
        columns,
        axes=document["axes"],
        similarity=document["similarity"],
        leaks=parts,
        alike=alike,
    )
    files, as_text = _write(out, records, rows, parts)
    refused: Counter[str] = Counter()
    for shard in made:
        refused.update(shard.get("refused") or {})
    manifest = {
        "experiment": experiment,
        "item": item(spec, document),
        "tool": document["tool"],
        "versions": _versions(shard["versions"] for shard in made),
        "lockgate": lockgate.__version__,
        "records": len(records),
        "made": sum(shard.get("made", 0) for shard in made) or len(records),
        "refused": dict(refused.most_common()),
        "rows": {name: len(parts[name]) for name in NAMES},
        "parts": sorted({name for row in rows for name in row}),
        "columns": sorted({str(name) for record in records for name in record}),
        "duplicates": figures["rows"]["duplicates"],
        "near_duplicates": figures["rows"]["near_duplicates"],
        "statistics": {
            **{key: figures[key] for key in _KEPT},
            **{
                key: {name: len(numbers) for name, numbers in figures[key].items()}
                for key in ("refusals", "empty")
            },
        },
        "accept": None if document["files"] else document["accept"],
        "checked": acceptance.checked(document["accept"], columns)
        if columns and not document["files"]
        else None,
        "splits": {
            "own": any(SPLIT in record for record in given),
            "shares": document["splits"],
            "similarity": document["similarity"],
            "group": document["group"],
        },
        "origin": _origin(document),
        "usage": _usage([shard.get("usage") for shard in made], document),
        "seed": document["seed"],
        "shards": len(shards),
        "seconds": round(sum(shard["seconds"] for shard in made), 2),
        "continued": any(shard.get("continued") for shard in made),
        "peak_memory_mb": max(shard["peak_memory_mb"] for shard in made),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "files": files,
        "as_text": as_text,
        "digest": digest([files[f"{name}.jsonl"]["sha256"] for name in NAMES]),
    }
    write_json(out / "manifest.json", manifest)


def _columns(document: dict[str, Any], design: Path | None) -> list[Column]:
    """What the design says of its columns; a script that cannot be run any more says nothing."""
    adapter = tools.get("data", document["tool"], "data.tool")
    try:
        described: list[Column] = adapter.describe(design, document) if design else []
    except LockgateError as error:
        print(f"WARNING: the columns' roles are not told: {error}", flush=True)
        return []
    return described


def _write(
    out: Path,
    records: list[dict[str, Any]],
    rows: list[dict[str, Any]],
    parts: Mapping[str, list[dict[str, Any]]],
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Size and digest of each file, and the columns of JSON text in those of Parquet."""
    fields, as_text = parquet.columns(records)
    columns, of_rows = parquet.columns(
        [{key: value for key, value in row.items() if key != "fields"} for row in rows]
    )
    places = {id(row): at for at, row in enumerate(rows)}
    write_jsonl(out / "records.jsonl", records)
    parquet.write(out / "records.parquet", fields)
    for name, part in parts.items():
        write_jsonl(out / f"{name}.jsonl", part)
        only = [places[id(row)] for row in part]
        parquet.write(out / f"{name}.parquet", columns, fields, only)
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": file_digest(path)}
        for name in ("records", *NAMES)
        for path in (out / f"{name}.jsonl", out / f"{name}.parquet")
    }
    return files, [*of_rows, *(f"fields.{name}" for name in as_text)]


def _versions(given: Iterable[dict[str, str]]) -> dict[str, str]:
    """Each package's version; of shards that were made with several, all of them."""
    seen: dict[str, dict[str, None]] = {}
    for versions in given:
        for package, version in versions.items():
            seen.setdefault(package, {})[version] = None
    return {package: " and ".join(versions) for package, versions in seen.items()}


def _origin(document: dict[str, Any]) -> dict[str, Any]:
    """What the records come from; no path of this machine, and nothing secret."""
    endpoint = document["endpoint"] or {}
    served = endpoint.get("server") or endpoint.get("provider") or endpoint.get("gateway")
    if endpoint.get("url"):
        served = urlsplit(endpoint["url"]).hostname
    script, dataset = document["script"], document["files"]
    return {
        "design": document["design_sha256"],
        "script": _shown(script) if script else None,
        "dataset": dataset if hub.is_hub(dataset) else _shown(dataset) if dataset else None,
        "inputs": {_shown(path): known for path, known in document["input_files"].items()},
        "model": endpoint.get("model"),
        "weights": document["model_identity"],
        "served_by": served,
    }


def _shown(path: str) -> str:
    """A path within the project; of another one its name alone."""
    return Path(path).name if Path(path).is_absolute() or ".." in Path(path).parts else path


def _usage(given: list[dict[str, int] | None], document: dict[str, Any]) -> dict[str, Any] | None:
    """What all shards together asked of the model, and its cost; None: not known of one."""
    known = [usage for usage in given if usage]
    if not known or len(known) < len(given):
        return None
    total: Counter[str] = Counter()
    for usage in known:
        total.update(usage)
    price = (document["endpoint"] or {}).get("price")
    sides = ("input", "output")
    cost = sum(total[f"{side}_tokens"] * price[side] for side in sides) / 1e6 if price else None
    return {**total, "cost": cost}
