"""Memory and disk by formula, and micro-batches that fit where an estimate does not."""

from __future__ import annotations

import re
from typing import Any

from lockgate.stages import hardware

BYTES = {"float32": 4, "bfloat16": 2}
RUNTIME_MB = 600
"""A process with the numeric libraries loaded, before any model."""
PER_TOKEN = 17
"""Activations kept a token, layer and hidden unit, times the bytes of a weight."""


def sizes(work: dict[str, Any], model: dict[str, Any]) -> dict[str, float]:
    """What training a run holds, in MB: `weights`, `trained`, and `token` (for each token).

    Weights: parameters x bytes. Trained weights: three more times their bytes (a gradient and two
    states of the optimizer); of an adapter, which has 4 bytes, one time more for itself. Each
    token: 17 x hidden size x layers x bytes of activations, and its vocabulary's logits, once in
    the weights' precision and twice in 4 bytes.

    Args:
        work: the run's workload.
        model: `parameters`, and `dimensions` (`hidden`, `layers`, `vocabulary`; None: not known,
            and activations are not counted).
    """
    size = BYTES[work["precision"]]
    shape = model.get("dimensions") or {"hidden": 0, "layers": 0, "vocabulary": 0}
    weights = model["parameters"] * size
    if work["method"] == "full":
        trained, saved = 3 * weights, weights
    else:
        # queries, keys, values and outputs, and three matrices about 2.7 times as wide
        wide = 19 * work["lora_rank"] * shape["hidden"] * shape["layers"]
        trained, saved = 4 * 4 * wide, 4 * wide
    token = PER_TOKEN * shape["hidden"] * shape["layers"] * size
    token += shape["vocabulary"] * (size + 2 * 4)
    return {
        "weights": weights / 1e6,
        "trained": trained / 1e6,
        "token": token / 1e6,
        "checkpoint": saved / 1e6,
    }


def training(work: dict[str, Any], model: dict[str, Any]) -> tuple[float, float]:
    """Peak memory in MB at the longest sequence, and the part that no batch makes larger."""
    held = sizes(work, model)
    fixed = RUNTIME_MB + held["weights"] + held["trained"]
    return fixed + work["batch_size"] * work["max_length"] * held["token"], fixed


def limit(
    resources: dict[str, Any], machine: dict[str, Any] | None, most: int | None = None
) -> dict[str, float | None]:
    """MB that a job may hold: `memory_mb`, and `gpu_memory_mb` of one GPU (None: not known).

    Args:
        resources: of the configuration.
        machine: what resolve found, for GPUs that are not named.
        most: MB of the largest node that the job may get, where `resources` does not say.
    """
    gpu = None
    if resources["gpus"]:
        if resources["gpu"]:
            gpu = 1000 * hardware.gpu(resources["gpu"], "resources.gpu").memory_gb
        else:
            told = [re.search(r"(\d+) *MiB", text) for text in (machine or {}).get("gpus", [])]
            gpu = min((int(one[1]) * 2**20 / 1e6 for one in told if one), default=None)
    given = resources["memory_mb"]
    return {"memory_mb": most if given is None else given, "gpu_memory_mb": gpu}


def advice(
    estimate: dict[str, Any],
    work: dict[str, Any],
    model: dict[str, Any] | None,
    limits: dict[str, float | None],
    more: str = "raise resources.memory_mb",
) -> tuple[str, str] | None:
    """What is wrong with a job's memory, and what mends it; None: it fits, or it is not known.

    Args:
        estimate: of the job.
        work: the run's workload.
        model: see `sizes`; None: not known.
        limits: see `limit`.
        more: what gives a job more host memory.
    """
    for key, what in (("gpu_memory_mb", "a GPU has"), ("memory_mb", "a job has")):
        need, most = estimate.get(key), limits.get(key)
        if need is None or most is None or need <= most:
            continue
        told = f"{need:.0f} MB expected, {what} {most:.0f} MB"
        other = "a GPU with more memory" if key == "gpu_memory_mb" else more
        if estimate["phase"] != "train" or not (model or {}).get("parameters"):
            less = "a smaller evaluation.batch_size" if estimate["phase"] == "eval" else ""
            return told, " or ".join(filter(None, [less, other]))
        _, fixed = training(work, model or {})
        small = micro_batch(need, min(fixed, need), most, work["batch_size"])
        if small is None:
            return told, f"{other}, or a lower max_length: no micro-batch is small enough"
        times = work["gradient_accumulation"] * work["batch_size"] // small
        return told, (
            f"batch_size: {small} with gradient_accumulation: {times}, which keeps the effective "
            f"batch of {small * times}; or {other}"
        )
    return None


def micro_batch(need: float, fixed: float, most: float, batch: int) -> int | None:
    """The largest part of a batch, in rows, that divides it and fits; None: not even one row.

    Args:
        need: MB with the whole batch.
        fixed: MB of it that do not grow with the batch.
        most: MB that there are.
        batch: rows.
    """
    fitting = [
        rows
        for rows in range(1, batch)
        if batch % rows == 0 and fixed + (need - fixed) * rows / batch <= most
    ]
    return max(fitting, default=None)
