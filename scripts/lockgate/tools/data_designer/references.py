"""Names in a design: which columns speak of which others, without importing the tool."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from fnmatch import fnmatch
from typing import Any

import jinja2
import jinja2.meta
import jinja2.sandbox
from jinja2 import nodes

_ENVIRONMENT = jinja2.sandbox.ImmutableSandboxedEnvironment()


def variables(template: str) -> list[str]:
    """Names that a Jinja template takes from outside, sorted.

    Raises:
        jinja2.TemplateSyntaxError: if it is none.
    """
    return sorted(jinja2.meta.find_undeclared_variables(_ENVIRONMENT.parse(template)))


def shown(template: str) -> list[str]:
    """Those of a template's `variables` whose values it writes, not only asks about, sorted."""
    found: set[str] = set()

    def walk(node: nodes.Node) -> None:
        asked = node.test if isinstance(node, nodes.If | nodes.CondExpr) else None
        if isinstance(node, nodes.Name):
            found.add(node.name)
        elif not isinstance(node, nodes.Compare | nodes.Test) and not (
            isinstance(node, nodes.Filter) and node.name in ("count", "length", "wordcount")
        ):
            for child in node.iter_child_nodes():
                if child is not asked:
                    walk(child)

    walk(_ENVIRONMENT.parse(template))
    return sorted(found & set(variables(template)))


def templates(column: dict[str, Any]) -> dict[str, str]:
    """Each template of a column by its key within it, like `skip.when`."""
    found = {key: column.get(key) for key in ("prompt", "system_prompt", "expr")}
    skip = column.get("skip")
    if isinstance(skip, dict):
        found["skip.when"] = skip.get("when")
    conditions = column.get("conditional_params")
    if isinstance(conditions, dict):
        found |= {f"conditional_params.{text}": f"{{{{ {text} }}}}" for text in conditions}
    return {key: text for key, text in found.items() if isinstance(text, str)}


def named(column: dict[str, Any]) -> dict[str, str]:
    """Each column that a column names outright, by its key within it."""
    found: dict[str, Any] = {"target_column": column.get("target_column")}
    for key in ("target_columns", "required_columns"):
        found |= {f"{key}[{at}]": name for at, name in enumerate(_list(column.get(key)))}
    for at, context in enumerate(_list(column.get("multi_modal_context"))):
        if isinstance(context, dict):
            found[f"multi_modal_context[{at}].column_name"] = context.get("column_name")
    params = column.get("params")
    if isinstance(params, dict):
        sampler = column.get("sampler_type")
        if sampler == "subcategory":
            found["params.category"] = params.get("category")
        if sampler == "timedelta":
            found["params.reference_column_name"] = params.get("reference_column_name")
    return {key: name for key, name in found.items() if isinstance(name, str)}


def needs(column: dict[str, Any]) -> tuple[str, ...]:
    """Columns that a column is made of, each once, as they come."""
    found = [name for text in templates(column).values() for name in variables(text)]
    return tuple(dict.fromkeys([*found, *named(column).values()]))


def beside(column: dict[str, Any]) -> list[str]:
    """Columns that the tool makes along with a column."""
    name = column["name"]
    found = list(column.get("side_effect_columns") or [])
    if column.get("with_trace", "none") not in (None, False, "none"):
        found.append(f"{name}__trace")
    if column.get("extract_reasoning_content"):
        found.append(f"{name}__reasoning_content")
    return found


def owners(columns: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Which column each of those beside it is made with."""
    return {more: column["name"] for column in columns for more in beside(column)}


def dropped(design: dict[str, Any]) -> list[str]:
    """Names, or patterns with `*`, of columns that are made and then taken out of the records."""
    found = [column["name"] for column in design["columns"] if column.get("drop")]
    for processor in design.get("processors") or []:
        if processor.get("processor_type") == "drop_columns":
            found += processor.get("column_names") or []
    return found


def is_dropped(name: str, patterns: list[str]) -> bool:
    """Whether `dropped` has that column."""
    return any(fnmatch(name, one) if "*" in one else name == one for one in patterns)


def nearest(name: Any, known: Iterable[str]) -> str:
    """A hint that names what was probably meant."""
    known = sorted(map(str, known))
    near = difflib.get_close_matches(str(name), known, 1)
    return f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(known) or 'none'}"


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
