"""What each job was expected to take, beside what it took."""

from __future__ import annotations

from typing import Any

from lockgate.estimates import to_csv

MEASURES = ("seconds", "memory_mb", "gpu_memory_mb", "disk_mb")
_SOURCES = ("planned", "revised")

FIELDS = [
    "phase",
    "run",
    *(f"{source}_{measure}" for measure in MEASURES for source in (*_SOURCES, "actual")),
    *(f"{source}_{measure}_error" for measure in MEASURES for source in _SOURCES),
    "planned_low",
    "planned_high",
    "revised_low",
    "revised_high",
    "last_attempt_only",
    *("slurm_job", "given_memory_mb", "given_minutes", "used_memory", "used_walltime"),
]
"""Columns of estimates.csv; an error is relative to the actual value, 0.5: half too much. What was
used is a share of what SLURM gave: 0.9 is nearly all of it."""


def jobs(
    plan: dict[str, Any],
    review: dict[str, Any],
    data: dict[str, Any],
    trained: dict[str, dict[str, Any]],
    evaluated: dict[str, dict[str, Any]],
) -> list[dict[str, Any]]:
    """Each heavy job's estimates and what it took.

    Args:
        plan: plan.json.
        review: review.json.
        data: manifest of the data.
        trained: manifests of trained runs, by name.
        evaluated: scores of runs, by name.

    Returns:
        For each job `phase`, `run`, `planned` and `revised` (estimates or None), `actual` (of
        each measure, None: not known), `error` (for each source and measure, relative to
        `actual`), `part` (`actual` holds only the last attempt, and there is no error of time),
        `slurm` (None: it was no SLURM job; else `job`, `memory_mb`, `minutes`, and the shares
        used of both, `memory` and `walltime`, each None: not known).
    """
    names = [run["name"] for run in plan["runs"]]
    tuned = [run["name"] for run in plan["runs"] if run["kind"] == "fine-tuned"]
    rows = [_job(plan, review, "generate", None, data, data["seconds"])]
    rows += [_job(plan, review, "train", name, trained.get(name)) for name in tuned]
    rows += [_job(plan, review, "eval", name, evaluated.get(name)) for name in names]
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """The jobs as CSV text with the columns `FIELDS`."""
    flat = []
    for job in rows:
        line = {"phase": job["phase"], "run": job["run"], "last_attempt_only": job["part"]}
        for measure in MEASURES:
            line[f"actual_{measure}"] = job["actual"][measure]
            for source in _SOURCES:
                line[f"{source}_{measure}"] = _expected(job[source], measure)
                if (error := job["error"][source].get(measure)) is not None:
                    line[f"{source}_{measure}_error"] = round(error, 3)
        for source in _SOURCES:
            for end in ("low", "high") if job[source] else ():
                line[f"{source}_{end}"] = job[source]["seconds"][end]
        if job["slurm"]:
            line["slurm_job"] = job["slurm"]["job"]
            for key in ("memory_mb", "minutes"):
                line[f"given_{key}"] = job["slurm"][key]
            for key in ("memory", "walltime"):
                line[f"used_{key}"] = job["slurm"][key]
        flat.append(line)
    return to_csv(flat, FIELDS)


def _job(
    plan: dict[str, Any],
    review: dict[str, Any],
    phase: str,
    run: str | None,
    result: dict[str, Any] | None,
    seconds: float | None = None,
) -> dict[str, Any]:
    key = (phase, run)
    estimates = {
        name: next((e for e in table["estimates"] if (e["phase"], e["run"]) == key), None)
        for name, table in (("planned", plan), ("revised", review))
    }
    part = bool((result or {}).get("continued"))
    if result is not None and seconds is None:
        seconds = result["seconds"]["total"]
        # kept work shows as parts that took longer than the whole
        parts = [cell["seconds"] for cell in result.get("cells", [])]
        parts.append(result["seconds"].get("train", 0.0))
        part = bool(result.get("resumed_from_step")) or sum(parts) > seconds + 1
    told = result or {}
    actual = {
        "seconds": seconds,
        "memory_mb": told.get("peak_memory_mb"),
        "gpu_memory_mb": told.get("gpu_memory_mb"),
        "disk_mb": told.get("disk_mb"),
    }
    error: dict[str, dict[str, float]] = {}
    for name, estimate in estimates.items():
        error[name] = {}
        for measure, value in actual.items():
            expected = _expected(estimate, measure)
            if expected is not None and value and not (part and measure == "seconds"):
                error[name][measure] = expected / value - 1
    return {
        "phase": phase,
        "run": run,
        **estimates,
        "actual": actual,
        "error": error,
        "part": part,
        "slurm": _slurm(told, actual),
    }


def _slurm(told: dict[str, Any], actual: dict[str, Any]) -> dict[str, Any] | None:
    """What SLURM gave a job, and how much of it was used."""
    if not told.get("job"):
        return None
    given = told["granted"]
    walltime = given["minutes"] * 60 if given["minutes"] else None
    pairs = {
        "memory": (actual["memory_mb"], given["memory_mb"]),
        "walltime": (actual["seconds"], walltime),
    }
    used = {name: round(a / b, 3) if a and b else None for name, (a, b) in pairs.items()}
    return {
        "job": told["job"],
        "memory_mb": given["memory_mb"],
        "minutes": given["minutes"],
        **used,
    }


def _expected(estimate: dict[str, Any] | None, measure: str) -> float | None:
    if estimate is None:
        return None
    value: float | None = estimate.get(measure)
    return estimate["seconds"]["expected"] if measure == "seconds" else value
