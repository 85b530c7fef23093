"""What the installed tool offers, and checks of a design against it; imports the tool."""

from __future__ import annotations

import json
from typing import Any, get_args

from lockgate.errors import LockgateError
from lockgate.tools.data_designer.command import versions
from lockgate.tools.data_designer.design import nearest


def learn() -> dict[str, Any]:
    """JSON Schemas of all that a design may contain, from the tool's own classes."""
    installed = versions()
    from data_designer.config.column_types import ColumnConfigT
    from data_designer.config.models import ModelConfig
    from data_designer.config.processor_types import ProcessorConfigT
    from data_designer.config.sampler_constraints import ColumnConstraintT
    from data_designer.config.seed import SeedConfig
    from data_designer.config.utils.type_helpers import SAMPLER_PARAMS
    from data_designer.config.validator_params import ValidatorParamsT

    def by_name(union: Any, field: str) -> dict[str, Any]:
        schemas = [_schema(member) for member in get_args(union) or (union,)]
        return {_constant(schema, field): schema for schema in schemas}

    return {
        "versions": installed,
        "column_types": by_name(ColumnConfigT, "column_type"),
        "samplers": {name: _schema(params) for name, params in sorted(SAMPLER_PARAMS.items())},
        "validators": by_name(ValidatorParamsT, "validator_type"),
        "processors": by_name(ProcessorConfigT, "processor_type"),
        "constraints": by_name(ColumnConstraintT, "constraint_type"),
        "model_config": _schema(ModelConfig),
        "seed_config": _schema(SeedConfig),
    }


def check(design: dict[str, Any], given: dict[str, Any]) -> None:
    """Check a completed design against the tool's classes.

    Args:
        design: with aliases and models filled in.
        given: what the user wrote, to say where.

    Raises:
        LockgateError: for the first thing that is wrong, naming its key.
    """
    import pydantic
    from data_designer.config.data_designer_config import DataDesignerConfig
    from data_designer.errors import DataDesignerError

    try:
        # A copy: the tool's validators write into what they are given.
        DataDesignerConfig.model_validate(json.loads(json.dumps(design)))
    except pydantic.ValidationError as error:
        errors = error.errors(include_url=False, include_input=False)
        raise _translated(errors[0], len(errors), given) from error
    except (DataDesignerError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise LockgateError(f"the design is not valid: {error}", where="data.design") from error


def _translated(first: Any, count: int, given: dict[str, Any]) -> LockgateError:
    """One pydantic error in the configuration's own terms."""
    where, value = "data.design", given
    location = list(first["loc"])
    for index, part in enumerate(location):
        if isinstance(value, list) and isinstance(part, int) and part < len(value):
            where, value = f"{where}[{part}]", value[part]
        elif isinstance(value, dict) and part in value:
            where, value = f"{where}.{part}", value[part]
        elif index == len(location) - 1 and first["type"] == "missing":
            where = f"{where}.{part}"
        # anything else is the name of a member of a union, which the user did not write
    context = first.get("ctx", {})
    what = first["msg"].removeprefix("Value error, ")
    hint = "learn/ has the fields and types that the installed version takes"
    if first["type"] == "union_tag_invalid":
        field = str(context["discriminator"]).strip("'")
        what = f"there is no {field} '{context['tag']}'"
        known = [tag.strip(" '") for tag in str(context["expected_tags"]).split(",")]
        where, hint = f"{where}.{field}", nearest(context["tag"], known)
        where = where.replace(".params.sampler_type", ".sampler_type")
    elif first["type"] == "extra_forbidden":
        what = "there is no such key here"
    elif first["type"] in ("missing", "union_tag_not_found"):
        what = "is missing" if first["type"] == "missing" else what
    elif first["type"] in ("enum", "literal_error"):
        known = str(context["expected"]).replace(" or ", ", ").split(", ")
        what = f"'{value}' is not possible"
        hint = nearest(value, [name.strip("'") for name in known])
    if count > 1:
        what += f" (the first of {count} findings)"
    return LockgateError(what, where=where, hint=hint)


def _schema(model: Any) -> dict[str, Any]:
    try:
        schema: dict[str, Any] = model.model_json_schema()
    except Exception:  # a class with a Python function in it has no JSON form: its names only
        schema = {
            "title": model.__name__,
            "type": "object",
            "properties": {
                name: {"description": field.description or ""}
                for name, field in model.model_fields.items()
            },
        }
    return schema


def _constant(schema: dict[str, Any], field: str) -> str:
    """The name that a member of a union goes by."""
    described = schema.get("properties", {}).get(field, {})
    return str(described.get("const", described.get("default", schema.get("title", "?"))))
