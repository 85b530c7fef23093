"""Nested configurations by dotted key, and the YAML files that they are read from."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

import yaml

from lockgate.errors import LockgateError
from lockgate.files import read_text


class _Loader(yaml.CSafeLoader):
    """Reads scalars as the steps' own runners do: 1e-8 is a number, a date is text."""


_TAG = "tag:yaml.org,2002:"
_Loader.yaml_implicit_resolvers = {
    first: [pair for pair in pairs if pair[0] not in (f"{_TAG}timestamp", f"{_TAG}float")]
    for first, pairs in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    f"{_TAG}float",
    re.compile(
        r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+"
        r"|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF))$|\.(?:nan|NaN|NAN)$"
    ),
    list("-+0123456789."),
)


def load(path: Path) -> dict[str, Any]:
    """A YAML file over what its `defaults` names: a file, or a list of one, as seen from there.

    Raises:
        LockgateError: if a file is missing, no YAML, no mapping, or names itself as its base.
    """
    return _load(path, [])


def own(path: Path) -> dict[str, Any]:
    """What a YAML file itself says, with its `defaults`.

    Raises:
        LockgateError: if it is missing, no YAML, or no mapping.
    """
    values, fault = _parsed(read_text(path))
    if fault:
        raise LockgateError(f"not valid YAML: {fault}", where=str(path))
    if not isinstance(values, dict):
        raise LockgateError("it is not a mapping of keys", where=str(path))
    return dict(copied(values))


def _load(path: Path, above: list[Path]) -> dict[str, Any]:
    values = own(path)
    base = values.pop("defaults", None)
    if base is None:
        return values
    named = base[0] if isinstance(base, list) and len(base) == 1 else base
    below = path.parent / str(named)
    if not isinstance(named, str) or path in above or not below.is_file():
        what = f"there is no file {below}"
        if not isinstance(named, str):
            what = "it names no single file"
        elif path in above:
            what = f"{named} is its own base"
        raise LockgateError(
            what,
            where=f"{path}: defaults",
            hint="name one other YAML file, as seen from this one's directory",
        )
    return merge(_load(below, [*above, path]), values)


def get(config: Any, key: str) -> Any:
    """The value at a dotted key (`tasks.0.name` counts into a list); None where there is none."""
    at = config
    for part in key.split("."):
        if isinstance(at, list) and part.isdigit() and int(part) < len(at):
            at = at[int(part)]
        elif isinstance(at, dict) and part in at:
            at = at[part]
        else:
            return None
    return at


def put(config: dict[str, Any], key: str, value: Any) -> None:
    """Set the value at a dotted key, in place; mappings are merged, anything else is replaced.

    Raises:
        LockgateError: if a part of the key has no place in a list.
    """
    at: Any = config
    parts = key.split(".")
    for number, part in enumerate(parts):
        place: Any = part
        if isinstance(at, list):
            if not part.isdigit() or int(part) >= len(at):
                above = ".".join(parts[:number])
                raise LockgateError(
                    f"{above} is a list of {len(at)} without a place '{part}'",
                    where=key,
                    hint=f"set {above} to the whole list",
                )
            place = int(part)
        old = at[place] if isinstance(at, list) else at.get(place)
        if number == len(parts) - 1:
            at[place] = _over(old, value)
        elif not isinstance(old, dict | list):
            at[place] = {}
        at = at[place]


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values by dotted key; lists and empty mappings are values."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        key = f"{prefix}{name}"
        found |= flatten(value, f"{key}.") if isinstance(value, dict) and value else {key: value}
    return found


def merge(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """A new mapping: mappings are merged, lists and single values are replaced."""
    merged: dict[str, Any] = copied(base)
    for key, value in overlay.items():
        merged[key] = _over(merged.get(key), value)
    return merged


def _over(old: Any, value: Any) -> Any:
    both = isinstance(old, dict) and isinstance(value, dict)
    return merge(old, value) if both else copied(value)


def copied(value: Any) -> Any:
    """The same in plain, unshared containers with text as keys."""
    if isinstance(value, Mapping):
        return {str(key): copied(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [copied(item) for item in value]
    return str(value) if isinstance(value, PurePath) else value


@functools.lru_cache(maxsize=512)
def _parsed(text: str) -> tuple[Any, str]:
    """Values, or what is wrong with the text; a plan reads the same files many times."""
    try:
        return yaml.load(text, _Loader), ""
    except yaml.YAMLError as error:
        return None, " ".join(str(error).split())
