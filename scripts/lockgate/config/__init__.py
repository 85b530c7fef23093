"""The configuration: one YAML file, one pydantic model a section, one message a mistake."""

from __future__ import annotations

import datetime
import difflib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, Field, ValidationError, field_validator

from lockgate.config.data import Data
from lockgate.config.evaluation import Evaluation
from lockgate.config.experiment import Experiment
from lockgate.config.models import Model
from lockgate.config.resources import Resources
from lockgate.config.section import FileSafe, Section
from lockgate.config.stages import CatalogSource, StageItem
from lockgate.config.training import Parameters, Training
from lockgate.errors import LockgateError

__all__ = ["ChainConfig", "Common", "Config", "Model", "Parameters", "load"]


class Common(Section):
    """What both kinds of experiment have."""

    experiment: Experiment = Field(description="What is asked, and what it is called.")
    resources: Resources = Field(default=Resources(), description="What one heavy job may use.")
    approvers: list[str] | None = Field(
        default=None,
        min_length=1,
        description="Users whose markers count (owners of the marker files); none: anybody's.",
    )
    base_dir: str | None = Field(
        default=None,
        min_length=1,
        description="Directory for results, with `experiments/` and `sanity_checks/` below it "
        "(none: `results/`, directly).",
    )
    cache_dir: str | None = Field(
        default=None,
        min_length=1,
        description="Directory for converted models, shared by experiments (none: "
        "`$LOCKGATE_CACHE`, else `~/.cache/lockgate`).",
    )

    @property
    def results(self) -> Path:
        """Where this experiment's files go."""
        if self.base_dir is None:
            return Path("results") / self.experiment.name
        return Path(self.base_dir).expanduser() / f"{self.experiment.kind}s" / self.experiment.name

    @property
    def approvals(self) -> Path:
        """Where this experiment's markers and ledger are."""
        return Path("approvals") / self.experiment.name

    @property
    def places(self) -> dict[str, str]:
        """Where results, markers and ledger are, for people."""
        return {"results": str(self.results), "approvals": str(self.approvals)}

    @property
    def cache(self) -> Path:
        """Where converted models are kept, absolute."""
        chosen = self.cache_dir or os.environ.get("LOCKGATE_CACHE") or "~/.cache/lockgate"
        return Path(chosen).expanduser().resolve()


class Config(Common):
    """A matrix of runs: data, training over variables, evaluation."""

    data: Data = Field(description="Records to design or to read, and the rows they become.")
    models: dict[FileSafe, Model] = Field(
        min_length=1, description="Models by name, and where their weights come from."
    )
    training: Training = Field(description="What is trained.")
    evaluation: Evaluation = Field(description="What every run is measured on.")


class ChainConfig(Common):
    """A chain of catalog steps."""

    stages: list[StageItem] = Field(
        min_length=1,
        description="What is to be done, in order; the plan inserts what is missing between.",
    )
    models: dict[FileSafe, Model] = Field(
        default={}, description="Models by name, and where their weights come from."
    )
    catalogs: list[CatalogSource] = Field(
        default=[],
        description="Step catalogs, first come first served; then those in `$LOCKGATE_CATALOGS` "
        "(paths joined by `:`), a checkout around the project, and the built-in one.",
    )
    install_configs: bool = Field(
        default=False,
        description="Also place each built configuration as a new file in its step's own "
        "configuration directory.",
    )

    @field_validator("experiment")
    @classmethod
    def _decides_by_eye(cls, experiment: Experiment) -> Experiment:
        if experiment.decision:
            raise ValueError("a chain has no runs to decide by: leave decision out")
        return experiment

    @field_validator("stages")
    @classmethod
    def _have_own_names(cls, stages: list[StageItem]) -> list[StageItem]:
        names = [stage.name for stage in stages if stage.name]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two stages have the name {' and '.join(twice)}: give each its own")
        return stages


def load(values: Any, source: str) -> Config | ChainConfig:
    """Check a configuration: a chain where it has `stages`, else a matrix of runs.

    Args:
        values: what the YAML file holds.
        source: the file's path, for messages.

    Raises:
        LockgateError: with every mistake, each with its key and a hint.
    """
    if not isinstance(values, dict):
        raise LockgateError(
            "the configuration is not a mapping of sections",
            where=source,
            hint="start from config/config.yaml",
        )
    try:
        kind = ChainConfig if "stages" in values else Config
        return kind.model_validate(_with_kind(_plain(values, source), source))
    except ValidationError as error:
        problems = [_explain(item, source, kind) for item in error.errors()]
        raise LockgateError("\n".join(dict.fromkeys(problems))) from None


def _with_kind(values: Any, source: str) -> Any:
    """The values with the kind of experiment that its place says, unless they say it."""
    asked = values.get("experiment")
    place = any(re.fullmatch(r"sanity[_-]checks?", part) for part in Path(source).parts[:-1])
    if not place or not isinstance(asked, dict) or "kind" in asked:
        return values
    return {**values, "experiment": {**asked, "kind": "sanity_check"}}


def _plain(value: Any, source: str) -> Any:
    """The value with YAML's dates as the text they were written as: JSON has none."""
    if isinstance(value, dict):
        for key in value:
            if isinstance(key, bool) or key is None:
                raise LockgateError(
                    f"YAML reads a key as {json.dumps(key)}, not as a word",
                    where=source,
                    hint="quote yes, no, on, off, true, false and null",
                )
        return {str(key): _plain(item, source) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, source) for item in value]
    return value.isoformat() if isinstance(value, datetime.date) else value


def _explain(item: Any, source: str, root: type[Common]) -> str:
    """One pydantic error as file, key, what is wrong, and a hint."""
    steps = [step for step in item["loc"] if step != "[key]" and "[" not in str(step)]
    path = ""
    for step in steps:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else str(step)
    message = item["msg"].removeprefix("Value error, ")
    hint = ""
    if item["type"] == "extra_forbidden":
        message = "unknown key"
        known = _keys(item["loc"][:-1], root)
        near = difflib.get_close_matches(str(item["loc"][-1]), known, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(known)}"
    elif item["type"] == "missing":
        message = "this key is missing"
        hint = "config/README.md describes it; config/config.yaml has one"
    elif item["type"] == "value_error":
        hint = f"config/README.md describes {path or 'it'}"
    else:
        # a key pasted in place of its variable's name must not reach a log
        given = "" if "api_key_env" in path else f" (given: {item['input']!r:.80})"
        message = f"{message[0].lower()}{message[1:]}{given}"
        hint = "config/README.md lists every key with its type"
    return str(LockgateError(message, where=f"{source}: {path}" if path else source, hint=hint))


def _keys(location: tuple[Any, ...], root: type[Common]) -> list[str]:
    """Known keys of the section at a location."""
    kind: Any = root
    for step in location:
        if isinstance(kind, type) and issubclass(kind, BaseModel) and step in kind.model_fields:
            kind = kind.model_fields[step].annotation
        models = [arg for arg in _flatten(kind) if isinstance(arg, type)]
        found = [model for model in models if issubclass(model, BaseModel)]
        kind = found[0] if found else kind
    fields = kind.model_fields if hasattr(kind, "model_fields") else {}
    return [field.alias or name for name, field in fields.items()]


def _flatten(annotation: Any) -> Iterator[Any]:
    yield annotation
    for argument in get_args(annotation):
        yield from _flatten(argument)
