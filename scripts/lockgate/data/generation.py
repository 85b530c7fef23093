"""The jobs of the data design: its check, and the making of one shard."""

from __future__ import annotations

import functools
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lockgate import attempts, process, tools
from lockgate.data import acceptance, endpoints, projection, splits
from lockgate.data.progress import Progress
from lockgate.errors import LockgateError
from lockgate.files import digest, write_json, write_parts
from lockgate.gates import require
from lockgate.jobs import check_design, item, read_manifests, read_spec

SHAPES = (
    "recipe_version",
    "tool",
    "design_sha256",
    "input_files",
    "model_identity",
    "seed",
    "shards",
)
"""What decides a shard's records, beside the endpoint. What is asked of them, how many there are
and what is made of them does not: a change of that keeps those that are made."""


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
            document["group"],
        )
        available = len(made)
    else:
        acceptance.Rules(document["accept"], adapter.describe(design, document), document["rows"])
    write_json(
        out,
        {
            "item": item(spec, document),
            "status": "ok",
            "seconds": round(time.perf_counter() - start, 2),
            "available": available,
            "notes": adapter.notes(design, document) if hasattr(adapter, "notes") else [],
        },
    )


def generate_data(
    spec: Path, design: Path, models: list[Path], shard: int, ledger: Path, threads: int, out: Path
) -> None:
    """Make one shard's records; finished ones in its own directory are kept.

    The result has `records`, the accepted ones, and `made`, how many were made for them, `refused`
    (how many for each reason) and `usage` (what the model was asked for, or null). Where it is
    `continued`, `seconds` are those of the last call alone.

    Raises:
        LockgateError: if there are too few; what was made stays, and the next call goes on.
    """
    document = read_spec(spec)
    name = item(spec, document)
    require(ledger, "plan", name)
    require(ledger, "preview", name)
    check_design(document, design)
    manifests = read_manifests(models)
    adapter = tools.get("data", document["tool"], str(spec))
    work = out.parents[1] / "work" / _key(document, manifests) / f"shard-{shard}"
    continued = work.exists()
    with (
        attempts.attempt(out, name, f"shard {shard} is being made"),
        endpoints.serving(document, manifests, threads, work / "server.log") as running,
    ):
        if document["files"]:
            records = adapter.generate(design, document, shard, running, work)
            result = Result(records, len(records))
        else:
            make = functools.partial(_make, adapter, design, document, shard, running, work)
            columns = adapter.describe(design, document)
            rules = acceptance.Rules(document["accept"], columns, document["rows"])
            result = _accepted(make, rules, document, shard, attempts.place(out))
    about = {
        "item": name,
        "shard": shard,
        "made": result.made,
        "refused": dict(result.refused.most_common()),
        "usage": adapter.usage(work),
        "seconds": round(process.seconds(), 2),
        "continued": continued,
        "peak_memory_mb": round(process.peak_memory_mb()),
        "versions": adapter.versions(),
    }
    write_parts(out, _written(about, result.records))


def _written(about: dict[str, Any], records: list[dict[str, Any]]) -> Iterator[bytes]:
    """JSON of a shard, a record a line: one text of it all would take as much memory again."""
    yield json.dumps(about, indent=2, ensure_ascii=False).removesuffix("\n}").encode()
    yield b',\n  "records": ['
    for number, record in enumerate(records):
        yield (",\n" if number else "\n").encode() + json.dumps(record, ensure_ascii=False).encode()
    yield b"\n]\n}\n"


@dataclass
class Result:
    """A shard's accepted records; `made` and `refused` count up to the last of them.

    `last` records were made when the last one was accepted.
    """

    records: list[dict[str, Any]] = field(default_factory=list)
    made: int = 0
    last: int = 0
    refused: Counter[str] = field(default_factory=Counter)


def _key(document: dict[str, Any], manifests: dict[str, dict[str, Any]]) -> str:
    endpoint = {**(document["endpoint"] or {}), "price": None}
    weights = {key: manifest["digest"] for key, manifest in manifests.items()}
    return digest([{key: document[key] for key in SHAPES}, endpoint, weights])


def _make(
    adapter: Any,
    design: Path,
    document: dict[str, Any],
    shard: int,
    running: tools.Endpoint | None,
    work: Path,
    count: int,
    told: Callable[[int], None],
) -> list[dict[str, Any]]:
    """The first `count` records of this shard."""
    asked = {**document, "records": count * document["shards"]}
    made: list[dict[str, Any]] = adapter.generate(design, asked, shard, running, work, told)
    return made


def _accepted(
    make: Callable[[int, Callable[[int], None]], list[dict[str, Any]]],
    rules: acceptance.Rules,
    document: dict[str, Any],
    shard: int,
    directory: Path,
) -> Result:
    """Have records made until there are enough that count.

    Args:
        make: gives the first so many records; more later, the same ones first.
        rules: say which ones count.
        document: has `records`, `shards` and `accept.most`.
        shard: its number, from 0.
        directory: of the job, for its progress.

    Raises:
        LockgateError: if there are too few, with the reasons and what to change.
    """
    shards = document["shards"]
    share = tools.share(document["records"], shards, shard)
    limit = math.ceil(document["accept"]["most"] * share)
    progress, result, ask = Progress(directory, share), Result(), share
    while True:
        have = len(result.records)
        try:
            records = make(ask, progress.told)
        except LockgateError as error:
            if not result.made:
                raise
            what = f"accepted {have} of {share} records, of {result.made} made; {error.what}"
            raise LockgateError(what, where=error.where, hint=error.hint) from error
        _judge(records, rules, share, result)
        progress.judged(len(result.records), result.made)
        progress.told(result.made)
        have = len(result.records)
        if have == share:
            return result
        if result.made >= limit:
            raise _shortfall(result, share, f"shard {shard + 1} of {shards}", document)
        # a little more than the rate so far asks for, and at least as many as were made in vain:
        # each call of a tool takes its start
        more = math.ceil(1.1 * (share - have) * result.made / have) + 1 if have else share
        ask = min(limit, result.made + max(more, result.made - result.last))
        print(
            f"{have} of {share} records are accepted, of {result.made}: {ask} are made", flush=True
        )


def _judge(
    records: list[dict[str, Any]], rules: acceptance.Rules, share: int, result: Result
) -> None:
    """Judge what is new among `records`, until there are `share` accepted ones."""
    for record in records[result.made :]:
        if len(result.records) == share:
            return
        result.made += 1
        if reason := rules.verdict(record):
            result.refused[reason] += 1
        else:
            result.records.append(record)
            result.last = result.made


def _shortfall(result: Result, share: int, shard: str, document: dict[str, Any]) -> LockgateError:
    reasons = result.refused.most_common()
    told = ", ".join(f"{reason} ({count})" for reason, count in reasons[:5])
    if len(reasons) > 5:
        told += f", and {len(reasons) - 5} more reasons"
    most = f"accept.most ({document['accept']['most']:g} now)"
    return LockgateError(
        f"accepted {len(result.records)} of {share} records ({shard}): of {result.made} made, "
        f"{result.refused.total()} were refused: {told}",
        where="data.accept",
        hint=f"change {acceptance.advice(reasons[0][0])}, or raise {most}; all that were made are "
        "kept: where the design stays, the next call judges them anew and makes what is missing",
    )
