"""Whether the configuration speaks of fields that the records will have, before one is made."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import Any

import jinja2
import jinja2.meta

from lockgate.data import acceptance
from lockgate.errors import LockgateError
from lockgate.tools import Column


def check(data: dict[str, Any], columns: list[Column]) -> None:
    """Check each field that `rows`, `axes`, `group` and `accept` name.

    Args:
        data: the section.
        columns: of the records.

    Raises:
        LockgateError: naming the first key whose field no column gives, with the nearest one.
    """
    known = [column.name for column in columns]
    for key, field in _named(data):
        if field not in known and field.split(".")[0] not in known:
            near = difflib.get_close_matches(field, known, 1)
            raise LockgateError(
                f"no record will have the field '{field}'",
                where=f"data.{key}",
                hint=f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(known)}",
            )
    acceptance.Rules(data["accept"], columns, data["rows"])


def _named(data: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Each field that the section names, with its key."""
    for key, value in (data["rows"] or {}).items():
        if key == "messages" and value is not None:
            yield "rows.messages", value
        elif value is not None:
            for name in _variables(value, f"rows.{key}"):
                yield f"rows.{key}", name
    for number, field in enumerate(data["axes"] or []):
        yield f"axes[{number}]", field
    if data["group"]:
        yield "group", data["group"]
    if data["accept"]["when"]:
        for name in _variables(f"{{{{ {data['accept']['when']} }}}}", "accept.when"):
            yield "accept.when", name


def _variables(template: str, key: str) -> Iterable[str]:
    environment = jinja2.Environment()
    try:
        names = jinja2.meta.find_undeclared_variables(environment.parse(template))
    except jinja2.TemplateSyntaxError as error:
        raise LockgateError(
            f"not a template: {error.message}",
            where=f"data.{key}",
            hint="a field's value is written {{ name }}; accept.when has no braces",
        ) from None
    return sorted(names - environment.globals.keys())
