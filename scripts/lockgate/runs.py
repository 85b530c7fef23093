"""The runs table: controls, and each combination of the variables' values with each seed."""

from __future__ import annotations

import difflib
import itertools
import math
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from lockgate.config import Config, Parameters
from lockgate.config.data import Data, Rows
from lockgate.config.section import Section
from lockgate.config.training import Training
from lockgate.data import projection
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

DATA_FIELDS = (
    *("data.train_rows", "data.train_files"),
    *("data.rows.prompt", "data.rows.completion"),
)
"""Keys of the data that a run may have of its own: they leave records and splits as they are,
so all runs are measured on the same samples."""

_MOST_COMBINATIONS = 100_000
"""More are not spelled out, whatever `training.max_runs` says."""

_ASKED = ("precision", "system_prompt", "data.rows.prompt", "data.rows.completion")
"""What a control has in common with its tuned runs, besides the model."""


@dataclass(frozen=True)
class Run:
    """One row of the runs table.

    Attributes:
        name: unique and file-safe, `{model}_{what varies}`.
        kind: `fine-tuned`, `control` (a base model, untouched) or `eval-only` (a checkpoint that
            is there already).
        model: a name under `models`.
        parameters: every training parameter (a run that is not trained has only the precision).
        seed: None for a run that is not trained.
        varied: the variables' values in this run.
        shape: name of the smoke shape that measures it; None for a run that is not trained.
        system_prompt: of its rows, and of its evaluation where that names none.
        train_rows: it is trained on that many rows; None: on all.
        train_files: the dataset that it is trained on; None: the training split.
        rows: its own templates of rows, `prompt` or `completion` or both.
        base: the model whose control it is compared with.
    """

    name: str
    kind: str
    model: str
    parameters: dict[str, Any]
    seed: int | None = None
    varied: dict[str, Any] = field(default_factory=dict)
    shape: str | None = None
    system_prompt: str | None = None
    train_rows: int | None = None
    train_files: str | None = None
    rows: dict[str, str] = field(default_factory=dict)
    base: str | None = None

    @property
    def trained(self) -> bool:
        """It is trained in this experiment."""
        return self.kind == "fine-tuned"

    @property
    def untouched(self) -> str:
        """Name of the preview's evaluation of its model as it is, in its precision."""
        return f"{self.model}_{self.parameters['precision']}"


def span(config: Config, source: str) -> list[Run]:
    """Controls first, then each combination of the variables' values (or each run of the list),
    each seed.

    Raises:
        LockgateError: if a variable, a value or an exclusion is wrong, if no run or more than
            `training.max_runs` are left, or if two have one name.
    """
    training = config.training
    default = training.model or next(iter(config.models))
    combinations = _combinations(config, source)
    runs = _controls(config, combinations, default) if training.controls else []
    runs += _checkpoints(config, source)
    total = len(runs) + len(combinations) * len(training.seeds)
    if total > training.max_runs:
        raise LockgateError(
            f"{total} runs: {len(runs)} without training, and {len(combinations)} combinations "
            f"with {len(training.seeds)} seeds; at most {training.max_runs} are allowed",
            where=f"{source}: training.max_runs",
            hint="vary less, exclude combinations, or raise the limit",
        )
    for varied in combinations:
        for seed in training.seeds:
            chosen = {key: value for key, value in varied.items() if key != "model"}
            own = {key: value for key, value in chosen.items() if key in Parameters.model_fields}
            parameters = {**training.parameters.model_dump(), **own}
            model = varied.get("model", default)
            label = {**chosen, **({"seed": seed} if len(training.seeds) > 1 else {})}
            name = "_".join([model, *(_slug(key, value) for key, value in label.items())])
            name = name if label else f"{model}_fine-tuned"
            runs.append(
                Run(
                    name=name,
                    kind="fine-tuned",
                    model=model,
                    parameters=parameters,
                    seed=seed,
                    varied=varied,
                    shape=_shape(config, model, parameters),
                    system_prompt=varied.get("system_prompt", training.system_prompt),
                    train_rows=varied.get("data.train_rows", config.data.train_rows),
                    train_files=varied.get("data.train_files", config.data.train_files),
                    rows=_rows(varied),
                    base=model,
                )
            )
    names = Counter(run.name for run in runs)
    twice = next((name for name, count in names.items() if count > 1), None)
    if twice:
        where = f"training.{'runs' if training.runs else 'variables'}"
        where = "evaluation.models" if twice.endswith("_eval-only") else where
        raise LockgateError(
            f"two runs are called '{twice}'",
            where=f"{source}: {where}",
            hint="give each value (and each of training.seeds) once; texts have to differ in more "
            "than case and punctuation",
        )
    return runs


def _combinations(config: Config, source: str) -> list[dict[str, Any]]:
    """What varies, and its value, in each run."""
    training = config.training
    if training.runs:
        return [
            {
                key: _value(key, value, config, f"{source}: training.runs[{number}].{key}")
                for key, value in run.items()
            }
            for number, run in enumerate(training.runs)
        ]
    variables = {
        name: _values(name, values, config, source) for name, values in training.variables.items()
    }
    size = math.prod(map(len, variables.values()))
    if size > _MOST_COMBINATIONS:
        raise LockgateError(
            f"{size} combinations, before any is excluded",
            where=f"{source}: training.variables",
            hint="vary less, or list the runs (training.runs)",
        )
    found = [
        dict(zip(variables, values, strict=True))
        for values in itertools.product(*variables.values())
    ]
    for number, excluded in enumerate(training.exclude):
        where = f"{source}: training.exclude[{number}]"
        wanted = {}
        for key, value in excluded.items():
            if key not in variables:
                raise unknown(key, list(variables), f"{where}.{key}", "variable")
            wanted[key] = _value(key, value, config, f"{where}.{key}")
        left = [one for one in found if any(one[key] != wanted[key] for key in wanted)]
        if len(left) == len(found):
            raise LockgateError(
                "it excludes no run", where=where, hint="give values that the variables have"
            )
        found = left
    if not found:
        raise LockgateError(
            "no combination is left", where=f"{source}: training.exclude", hint="exclude less"
        )
    return found


