"""Estimates of time (as a range), GPU hours, memory and disk, each with what it rests on.

A row is `run` (None: the data), `phase`, `seconds` (`low`, `expected`, `high`), `gpu_hours`,
`memory_mb`, `gpu_memory_mb`, `disk_mb` (of checkpoints; each None: not known) and `basis`. Seconds
are the wall time of one job's own process, from its start to its result. Memory is what the
process and its children hold at the same time, at most.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from typing import Any

from lockgate import memory, offers, tools
from lockgate.cells import tasks
from lockgate.data import projection
from lockgate.data.splits import split_sizes
from lockgate.documents import own_rows
from lockgate.matrix import Matrix
from lockgate.runs import Run

TOKENS_PER_ROW = 128
"""Assumed until the preview has counted them; capped by the longest sequence."""

EFFICIENCY = 0.5
"""Share of the machine's matrix speed that a job is assumed to reach, within a factor of 5."""

START_SECONDS = 8
"""A process loads the numeric libraries and a model before it works."""

FLOPS_PER_TOKEN = {"lora": 4, "full": 6}
"""Times the number of parameters: forward 2, gradients of activations 2, of weights 2."""

_PARAMETERS = (
    "epochs",
    "method",
    "max_length",
    "batch_size",
    "gradient_accumulation",
    "checkpoint_steps",
    "lora_rank",
    "extra",
)


def workload(run: Run, matrix: Matrix) -> dict[str, Any]:
    """What decides the time, memory and disk of a run, apart from the data's size."""
    config = matrix.config
    work: dict[str, Any] = {
        "run": run.name,
        "kind": run.kind,
        "model": run.model,
        "shape": run.shape,
        "untouched": run.untouched,
        "system_prompt": run.system_prompt,
        **own_rows(run, config),
        "train_total": _total(run, matrix),
        "precision": run.parameters["precision"],
        "tasks": {
            task.name: task.model_dump(include={"split", "limit", "max_tokens"})
            for task in tasks(run, config)
        },
        "evaluated": [part["tasks"] for part in matrix.documents[f"eval/{run.name}"]["epochs"]],
        "eval_batch_size": config.evaluation.batch_size,
        "records": config.data.records,
        "splits": config.data.splits.model_dump(),
        "gpus": {
            phase: math.prod(config.resources.held(phase))
            for phase in ("generate", "train", "eval")
        },
        "tool": config.training.tool,
    }
    if run.trained:
        work.update({key: run.parameters[key] for key in _PARAMETERS})
    return work


def _total(run: Run, matrix: Matrix) -> int | None:
    """Rows of the dataset that a run alone is trained on; None: it has none of its own."""
    if run.train_files is None:
        return None
    return len(projection.other_rows(own_rows(run, matrix.config)))


def trained_rows(work: dict[str, Any], sizes: dict[str, int]) -> int:
    """How many rows a run is trained on.

    Args:
        work: its workload.
        sizes: rows of the data's splits.
    """
    total: int = sizes["train"] if work["train_total"] is None else work["train_total"]
    return min(work["train_rows"] or total, total)


