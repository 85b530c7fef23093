"""Estimates of time (as a range), memory and disk, each with what it rests on.

A row is `run` (None: the data), `phase`, `seconds` (`low`, `expected`, `high`), `memory_mb`,
`disk_mb` (None: not known) and `basis`. Seconds are wall time of one job.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from lockgate.data import split_sizes
from lockgate.errors import LockgateError
from lockgate.files import read_json
from lockgate.matrix import Matrix
from lockgate.runs import Run, tasks

TOKENS_PER_ROW = 128
"""Assumed until the preview has counted them; capped by the longest sequence."""

EFFICIENCY = 0.5
"""Share of the machine's matrix speed that a job is assumed to reach, within a factor of 5."""

FLOPS_PER_TOKEN = {"lora": 4, "full": 6}
"""Times the number of parameters: forward 2, gradients of activations 2, of weights 2."""


def workload(run: Run, matrix: Matrix) -> dict[str, Any]:
    """What decides the time of a run, apart from the data's size."""
    config = matrix.config
    work: dict[str, Any] = {
        "run": run.name,
        "kind": run.kind,
        "model": run.model,
        "shape": run.shape,
        "tasks": [
            task.model_dump(include={"split", "limit", "max_tokens"}) for task in tasks(run, config)
        ],
        "evaluated_epochs": len(matrix.documents[f"eval/{run.name}"]["epochs"]),
        "records": config.data.records,
        "splits": config.data.splits.model_dump(),
    }
    if run.kind == "fine-tuned":
        keys = ("epochs", "method", "max_length", "batch_size", "gradient_accumulation")
        work.update({key: run.parameters[key] for key in keys})
    return work


def row(
    run: str | None, phase: str, low: float, expected: float, high: float, basis: str, **more: Any
) -> dict[str, Any]:
    """One estimate."""
    seconds = {"low": round(low, 1), "expected": round(expected, 1), "high": round(high, 1)}
    return {
        "run": run,
        "phase": phase,
        "seconds": seconds,
        "memory_mb": more.get("memory_mb"),
        "disk_mb": more.get("disk_mb"),
        "basis": basis,
    }


def analytical(
    matrix: Matrix, resources: dict[str, Any], prior: list[dict[str, str]]
) -> list[dict[str, Any]]:
    """Estimates before anything is measured in this experiment.

    From prior runs of the same model and method where there are some, else from the model's
    size and the machine's measured speed; the latter are preliminary, within a factor of 5.
    """
    models = {item["name"]: item for item in resources["resources"] if item["kind"] == "model"}
    files = [item for item in resources["resources"] if "rows" in item]
    records = matrix.config.data.records or sum(item["rows"] for item in files)
    tokens = sum(item["characters"] for item in files) / 4 / records if files and records else 0
    speed = resources["machine"]["cpu_gflops"] * 1e9
    rows: list[dict[str, Any]] = []
    endpoint = matrix.config.data.endpoint
    if endpoint is None:
        rows.append(row(None, "generate", 0, 5, 60, "reading a file"))
    elif endpoint.server and models[endpoint.model].get("parameters"):
        written = records * TOKENS_PER_ROW
        base = written * 2 * models[endpoint.model]["parameters"] / (speed * EFFICIENCY)
        basis = f"preliminary: {TOKENS_PER_ROW} tokens a record at half the machine's matrix speed"
        rows.append(row(None, "generate", base / 5, base, base * 5, basis))
    for run in matrix.runs.values():
        work = workload(run, matrix)
        parameters = models[run.model].get("parameters")
        if not parameters:
            continue  # a model not here yet: plan.md says that nothing is known of it
        sizes = split_sizes(records, work["splits"])
        length = min(tokens or TOKENS_PER_ROW, work.get("max_length", TOKENS_PER_ROW))
        if run.kind == "fine-tuned":
            count = sizes["train"] * work["epochs"] * length
            rows.append(_train(work, count, parameters, speed, prior))
        answers = sum(
            min(sizes[task["split"]], task["limit"] or records) * (length + task["max_tokens"])
            for task in work["tasks"]
        )
        base = answers * work["evaluated_epochs"] * 2 * parameters / (speed * EFFICIENCY)
        basis = "preliminary: prompt and answer tokens at half the machine's matrix speed"
        rows.append(row(run.name, "eval", base / 5, base, base * 5, basis))
    return rows


def _train(
    work: dict[str, Any],
    tokens: float,
    parameters: int,
    speed: float,
    prior: list[dict[str, str]],
) -> dict[str, Any]:
    same = [
        float(item["seconds_per_token"])
        for item in prior
        if item["model"] == work["model"] and item["method"] == work["method"]
    ]
    if same:
        expected = tokens * sum(same) / len(same)
        low, high = tokens * min(same) * 0.8, tokens * max(same) * 1.25
        basis = f"{len(same)} prior runs of this model; about {tokens:.0f} tokens"
        return row(work["run"], "train", low, expected, high, basis)
    base = tokens * FLOPS_PER_TOKEN[work["method"]] * parameters / (speed * EFFICIENCY)
    basis = (
        f"preliminary: {tokens:.0f} tokens x {FLOPS_PER_TOKEN[work['method']]} x "
        f"{parameters / 1e6:.0f}M parameters at half the machine's matrix speed"
    )
    return row(work["run"], "train", base / 5, base, base * 5, basis)


