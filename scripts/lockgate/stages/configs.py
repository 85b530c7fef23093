"""A stage's configuration: an overlay of dotted settings over its step's own default.yaml.

References like `${oc.env:NAME,default}` and the mark `???` stay text: only the step's own runner
resolves them.
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

import yaml

from lockgate.catalog.model import MARK, Step
from lockgate.errors import LockgateError
from lockgate.files import read_text, write_text
from lockgate.stages.model import Stage
from lockgate.stages.nested import copied, flatten, get, load, merge, put

_FREE = ("run", "defaults")  # the runner's own: what environment, and what to inherit
_REDUCED = {"steps": 2, "epochs": 1, "rows": 8}  # by role, where the notes say nothing
_REFERENCE = re.compile(r"\$\{.*\}", re.DOTALL)


def root(step: Step) -> Path:
    """The root of the step's catalog, which its runspec's paths start from."""
    above = len(PurePath(step.path).parts)
    return Path(os.path.normpath(step.directory.joinpath(*[".."] * above)))


def folder(step: Step) -> Path:
    """The directory of a step's own configurations (which may not be there)."""
    stated = (step.runspec or {}).get("config_dir")
    place = root(step) / stated if stated and step.path else None
    return place if place and place.is_dir() else step.directory / "config"


def shipped(step: Step) -> list[Path]:
    """The step's own YAML files by name, without those that Lockgate placed beside them."""
    found = [path for path in folder(step).glob("*") if path.suffix in (".yaml", ".yml")]
    return sorted(path for path in found if path.is_file() and not _made_here(path))


def names(step: Step) -> list[str]:
    """Names of the step's own configurations, without the suffix, sorted."""
    return [path.stem for path in shipped(step)]


def default_file(step: Step) -> tuple[Path | None, str]:
    """The configuration that a step starts from, and a word where it is not the usual one.

    Returns:
        Its path (None: the step has no configuration) and a sentence, empty where there is
        nothing to say.
    """
    wanted = str((step.runspec or {}).get("default_config") or "default").removesuffix(".yaml")
    files = {path.stem: path for path in shipped(step)}
    if wanted in files:
        return files[wanted], ""
    if not files:
        return None, f"{step.id} has no configuration of its own"
    first = next(iter(files.values()))
    return first, f"{step.id} has no {wanted}.yaml: {first.name} is taken in its place"


def read_config(step: Step, name: str | None = None) -> dict[str, Any]:
    """One of the step's own configurations, whole; {} where the step has none.

    Args:
        step: the step.
        name: its name, with or without the suffix; None: what the step starts from.

    Raises:
        LockgateError: if there is none of that name, or it cannot be read.
    """
    path = _base(step, {} if name is None else {"defaults": name})
    return load(path) if path else {}


def _base(step: Step, settings: Mapping[str, Any]) -> Path | None:
    """The file below some settings: what their `defaults` names, else the default."""
    name = settings.get("defaults")
    if name is None:
        return default_file(step)[0]
    for path in shipped(step):
        if str(name) in (path.name, path.stem):
            return path
    raise LockgateError(
        f"step '{step.id}' has no configuration '{name}'",
        where=str(folder(step)),
        hint=f"there are: {', '.join(names(step)) or 'none'}",
    )