def _controls(config: Config, combinations: list[dict[str, Any]], default: str) -> list[Run]:
    """Each base model as it is asked in the runs: with each precision and each prompt."""
    training = config.training
    usual = {"precision": training.parameters.precision, "system_prompt": training.system_prompt}
    asked: list[dict[str, Any]] = []
    for varied in combinations:
        one = {key: varied.get(key, usual.get(key)) for key in _ASKED}
        one["model"] = varied.get("model", default)
        asked += [one] if one not in asked else []
    several = [key for key in _ASKED if len({digest(one[key]) for one in asked}) > 1]
    return [
        Run(
            name="_".join([f"{one['model']}_control", *(_slug(key, one[key]) for key in several)]),
            kind="control",
            model=one["model"],
            parameters={"precision": one["precision"]},
            system_prompt=one["system_prompt"],
            rows=_rows(one),
            base=one["model"],
        )
        for one in asked
    ]


def _checkpoints(config: Config, source: str) -> list[Run]:
    """The models that are evaluated as they are, beside what is trained here."""
    found = []
    for number, name in enumerate(config.evaluation.models):
        where = f"{source}: evaluation.models[{number}]"
        _value("model", name, config, where)
        found.append(
            Run(
                name=f"{name}_eval-only",
                kind="eval-only",
                model=name,
                parameters={"precision": config.training.parameters.precision},
                system_prompt=config.training.system_prompt,
                base=config.models[name].base,
            )
        )
    return found


def _rows(varied: dict[str, Any]) -> dict[str, str]:
    """A run's own templates of rows."""
    own = {key: varied.get(f"data.rows.{key}") for key in ("prompt", "completion")}
    return {key: value for key, value in own.items() if value is not None}


def _values(name: str, values: list[Any], config: Config, source: str) -> list[Any]:
    """A variable's values, checked like the parameter they stand for."""
    where = f"{source}: training.variables.{name}"
    if name not in known():
        raise unknown(name, known(), where, "field that can vary")
    if not values:
        raise LockgateError("it has no value", where=where, hint="give at least one, or remove it")
    return [
        _value(name, value, config, where if name == "model" else f"{where}[{index}]")
        for index, value in enumerate(values)
    ]


def _value(name: str, value: Any, config: Config, where: str) -> Any:
    """One value, checked like the parameter it stands for."""
    if name == "model":
        if not isinstance(value, str) or value not in config.models:
            raise LockgateError(
                f"there is no model '{value}'",
                where=where,
                hint=f"models has: {', '.join(config.models)}",
            )
        return value
    if name not in known():
        raise unknown(name, known(), where, "field that can vary")
    if name == "data.rows.completion" and config.data.rows and config.data.rows.chosen:
        raise LockgateError(
            "the rows are preference pairs, whose completion is `chosen`",
            where=where,
            hint="let data.rows.prompt vary, or give data.rows prompt and completion",
        )
    section, key, rest = _place(name, config)
    try:
        checked = getattr(section.model_validate({**rest, key: value}), key)
        if section is Rows:
            projection.compile_rows({key: checked})
        return checked
    except ValidationError as error:
        raise LockgateError(
            f"{value!r}: {error.errors()[0]['msg']}",
            where=where,
            hint=f"{name}: {section.model_fields[key].description}",
        ) from None
    except LockgateError as error:
        raise LockgateError(error.what, where=where, hint=error.hint) from None


def _place(name: str, config: Config) -> tuple[type[Section], str, dict[str, Any]]:
    """The section and the key of what varies, and what else that section has to have."""
    if name in ("data.train_rows", "data.train_files"):
        return Data, name.removeprefix("data."), {"tool": config.data.tool, "files": "any"}
    if name in DATA_FIELDS:
        return Rows, name.removeprefix("data.rows."), {"prompt": "any", "completion": "any"}
    if name == "system_prompt":
        return Training, name, {"tool": config.training.tool}
    return Parameters, name, {}


def known() -> list[str]:
    """Everything that can vary between runs."""
    return ["model", "system_prompt", *Parameters.model_fields, *DATA_FIELDS]


def unknown(name: str, known: list[str], where: str, what: str) -> LockgateError:
    near = difflib.get_close_matches(name, known, 1)
    return LockgateError(
        f"there is no {what} '{name}'",
        where=where,
        hint=f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(known) or 'none'}",
    )


def _slug(key: str, value: Any) -> str:
    text = f"{value:.12g}" if isinstance(value, float) else str(value)
    text = re.sub(r"[^a-z0-9.-]+", "-", text.lower()).strip("-.") or digest(value)
    if len(text) > 40:
        text = f"{text[:30].rstrip('-.')}-{digest(value)[:8]}"
    return f"{re.sub('[._]', '-', key.removeprefix('data.'))}-{text}"


def _shape(config: Config, model: str, parameters: dict[str, Any]) -> str:
    """Name of what decides speed and memory; runs of one shape are measured once."""
    facts = {key: parameters[key] for key in SHAPE_FIELDS}
    key = digest([config.training.tool, config.models[model].model_dump(), facts])
    return f"{model}_{key[:8]}"
