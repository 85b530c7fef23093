"""Checks of a design that the tool makes late, in another order, or not at all."""

from __future__ import annotations

import graphlib
import math
import os
from typing import Any

import jinja2

from lockgate.errors import LockgateError
from lockgate.tools.data_designer import constrain, references, seeds
from lockgate.tools.data_designer.references import nearest

WHERE = "data.design"
PERSONS = "DATA_DESIGNER_MANAGED_ASSETS_PATH"


def check(design: dict[str, Any], seeded: list[str] | None) -> None:
    """Check that every name in a design is a column's, and that the columns can be made in turn.

    Args:
        design: whose columns each have a name and a type.
        seeded: columns of the seed dataset; None: not known, and so may be any.

    Raises:
        LockgateError: for the first thing that is wrong, naming column and key.
    """
    _shapes(design)
    own = {column["name"]: column for column in design["columns"]}
    owners = references.owners(own.values())
    for name in seeded or []:
        if name in own or name in owners:
            at = list(own).index(owners.get(name, name))
            raise LockgateError(
                f"the seed dataset has a column '{name}' too",
                where=f"{WHERE}.columns[{at}].name",
                hint="rename one of them",
            )
    known = None if seeded is None else [*own, *owners, *seeded]
    for at, column in enumerate(design["columns"]):
        where = f"{WHERE}.columns[{at}]"
        who = f"column '{column['name']}'"
        if column.get("tool_alias"):  # its command gives no MCP provider to a generation
            raise LockgateError(
                f"{who} uses tools, which models cannot do here",
                where=f"{where}.tool_alias",
                hint="leave it out; or make the records elsewhere, and name them in data.files",
            )
        for key, template in references.templates(column).items():
            _template(template, known, who, f"{where}.{key}")
        for key, name in references.named(column).items():
            _known(name, known, who, f"{where}.{key}")
        _subcategories(column, own, where)
        _remote(column, who, where)
    _circles(own, owners)
    _constraints(design, own)
    for at, processor in enumerate(design.get("processors") or []):
        _processor(processor, known, f"{WHERE}.processors[{at}]")


def check_values(value: Any, where: str = WHERE, who: str = "") -> None:
    """Refuse what a script cannot hold, or a file: numbers without end, and halves of characters.

    Raises:
        LockgateError: naming the key, and the column where it is in one.
    """
    if isinstance(value, dict):
        if not who and isinstance(value.get("name"), str):
            who = f"{value['name']!r}: "
        for key, one in value.items():
            check_values(key, where, who)
            check_values(one, f"{where}.{key}", who)
    elif isinstance(value, list):
        for at, one in enumerate(value):
            check_values(one, f"{where}[{at}]", who)
    elif isinstance(value, float) and not math.isfinite(value):
        raise LockgateError(
            f"{who}{value} is no finite number", where=where, hint="write a number, or leave it out"
        )
    elif isinstance(value, str) and any("\ud800" <= one <= "\udfff" for one in value):
        raise LockgateError(
            f"{who}a half of a character (a lone surrogate) is in the text",
            where=where,
            hint="write the character itself, not its \\u escapes",
        )


def check_persons(design: dict[str, Any]) -> None:
    """Refuse persons of the tool's own datasets where these are not at hand.

    Raises:
        LockgateError: naming the column.
    """
    for at, column in enumerate(design["columns"]):
        if column.get("sampler_type") == "person" and not os.environ.get(PERSONS):
            raise LockgateError(
                f"column '{column['name']}' draws from a dataset of persons that is not here",
                where=f"{WHERE}.columns[{at}].sampler_type",
                hint="use person_from_faker; or `data-designer download personas`, and "
                f"export {PERSONS}=... with the directory that it names",
            )


def notes(design: dict[str, Any], endpoint: dict[str, Any] | None, shards: int = 1) -> list[str]:
    """What no check can tell of a design, one sentence each."""
    found = []
    seeded = design.get("seed_config") or {}
    given = seeded.get("source") or {}
    if seeded.get("sampling_strategy") == "shuffle":
        found.append(
            "not checked: whether the same seed gives the same records: the tool shuffles the seed "
            "dataset anew in each call, so rows may come again, or not at all, after an "
            "interruption (sampling_strategy: ordered reads each row in its turn)"
        )
    if shards > 1 and given and seeds.rows(design, shards) is None:
        found.append(f"not checked: whether the seed dataset has a row for each of {shards} shards")
    if given.get("seed_type") == "hf":
        found.append(f"not checked: the columns of the seed dataset {given.get('path')}")
    constrained = constrain.wanted(endpoint)
    for column in design["columns"]:
        name, kind = column["name"], column["column_type"]
        if kind == "image" or column.get("multi_modal_context"):
            found.append(f"not checked: whether the model of column '{name}' can work with images")
        if column.get("validator_type") == "remote":
            url = (column.get("validator_params") or {}).get("endpoint_url")
            found.append(f"not checked: whether the validator of column '{name}' answers at {url}")
        if kind in ("llm-structured", "llm-judge") and not constrained:
            found.append(
                f"not checked: whether the model keeps to the schema of column '{name}', which "
                "only its prompt gives (data.endpoint.constrain: true lets the endpoint see to it)"
            )
    return found