def steps(work: dict[str, Any], rows: int) -> int:
    """Optimizer steps of a run over that many training rows, by its trainer's own rounding."""
    adapter = tools.get("training", work["tool"], "training.tool")
    own: Callable[[int, dict[str, Any]], int] | None = getattr(adapter, "steps", None)
    if own is not None:
        return own(rows, work)
    batch: int = work["batch_size"] * work["gradient_accumulation"]
    return -(-rows // batch) * int(work["epochs"])


def saves(work: dict[str, Any], total: int) -> int:
    """Saves of a run of `total` optimizer steps, where its trainer makes them."""
    adapter = tools.get("training", work["tool"], "training.tool")
    own: Callable[[int, dict[str, Any]], int] | None = getattr(adapter, "saves", None)
    return own(total, work) if own else int(work["epochs"] + total // work["checkpoint_steps"])


def caveat(work: dict[str, Any]) -> str:
    """What the trainer says that an estimate does not know, to be put behind its basis."""
    adapter = tools.get("training", work["tool"], "training.tool")
    told = getattr(adapter, "caveat", lambda parameters: "")(work)
    return f"; {told}" if told else ""


def row(
    run: str | None, phase: str, low: float, expected: float, high: float, basis: str, **more: Any
) -> dict[str, Any]:
    """One estimate; `more`: `gpus` of the job, `memory_mb`, `gpu_memory_mb`, `disk_mb`."""
    seconds = {"low": round(low, 1), "expected": round(expected, 1), "high": round(high, 1)}
    known = {key: more.get(key) for key in ("memory_mb", "gpu_memory_mb", "disk_mb")}
    return {
        "run": run,
        "phase": phase,
        "seconds": seconds,
        "gpu_hours": round(expected / 3600 * more.get("gpus", 0), 4),
        **{key: None if value is None else round(value, 1) for key, value in known.items()},
        "basis": basis,
    }


def totals(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """All jobs one after the other: `seconds` (a range), `gpu_hours`, `disk_mb`, and the largest
    `memory_mb` of one job."""
    return {
        "seconds": {
            key: round(sum(item["seconds"][key] for item in rows), 1)
            for key in ("low", "expected", "high")
        },
        "gpu_hours": round(sum(item["gpu_hours"] for item in rows), 4),
        "disk_mb": round(sum(item["disk_mb"] or 0 for item in rows), 1),
        "memory_mb": max((item["memory_mb"] or 0 for item in rows), default=0),
    }


def total_hours(rows: list[dict[str, Any]]) -> float:
    """Expected hours of all jobs together."""
    return float(sum(item["seconds"]["expected"] for item in rows) / 3600)


def memory_warnings(
    matrix: Matrix, resources: dict[str, Any], rows: list[dict[str, Any]]
) -> list[tuple[str, str, str]]:
    """Jobs that need more memory than they have: the job, what was compared, what mends it."""
    models = {item["name"]: item for item in resources["resources"] if item.get("kind") == "model"}
    asked, machine = matrix.config.resources, resources["machine"]
    partition = offers.chosen(asked, machine)
    limits = memory.limit(asked.model_dump(), machine, partition.memory_mb if partition else None)
    more = "raise resources.memory_mb"
    if partition and asked.memory_mb is None:
        more = "a partition whose nodes have more memory"
    found = []
    for item in rows:
        if item["run"] is None:
            continue
        run = matrix.runs[item["run"]]
        told = memory.advice(item, workload(run, matrix), models.get(run.model), limits, more)
        found += [(f"{item['phase']} {run.name}", *told)] if told else []
    return found


def analytical(
    matrix: Matrix, resources: dict[str, Any], prior: list[dict[str, str]]
) -> list[dict[str, Any]]:
    """Estimates before anything is measured in this experiment.

    From prior runs of the same model and method on as many GPUs (and threads) where there are
    some; else of models of the same family, scaled by their parameters; else from the model's
    size and the machine's measured speed: these are preliminary, within a factor of 5.
    """
    models = {item["name"]: item for item in resources["resources"] if item["kind"] == "model"}
    files = [item for item in resources["resources"] if "rows" in item]
    records = matrix.config.data.records or sum(item["rows"] for item in files)
    known = sum(item["characters"] for item in files) / 4 / records if files and records else 0
    speed = resources["machine"]["cpu_gflops"] * 1e9 * EFFICIENCY
    asked = matrix.config.resources
    gpus = math.prod(asked.held("generate"))
    prior = [item for item in prior if asked.gpus or int(item["threads"]) == asked.threads]
    rows: list[dict[str, Any]] = []
    endpoint = matrix.config.data.endpoint
    if endpoint is None:
        rows.append(row(None, "generate", 0, 5, 60, "reading a file", gpus=gpus))
    elif endpoint.server and models[endpoint.model].get("parameters"):
        written = records * TOKENS_PER_ROW
        base = written * 2 * models[endpoint.model]["parameters"] / speed
        basis = f"preliminary: {TOKENS_PER_ROW} tokens a record at half the machine's matrix speed"
        rows.append(row(None, "generate", base / 5, base, base * 5, basis, gpus=gpus))
    counted = next((item["splits"] for item in files if "splits" in item), None)
    for run in matrix.runs.values():
        work, model = workload(run, matrix), models[run.model]
        if model.get("adapter"):
            model = models[str(matrix.config.models[run.model].base)]
        if not model.get("parameters"):
            continue  # a model not here yet: plan.md says that nothing is known of it
        sizes = counted or split_sizes(records, work["splits"])
        length = min(known or TOKENS_PER_ROW, work.get("max_length", TOKENS_PER_ROW))
        if run.trained:
            own = next(
                (
                    item
                    for item in resources["resources"]
                    if "rows_to_train_on" in item and item["name"] == run.train_files
                ),
                None,
            )
            characters = own["characters"] / 4 / own["rows_to_train_on"] if own else length
            trained = trained_rows(work, sizes)
            taught = min(characters, work["max_length"])
            rows.append(_train(work, trained, taught, model, speed, prior))
        rows.append(_evaluation(work, sizes, length, model, speed, prior))
    return rows


def _train(
    work: dict[str, Any],
    count: int,
    length: float,
    model: dict[str, Any],
    speed: float,
    prior: list[dict[str, str]],
) -> dict[str, Any]:
    tokens = count * work["epochs"] * length
    total = f"{tokens:.0f} tokens in {steps(work, count)} steps"
    keys = ("tool", "method", "precision")
    same = [
        item
        for item in prior
        if item["tokens"]
        and int(item["gpus"]) == work["gpus"]["train"]
        and all(item[key] == work[key] for key in keys)
    ]
    found = _nearest(same, model, work["model"])
    if found:
        times = [
            float(item["overhead_seconds"]) + tokens * scale * float(item["seconds_per_token"])
            for item, scale in found
        ]
        return row(
            work["run"],
            "train",
            0.8 * min(times),
            sum(times) / len(times),
            1.25 * max(times),
            f"{_told(found)}; about {total}{caveat(work)}",
            gpus=work["gpus"]["train"],
            memory_mb=_alike_memory(found, work),
            disk_mb=(_mean(found, "checkpoint_mb") or 0) * work["epochs"] or None,
        )
    base = tokens * FLOPS_PER_TOKEN[work["method"]] * model["parameters"] / speed
    need, _ = memory.training(work, model)
    held = memory.sizes(work, model)
    host = memory.RUNTIME_MB + held["weights"]
    basis = (
        f"preliminary: {START_SECONDS} s to load, {total} x {FLOPS_PER_TOKEN[work['method']]} x "
        f"{model['parameters'] / 1e6:.0f}M parameters at half the machine's matrix speed; memory: "
        f"weights {held['weights']:.0f}, trained {held['trained']:.0f}, libraries "
        f"{memory.RUNTIME_MB} MB, {held['token']:.2g} MB a token of a batch{caveat(work)}"
    )
    return row(
        work["run"],
        "train",
        START_SECONDS + base / 5,
        START_SECONDS + base,
        START_SECONDS + base * 5,
        basis,
        gpus=work["gpus"]["train"],
        memory_mb=host if work["gpus"]["train"] else need,
        gpu_memory_mb=need if work["gpus"]["train"] else None,
        disk_mb=held["checkpoint"] * work["epochs"] or None,
    )


def _evaluation(
    work: dict[str, Any],
    sizes: dict[str, int],
    length: float,
    model: dict[str, Any],
    speed: float,
    prior: list[dict[str, str]],
) -> dict[str, Any]:
    asked = [work["tasks"][name] for names in work["evaluated"] for name in names]
    counts = [min(sizes[task["split"]], task["limit"] or sizes[task["split"]]) for task in asked]
    trained = work["kind"] == "fine-tuned"
    same = [
        item
        for item in prior
        if item["eval_seconds_per_sample"]
        and int(item["eval_gpus"]) == work["gpus"]["eval"]
        and (item["kind"] == "fine-tuned") is trained
        and item["precision"] == work["precision"]
    ]
    limits = zip(counts, asked, strict=True)
    longest = sum(count * task["max_tokens"] for count, task in limits) / max(1, sum(counts))
    found = _nearest(same, model, work["model"])
    if found:
        # longer answers than those measured take longer; tuned models end theirs by themselves
        most = [max(1.0, longest / float(item["eval_max_tokens"])) for item, _ in found]
        times = [
            float(item["eval_overhead_seconds"])
            + sum(counts)
            * scale
            * float(item["eval_seconds_per_sample"])
            * (1.0 if trained else more)
            for (item, scale), more in zip(found, most, strict=True)
        ]
        expected, basis = sum(times) / len(times), f"{_told(found)}; {sum(counts)} samples"
        low, high = 0.5 * min(times), 2 * max(times) * (max(most) if trained else 1.0)
        need = _mean(found, "eval_memory_mb")
    else:
        tokens = sum(
            count * (length + task["max_tokens"]) for count, task in zip(counts, asked, strict=True)
        )
        base = tokens * 2 * model["parameters"] / speed
        basis = (
            f"preliminary: {START_SECONDS} s to load, prompt and answer tokens at half the "
            "machine's matrix speed"
        )
        expected = START_SECONDS + base
        low, high = START_SECONDS + base / 5, START_SECONDS + base * 5
        need = memory.RUNTIME_MB + model["parameters"] * memory.BYTES[work["precision"]] / 1e6
    more = {"gpus": work["gpus"]["eval"], "memory_mb": need}
    return row(work["run"], "eval", low, expected, high, basis, **more)


def _nearest(
    prior: list[dict[str, str]], model: dict[str, Any], name: str
) -> list[tuple[dict[str, str], float]]:
    """Prior runs of this model, or else of its family, each with how much more work this one is."""
    size = model["parameters"]
    same = [item for item in prior if item["model"] == name and float(item["parameters"]) == size]
    family = [
        item for item in prior if item["family"] and item["family"] == model.get("architecture")
    ]
    return [(item, size / float(item["parameters"])) for item in same or family]


def _alike_memory(found: list[tuple[dict[str, str], float]], work: dict[str, Any]) -> float | None:
    """Mean memory of the prior runs with batches as large; None: there is none."""
    sizes = work["batch_size"], work["max_length"]
    alike = [
        pair for pair in found if (int(pair[0]["batch_size"]), int(pair[0]["max_length"])) == sizes
    ]
    return _mean(alike, "memory_mb")


def _told(found: list[tuple[dict[str, str], float]]) -> str:
    count = f"{len(found)} prior run{'s' if len(found) > 1 else ''}"
    if all(scale == 1 for _, scale in found):
        return f"{count} of this model"
    return f"{count} of models of this family, scaled by their parameters"


def _mean(found: list[tuple[dict[str, str], float]], key: str) -> float | None:
    """Mean of what a model's size scales, where it was recorded."""
    values = [scale * float(item[key]) for item, scale in found if item[key]]
    return sum(values) / len(values) if values else None


def to_csv(rows: list[dict[str, Any]], fields: list[str]) -> str:
    """Rows as CSV text with a header; other fields are left out."""
    handle = io.StringIO()
    writer = csv.DictWriter(handle, fields, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return handle.getvalue()
