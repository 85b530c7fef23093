"""The preview's jobs: sample records, and each shape's speed and memory."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from lockgate import data, process, tools
from lockgate.files import digest, locked, read_json, write_json, write_jsonl
from lockgate.gates import require
from lockgate.jobs import ROOT, check_design, item, read_manifests, read_spec

SMOKE_STEPS = 3
SMOKE_SAMPLES = 8


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
    """Make the sample records and the rows they become."""
    document = read_spec(spec)
    require(ledger, "plan", item(spec, document))
    check_design(document, design)
    adapter = tools.get("data", document["tool"], str(spec))
    out = summary.parent
    out.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    with data.endpoint(document, read_manifests(models), threads, out / "server.log") as running:
        made = adapter.preview(design, {**document, "preview_records": records}, running, out)
    seconds = time.perf_counter() - start
    valid = read_json(out.parents[1] / "validate" / "data.json")
    fixed = min(valid["seconds"], 0.9 * seconds)
    planned = document["records"] or valid["available"]
    write_jsonl(rows, data.project(made, document["rows"], str(out)))
    write_json(
        summary,
        {
            "item": item(spec, document),
            "tool": document["tool"],
            "records": len(made),
            "records_planned": planned,
            "seconds": round(seconds, 2),
            "start_seconds": round(fixed, 2),
            "seconds_per_record": {
                "low": (seconds - fixed) / len(made),
                "high": seconds / len(made),
            },
            "pages": sorted(str(page.relative_to(out)) for page in out.rglob("*.html")),
            "versions": adapter.versions(),
        },
    )


def preview_train(spec: Path, model: Path, ledger: Path, threads: int, out: Path) -> None:
    """Measure a shape: a few steps at the longest sequence, then at a quarter of it."""
    document = read_spec(spec)
    require(ledger, "plan", item(spec, document))
    manifest = read_json(model)
    adapter = tools.get("training", document["tool"], str(spec))
    work = out.parent / document["shape"] / digest([document, manifest["digest"]])
    longest = document["max_length"]
    measured = {}
    with locked(work / ".lock", "this shape is being measured", "wait for the other job"):
        for name, length in (("longest", longest), ("short", max(8, longest // 4))):
            rows = work / f"{name}.jsonl"
            write_jsonl(rows, _rows(document["batch_size"] * SMOKE_STEPS, length))
            # measured afresh: a kept result would make it look quick
            shutil.rmtree(work / name, ignore_errors=True)
            start = time.perf_counter()
            result = adapter.train(
                document["config"], Path(manifest["path"]), rows, None, work / name
            )
            measured[name] = {**result, "wall": time.perf_counter() - start}
    long, short = measured["longest"], measured["short"]
    # the first step also pays for allocation; the rest show the speed
    per_long, per_short = (
        sorted(m["step_seconds"])[len(m["step_seconds"]) // 2] for m in (long, short)
    )
    count_long, count_short = (m["tokens"] / m["steps"] for m in (long, short))
    slope = (per_long - per_short) / max(count_long - count_short, 1)
    if slope <= 0:
        slope = per_long / count_long
    checkpoint = work / "longest" / long["checkpoints"][-1]["path"]
    size = sum(file.stat().st_size for file in checkpoint.rglob("*") if file.is_file())
    write_json(
        out,
        {
            "item": item(spec, document),
            "shape": document["shape"],
            "model": document["model"]["name"],
            "steps": long["steps"],
            "seconds_per_token": slope,
            "seconds_per_token_longest": per_long / count_long,
            "step_overhead": max(0.0, per_short - slope * count_short),
            "load_seconds": round(long["wall"] - sum(long["step_seconds"]), 2),
            "peak_memory_mb": round(process.peak_memory_mb()),
            "checkpoint_mb": round(size / 1e6, 1),
            "checkpoint": str(checkpoint),
            "adapter": long["checkpoints"][-1]["adapter"],
            "losses": long["losses"],
        },
    )


def _rows(count: int, length: int) -> list[dict[str, str]]:
    """Rows about `length` tokens long, or longer: the trainer cuts them.

    The prompt is short, so that a template leaves room for the completion.
    """
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    return [
        {
            "id": f"{index:06d}",
            "prompt": words[index % 10],
            "completion": " ".join(words[(index * 3 + k) % 10] for k in range(length)),
        }
        for index in range(count)
    ]


def preview_eval(
    spec: Path, trained: Path, model: Path, ledger: Path, threads: int, out: Path
) -> None:
    """Answer a few prompts with the smoke-trained weights; measure the speed."""
    document = read_spec(spec)
    require(ledger, "plan", item(spec, document))
    smoke, manifest = read_json(trained), read_json(model)
    work = out.parent / document["shape"] / digest([document, manifest["digest"]])
    rows = work / "rows.jsonl"
    write_jsonl(rows, _rows(SMOKE_SAMPLES, 64))
    adapter = tools.get("evaluation", document["evaluation_tool"], str(spec))
    start = time.perf_counter()
    with locked(work / ".lock", "this shape is being measured", "wait for the other job"):
        # measured afresh: kept samples would make it look quick
        logs = work / f"logs-{os.getpid()}"
        results = adapter.evaluate(
            document["evaluation"],
            Path(smoke["checkpoint"]),
            Path(manifest["path"]),
            {"test": rows},
            logs,
            ROOT,
        )
    wall = time.perf_counter() - start
    seconds = sum(result["seconds"] for result in results)
    write_json(
        out,
        {
            "item": item(spec, document),
            "shape": document["shape"],
            "model": document["model"]["name"],
            "samples": SMOKE_SAMPLES,
            "max_tokens": 32,
            "output_tokens": sum(result["output_tokens"] for result in results),
            "seconds_per_sample": seconds / SMOKE_SAMPLES,
            "load_seconds": round(max(0.0, wall - seconds), 2),
            "peak_memory_mb": round(process.peak_memory_mb()),
        },
    )