def measured(
    workloads: list[dict[str, Any]],
    data: dict[str, Any],
    train: dict[str, dict[str, Any]],
    evaluation: dict[str, dict[str, Any]],
    tokens: dict[str, dict[str, float]],
) -> list[dict[str, Any]]:
    """Estimates from what the preview measured.

    Args:
        workloads: of each run.
        data: the data preview's summary.
        train: each shape's smoke training.
        evaluation: each shape's smoke evaluation.
        tokens: for each model the mean tokens of a row (`row`) and of its completion.
    """
    records = data["records_planned"]
    per_record = data["seconds_per_record"]
    # start-up is taken out of the middle of the range, and left in at its upper end
    rows = [
        row(
            None,
            "generate",
            records * per_record["low"],
            data["start_seconds"] + records * per_record["low"],
            data["start_seconds"] + records * per_record["high"],
            f"measured in the preview: {data['records']} records",
        )
    ]
    shapes = list(train)
    for work in workloads:
        shape = work["shape"] or next(s for s in shapes if train[s]["model"] == work["model"])
        smoke, answered = train[shape], evaluation[shape]
        sizes = split_sizes(records, work["splits"])
        mean = tokens[work["model"]]
        if work["kind"] == "fine-tuned":
            batch = work["batch_size"] * work["gradient_accumulation"]
            steps = -(-sizes["train"] // batch) * work["epochs"]
            count = steps * batch * min(mean["row"], work["max_length"])
            fixed = smoke["load_seconds"]
            expected = fixed + steps * smoke["step_overhead"] + count * smoke["seconds_per_token"]
            rows.append(
                row(
                    work["run"],
                    "train",
                    0.7 * expected,
                    expected,
                    fixed + count * smoke["seconds_per_token_longest"] * 1.5,
                    f"measured on shape {shape}: {steps} steps of {batch} rows, "
                    f"{mean['row']:.0f} tokens a row",
                    memory_mb=smoke["peak_memory_mb"],
                    disk_mb=round(smoke["checkpoint_mb"] * work["epochs"], 1),
                )
            )
        rows.append(_evaluation(work, sizes, mean, answered, shape))
    return rows


def _evaluation(
    work: dict[str, Any],
    sizes: dict[str, int],
    mean: dict[str, float],
    answered: dict[str, Any],
    shape: str,
) -> dict[str, Any]:
    low = high = expected = 0.0
    for task in work["tasks"]:
        samples = min(sizes[task["split"]], task["limit"] or sizes[task["split"]])
        short = min(mean["completion"] + 1, task["max_tokens"]) / answered["max_tokens"]
        full = task["max_tokens"] / answered["max_tokens"]
        base = samples * answered["seconds_per_sample"]
        low += base * min(short, full)
        high += base * max(full, 1.0)
        # a tuned model stops after its answer; an untouched one often goes on to the limit
        expected += base * (full if work["kind"] == "control" else short)
    epochs, fixed = work["evaluated_epochs"], answered["load_seconds"]
    return row(
        work["run"],
        "eval",
        epochs * (fixed + low),
        epochs * (fixed + expected),
        epochs * (fixed + high) * 1.5,
        f"measured on shape {shape}: {answered['samples']} samples",
        memory_mb=answered["peak_memory_mb"],
    )


def total_hours(rows: list[dict[str, Any]]) -> float:
    """Expected hours of all jobs together."""
    return float(sum(item["seconds"]["expected"] for item in rows) / 3600)


PRIOR_FIELDS = ["experiment", "run", "model", "method", "tokens", "seconds", "seconds_per_token"]


def prior_runs(base: Path, own: Path) -> list[dict[str, Any]]:
    """Trained runs of the other experiments below a results directory."""
    rows = []
    for path in sorted(base.glob("*/train/*/manifest.json")):
        if own.resolve() in path.resolve().parents:
            continue
        try:
            manifest = read_json(path)
            seconds, tokens = manifest["seconds"]["train"], manifest["tokens"]
            if manifest["kind"] != "fine-tuned" or manifest["resumed_from_step"] or not tokens:
                continue
            rows.append(
                {
                    "experiment": path.parents[2].name,
                    "run": manifest["run"],
                    "model": manifest["model"]["name"],
                    "method": manifest["method"],
                    "tokens": tokens,
                    "seconds": seconds,
                    "seconds_per_token": seconds / tokens,
                }
            )
        except (LockgateError, KeyError, TypeError):
            continue  # another version's manifest: not comparable
    return rows


def to_csv(rows: list[dict[str, Any]], fields: list[str]) -> str:
    """Rows as CSV text with a header; other fields are left out."""
    handle = io.StringIO()
    writer = csv.DictWriter(handle, fields, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return handle.getvalue()
