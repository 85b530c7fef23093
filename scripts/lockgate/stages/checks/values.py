"""Values of an effective configuration, with their `${...}` references followed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from lockgate.stages.nested import get

_REFERENCE = re.compile(r"\$\{([^${}]*)\}")
_OPEN, _CLOSE = "\x02", "\x03"  # around what cannot be followed, while the rest is
_MISSING = re.compile(f"{_OPEN}([^{_OPEN}{_CLOSE}]*){_CLOSE}")
_DEPTH = 20
_REFERENCES = 100  # in one value; what a variable holds may itself look like a reference


class Unresolved(Exception):
    """A value that the plan cannot tell.

    Args:
        names: references that lead nowhere; `oc.env:NAME` for an unset variable.
    """

    def __init__(self, names: list[str]) -> None:
        self.names = names
        super().__init__(", ".join(names))


def leaves(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is neither a mapping nor a list, with its dotted key."""
    if isinstance(config, Mapping):
        for key, value in config.items():
            yield from leaves(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(config, list):
        for number, value in enumerate(config):
            yield from leaves(value, f"{prefix}.{number}")
    else:
        yield prefix, config


def resolve(config: Any, key: str, environ: Mapping[str, str]) -> Any:
    """The value at a dotted key with its references followed; None where there is none.

    Raises:
        Unresolved: if a reference leads nowhere or is of a kind that only the runner knows.
    """
    return _follow(config, key, get(config, key), environ, 0)


def _follow(config: Any, key: str, value: Any, environ: Mapping[str, str], depth: int) -> Any:
    if not isinstance(value, str) or "${" not in value:
        return value
    if depth > _DEPTH:
        raise Unresolved([f"{key} refers to itself"])
    text = value
    for _ in range(_REFERENCES):
        found = _REFERENCE.search(text)
        if not found:
            break
        inner = _reference(config, key, found[1], environ, depth)
        if found[0] == text:
            if isinstance(inner, str):
                text = inner
                break
            return inner
        text = f"{text[: found.start()]}{inner}{text[found.end() :]}"
    else:
        raise Unresolved([f"{key} has no end"])
    missing = _MISSING.findall(text)
    if missing:
        raise Unresolved(missing)
    if _REFERENCE.fullmatch(value) or value.startswith("${oc."):
        return _typed(text)
    return text


def _reference(config: Any, key: str, text: str, environ: Mapping[str, str], depth: int) -> Any:
    """What one reference without references in it stands for."""
    resolver, colon, rest = text.partition(":")
    if not colon:
        return _node(config, key, text, environ, depth)
    name, comma, default = rest.partition(",")
    if resolver == "oc.env":
        if name.strip() in environ:
            return environ[name.strip()]
        return _plain(default) if comma else f"{_OPEN}oc.env:{name.strip()}{_CLOSE}"
    if resolver == "oc.select":
        found = _node(config, key, name.strip(), environ, depth)
        absent = found is None or (isinstance(found, str) and _OPEN in found)
        return _plain(default) if absent and comma else found
    if resolver == "oc.decode":
        return rest
    # a hidden reference inside stays visible in the name
    return f"{_OPEN}{_MISSING.sub(lambda part: part[1], text)}{_CLOSE}"


def _node(config: Any, key: str, text: str, environ: Mapping[str, str], depth: int) -> Any:
    dots = len(text) - len(text.lstrip("."))
    parents = key.split(".")[:-dots] if dots else []
    full = ".".join([*parents, text.lstrip(".")])
    value = get(config, full)
    if value is None:
        return f"{_OPEN}{full}{_CLOSE}"
    try:
        return _follow(config, full, value, environ, depth + 1)
    except Unresolved as error:
        return f"{_OPEN}{', '.join(error.names)}{_CLOSE}"


def _plain(text: str) -> str:
    return text.strip().strip("'\"")


def _typed(text: str) -> Any:
    """An environment variable is text; what is compared is often a number."""
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    return None if text in ("null", "") else text
