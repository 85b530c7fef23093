"""Is a stage's effective configuration free of secrets, artifact references and placeholders."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from lockgate.stages.checks.context import Context
from lockgate.stages.checks.values import Unresolved, leaves, resolve
from lockgate.stages.configs import read_config
from lockgate.stages.model import Check
from lockgate.stages.nested import get

_SECRET_KEY = re.compile(r"(key|token|password|passwd|secret)$", re.IGNORECASE)
_SURELY = re.compile(r"(api|access|private|auth|hf|hub|secret|bearer)[_-]?(key|token)$", re.I)
_PASSWORD = re.compile(r"(password|passwd|secret)$", re.IGNORECASE)
# tokens of a tokenizer, and names of columns: words that anyone may read
_SPECIAL = re.compile(
    r"(bos|eos|pad|unk|sep|cls|mask|image|start|end|stop|special|prefix|suffix)_token$", re.I
)
_COLUMN = re.compile(r"[a-z]+(_[a-z]+)*")
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")
_REFERENCE = re.compile(r"\$\{oc\.env:\s*\w+\s*(,\s*(''|\"\"|null)?\s*)?\}")
_KNOWN = re.compile(
    r"(?<![A-Za-z0-9])(nvapi-[\w-]{6,}|hf_(?=[A-Za-z]*[0-9A-Z])[A-Za-z0-9]{8,}"
    r"|sk-(?=[\w-]*[0-9])[\w-]{8,}|gh[pousr]_[A-Za-z0-9]{16,}|AKIA[0-9A-Z]{16})"
    r"|://[^/\s:@]+:[^/\s@]+@"
)
_SHOWN = 10
_SCALARS = ("true or false", "a whole number", "a number", "a text")


def secrets(context: Context) -> Iterator[Check]:
    """`config.secret`: no value is a secret; what looks like one is never shown."""
    code = "config.secret"
    for stage in context.stages:
        values = list(leaves(stage.config))
        both = [*values, *stage.settings.items()]
        found = list(dict.fromkeys(key for key, value in both if is_secret(key, value)))
        if found:
            yield Check(
                code,
                stage.name,
                "warning",
                f"{_some(found)} holds what looks like a secret (not shown)",
                "name the environment variable that holds it instead, like ${oc.env:NAME}; "
                "replace the secret if the file was shared",
            )
        else:
            yield Check(code, stage.name, "ok", f"no secret in {len(values)} values")


def is_secret(key: str, value: Any) -> bool:
    """Whether a value looks like a secret, by its key or by its form."""
    if isinstance(value, dict | list):
        return any(is_secret(f"{key}.{inner}", leaf) for inner, leaf in leaves(value))
    name = key.split(".")[-1]
    if isinstance(value, str) and _KNOWN.search(value):
        return True
    if isinstance(value, int) and not isinstance(value, bool):
        return bool(_PASSWORD.search(name))
    if not isinstance(value, str) or not _SECRET_KEY.search(name) or _SPECIAL.search(name):
        return False
    text = value.strip()
    if not text or _VARIABLE.fullmatch(text) or _REFERENCE.fullmatch(text) or text == "???":
        return False
    if "${" in text and not text.startswith("${oc.env:"):
        return False  # another key, which is looked at itself
    certain = _SURELY.search(name) or _PASSWORD.search(name) or name.lower() == "token"
    return bool(certain) or not _COLUMN.fullmatch(text)


def artifact_reference(context: Context) -> Iterator[Check]:
    """`config.artifact-reference`: no `${art:...}`, which only an artifact service can follow."""
    code = "config.artifact-reference"
    for stage in context.stages:
        values = list(leaves(stage.config))
        found = [key for key, value in values if isinstance(value, str) and "${art:" in value]
        if found:
            told = f"{_some(found)} refers to an artifact by ${{art:...}}"
            fix = "give the path itself; an earlier stage's output is set by the plan"
            yield Check(code, stage.name, "warning", told, fix)
        else:
            yield Check(code, stage.name, "ok", f"no ${{art:...}} in {len(values)} values")


def unresolved(context: Context) -> Iterator[Check]:
    """`config.unresolved`: no `???`, no example path, no unset environment variable."""
    code = "config.unresolved"
    for stage in context.stages:
        values = list(leaves(stage.config))
        texts = [(key, value) for key, value in values if isinstance(value, str)]
        open_keys = [key for key, value in texts if "???" in value]
        examples = [
            f"{key} = {value}" for key, value in texts if re.search(r"(^|[^\w.])/?path/to/", value)
        ]
        unset: dict[str, str] = {}
        for key, value in texts:
            for name in _unset(context, stage.config, key, value):
                unset[name] = f"{unset[name]}, {key}" if name in unset else key
        if open_keys:
            told = f"{_some(open_keys)} is ???: the step leaves it to you"
            fix = "set it under the stage's `with`"
            yield Check(code, stage.name, "warning", told, fix)
        if examples:
            told = f"an example's path is left: {_some(examples)}"
            fix = "give the real path under the stage's `with` or `inputs` (null, where not used)"
            yield Check(code, stage.name, "warning", told, fix)
        if unset:
            told = "; ".join(f"${name} is not set ({keys})" for name, keys in unset.items())
            fix = f"export {', '.join(unset)}, or set the keys under the stage's `with`"
            yield Check(code, stage.name, "warning", told, fix)
        if not (open_keys or examples or unset):
            yield Check(code, stage.name, "ok", f"{len(values)} values, each of them given")


def _unset(context: Context, config: Any, key: str, value: str) -> list[str]:
    """Environment variables that a value needs and that are not set."""
    if "${oc.env:" not in value:
        return []
    try:
        resolve(config, key, context.environ)
    except Unresolved as error:
        return [
            part.removeprefix("oc.env:")
            for name in error.names
            for part in name.split(", ")
            if part.startswith("oc.env:")
        ]
    return []


def kinds(context: Context) -> Iterator[Check]:
    """`config.kinds`: what the user sets is of the default's kind, or among the choices."""
    code = "config.kinds"
    for stage in context.stages:
        own = [key for key, who in stage.origin.items() if who == "user"]
        defaults = read_config(stage.step) if own else {}
        choices = {one.name: one.choices for one in stage.step.parameters if one.choices}
        for key in own:
            value = stage.settings[key]
            if isinstance(value, str) and ("${" in value or "???" in value):
                continue
            if key in choices and value not in choices[key]:
                wanted = f"one of {', '.join(map(str, choices[key]))}"
            elif _kind(value) in (*_alike(get(defaults, key)), ""):
                continue
            else:
                wanted = f"{_kind(get(defaults, key))}, like {get(defaults, key)}"
            yield Check(code, stage.name, "warning", f"{key} = {value}", f"set it to {wanted}")


def _kind(value: Any) -> str:
    """What a value is, in a word; empty: nothing, or a text that could be anything."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int):
        return "a whole number"
    if isinstance(value, float):
        return "a number"
    if isinstance(value, list):
        return "a list"
    return "a mapping" if isinstance(value, dict) else "a text"


def _alike(default: Any) -> tuple[str, ...]:
    """Kinds that may stand in the place of a default."""
    kind = _kind(default)
    if kind == "a number":
        return kind, "a whole number"
    # what is not known, refers to something, or is a number in YAML 1.1's eyes alone
    return (kind,) if kind and kind != "a text" else (_kind({}), _kind([]), *_SCALARS)


def _some(names: list[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
