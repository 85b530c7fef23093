"""The experiment that a configuration describes: runs, cells, shapes and built documents.

Everything here is a pure function of the configuration and of the files it points at, quick
enough to be called each time the Snakefile is parsed. The digests of the documents are what
approvals cover, what makes a job run again, and what keys its directory.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lockgate import catalog, cells, models, runs, tools
from lockgate.catalog import Catalogs
from lockgate.catalog.model import Step
from lockgate.cells import Cell
from lockgate.config import Config, load
from lockgate.data import acceptance, existing, projection
from lockgate.decision import check_decision
from lockgate.documents import Builder, named
from lockgate.errors import LockgateError
from lockgate.files import digest
from lockgate.runs import Run
from lockgate.stages import planner
from lockgate.stages.planner import Action, Link
from lockgate.weights import is_adapter

CATALOG = Path(__file__).parents[2] / "workflow" / "catalog"


@dataclass(frozen=True)
class Matrix:
    """The whole experiment, with the document from which each heavy job is built.

    `links` is the chain of steps that every run takes (of both methods, where runs have both);
    `missing` says of each model that is not here what `models.locate` says.
    """

    config: Config
    source: str
    runs: dict[str, Run]
    cells: list[Cell]
    shapes: dict[str, Run]
    documents: dict[str, dict[str, Any]]
    design: str
    catalogs: Catalogs
    links: list[Link]
    identities: dict[str, str]
    missing: dict[str, LockgateError]

    @functools.cached_property
    def blocked(self) -> dict[str, str]:
        """Runs whose model is not here, with what is missing; the others can go on."""
        return {
            run.name: self.missing[name].what
            for run in self.runs.values()
            for name in (run.model, models.adapter_base(self.config.models[run.model]))
            if name in self.missing
        }

    @functools.cached_property
    def fingerprint(self) -> str:
        """Digest of everything that resolve, learn and plan depend on."""
        return digest([self.config.model_dump(), self.documents, self.items["plan"]])

    @functools.cached_property
    def steps(self) -> dict[str, Step]:
        """The catalog steps in use, in order."""
        return {link.step: self.catalogs.step(link.step) for link in self.links}

    @functools.cached_property
    def items(self) -> dict[str, list[str]]:
        """What each gate's approval has to cover before this experiment may go on."""
        pieces = {name: f"{name}:{digest(doc)}" for name, doc in self.documents.items()}
        bases = {run.name: run.base for run in self.runs.values()}
        table = digest([bases, [vars(cell) for cell in self.cells]])
        asked = f"experiment:{digest(self.config.experiment.model_dump())}"
        used = [f"catalog/{name}:{step.digest}" for name, step in self.steps.items()]
        measured = [
            f"smoke/{name}" for name, run in self.shapes.items() if run.name not in self.blocked
        ]
        return {
            "plan": [asked, f"runs table:{table}", *pieces.values(), *used],
            "preview": [pieces[name] for name in ["data/data", *measured]],
        }


def read(values: Any, source: str, root: Path = Path("."), catalogs: Path = CATALOG) -> Matrix:
    """Span the experiment.

    Args:
        values: the configuration as loaded from YAML.
        source: its path, for messages.
        root: the directory that relative paths start from.
        catalogs: the step catalog.

    Raises:
        LockgateError: whatever is wrong with the configuration.
    """
    config = load(values, source)
    if not isinstance(config, Config):
        raise LockgateError("a chain of stages has no runs table", where=f"{source}: stages")
    if config.data.files:
        section = existing.own_splits(config.data, root, source)
        config = config.model_copy(update={"data": section})
    _check_references(config, source)
    adapters = {
        "data": tools.get("data", config.data.tool, f"{source}: data.tool"),
        "training": tools.get("training", config.training.tool, f"{source}: training.tool"),
        "evaluation": tools.get("evaluation", config.evaluation.tool, f"{source}: evaluation.tool"),
    }
    table = runs.span(config, source)
    _check_trainable(table, config, source)
    cells.check(table, config, source)
    measured = [cell for run in table for cell in cells.of_run(run, config, source)]
    named(
        source,
        "experiment",
        lambda: check_decision(
            [rule.model_dump() for rule in config.experiment.decision],
            [vars(run) for run in table],
            [vars(cell) for cell in measured],
        ),
    )
    identities = {name: models.identity(name, config.models, source) for name in config.models}
    build = Builder(config, adapters, identities, root, source)
    design = build.design()
    documents = {"data/data": build.data(design)}
    shapes: dict[str, Run] = {}
    for run in table:
        documents[f"eval/{run.name}"] = build.evaluation(run)
        if not run.trained:
            continue
        documents[f"train/{run.name}"] = build.training(run)
        if run.shape not in shapes:
            shapes[str(run.shape)] = run
            documents[f"smoke/{run.shape}"] = build.smoke(run)
    for name in dict.fromkeys(run.untouched for run in table):
        alike = [run for run in table if run.untouched == name]
        documents[f"eval/{name}"] = build.speed(alike)
    known = catalog.merge([catalog.load_catalog(catalogs, "builtin")])
    return Matrix(
        config=config,
        source=source,
        runs={run.name: run for run in table},
        cells=measured,
        shapes=shapes,
        documents=documents,
        design=design,
        catalogs=known,
        links=_links(config, table, known),
        identities=identities,
        missing={
            name: error
            for name, model in config.models.items()
            if (error := models.lacking(name, model, source))
        },
    )


