"""Configurations of the built-in steps: the keys of their default.yaml, read from one file."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, ValidationError

from lockgate import files
from lockgate.config import Parameters
from lockgate.config.data import Endpoint, Rows, Splits
from lockgate.config.evaluation import Task
from lockgate.config.section import Number, Section
from lockgate.errors import LockgateError

UNSET = "???"
"""Value of a key that only the user, or the plan, can fill."""

Kind = TypeVar("Kind", bound=Section)


class DataSettings(Section):
    """Records to design or to read; a step's default.yaml says which of the keys it has."""

    output: str
    records: int | None = Field(default=None, ge=1)
    design: dict[str, Any] | None = None
    script: str | None = None
    files: str | None = None
    seed_rows: str | None = None
    limit: int | None = Field(default=None, ge=1)
    endpoint: Endpoint | None = None
    rows: Rows | None = None
    splits: Splits | None = None
    similarity: Number = Field(default=0.8, ge=0.5, le=1)
    group: str | None = None
    seed: int = Field(default=0, ge=0)


class TrainSettings(Parameters):
    """Base model, rows and training parameters."""

    output: str
    model: str
    train: str
    validation: str | None = None
    limit: int | None = Field(default=None, ge=1)
    system_prompt: str | None = Field(default=None, min_length=1)
    seed: int = Field(default=0, ge=0, lt=2**32)


class EvalSettings(Section):
    """Weights, held-out rows and tasks."""

    output: str
    model: str
    base: str | None = None
    rows: str
    limit: int | None = Field(default=None, ge=1)
    tasks: list[Task] = Field(min_length=1)
    max_tokens: int = Field(default=64, ge=1)
    system_prompt: str | None = Field(default=None, min_length=1)
    batch_size: int = Field(default=8, ge=1)
    seed: int = Field(default=0, ge=0)
    precision: Literal["float32", "bfloat16"] = "bfloat16"


def read(config: Path, step: Path, kind: type[Kind]) -> Kind:
    """A step's configuration: the file, over those that its `defaults` name, over default.yaml.

    Args:
        config: the file.
        step: the step's directory; its config/default.yaml has every key.
        kind: what the values must be.

    Raises:
        LockgateError: naming file and key, for an unknown key, a key without a value, or a
            value that does not fit.
    """
    default = step / "config" / "default.yaml"
    known = _mapping(default)
    values = _layers(config, [])
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            raise LockgateError(
                "unknown key",
                where=f"{config}: {key}",
                hint=f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(known)}",
            )
    merged = _merge(known, values)
    for key, value in merged.items():
        if value == UNSET:
            raise LockgateError(
                "it has no value", where=f"{config}: {key}", hint=f"{default} describes it"
            )
    if isinstance(merged.get("tasks"), list):
        merged["tasks"] = [_task(task, merged) for task in merged["tasks"]]
    try:
        return kind.model_validate(merged)
    except ValidationError as error:
        raise LockgateError(
            "\n".join(
                f"{config}: {'.'.join(map(str, item['loc']))}: "
                f"{item['msg'].removeprefix('Value error, ')}"
                for item in error.errors()
            ),
            hint=f"{default} describes every key",
        ) from None


def output(path: str, inputs: list[str | None], config: Path) -> Path:
    """The absolute output directory.

    Raises:
        LockgateError: if it is, holds, or lies in one of the inputs.
    """
    out = Path(path).expanduser().resolve()
    for given in inputs:
        source = Path(given).expanduser().resolve() if given else None
        if source and (out.is_relative_to(source) or source.is_relative_to(out)):
            raise LockgateError(
                f"it overlaps the input {given}",
                where=f"{config}: output",
                hint="write to a directory of its own",
            )
    return out


def _layers(path: Path, above: list[Path]) -> dict[str, Any]:
    """A file's values over those of the file that its `defaults` names, if it has that key."""
    values = _mapping(path)
    base = values.pop("defaults", None)
    if base is None:
        return values
    below = path.parent / str(base)
    if path in above or not below.is_file():
        raise LockgateError(
            f"{base} names its own base" if path in above else f"there is no file {below}",
            where=f"{path}: defaults",
            hint="name another configuration file, as seen from this one's directory",
        )
    return _merge(_layers(below, [*above, path]), values)


def _mapping(path: Path) -> dict[str, Any]:
    values = files.read_yaml(path)
    if not isinstance(values, dict):
        raise LockgateError("it is not a mapping of keys", where=str(path))
    return values


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Mappings are merged; anything else is replaced."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            value = _merge(old, value)
        merged[key] = value
    return merged


def _task(task: Any, values: dict[str, Any]) -> Any:
    """A task in full; a text is a scorer's name or `file.py@name`."""
    if not isinstance(task, str):
        return task
    name = task.rpartition("@")[2]
    kind = "task" if "@" in task else "scorer"
    safe = name.lower().replace("_", "-")
    return {"name": safe, kind: task, "max_tokens": values.get("max_tokens")}
