"""What the installed tool offers, and checks of a design against it; imports the tool."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any, get_args

from lockgate.errors import LockgateError
from lockgate.tools.data_designer.command import Command, message, versions
from lockgate.tools.data_designer.references import nearest

_NOT_NEGATIVE = {
    "category": ("weights",),
    "binomial": ("n",),
    "gaussian": ("stddev",),
    "poisson": ("mean",),
}
"""Parameters of samplers that no draw can be made with below 0."""


def learn() -> dict[str, Any]:
    """JSON Schemas of all that a design may contain, from the tool's own classes.

    `design` is the schema of a whole design, `context` what the tool tells an agent of itself.
    """
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
        "design": whole(),
        "context": context(),
    }


def whole() -> dict[str, Any]:
    """JSON Schema of a design as the configuration has it, for editors.

    What Lockgate fills in (models, aliases) may be left out, and what it refuses is not there. The
    parameters of a sampler or a validator are those of the type that stands beside them.
    """
    from data_designer.config.data_designer_config import DataDesignerConfig

    schema = _any_of(DataDesignerConfig.model_json_schema())
    del schema["properties"]["tool_configs"]
    for name, definition in schema["$defs"].items():
        properties = definition.get("properties", {})
        properties.pop("tool_alias", None)
        filled = {"alias", "model", "provider"} if name == "ModelConfig" else {"model_alias"}
        needed = [key for key in definition.get("required", []) if key not in filled]
        definition["required"] = needed
        for key, told in list(properties.items()):
            choice = told.get("discriminator", {})
            field = choice.get("propertyName")
            if field in properties:  # the type stands beside the parameters, not in them
                properties[key] = {"type": "object", "description": told.get("description", "")}
                definition["allOf"] = [
                    {
                        "if": {"properties": {field: {"const": kind}}, "required": [field]},
                        "then": {"properties": {key: {"$ref": at}}},
                    }
                    for kind, at in sorted(choice["mapping"].items())
                ]
    return schema


def _any_of(schema: Any) -> Any:
    """The schema with `anyOf` for `oneOf`: the tool takes the first type that fits."""
    if isinstance(schema, list):
        return [_any_of(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {"anyOf" if key == "oneOf" else key: _any_of(one) for key, one in schema.items()}


def context() -> str:
    """What the tool's `agent context` prints: its types, with the files that describe them."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        done = Command(home / "home", None, home / "log").run("agent", "context")
    if done.returncode != 0:
        raise LockgateError(
            f"`data-designer agent context` failed: {message(done)}", where="data.tool"
        )
    return done.stdout


def check(design: dict[str, Any], given: dict[str, Any]) -> None:
    """Check a completed design against the tool's classes.

    Args:
        design: with aliases and models filled in.
        given: what the user wrote, to say where.

    Raises:
        LockgateError: for the first thing that is wrong, naming its key.
    """
    from data_designer.config.data_designer_config import DataDesignerConfig

    built = _validated(DataDesignerConfig, design, given)
    for at, model in enumerate(design.get("model_configs") or []):
        if settings := model.get("inference_parameters"):  # the tool reads these in its own way
            kind = type(built.model_configs[at].inference_parameters)
            _validated(kind, settings, given, ("model_configs", at, "inference_parameters"))
    for at, column in enumerate(design["columns"]):
        _check_distribution(column, f"data.design.columns[{at}].params")
        _check_signs(column, f"data.design.columns[{at}]")