def _shapes(design: dict[str, Any]) -> None:
    """Check the kinds of the values that the checks below look into."""
    for at, column in enumerate(design["columns"]):
        where = f"{WHERE}.columns[{at}]"
        who = f"column '{column['name']}'"
        if not isinstance(column.get("params") or {}, dict):
            raise LockgateError(
                f"{who}: params must be a mapping",
                where=f"{where}.params",
                hint="write a mapping, like `values: [a, b]`",
            )
        _names(column, "side_effect_columns", who, where)
    for at, processor in enumerate(design.get("processors") or []):
        who = f"processor '{processor.get('name', '?')}'"
        _names(processor, "column_names", who, f"{WHERE}.processors[{at}]")


def _names(part: dict[str, Any], key: str, who: str, where: str) -> None:
    given = part.get(key) or []
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        raise LockgateError(
            f"{who}: {key} must name columns", where=f"{where}.{key}", hint="write a list of names"
        )


def _known(name: str, known: list[str] | None, who: str, where: str) -> None:
    if known is not None and name not in known:
        raise LockgateError(
            f"{who} needs '{name}', and there is no such column",
            where=where,
            hint=nearest(name, known),
        )


def _template(template: str, known: list[str] | None, who: str, where: str) -> None:
    try:
        names = references.variables(template)
    except jinja2.TemplateSyntaxError as error:
        raise LockgateError(
            f"{who}: not a template: {error.message} (line {error.lineno})",
            where=where,
            hint="a column's value is written {{ name }}",
        ) from None
    for name in names:
        _known(name, known, who, where)


def _subcategories(column: dict[str, Any], own: dict[str, Any], where: str) -> None:
    """Each value of the category must have its list: the tool would end in the middle."""
    params = column.get("params") or {}
    if column.get("sampler_type") != "subcategory" or not isinstance(params.get("values"), dict):
        return
    name = str(params.get("category"))
    category = own.get(name, {})
    if category.get("sampler_type") != "category":
        raise LockgateError(
            f"column '{column['name']}' needs a category, and '{name}' is none",
            where=f"{where}.params.category",
            hint="name a sampler column whose sampler_type is category",
        )
    values = (category.get("params") or {}).get("values")
    for value in values if isinstance(values, list) else []:
        if value not in list(params["values"]):  # a list: the value may be no key at all
            raise LockgateError(
                f"column '{column['name']}' has no values for '{value}' of column '{name}'",
                where=f"{where}.params.values",
                hint=f"add a list for {value!r}",
            )


def _remote(column: dict[str, Any], who: str, where: str) -> None:
    """The address of a remote validator is written to files: no key may be in it."""
    params = column.get("validator_params")
    url = params.get("endpoint_url") if isinstance(params, dict) else None
    if isinstance(url, str) and any(mark in url for mark in "@?#"):
        raise LockgateError(
            f"{who}: an address ends with its path, and has no user or key in it",
            where=f"{where}.validator_params.endpoint_url",
            hint="take it out; a data.script can read a key from an environment variable",
        )


def _circles(own: dict[str, Any], owners: dict[str, str]) -> None:
    needed = {
        name: {owners.get(one, one) for one in references.needs(column)}
        for name, column in own.items()
    }
    try:
        graphlib.TopologicalSorter(needed).prepare()
    except graphlib.CycleError as error:
        circle = list(reversed(error.args[1]))
        raise LockgateError(
            f"columns need each other in a circle: {' needs '.join(circle)}",
            where=f"{WHERE}.columns[{list(own).index(circle[0])}]",
            hint="take one of these references out",
        ) from None


def _constraints(design: dict[str, Any], own: dict[str, Any]) -> None:
    samplers = [name for name, one in own.items() if one["column_type"] == "sampler"]
    for at, constraint in enumerate(design.get("constraints") or []):
        where = f"{WHERE}.constraints[{at}]"
        named = {"target_column": constraint.get("target_column")}
        if constraint.get("constraint_type") == "column_inequality":
            named["rhs"] = constraint.get("rhs")
        for key, name in named.items():
            if isinstance(name, str) and name not in samplers:
                raise LockgateError(
                    f"a constraint is about sampler columns, and '{name}' is none",
                    where=f"{where}.{key}",
                    hint=nearest(name, samplers),
                )


def _processor(processor: dict[str, Any], known: list[str] | None, where: str) -> None:
    who = f"processor '{processor.get('name', '?')}'"
    for at, name in enumerate(processor.get("column_names") or []):
        if not any(references.is_dropped(one, [name]) for one in known or []):
            _known(name, known, who, f"{where}.column_names[{at}]")
    template = processor.get("template")
    for key, value in (template if isinstance(template, dict) else {}).items():
        for text in _texts(value):
            _template(text, known, who, f"{where}.template.{key}")


def _texts(value: Any) -> list[str]:
    """Every text in nested lists and mappings."""
    if isinstance(value, str):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [text for part in parts for text in _texts(part)]
