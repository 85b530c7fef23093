"""Tokens of the rows of a dataset, and how many of them a run would cut."""

from __future__ import annotations

from typing import Any

from lockgate.data import hub, projection, records
from lockgate.documents import own_rows
from lockgate.files import digest
from lockgate.matrix import Matrix
from lockgate.prompts import tokenize_row
from lockgate.runs import Run

MOST = 1000
"""At most so many rows are looked at, spread evenly."""


def checks(matrix: Matrix, model: str, tokenizer: Any) -> list[tuple[str, bool, str, str]]:
    """For each form in which a model's runs are trained: its rows against `max_length`.

    Args:
        matrix: the experiment; nothing is checked where its records do not exist yet.
        model: a name under `models`.
        tokenizer: that model's.

    Returns:
        Name, whether no row is cut, what was compared, and the fix.
    """
    section = matrix.config.data
    there = section.files and hub.is_here(section.files)
    forms: dict[str, list[Run]] = {}
    for run in matrix.runs.values():
        if run.trained and run.model == model and (run.train_files or there):
            key = [run.rows, run.train_files, run.system_prompt, run.parameters["max_length"]]
            forms.setdefault(digest(key), []).append(run)
    found = []
    for number, alike in enumerate(forms.values(), 1):
        run = alike[0]
        name = f"rows of {model}" + (f", {number} of {len(forms)}" if len(forms) > 1 else "")
        try:
            rows, source = _rows(run, matrix)
            counts = [len(tokenize_row(tokenizer, row, run.system_prompt)[0]) for row in rows]
        except Exception:  # a template may refuse them: the check of the prompts tells of it
            continue
        limit = run.parameters["max_length"]
        cut = sum(count > limit for count in counts)
        told = (
            f"{len(counts)} rows of {source}: {min(counts)} to {max(counts)} tokens, "
            f"{sum(counts) / len(counts):.0f} on average; max_length {limit} cuts {cut}"
        )
        fix = f"raise training.parameters.max_length to {max(counts)}, or have shorter rows"
        found.append((f"{name} fit", cut == 0, told, fix))
    return found


def _rows(run: Run, matrix: Matrix) -> tuple[list[dict[str, Any]], str]:
    """Rows as a run sees them, and where they come from."""
    section = matrix.config.data
    if run.train_files is not None:
        rows, source = projection.other_rows(own_rows(run, matrix.config)), run.train_files
    else:
        source = str(section.files)
        templates = section.rows.model_dump() if section.rows else None
        known = records.read(source)[: section.records]
        rows = projection.project(records.spread(known, MOST), templates, f"data.files {source}")
    return projection.revise(records.spread(rows, MOST), run.rows, source), source