def _validated(kind: Any, value: Any, given: dict[str, Any], at: tuple[str | int, ...] = ()) -> Any:
    """The tool's class made of a value at a place in the design, strictly: the tool reads "0.3" as
    a number, and nothing that looks at the design besides it does."""
    import pydantic
    from data_designer.errors import DataDesignerError

    try:
        return kind.model_validate_json(json.dumps(value), strict=True)
    except pydantic.ValidationError as error:
        errors = error.errors(include_url=False, include_input=False)
        # a key that is misspelt is also missing: its wrong name says more
        errors.sort(key=lambda one: one["type"] != "extra_forbidden")
        first = {**errors[0], "loc": (*at, *errors[0]["loc"])}
        raise _translated(first, len(errors), given) from error
    except (DataDesignerError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise LockgateError(f"the design is not valid: {error}", where="data.design") from error


def _check_signs(column: dict[str, Any], where: str) -> None:
    """Refuse numbers below 0 that the tool finds only as it draws, conditions' among them."""
    drawn = {"params": column.get("params")}
    for condition, params in (column.get("conditional_params") or {}).items():
        drawn[f"conditional_params.{condition}"] = params
    for place, params in drawn.items():
        for key in _NOT_NEGATIVE.get(str(column.get("sampler_type")), ()):
            value = (params or {}).get(key) or 0
            if min(value if isinstance(value, list) else [value]) < 0:
                raise LockgateError(
                    f"column '{column['name']}': {key} must not be negative",
                    where=f"{where}.{place}.{key}",
                    hint="write 0 or more",
                )


def _check_distribution(column: dict[str, Any], where: str) -> None:
    """Check the distribution of scipy's that a sampler names: the tool does when it draws."""
    params = column.get("params") or {}
    name = params.get("dist_name")
    if name is None:
        return
    import scipy.stats

    known = [one for one in dir(scipy.stats) if hasattr(getattr(scipy.stats, one), "rvs")]
    if name not in known:
        raise LockgateError(
            f"column '{column['name']}': scipy has no distribution '{name}'",
            where=f"{where}.dist_name",
            hint=nearest(name, known),
        )
    try:
        getattr(scipy.stats, name)(**params["dist_params"])
    except (TypeError, ValueError) as error:
        raise LockgateError(
            f"column '{column['name']}': {error}",
            where=f"{where}.dist_params",
            hint=f"they are the arguments of scipy.stats.{name}",
        ) from None


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
    what = first["msg"].removeprefix("Value error, ").replace("valid array", "valid list")
    hint = "learn/ has the fields and types that the installed version takes"
    if first["type"] == "union_tag_invalid":
        field = str(context["discriminator"]).strip("'")
        what = f"there is no {field} '{context['tag']}'"
        known = re.findall(r"'([^']+)'", str(context["expected_tags"]))
        where, hint = f"{where}.{field}", nearest(context["tag"], known)
        where = where.replace(".params.sampler_type", ".sampler_type")
    elif first["type"] == "extra_forbidden":
        what = "there is no such key here"
        if known := _keys_at(location[:-1]):
            hint = nearest(location[-1], known)
    elif first["type"] == "missing":
        what = "this key is missing"
    elif first["type"] == "union_tag_not_found":
        where, what = (
            f"{where}.{str(context['discriminator']).strip(chr(39))}",
            "this key is missing",
        )
    elif first["type"] in ("int_type", "float_type", "bool_type") and isinstance(value, str):
        hint = "write it without quotes"
    elif first["type"] == "string_type" and isinstance(value, bool):
        hint = "YAML reads yes, no, on and off as true and false: put the word in quotes"
    elif first["type"] in ("enum", "literal_error"):
        known = str(context["expected"]).replace(" or ", ", ").split(", ")
        what = f"'{value}' is not possible"
        hint = nearest(value, [name.strip("'") for name in known])
    if location[0] == "columns" and len(location) > 1 and isinstance(given["columns"], list):
        what = f"column '{given['columns'][location[1]]['name']}': {what}"
    if count > 1:
        what += f" (the first of {count} findings)"
    return LockgateError(what, where=where, hint=hint)


def _keys_at(location: list[Any]) -> list[str]:
    """Keys that the tool knows at a place in a design; none where its schema does not say."""
    from data_designer.config.data_designer_config import DataDesignerConfig

    schema = DataDesignerConfig.model_json_schema()

    def plain(part: dict[str, Any]) -> dict[str, Any]:
        """What a reference, or a choice of something and nothing, stands for."""
        given = [one for one in part.get("anyOf", []) if one != {"type": "null"}]
        if "$ref" in part:
            return plain(schema["$defs"][part["$ref"].rpartition("/")[2]])
        return plain(given[0]) if len(given) == 1 else part

    here: dict[str, Any] = schema
    for step in location:
        here = plain(here)
        mapping = here.get("discriminator", {}).get("mapping", {})
        if isinstance(step, int):
            here = here.get("items", {})
        elif step in mapping:  # the name of a member of a union
            here = {"$ref": mapping[step]}
        else:
            here = here.get("properties", {}).get(step, here)
    here = plain(here)
    members = [here, *map(plain, here.get("oneOf", []))]
    return [key for member in members for key in member.get("properties", {})]


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
