"""What finished runs of other experiments took, for the next plan's estimates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lockgate.errors import LockgateError
from lockgate.files import read_json

FIELDS = [
    "experiment",
    "run",
    "kind",
    "model",
    "family",
    "parameters",
    "method",
    "gpus",
    "threads",
    "tool",
    "precision",
    "batch_size",
    "max_length",
    "tokens",
    "seconds_per_token",
    "overhead_seconds",
    "memory_mb",
    "checkpoint_mb",
    "eval_gpus",
    "eval_seconds_per_sample",
    "eval_max_tokens",
    "eval_overhead_seconds",
    "eval_memory_mb",
]


def runs(base: Path, own: Path) -> list[dict[str, Any]]:
    """Finished runs of the other experiments below a results directory.

    `overhead_seconds` are a job's seconds beside its work: the start, loading, saving.
    """
    rows = []
    for path in sorted(base.glob("*/train/*/manifest.json")):
        if own.resolve() in path.resolve().parents:
            continue
        try:
            rows.append(_prior(path))
        except (
            LockgateError,
            LookupError,
            TypeError,
            ValueError,
            ZeroDivisionError,
            StopIteration,
        ):
            continue  # unfinished, continued or another version's: not comparable
    return rows


def _prior(path: Path) -> dict[str, Any]:
    """One run by its manifest; an error of any lookup says that it cannot be compared."""
    manifest, experiment = read_json(path), path.parents[2]
    name = manifest["model"]["name"]
    model = read_json(experiment / "models" / f"{name}.json")
    plan = read_json(experiment / "plan" / "plan.json")
    asked = next(run for run in plan["runs"] if run["name"] == manifest["run"])["parameters"]
    found = {
        "experiment": experiment.name,
        "run": manifest["run"],
        "kind": manifest["kind"],
        "model": name,
        "family": model["architecture"],
        "parameters": model["parameters"],
        "precision": asked["precision"],
    }
    if manifest["kind"] == "fine-tuned":
        seconds, tokens = manifest["seconds"], manifest["tokens"]
        if manifest["resumed_from_step"] or seconds["train"] > seconds["total"]:
            raise ValueError("only the last attempt's time is known")
        found |= {
            "method": manifest["method"],
            "tool": manifest["tool"],
            "batch_size": asked["batch_size"],
            "max_length": asked["max_length"],
            "gpus": len(manifest["gpus"]) * manifest["granted"]["nodes"],
            "threads": manifest["threads"],
            "tokens": tokens,
            "seconds_per_token": seconds["train"] / tokens,
            "overhead_seconds": round(seconds["total"] - seconds["train"], 2),
            "memory_mb": manifest["peak_memory_mb"],
            "checkpoint_mb": manifest["disk_mb"] / len(manifest["checkpoints"]),
        }
    scores = experiment / "eval" / manifest["run"] / "scores.json"
    if not scores.exists() and "tokens" in found:
        return found
    result = read_json(scores)
    work = sum(cell["seconds"] for cell in result["cells"])
    if work > result["seconds"]["total"]:
        raise ValueError("only the last attempt's time is known")
    longest = {task["name"]: task["max_tokens"] for task in plan["tasks"]}
    samples = sum(cell["n"] for cell in result["cells"])
    return found | {
        "eval_gpus": len(result["gpus"]),
        "threads": result["threads"],
        "eval_seconds_per_sample": work / samples,
        "eval_max_tokens": sum(longest[cell["task"]] * cell["n"] for cell in result["cells"])
        / samples,
        "eval_overhead_seconds": round(result["seconds"]["total"] - work, 2),
        "eval_memory_mb": result["peak_memory_mb"],
    }
