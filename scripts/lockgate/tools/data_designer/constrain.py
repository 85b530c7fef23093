"""Answers kept to a schema: what the endpoint is told of structured and judge columns.

Small models hardly ever give the JSON that a prompt describes; an endpoint that is given the
schema (`response_format`) cannot give anything else.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

from lockgate.errors import LockgateError

KEY = "response_format"


def wanted(endpoint: dict[str, Any] | None) -> bool:
    """Whether answers are kept to their schema: as asked, else with an embedded server only."""
    if endpoint is None:
        return False
    asked = endpoint.get("constrain")
    return bool(endpoint.get("server")) if asked is None else bool(asked)


def schema(column: dict[str, Any]) -> dict[str, Any] | None:
    """JSON Schema of the column's value, as the tool asks for it; None: it is plain text."""
    if column["column_type"] == "llm-structured":
        given = column.get("output_format")
        return given if isinstance(given, dict) else None
    if column["column_type"] == "llm-judge":
        try:
            return _object({score["name"]: _score(score) for score in column["scores"]})
        except (KeyError, TypeError):
            return None  # the tool's classes will say what is wrong
    return None


def check(columns: list[dict[str, Any]]) -> None:
    """Check that each `output_format` is a JSON Schema, and refers to nothing outside itself.

    Raises:
        LockgateError: naming the column, and the place in its schema.
    """
    for at, column in enumerate(columns):
        shape = column.get("output_format")
        found = next(_faults(shape), None) if isinstance(shape, dict) else None
        if found:
            place, what = found
            raise LockgateError(
                f"column '{column['name']}': its output_format is no JSON Schema: {what}",
                where=f"data.design.columns[{at}].output_format{place}",
                hint="json-schema.org says what one may have",
            )


def _faults(shape: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong with a JSON Schema, and its place there, like `.properties.a.type`."""
    import jsonschema
    import jsonschema_specifications
    import referencing
    import referencing.jsonschema

    kind = jsonschema.validators.validator_for(
        shape if isinstance(shape.get("$schema"), str) else {}
    )
    try:
        kind.check_schema(shape)
    except jsonschema.SchemaError as error:
        yield error.json_path.removeprefix("$"), error.message
        return
    known = referencing.jsonschema.specification_with(kind.META_SCHEMA["$schema"])
    whole = known.create_resource(shape)
    parts = [(whole, jsonschema_specifications.REGISTRY.resolver_with_root(whole))]
    for part, resolver in parts:
        if isinstance(part.contents, dict) and "$ref" in part.contents:
            try:
                resolver.lookup(part.contents["$ref"])
            except (referencing.exceptions.Unresolvable, ValueError):
                yield "", f"nothing is at its $ref '{part.contents['$ref']}'"
        parts += [(one, resolver.in_subresource(one)) for one in part.subresources()]


def models(columns: list[dict[str, Any]], configs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Model configurations with one more for each column whose answers have a schema.

    The columns' `model_alias` is changed to theirs. A `response_format` of the user's own stays.
    """
    by_alias = {config["alias"]: config for config in configs}
    more = []
    for column in columns:
        shape = schema(column)
        if shape is None:
            continue
        config = copy.deepcopy(by_alias[column["model_alias"]])
        parameters = config.get("inference_parameters") or {}
        body = (parameters.get("extra_body") or {}) if isinstance(parameters, dict) else None
        if not isinstance(body, dict) or KEY in body:
            continue  # given, or not valid: the tool's classes will say what is wrong
        name = re.sub(r"[^A-Za-z0-9_-]", "_", column["name"])[:64]
        config["alias"] = _alias(f"{config['alias']}-{column['name']}", by_alias)
        told = {"name": name, "schema": shape, "strict": _is_strict(shape)}
        body = {**body, KEY: {"type": "json_schema", "json_schema": told}}
        config["inference_parameters"] = {**parameters, "extra_body": body}
        by_alias[config["alias"]] = config
        column["model_alias"] = config["alias"]
        more.append(config)
    return configs + more


def _is_strict(schema: Any) -> bool:
    """Whether every object has all of its fields and no others, which `strict` asks for."""
    if isinstance(schema, list):
        return all(map(_is_strict, schema))
    if not isinstance(schema, dict):
        return True
    if isinstance(schema.get("properties"), dict) and (
        schema.get("additionalProperties") is not False
        or set(schema.get("required") or []) != set(schema["properties"])
    ):
        return False
    return all(map(_is_strict, schema.values()))


def _score(score: dict[str, Any]) -> dict[str, Any]:
    """Reasons before the score: what a model has written guides what it writes next."""
    options = [str(option) for option in score["options"]]
    return _object({"reasoning": {"type": "string"}, "score": {"type": "string", "enum": options}})


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _alias(wanted: str, taken: dict[str, Any]) -> str:
    while wanted in taken:
        wanted += "-"
    return wanted