def expand(step: Step, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with the manifest's own words replaced by real keys, as the notes say.

    An alias `name` gives its value to its keys; an alias `name=value` brings its own values. A
    key that is itself set wins over an alias.
    """
    aliases, found = step.notes.aliases, {}
    for key, value in settings.items():
        word = _word(value)
        target = aliases.get(f"{key}={word}", aliases.get(key))
        if target is None:
            found[key] = value
            continue
        values = target if isinstance(target, dict) else dict.fromkeys(target, value)
        found |= {name: item for name, item in values.items() if name not in settings}
    return found


def _word(value: Any) -> str:
    """As YAML has it: `null`, `true`, or the text itself."""
    words = {None: "null", True: "true", False: "false"}
    return words[value] if value is None or isinstance(value, bool) else str(value)


def supported(step: Step) -> set[str]:
    """All dotted keys, those of mappings too, that the step's files, manifest or notes name."""
    return set(_kinds(step))


def _kinds(step: Step) -> dict[str, set[str]]:
    """What each supported key holds: `mapping`, `empty`, `list`, `text`, `value` or `named`."""
    found: dict[str, set[str]] = {}
    for path in shipped(step):
        try:
            config = load(path)
        except LockgateError:
            continue  # the one that is used is read, and reported, by itself
        for key, kind in _walk(config):
            found.setdefault(key, set()).add(kind)
    notes = step.notes
    own = [parameter.name for parameter in step.parameters]
    own += [*notes.keys, *notes.smoke, *(one.key for one in notes.questions)]
    for keys in [*notes.roles.values(), *(one.key for one in notes.outputs.values())]:
        own += keys
    for note in notes.inputs.values():
        own += [*note.key, *note.set]
    sets = [one.set for one in notes.needs] + [one.set for one in notes.advice]
    for values in [*sets, *notes.methods.values(), *notes.aliases.values()]:
        own += values
    for key in own:
        found.setdefault(key, {"named"})
        parts = key.split(".")
        for end in range(1, len(parts)):
            found.setdefault(".".join(parts[:end]), {"mapping"})
    return found


def _walk(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in config.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and value:
            yield key, "mapping"
            yield from _walk(value, f"{key}.")
        elif value is None or value in ({}, "???"):
            yield key, "empty"
        elif isinstance(value, list):
            yield key, "list"
        else:
            yield key, "text" if _refers(value) else "value"


def _refers(value: Any) -> bool:
    return isinstance(value, str) and bool(_REFERENCE.fullmatch(value))


def unsupported(step: Step, settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Keys that the step does not know, each with the nearest that it knows (or nothing).

    Anything goes below a key that is empty, a list or a reference in the step's files. A value
    in place of a whole mapping is reported too, with a key of that mapping.
    """
    kinds, found = _kinds(step), []
    for key, value in expand(step, flatten(settings)).items():
        parts = key.split(".")
        if parts[0] in _FREE:
            continue
        if key in kinds:
            whole = "mapping" in kinds[key] and not kinds[key] & {"value", "list", "text"}
            if whole and value is not None and value != {} and not _refers(value):
                below = [name for name in kinds if name.startswith(f"{key}.")]
                found.append((key, below[0]))
            continue
        above = [".".join(parts[:end]) for end in range(len(parts) - 1, 0, -1)]
        known = next((name for name in above if name in kinds), "")
        if not known or kinds[known] & {"mapping", "value"}:
            near = difflib.get_close_matches(key, sorted(kinds), 1)
            same = sorted(name for name in kinds if name.split(".")[-1] == parts[-1])
            found.append((key, (near or same or [""])[0]))
    return found


def overlay(step: Step, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as nested keys; a list of which one place is set is there as a whole."""
    base = _base(step, settings)
    below = load(base) if base else {}
    nested: dict[str, Any] = {}
    for key, value in settings.items():
        parts = key.split(".")
        for end in range(1, len(parts)):
            above = ".".join(parts[:end])
            if isinstance(get(below, above), list) and get(nested, above) is None:
                put(nested, above, get(below, above))
        put(nested, key, value)
    nested.pop("defaults", None)
    return nested


def effective(step: Step, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The whole configuration: settings over the file they start from.

    Raises:
        LockgateError: if that file cannot be read, or a key has no place in a list.
    """
    return merge(read_config(step, settings.get("defaults")), overlay(step, settings))


def reductions(step: Step) -> dict[str, Any]:
    """Keys, and their values, that make a run small: the notes' own, else by what keys mean."""
    found = expand(step, step.notes.smoke)
    for role, value in _REDUCED.items():
        for key in step.notes.roles.get(role, ()):
            found.setdefault(key, value)
    return found


def smoke(step: Step, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a reduced run; a value that is smaller already stays."""
    reduced, now = dict(settings), effective(step, settings)
    for key, value in reductions(step).items():
        old = get(now, key)
        if not (_number(old) and _number(value) and old <= value):
            reduced[key] = value
    return reduced


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def sizes(
    step: Step, full: Mapping[str, Any], reduced: Mapping[str, Any]
) -> tuple[list[str], list[str]]:
    """What of a reduced run is smaller and what is larger, as `key: 1000, here 2`.

    Args:
        step: the step, whose `reductions` are compared.
        full, reduced: whole configurations, nested; null in place of a number means all.
    """
    less, more = [], []
    for key, aim in reductions(step).items():
        a, b = get(full, key), get(reduced, key)
        told = f"{key}: {_word(a)}, here {_word(b)}"
        if isinstance(a, list) and isinstance(b, list):
            a, b = len(a), len(b)
        if _number(b) and (a is None or (_number(a) and b < a)):
            less.append(told)
        elif _number(a) and ((b is None and aim is not None) or (_number(b) and b > a)):
            more.append(told)
    return less, more


def smaller(step: Step, full: Mapping[str, Any], reduced: Mapping[str, Any]) -> list[str]:
    """What speaks against a reduced run's being smaller, one text each; empty: it is smaller."""
    less, more = sizes(step, full, reduced)
    if more:
        return [f"{told}, is larger" for told in more]
    if less:
        return []
    keys = ", ".join(reductions(step))
    return [f"none of {keys} is smaller" if keys else f"nothing says what makes {step.id} small"]


def render(
    stage: Stage,
    settings: Mapping[str, Any],
    command: list[str],
    *,
    installed: bool = False,
    full: bool = False,
) -> str:
    """Text of a stage's YAML file: what differs from the step's own file, which it inherits.

    Args:
        stage: the stage.
        settings: by dotted key, with paths as they are on this machine.
        command: what runs it.
        installed: for the step's own folder: its base is named as seen from there.
        full: everything in one file, for a step that knows no `defaults`.
    """
    base = _base(stage.step, settings)
    if full:
        body = effective(stage.step, settings)
    else:
        body = (
            {} if base is None else {"defaults": base.name if installed else os.path.abspath(base)}
        )
        body |= overlay(stage.step, settings)
    lines = [
        f"{MARK}: stage {stage.name}, step {stage.step.id} of the catalog {stage.step.catalog}.",
        *(f"# {line}" for line in textwrap.wrap(_printable(stage.why), 98)),
        "#",
        "# It is run by:",
        f"#   {_printable(shlex.join(command))}",
        "# To change a value, set it for this stage in the experiment's configuration, like:",
        f"#   with: {_example(stage, settings)}",
    ]
    text = yaml.safe_dump(copied(body), sort_keys=False, allow_unicode=True, width=100)
    return "\n".join(lines) + f"\n\n{text}"


def _example(stage: Stage, settings: Mapping[str, Any]) -> str:
    """One key that a user may want to set, with the value that it has."""
    whole = flatten(effective(stage.step, settings))
    likely = [key for key in settings if stage.origin.get(key) == "user"]
    likely += stage.step.notes.roles.get("steps", ())
    likely += [parameter.name for parameter in stage.step.parameters]
    likely += [key for key in whole if key.split(".")[0] not in _FREE]
    short = [key for key in likely if isinstance(whole.get(key), str | int | float)]
    chosen = {short[0]: whole[short[0]]} if short else {"key": "value"}
    line = yaml.safe_dump(chosen, default_flow_style=True, allow_unicode=True, width=10**6)
    return _printable(line)


def _printable(text: str) -> str:
    """One line without anything that would end a comment."""
    return "".join(letter if letter.isprintable() else " " for letter in text).strip()


def install(step: Step, name: str, text: str) -> Path:
    """Place a new file in the step's own folder; where it is already, nothing happens.

    Raises:
        LockgateError: if another file has that name, the name is no plain one, or the folder
            cannot be written.
    """
    path = folder(step) / name
    if PurePath(name).name != name or path.suffix != ".yaml":
        raise LockgateError(f"'{name}' is no name of a YAML file", where=str(folder(step)))
    if os.path.lexists(path):
        if path.is_file() and read_text(path) == text:
            return path
        raise LockgateError(
            "there is another file of this name, which is never overwritten",
            where=str(path),
            hint="delete it if it is yours, or give the experiment or the stage another name",
        )
    try:
        write_text(path, text)
    except OSError as error:
        raise LockgateError(
            f"it cannot be written: {error.strerror}",
            where=str(path),
            hint="set install_configs: false: the configuration is in the results all the same",
        ) from error
    return path


def file_name(stage: Stage, experiment: str, smoke: bool = False) -> str:
    """Name of a stage's configuration, like `mine_sft_smoke.yaml`."""
    return f"{experiment}_{stage.name}{'_smoke' if smoke else ''}.yaml"


def _made_here(path: Path) -> bool:
    with open(path, "rb") as handle:
        return handle.read(len(MARK)) == MARK.encode()