def _links(config: Config, table: list[Run], catalogs: Catalogs) -> list[Link]:
    """The chain from the data to the scores, through the steps that the configured tools run.

    Raises:
        LockgateError: if a tool has no step, or what one makes is not what the next consumes.
    """
    kinds = {"data": config.data.tool, "training": config.training.tool}
    kinds["evaluation"] = config.evaluation.tool
    methods = dict.fromkeys(run.parameters["method"] for run in table if run.trained)
    found: list[Link] = []
    for method in methods:
        actions = []
        for kind, tool in kinds.items():
            fitting = [step for step in catalogs.steps.values() if step.tool == tool]
            if kind == "training":
                fitting = [
                    step
                    for step in fitting
                    if not step.notes.methods or method in step.notes.methods
                ]
            if not fitting:
                raise LockgateError(
                    f"no step uses the {kind} tool '{tool}'",
                    where="workflow/catalog",
                    hint="add <category>/<step>/step.toml for it",
                )
            given = {
                "data": ("raw_jsonl",) if config.data.files else (),
                "training": ("checkpoint_hf",),
                "evaluation": (),
            }
            actions.append(Action(kind, tuple(step.id for step in fitting), given[kind]))
        # the runs table inserts nothing: each of its phases is one tool
        places: list[int] = []
        for link in planner.chain(catalogs.steps, catalogs.is_a, actions, ()):
            uses = tuple(
                use if use.producer is None else replace(use, producer=places[use.producer])
                for use in link.inputs
            )
            moved = replace(link, inputs=uses)
            found += [moved] if moved not in found else []
            places.append(found.index(moved))
    return found


def _check_references(config: Config, source: str) -> None:
    """What one section says of another."""
    names = list(config.models)
    training, endpoint = config.training, config.data.endpoint
    if training.model is not None and training.model not in names:
        raise LockgateError(
            f"there is no model '{training.model}'",
            where=f"{source}: training.model",
            hint=f"models has: {', '.join(names)}",
        )
    for name, model in config.models.items():
        if model.base is not None and model.base not in names:
            raise LockgateError(
                f"there is no model '{model.base}'",
                where=f"{source}: models.{name}.base",
                hint=f"models has: {', '.join(names)}",
            )
        base = config.models[model.base] if model.base else None
        if base and (model.base == name or models.adapter_base(base)):
            raise LockgateError(
                f"'{model.base}' is {'itself' if model.base == name else 'an adapter'}",
                where=f"{source}: models.{name}.base",
                hint="name the whole model that it was trained on",
            )
        if model.base is None and model.path and is_adapter(Path(model.path).expanduser()):
            raise LockgateError(
                f"{model.path} is an adapter, and its base model is not named",
                where=f"{source}: models.{name}.base",
                hint="name the entry under models that it was trained on",
            )
    if training.model is not None and "model" in training.variables:
        raise LockgateError(
            "the model is fixed here, and varies in training.variables",
            where=f"{source}: training.model",
            hint="remove one of them",
        )
    each = bool(training.runs) and all("model" in run for run in training.runs)
    chosen = training.model is not None or "model" in training.variables or each
    if not chosen and len(names) > 1:
        raise LockgateError(
            "several models are given, and none is named for training",
            where=f"{source}: training.model",
            hint=f"name one of {', '.join(names)}, or let `model` be one of training.variables",
        )
    if endpoint is not None and endpoint.server is not None:
        tools.get("server", endpoint.server, f"{source}: data.endpoint.server")
        if endpoint.model not in names:
            raise LockgateError(
                f"there is no model '{endpoint.model}' to serve",
                where=f"{source}: data.endpoint.model",
                hint=f"models has: {', '.join(names)}",
            )
        served = config.models[endpoint.model]
        here = not models.lacking(endpoint.model, served, source)
        weights = models.locate(endpoint.model, served, source) if here else None
        if here and (weights is None or weights.suffix != ".gguf"):
            raise LockgateError(
                f"an embedded server needs a .gguf file; '{endpoint.model}' is not one",
                where=f"{source}: data.endpoint.model",
                hint="serve the model yourself and give data.endpoint.url",
            )
    if when := config.data.accept.when:
        named(source, "data", lambda: acceptance.compile_when(when))
    if templates := config.data.rows:
        named(source, "data", lambda: projection.compile_rows(templates.model_dump()))
    if config.data.records is not None and config.data.shards > config.data.records:
        raise LockgateError(
            f"{config.data.shards} shards for {config.data.records} records",
            where=f"{source}: data.shards",
            hint="few, large shards are quickest",
        )
    tasks = [task.name for task in config.evaluation.tasks]
    for index, name in enumerate(tasks):
        if name in tasks[:index]:
            raise LockgateError(
                f"there are two tasks '{name}'",
                where=f"{source}: evaluation.tasks[{index}].name",
                hint="give each task its own name",
            )
    splits = config.data.splits
    for index, task in enumerate(config.evaluation.tasks):
        if getattr(splits, task.split) == 0:
            raise LockgateError(
                f"task '{task.name}' is measured on the {task.split} split, which is empty",
                where=f"{source}: evaluation.tasks[{index}].split",
                hint=f"raise data.splits.{task.split}",
            )


def _check_trainable(table: list[Run], config: Config, source: str) -> None:
    """Refuse to train an adapter."""
    for name in {run.model for run in table if run.trained}:
        path = config.models[name].path
        if path and is_adapter(Path(path).expanduser()):
            raise LockgateError(
                f"'{name}' is an adapter: it can be evaluated, not trained",
                where=f"{source}: models.{name}.path",
                hint="merge it into its base model first (the step convert/merge_lora_peft)",
            )
