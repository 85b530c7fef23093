"""What a design says of each column of its records, for the review and the acceptance."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

from lockgate.errors import LockgateError
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
    known = _Known(design)
    seeded = seeds.columns(design, root) or []
    found = [Column(name, "seed") for name in seeded if name not in known.columns]
    for column in known.columns.values():
        found.append(_one(column, known))
        found += [Column(more, "derived") for more in references.beside(column)]
    return [column for column in found if not known.is_dropped(column.name)]


def check_kept(design: dict[str, Any], accept: dict[str, Any], script: bool = False) -> None:
    """Refuse a validator that is dropped where records have to be valid: none could be judged.

    Args:
        design: in the tool's declarative form.
        accept: the section `data.accept`.
        script: the user's own script built it.

    Raises:
        LockgateError: naming the column.
    """
    gone = references.dropped(design)
    for at, column in enumerate(design["columns"] if accept.get("valid") else []):
        name = column["name"]
        if column["column_type"] == "validation" and references.is_dropped(name, gone):
            raise LockgateError(
                f"column '{name}' is dropped: nothing tells which records it finds valid",
                where="data.script" if script else f"data.design.columns[{at}]",
                hint="keep it, or set data.accept.valid to false",
            )


class _Known:
    """The columns of a design by name, and what they are because of those they need."""

    def __init__(self, design: dict[str, Any]) -> None:
        self.columns = {column["name"]: column for column in design["columns"]}
        self._gone = references.dropped(design)
        self._owners = references.owners(self.columns.values())
        # a column is asked for by each that needs it
        self.role = functools.cache(self._role)
        self.skipped = functools.cache(self._skipped)

    def is_dropped(self, name: str) -> bool:
        return references.is_dropped(name, self._gone)

    def _role(self, name: str) -> str:
        """Text of a model's that is dropped is looked at where an expression repeats it."""
        column = self.columns[name]
        role = _ROLES.get(column["column_type"], "derived")
        if column["column_type"] != "expression":
            return role
        shown = references.shown(references.templates(column).get("expr", ""))
        roles = {self.role(one) for one in shown if one in self.columns and self.is_dropped(one)}
        return "written" if roles & {"written", "structured"} else role

    def _skipped(self, name: str) -> tuple[Any, ...]:
        """What the tool writes where it skips the column, by itself or because of one it needs."""
        column = self.columns[name]
        own = [column["skip"].get("value")] if column.get("skip") else []
        needed = {self._owners.get(one, one) for one in references.needs(column)} - {name}
        if column.get("propagate_skip", True) and any(
            self.skipped(one) for one in needed if one in self.columns
        ):
            own.append(None)
        return tuple(own)


def _one(column: dict[str, Any], known: _Known) -> Column:
    role = known.role(column["name"])
    return Column(
        column["name"],
        role,
        asked=_asked(column, known.columns) if role == "sampled" else None,
        passed="is_valid" if role == "validator" else "",
        scores={score["name"]: f"{score['name']}.score" for score in column.get("scores") or []}
        if role == "judge"
        else {},
        schema=constrain.schema(column) if role == "structured" else None,
        skipped=known.skipped(column["name"]),
    )


def _asked(column: dict[str, Any], known: dict[str, dict[str, Any]]) -> dict[str, float] | None:
    """Share of each value, as text; None where the values are no list, or hang on a condition."""
    params, kind = column.get("params") or {}, column.get("sampler_type")
    if column.get("conditional_params"):
        return None
    if kind == "category":
        values = params["values"]
        weights = params.get("weights") or [1] * len(values)
        return _shares(zip(_texts(values, column), weights, strict=True))
    if kind == "subcategory":
        parent = known.get(params["category"])
        shares = _asked(parent, known) if parent else None
        if shares is None:
            return None
        lists = {str(value): _texts(made, column) for value, made in params["values"].items()}
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


def _texts(values: list[Any], column: dict[str, Any]) -> list[str]:
    """Values as text, of the one type that a numpy array of them, or its conversion, has."""
    wanted = column.get("convert_to")
    if all(isinstance(value, int | float) for value in values):
        if wanted == "int":
            values = [round(value) for value in values]
        elif wanted == "float" or not all(isinstance(value, int) for value in values):
            values = [float(value) for value in values]
    return [str(value) for value in values]


def _numbers(shares: dict[int, float], column: dict[str, Any]) -> dict[str, float]:
    return dict(zip(_texts(list(shares), column), shares.values(), strict=True))


def _shares(pairs: Any) -> dict[str, float]:
    """Shares that add up to 1; a value that is listed twice counts twice."""
    found: dict[str, float] = {}
    for value, weight in pairs:
        found[value] = found.get(value, 0.0) + weight
    total = sum(found.values())
    return {value: weight / total for value, weight in found.items()} if total else found
