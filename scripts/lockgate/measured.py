"""Estimates from what the preview measured in this experiment."""

from __future__ import annotations

from typing import Any

from lockgate import memory
from lockgate.data.splits import split_sizes
from lockgate.estimates import FLOPS_PER_TOKEN, caveat, row, saves, steps, trained_rows
from lockgate.preview import padded

LOW, HIGH = 0.8, 1.5
"""The same work at another time: a machine is never quite as quick, or as busy, as measured."""

GROWTH = 0.27
"""Share of what batches take, by which a long run on a CPU outgrows a few steps: its heap gets
fragmented by batches of all lengths. Found in runs of 66 steps of a model of 135M parameters."""


def rows(
    workloads: list[dict[str, Any]],
    data: dict[str, Any],
    train: dict[str, dict[str, Any]],
    evaluation: dict[str, dict[str, Any]],
    tokens: dict[str, list[tuple[int, int]]],
    models: dict[str, dict[str, Any]],
) -> list[dict[str, Any]]:
    """One estimate a job.

    Args:
        workloads: of each run, see `estimates.workload`.
        data: the data preview's summary.
        train: each shape's smoke training.
        evaluation: each model's measured evaluation, by the run's `untouched`.
        tokens: of each run, for each sample row the tokens of all and of its completion.
        models: manifests by name.
    """
    gpus = workloads[0]["gpus"]["generate"] if workloads else 0
    found = [_generation(data, gpus)]
    for work in workloads:
        sizes = data["splits"] or split_sizes(data["records_planned"], work["splits"])
        counts = tokens[work["run"]]
        if work["kind"] == "fine-tuned":
            smoke = train[work["shape"]]
            lengths = work.get("lengths") or [whole for whole, _ in counts]
            found.append(_training(work, sizes, lengths, smoke, models[work["model"]]))
        found.append(_evaluation(work, sizes, counts, evaluation[work["untouched"]]))
    return found


def _generation(data: dict[str, Any], gpus: int) -> dict[str, Any]:
    made, wanted = data["records_to_make"], data["records_planned"]
    starts = data["shards"] * data["start_seconds"]
    expected = starts + made * data["seconds_per_record"]
    more = f"; {made} are to be made to accept {wanted}" if made != wanted else ""
    at_most = data.get("at_most", False)
    if at_most:
        more += "; at most, as the tool's start is in the time of a record"
    return row(
        None,
        "generate",
        LOW * (starts if at_most else expected),
        expected,
        HIGH * expected,
        f"measured in the preview: {data['timed']} records{more}",
        gpus=gpus,
        memory_mb=data["peak_memory_mb"],
    )


def _training(
    work: dict[str, Any],
    sizes: dict[str, int],
    lengths: list[int],
    smoke: dict[str, Any],
    model: dict[str, Any],
) -> dict[str, Any]:
    count = trained_rows(work, sizes)
    batch = work["batch_size"]
    total = steps(work, count)
    each = padded(lengths, batch, work["max_length"])
    a_token = smoke["seconds_per_step"] / smoke["tokens_per_step"]
    a_step = a_token * each * work["gradient_accumulation"]
    validation = smoke["validation_seconds"]
    if validation is None:  # not told apart by the trainer: the forward part of a step
        validation = a_token * each * 2 / FLOPS_PER_TOKEN[work["method"]]
    batches = -(-sizes["validation"] // batch) * work["epochs"]
    beside = smoke["start_seconds"] + saves(work, total) * smoke["save_seconds"]
    expected = beside + total * a_step + batches * validation
    need = smoke["peak_memory_mb"]
    if not work["gpus"]["train"]:
        need += GROWTH * max(0.0, need - memory.training(work, model)[1])
    slowest = beside + total * smoke["seconds_per_step_longest"] + batches * validation
    return row(
        work["run"],
        "train",
        LOW * expected,
        expected,
        max(HIGH * expected, slowest),
        f"measured on shape {work['shape']}: {total} steps of {a_step:.3g} s, "
        f"{each * work['gradient_accumulation']:.0f} tokens with padding{caveat(work)}",
        gpus=work["gpus"]["train"],
        memory_mb=need,
        gpu_memory_mb=smoke["gpu_memory_mb"],
        disk_mb=smoke["checkpoint_mb"] * work["epochs"],
    )


def _evaluation(
    work: dict[str, Any],
    sizes: dict[str, int],
    counts: list[tuple[int, int]],
    smoke: dict[str, Any],
) -> dict[str, Any]:
    trained = work["kind"] == "fine-tuned"
    part = smoke["trained"][work["shape"]] if trained else smoke["untouched"]
    longest = 1 + max(completion for _, completion in counts)
    expected = most = 0.0
    samples = 0
    for name in (name for names in work["evaluated"] for name in names):
        task, measured = work["tasks"][name], part["tasks"][name]
        count = min(sizes[task["split"]], task["limit"] or sizes[task["split"]])
        wait = 0.0
        if count > smoke["batch_size"] and count % smoke["batch_size"]:
            wait = smoke["batch_wait"]
        answer = min(longest, task["max_tokens"]) if trained else task["max_tokens"]
        expected += count * measured["seconds_per_row"] * _longer(measured, answer) + wait
        free = smoke["untouched"]["tasks"][name]
        most += count * free["seconds_per_row"] * _longer(free, task["max_tokens"]) + wait
        samples += count
    fixed = smoke["start_seconds"] + (len(work["evaluated"]) - 1) * smoke["load_seconds"]
    if trained:
        fixed += len(work["evaluated"]) * part["warm_up_seconds"]
    told = "with smoke-trained weights" if trained else "as it is"
    return row(
        work["run"],
        "eval",
        LOW * (fixed + expected),
        fixed + expected,
        HIGH * (fixed + max(expected, most)),
        f"measured on {work['model']} {told}: {smoke['rows']} answers; {samples} are asked",
        gpus=work["gpus"]["eval"],
        memory_mb=part["peak_memory_mb"],
    )


def _longer(measured: dict[str, Any], wanted: int) -> float:
    """How much longer answers take than the measured ones, which were stopped earlier.

    Those that ended by themselves would not go on.
    """
    at = measured["max_tokens"]
    went_on = min(1.0, measured["tokens"] / at)
    return 1 + went_on * max(0, wanted - at) / at
