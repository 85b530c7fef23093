"""What a design says of each column of its records, for the review and the acceptance."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from lockgate.tools import Column
from lockgate.tools.data_designer import constrain, references, seeds

_ROLES = {
    "sampler": "sampled",
    "seed-dataset": "seed",
    "llm-text": "written",
    "llm-code": "written",
    "llm-structured": "structured",
    "llm-judge": "judge",
    "validation": "validator",
}
MOST_VALUES = 20
"""A number with more values than this has no share for each."""


def describe(design: dict[str, Any], root: Path) -> list[Column]:
    """The columns of a design's records: those of its seeds, then its own.

    Args:
        design: in the tool's declarative form.
        root: resolves the path of a seed file.
    """
    gone = references.dropped(design)
    own = {column["name"]: column for column in design["columns"]}
    seeded = seeds.columns(design, root) or []
    found = [Column(name, "seed") for name in seeded if name not in own]
    for _name, column in own.items():
        found.append(_one(column, own))
        found += [Column(more, "derived") for more in references.beside(column)]
    return [column for column in found if not references.is_dropped(column.name, gone)]


def _one(column: dict[str, Any], known: dict[str, dict[str, Any]]) -> Column:
    kind = column["column_type"]
    role = _ROLES.get(kind, "derived")
    return Column(
        column["name"],
        role,
        asked=_asked(column, known) if role == "sampled" else None,
        passed="is_valid" if role == "validator" else "",
        scores={score["name"]: f"{score['name']}.score" for score in column.get("scores") or []}
        if role == "judge"
        else {},
        schema=constrain.schema(column) if role == "structured" else None,
    )


def _asked(column: dict[str, Any], known: dict[str, dict[str, Any]]) -> dict[str, float] | None:
    """Share of each value, as text; None where the values are no list, or hang on a condition."""
    params, kind = column.get("params") or {}, column.get("sampler_type")
    if column.get("conditional_params"):
        return None
    if kind == "category":
        values = params["values"]
        weights = params.get("weights") or [1] * len(values)
        return _shares(zip(_texts(values), weights, strict=True))
    if kind == "subcategory":
        parent = known.get(params["category"])
        shares = _asked(parent, known) if parent else None
        if shares is None:
            return None
        lists = {str(value): _texts(choices) for value, choices in params["values"].items()}
        return _shares(
            (choice, share / len(choices))
            for value, share in shares.items()
            if (choices := lists.get(value))
            for choice in choices
        )
    if kind == "bernoulli":
        return _numbers({0: 1 - params["p"], 1: params["p"]}, column)
    if kind == "binomial" and params["n"] < MOST_VALUES:
        n, p = params["n"], params["p"]
        return _numbers(
            {k: math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)}, column
        )
    return None


def _texts(values: list[Any]) -> list[str]:
    """Values as text, of the one type that a numpy array of them has."""
    if all(isinstance(value, int | float) for value in values) and not all(
        isinstance(value, int) for value in values
    ):
        values = [float(value) for value in values]
    return [str(value) for value in values]


def _numbers(shares: dict[int, float], column: dict[str, Any]) -> dict[str, float]:
    as_float = column.get("convert_to") == "float"
    return {str(float(value) if as_float else value): share for value, share in shares.items()}


def _shares(pairs: Any) -> dict[str, float]:
    """Shares that add up to 1; a value that is listed twice counts twice."""
    found: dict[str, float] = {}
    for value, weight in pairs:
        found[value] = found.get(value, 0.0) + weight
    total = sum(found.values())
    return {value: weight / total for value, weight in found.items()} if total else found
