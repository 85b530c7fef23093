"""A user's own step, begun from the nearest one that there is: it runs as it is."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lockgate.catalog.discover import Catalogs, load_only
from lockgate.catalog.load import recognize
from lockgate.catalog.model import ArtifactType, Port, Step
from lockgate.errors import LockgateError
from lockgate.files import write_text

_ID = re.compile(r"[a-z0-9][a-z0-9_-]*(/[a-z0-9][a-z0-9_-]*)+")
_PATH = re.compile(r"[A-Za-z_][\w-]*(\.[A-Za-z_][\w-]*)*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SMOKE_ROWS = 8


@dataclass(frozen=True)
class PortKeys:
    """An input or output of the new step, and the configuration keys that take its path.

    Attributes:
        path: where an output is below its key's directory; empty: it is that directory.
    """

    port: Port
    keys: tuple[str, ...]
    path: str = ""

    @property
    def is_rows(self) -> bool:
        """It is a JSON Lines file, not a directory."""
        return self.path.endswith(".jsonl")


def new_step(
    catalogs: Catalogs, identity: str, like: str, into: Path, around: Catalogs
) -> list[Path]:
    """Write a step that loads, plans and runs as it is, and mirrors another.

    Args:
        catalogs: where `like` is.
        identity: id of the new step, `category/name`.
        like: id of the step to mirror.
        into: the catalog's directory; made where it is not there.
        around: catalogs that a plan finds by itself: their types need no definition here.

    Returns:
        The files written.

    Raises:
        LockgateError: if the id is no id or is taken, there is no step `like`, or a file that
            would be written exists.
    """
    if not _ID.fullmatch(identity):
        raise LockgateError(
            f"'{identity}' is no id of a step",
            where="CATEGORY/NAME",
            hint="use lower-case words with / between them, like data_prep/redact",
        )
    model = catalogs.step(like, "--like")
    taken = catalogs.steps.get(identity) or around.steps.get(identity)
    if taken is not None:
        raise LockgateError(
            f"catalog {taken.catalog} has a step '{identity}' already",
            where="CATEGORY/NAME",
            hint="choose another name",
        )
    files = _render(model, identity)
    used = _defined({port.type for port in (*model.consumes, *model.produces)}, catalogs)
    own = load_only([into], Path.cwd()).types if recognize(into) else {}
    missing = {kind: one for kind, one in used.items() if kind not in {*own, *around.types}}
    paths = {into / identity / name: text for name, text in files.items()}
    if missing:
        paths[into / "types.toml"] = _types_toml(missing)
    for path in paths:
        if path.exists():
            needs = f"; it would define {', '.join(missing)}" if path.name == "types.toml" else ""
            raise LockgateError(
                f"the file exists, and is not overwritten{needs}",
                where=str(path),
                hint="choose another name, or --into another directory",
            )
    for path, text in paths.items():
        write_text(path, text)
    return list(paths)


def toml(value: Any) -> str:
    """A value as TOML writes it, tables inline; what TOML has no word for becomes text."""
    if isinstance(value, dict):
        pairs = [f"{_key(key)} = {toml(item)}" for key, item in value.items() if item is not None]
        return "{ " + ", ".join(pairs) + " }" if pairs else "{}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    if isinstance(value, bool | int | str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
    return str(value) if isinstance(value, float) else toml(str(value))


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else toml(key)


def _render(model: Step, identity: str) -> dict[str, str]:
    """The new step's files by name."""
    # needed for nothing else that a catalog does
    from lockgate import pages

    category, last = identity.split("/")[0], identity.split("/")[-1]
    tree: dict[str, Any] = {}
    inputs, outputs = _inputs(model, tree), _outputs(model, tree, f"output/{last}")
    parameters = [
        one
        for one in model.parameters
        if one.name != "max_rows" and _put(tree, one.name, one.default)
    ]
    tree["max_rows"] = None
    # another category is another purpose
    goals = [*model.notes.goals, last] if category == model.category else [category, last]
    shared = {"id": identity, "like": model.id, "inputs": inputs, "outputs": outputs, "toml": toml}
    manifest = pages.render(
        "step_manifest.toml.j2",
        **shared,
        category=category,
        tags=list(dict.fromkeys([category, last, *model.tags])),
        goals=list(dict.fromkeys(goals)),
        parameters=parameters,
        notes=model.notes,
        smoke={"max_rows": _SMOKE_ROWS},
        key=_key,
    )
    program = pages.render(
        "step_program.py.j2",
        **shared,
        rows=any(output.is_rows for output in outputs),
        artifacts=any(not output.is_rows for output in outputs),
    )
    body = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True).rstrip()
    default = pages.render("step_default.yaml.j2", **shared, body=body)
    tiny = pages.render("step_tiny.yaml.j2", id=identity, rows=_SMOKE_ROWS)
    texts = {
        "step.toml": manifest,
        "step.py": program,
        "config/default.yaml": default,
        "config/tiny.yaml": tiny,
    }
    return {name: text.rstrip() + "\n" for name, text in texts.items()}


