"""The configuration's reference, from its models: `python -m lockgate.config.reference [--fix]`.

Two files say what the models say: the JSON Schema that editors use, and the tables in
config/README.md. Without `--fix` the command only tells whether they still do.
"""

from __future__ import annotations

import argparse
import difflib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema

from lockgate import tools
from lockgate.config import ChainConfig, Config
from lockgate.errors import LockgateError, entry
from lockgate.files import read_text, write_text

ROOT = Path(__file__).parents[3]
SCHEMA = Path("workflow/schemas/config.schema.json")
README = Path("config/README.md")
BEGIN, END = "<!-- reference:begin -->", "<!-- reference:end -->"
_TYPES = {str: "text", int: "whole number", float: "number", bool: "true or false", Any: "any"}
_LIMITS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}


@entry
def main(arguments: list[str] | None = None, root: Path = ROOT) -> None:
    """Compare the files with the models; with `--fix` write them.

    Raises:
        LockgateError: after printing the difference, if a file says something else.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fix", action="store_true", help="write the files")
    fix = parser.parse_args(arguments).fix
    drifted = []
    for name, text in expected(root).items():
        path = root / name
        now = read_text(path) if path.exists() else ""
        if now == text:
            continue
        if fix:
            write_text(path, text)
            continue
        drifted.append(str(name))
        old, new = now.splitlines(keepends=True), text.splitlines(keepends=True)
        print("".join(difflib.unified_diff(old, new, str(name), "what the models say")), end="")
    if drifted:
        raise LockgateError(
            "it does not say what the models say",
            where=", ".join(drifted),
            hint="python -m lockgate.config.reference --fix",
        )


def expected(root: Path) -> dict[Path, str]:
    """The text that each file should have."""
    before, begin, rest = read_text(root / README).partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise LockgateError(f"it has no {BEGIN} and {END}", where=str(README))
    return {SCHEMA: schema(), README: f"{before}{BEGIN}\n\n{tables()}\n{END}{after}"}


class _Untitled(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: Any) -> bool:
        return False  # a title would repeat the key


def schema() -> str:
    """JSON Schema of the whole configuration."""
    either: TypeAdapter[Any] = TypeAdapter(Config | ChainConfig)
    keys = either.json_schema(schema_generator=_Untitled)
    return json.dumps({"$schema": _Untitled.schema_dialect, **keys}, indent=2) + "\n"


def tables() -> str:
    """One Markdown table a section; those of a chain are last."""
    chain = [
        (name, model)
        for name, model in _sections("", ChainConfig)
        if name.startswith(("stages", "catalogs"))
    ]
    return "\n".join(
        [
            *(_table(name, model) for name, model in _sections("", Config)),
            _table("", ChainConfig),
            *(_table(name, model) for name, model in chain),
        ]
    )


def _sections(name: str, model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    """A section and those within it, by their names in the configuration."""
    yield name, model
    for key, field in model.model_fields.items():
        inner = _section(field.annotation)
        if inner:
            origin = get_origin(field.annotation)
            suffix = "[]" if origin is list else ".NAME" if origin is dict else ""
            yield from _sections(f"{name}.{field.alias or key}{suffix}".lstrip("."), inner)


def _section(kind: Any) -> type[BaseModel] | None:
    """The model that a type holds, if it holds one."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind
    return next(filter(None, map(_section, get_args(kind))), None)


def _table(name: str, model: type[BaseModel]) -> str:
    rows = [
        f"| `{field.alias or key}` | {_type(field.annotation, field.metadata)} | {_default(field)} "
        f"| {field.description} |"
        for key, field in model.model_fields.items()
    ]
    top = "### Top level" if model is Config else "### Top level of a chain"
    title = f"### `{name}`\n\n{model.__doc__}" if name else top
    rows[:0] = ["| key | type | default | description |", "|---|---|---|---|"]
    there = "".join(
        f"\nAdapters for `{key}`: {', '.join(f'`{tool}`' for tool in tools.names(kind))}.\n"
        for key, kind in {"tool": name, "server": "server"}.items()
        if key in model.model_fields
    )
    return "\n".join([title, "", *rows, there])


def _type(kind: Any, limits: Any = ()) -> str:
    """A type in plain words."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        text = _type(arguments[0], arguments[1:])
    elif origin is Literal:
        text = " or ".join(f'"{value}"' for value in arguments)
    elif origin is list:
        text = "list" if arguments[0] is Any else f"list of {_type(arguments[0])}"
    elif origin is dict:
        text = "mapping" if arguments[1] is Any else f"mapping of name to {_type(arguments[1])}"
    elif arguments:  # a union; what may be left out says so in its default
        text = " or ".join(_type(choice) for choice in arguments if choice is not type(None))
    else:
        text = _TYPES.get(kind) or "section"
    found = [(sign, getattr(limit, key, None)) for limit in limits for key, sign in _LIMITS.items()]
    bounds = ", ".join(f"{sign} {value:g}" for sign, value in found if value is not None)
    return f"{text} {bounds}".rstrip()


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if isinstance(field.default, BaseModel):
        return "its defaults"
    return "none" if field.default is None else f"`{json.dumps(field.default)}`"


if __name__ == "__main__":
    main()
