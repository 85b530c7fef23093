"""The report's tables for programs: results.csv and groups.csv."""

from __future__ import annotations

import json
from typing import Any

from lockgate.comparison import Result, metric_names, variables
from lockgate.estimates import to_csv
from lockgate.groups import Part
from lockgate.statistics import Difference

_COMPARED = ["difference", "difference_low", "difference_high", "p_value", "p_holm"]
_RESULT = [
    *("task", "epoch", "metric", "n", "score", "low", "high", "interval_method", "control"),
    *(*_COMPARED, "train_seconds", "eval_seconds"),
]
_GROUP = ["task", "epoch", "field", "value", "n", "score", "low", "high", "interval_method"]


def results(plan: dict[str, Any], cells: list[Result], trained: dict[str, dict[str, Any]]) -> str:
    """results.csv: one row a cell, empty where nothing is known; further metrics come last.

    `train_seconds` are the whole run's (its last attempt's, if it was resumed), `eval_seconds`
    this cell's (without loading the model).
    """
    head = ["experiment", "run", "kind", "model", "seed"]
    varied = [key for key in variables(plan["runs"]) if key not in [*head, *_RESULT]]
    measured = metric_names(cells)
    columns = {
        name: f"metric_{name}" if name in [*head, *varied, *_RESULT] else name for name in measured
    }
    rows = []
    for result in cells:
        manifest = trained.get(result.run["name"], {})
        row = {
            "experiment": plan["experiment"]["name"],
            "run": result.run["name"],
            **{key: result.run[key] for key in ("kind", "model", "seed")},
            **{key: plain(result.run["varied"].get(key)) for key in varied},
            "task": result.task,
            "epoch": result.epoch,
            "metric": result.metric,
            "n": len(result.samples),
            "score": result.score,
            "low": result.low,
            "high": result.high,
            "interval_method": result.method,
            "control": result.control.run["name"] if result.control else None,
            **_compared(result.difference, result.p_holm),
            "train_seconds": manifest["seconds"]["total"] if manifest and result.tuned else None,
            "eval_seconds": result.seconds,
            **{column: result.metrics.get(name) for name, column in columns.items()},
        }
        rows.append({key: rounded(value) for key, value in row.items()})
    return to_csv(rows, [*head, *varied, *_RESULT, *columns.values()])


def groups(plan: dict[str, Any], parts: list[Part]) -> str:
    """groups.csv: one row a group of a cell; only its header where no group is asked for."""
    head = ["run", "kind", "model", "seed"]
    varied = [key for key in variables(plan["runs"]) if key not in [*head, *_GROUP, *_COMPARED]]
    rows = []
    for part in parts:
        run = part.result.run
        row = {
            "run": run["name"],
            **{key: run[key] for key in ("kind", "model", "seed")},
            **{key: plain(run["varied"].get(key)) for key in varied},
            "task": part.result.task,
            "epoch": part.result.epoch,
            "field": part.field,
            "value": part.value,
            "n": part.n,
            "score": part.score,
            "low": part.low,
            "high": part.high,
            "interval_method": part.method,
            **_compared(part.difference, part.p_holm),
        }
        rows.append({key: rounded(value) for key, value in row.items()})
    return to_csv(rows, [*head, *varied, *_GROUP, *_COMPARED])


def plain(value: Any) -> Any:
    """A varied parameter's value as one cell of a table."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else value


def rounded(value: Any) -> Any:
    """A number as it stands in a table: six digits."""
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _compared(found: Difference | None, p_holm: float | None) -> dict[str, float | None]:
    numbers = [found.difference, found.low, found.high, found.p_value] if found else [None] * 4
    return dict(zip(_COMPARED, [*numbers, p_holm], strict=True))
