"""The runs table: controls, and each combination of the variables' values with each seed."""

from __future__ import annotations

import difflib
import itertools
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from lockgate.config import Config, Parameters
from lockgate.errors import LockgateError
from lockgate.files import digest

SHAPE_FIELDS = (
    "method",
    "batch_size",
    "max_length",
    "precision",
    "lora_rank",
    "lora_targets",
    "gradient_accumulation",
    "extra",
)
"""Parameters that decide speed and memory."""


@dataclass(frozen=True)
class Run:
    """One row of the runs table.

    Attributes:
        name: unique and file-safe, `{model}_{what varies}`.
        kind: `fine-tuned` or `control`.
        model: a name under `models`.
        parameters: every training parameter (a control has only the precision).
        seed: None for a control.
        varied: the variables' values in this run.
        shape: name of the smoke shape that measures it; None for a control.
    """

    name: str
    kind: str
    model: str
    parameters: dict[str, Any]
    seed: int | None = None
    varied: dict[str, Any] = field(default_factory=dict)
    shape: str | None = None


@dataclass(frozen=True)
class Cell:
    """One evaluation: run x task x epoch (a control has no epoch)."""

    run: str
    task: str
    epoch: int | None


def span(config: Config, source: str) -> list[Run]:
    """Controls first, then each combination of the variables' values, each seed."""
    training = config.training
    variables = {
        name: _values(name, values, config, source) for name, values in training.variables.items()
    }
    default = training.model or next(iter(config.models))
    runs: list[Run] = []
    used = variables.get("model", [default])
    if training.controls:
        precisions = variables.get("precision", [training.parameters.precision])
        for model, precision in itertools.product(used, precisions):
            suffix = f"_{_slug('precision', precision)}" if len(precisions) > 1 else ""
            only = {"precision": precision}
            runs.append(Run(f"{model}_control{suffix}", "control", model, only))
    for combination in itertools.product(*variables.values()):
        varied = dict(zip(variables, combination, strict=True))
        for seed in training.seeds:
            chosen = {key: value for key, value in varied.items() if key != "model"}
            parameters = {**training.parameters.model_dump(), **chosen}
            model = varied.get("model", default)
            label = {**chosen, **({"seed": seed} if len(training.seeds) > 1 else {})}
            name = "_".join([model, *(_slug(key, value) for key, value in label.items())])
            name = name if label else f"{model}_fine-tuned"
            shape = _shape(config, model, parameters)
            runs.append(Run(name, "fine-tuned", model, parameters, seed, varied, shape))
    names = Counter(run.name for run in runs)
    twice = next((name for name, count in names.items() if count > 1), None)
    if twice:
        raise LockgateError(
            f"two runs are called '{twice}'",
            where=f"{source}: training.variables",
            hint="give each value (and each of training.seeds) once",
        )
    return runs


def _values(name: str, values: list[Any], config: Config, source: str) -> list[Any]:
    """A variable's values, checked like the parameter they stand for."""
    where = f"{source}: training.variables.{name}"
    known = ["model", *Parameters.model_fields]
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        raise LockgateError(
            f"there is no training parameter '{name}'",
            where=where,
            hint=f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(known)}",
        )
    if not values:
        raise LockgateError("it has no value", where=where, hint="give at least one, or remove it")
    if name == "model":
        for value in values:
            if not isinstance(value, str) or value not in config.models:
                raise LockgateError(
                    f"there is no model '{value}'",
                    where=where,
                    hint=f"models has: {', '.join(config.models)}",
                )
        return values
    checked = []
    for index, value in enumerate(values):
        try:
            parameters = Parameters.model_validate({name: value})
        except ValidationError as error:
            raise LockgateError(
                f"{value!r}: {error.errors()[0]['msg']}",
                where=f"{where}[{index}]",
                hint=f"{name}: {Parameters.model_fields[name].description}",
            ) from None
        checked.append(getattr(parameters, name))
    return checked


def _slug(key: str, value: Any) -> str:
    text = f"{value:.12g}" if isinstance(value, float) else str(value)
    text = re.sub(r"[^a-z0-9.-]+", "-", text.lower()).strip("-.") or digest(value)
    if len(text) > 40:
        text = f"{text[:30].rstrip('-.')}-{digest(value)[:8]}"
    return f"{key.replace('_', '-')}-{text}"


def epochs(run: Run, config: Config, source: str) -> list[int | None]:
    """Epochs at which a run is evaluated, counted from 0; a control has none: `[None]`."""
    if run.kind == "control":
        return [None]
    last = int(run.parameters["epochs"]) - 1
    if config.evaluation.epochs == "last":
        return [last]
    for index, epoch in enumerate(config.evaluation.epochs):
        if epoch > last:
            raise LockgateError(
                f"run '{run.name}' has no epoch {epoch}: its last is {last} (they count from 0)",
                where=f"{source}: evaluation.epochs[{index}]",
                hint="raise training.parameters.epochs, or leave the epoch out",
            )
    return list(dict.fromkeys(config.evaluation.epochs))


def _shape(config: Config, model: str, parameters: dict[str, Any]) -> str:
    """Name of what decides speed and memory; runs of one shape are measured once."""
    facts = {key: parameters[key] for key in SHAPE_FIELDS}
    key = digest([config.training.tool, config.models[model].model_dump(), facts])
    return f"{model}_{key[:8]}"