def _inputs(model: Step, tree: dict[str, Any]) -> list[PortKeys]:
    """The inputs, with their keys put into the configuration."""
    found: list[PortKeys] = []
    for port in model.consumes:
        note = model.notes.inputs.get(port.type)
        keys = _mirrored(note.key if note else (), found, tree) or (f"inputs.{port.type}",)
        for key in keys:
            _put(tree, key, None)
        found.append(PortKeys(port, keys))
    return found


def _outputs(model: Step, tree: dict[str, Any], directory: str) -> list[PortKeys]:
    """The outputs, with their keys put into the configuration."""
    found: list[PortKeys] = []
    for port in model.produces:
        note = model.notes.outputs.get(port.type)
        path = note.path if note and not re.search(r"[*?\[]|\.\.", note.path) else ""
        if port.type.endswith("jsonl") and not path.endswith(".jsonl"):
            path = f"{path}/data.jsonl".lstrip("/")
        keys = _mirrored(note.key if note else (), found, tree)
        if not keys or (keys, path) in [(one.keys, one.path) for one in found]:
            keys = (f"outputs.{port.type}",)
        for key in keys:
            _put(tree, key, f"{directory}/{port.type}" if port.required else None)
        found.append(PortKeys(port, keys, path))
    return found


def _mirrored(
    keys: tuple[str, ...], found: list[PortKeys], tree: dict[str, Any]
) -> tuple[str, ...]:
    """The keys, if the new configuration can have them all: new, or of a port like this one."""
    shared = {key for one in found for key in one.keys}
    trial = copy.deepcopy(tree)
    good = all(key in shared or _put(trial, key, None) for key in keys)
    return keys if good else ()


def _put(tree: dict[str, Any], key: str, value: Any) -> bool:
    """Set a dotted key in a nested mapping, unless something is there; whether it was set."""
    if not _PATH.fullmatch(key):
        return False
    *parents, last = key.split(".")
    for part in parents:
        tree = tree.setdefault(part, {})
        if not isinstance(tree, dict):
            return False
    if last in tree:
        return False
    tree[last] = value
    return True


def _defined(kinds: set[str], catalogs: Catalogs) -> dict[str, ArtifactType]:
    """Definitions of types and of all that they may stand for."""
    everything = {up for kind in kinds for up in (kind, *catalogs.supertypes(kind))}
    return {kind: catalogs.types.get(kind, ArtifactType(name=kind)) for kind in sorted(everything)}


def _types_toml(types: dict[str, ArtifactType]) -> str:
    tables = []
    for name, entry in types.items():
        lines = [f"[{_key(name)}]", f"description = {toml(entry.description)}"]
        lines += [f"is_a = {toml(entry.is_a)}"] if entry.is_a else []
        tables.append("\n".join(lines) + "\n")
    return "\n".join(tables)
