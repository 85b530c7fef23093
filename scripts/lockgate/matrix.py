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

from lockgate import catalog, data, models, runs, tools
from lockgate.catalog import Catalogs
from lockgate.catalog.model import Step
from lockgate.config import Config, Parameters, load
from lockgate.decision import check_decision
from lockgate.errors import LockgateError
from lockgate.files import digest, file_digest
from lockgate.runs import SHAPE_FIELDS, Cell, Run
from lockgate.stages import planner
from lockgate.stages.planner import Action, Link

CATALOG = Path(__file__).parents[2] / "workflow" / "catalog"
RECIPE_VERSION = 2
"""Raise it when a change of Lockgate's own code changes what a built document leads to."""


@dataclass(frozen=True)
class Matrix:
    """The whole experiment, with the document from which each heavy job is built.

    `links` is the chain of steps that every run takes (of both methods, where runs have both).
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
        table = digest([sorted(self.runs), [vars(cell) for cell in self.cells]])
        asked = f"experiment:{digest(self.config.experiment.model_dump())}"
        used = [f"catalog/{name}:{step.digest}" for name, step in self.steps.items()]
        return {
            "plan": [asked, f"runs table:{table}", *pieces.values(), *used],
            "preview": [
                item
                for name, item in pieces.items()
                if name.startswith("smoke/") or name == "data/data"
            ],
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
        section = data.own_splits(config.data, root / config.data.files, source)
        config = config.model_copy(update={"data": section})
    _check_references(config, source)
    adapters = {
        "data": tools.get("data", config.data.tool, f"{source}: data.tool"),
        "training": tools.get("training", config.training.tool, f"{source}: training.tool"),
        "evaluation": tools.get("evaluation", config.evaluation.tool, f"{source}: evaluation.tool"),
    }
    table = runs.span(config, source)
    runs.check_tasks(table, config, source)
    cells = [
        Cell(run.name, task.name, epoch)
        for run in table
        for task in runs.tasks(run, config)
        for epoch in runs.epochs(run, config, source)
    ]
    _named(
        source,
        "experiment",
        lambda: check_decision(
            [rule.model_dump() for rule in config.experiment.decision],
            [vars(run) for run in table],
            [vars(cell) for cell in cells],
        ),
    )
    identities = {
        name: models.identity(name, model, source) for name, model in config.models.items()
    }
    design = _named(source, "data", lambda: adapters["data"].render(config.data.model_dump(), root))
    documents: dict[str, dict[str, Any]] = {
        "data/data": _data_document(config, design, adapters["data"], identities, root, source)
    }
    shapes: dict[str, Run] = {}
    for run in table:
        documents[f"eval/{run.name}"] = _eval_document(run, config, adapters, root, source)
        if run.kind == "control":
            continue
        documents[f"train/{run.name}"] = _train_document(run, config, adapters, identities, source)
        if run.shape not in shapes:
            shapes[str(run.shape)] = run
            documents[f"smoke/{run.shape}"] = _smoke_document(run, config, adapters, identities)
    known = catalog.merge([catalog.load_catalog(catalogs, "builtin")])
    return Matrix(
        config=config,
        source=source,
        runs={run.name: run for run in table},
        cells=cells,
        shapes=shapes,
        documents=documents,
        design=design,
        catalogs=known,
        links=_links(config, table, known),
        identities=identities,
    )


def _links(config: Config, table: list[Run], catalogs: Catalogs) -> list[Link]:
    """The chain from the data to the scores, through the steps that the configured tools run.

    Raises:
        LockgateError: if a tool has no step, or what one makes is not what the next consumes.
    """
    kinds = {"data": config.data.tool, "training": config.training.tool}
    kinds["evaluation"] = config.evaluation.tool
    methods = dict.fromkeys(run.parameters["method"] for run in table if run.kind != "control")
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
    if training.model is not None and "model" in training.variables:
        raise LockgateError(
            "the model is fixed here, and varies in training.variables",
            where=f"{source}: training.model",
            hint="remove one of them",
        )
    if training.model is None and "model" not in training.variables and len(names) > 1:
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
        weights = models.locate(endpoint.model, config.models[endpoint.model], source)
        if weights is None or weights.suffix != ".gguf":
            raise LockgateError(
                f"an embedded server needs a .gguf file; '{endpoint.model}' is not one",
                where=f"{source}: data.endpoint.model",
                hint="serve the model yourself and give data.endpoint.url",
            )
    if templates := config.data.rows:
        _named(source, "data", lambda: data.compile_rows(templates.model_dump()))
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


def _train_document(
    run: Run, config: Config, adapters: dict[str, Any], identities: dict[str, str], source: str
) -> dict[str, Any]:
    spec = {
        "parameters": run.parameters,
        "seed": run.seed,
        "system_prompt": run.system_prompt,
    }
    return {
        "recipe_version": RECIPE_VERSION,
        "run": run.name,
        "model": {"name": run.model, "identity": identities[run.model]},
        "tool": config.training.tool,
        "config": _named(source, "training", lambda: adapters["training"].render(spec)),
    }


def _smoke_document(
    run: Run, config: Config, adapters: dict[str, Any], identities: dict[str, str]
) -> dict[str, Any]:
    """A few steps at the longest sequence; nothing in it that the shape does not decide."""
    shape = {key: run.parameters[key] for key in SHAPE_FIELDS}
    parameters = {**Parameters().model_dump(), **shape, "epochs": 1, "checkpoint_steps": 1000}
    spec = {"parameters": parameters, "seed": 0, "system_prompt": None}
    task: dict[str, Any] = {
        "name": "smoke",
        "scorer": "exact",
        "task": None,
        "system_prompt": None,
        "args": {},
        "split": "test",
    }
    return {
        "recipe_version": RECIPE_VERSION,
        "shape": run.shape,
        "model": {"name": run.model, "identity": identities[run.model]},
        "tool": config.training.tool,
        "max_length": run.parameters["max_length"],
        "batch_size": run.parameters["batch_size"] * run.parameters["gradient_accumulation"],
        "config": adapters["training"].render(spec),
        "evaluation_tool": config.evaluation.tool,
        "evaluation": adapters["evaluation"].render(
            {
                "tasks": [{**task, "max_tokens": 32, "limit": None}],
                "system_prompt": None,
                "batch_size": 8,
                "seed": 0,
                "precision": run.parameters["precision"],
            }
        ),
    }


def _eval_document(
    run: Run, config: Config, adapters: dict[str, Any], root: Path, source: str
) -> dict[str, Any]:
    evaluation = config.evaluation.model_dump()
    spec = {
        "tasks": [task.model_dump(exclude={"only"}) for task in runs.tasks(run, config)],
        "system_prompt": evaluation["system_prompt"] or run.system_prompt,
        "batch_size": evaluation["batch_size"],
        "seed": evaluation["seed"],
        "precision": run.parameters["precision"],
    }
    adapter = adapters["evaluation"]
    files = _named(source, "evaluation", lambda: adapter.inputs(spec, root))
    return {
        "recipe_version": RECIPE_VERSION,
        "run": run.name,
        "tool": config.evaluation.tool,
        "epochs": runs.epochs(run, config, source),
        "config": _named(source, "evaluation", lambda: adapter.render(spec)),
        "input_files": {str(file): file_digest(file) for file in _relative(files, root)},
    }


def _relative(files: list[Path], root: Path) -> list[Path]:
    """Paths that stay the same when the whole project is moved."""
    base = root.resolve()
    return [
        file.relative_to(base) if (file := item.resolve()).is_relative_to(base) else file
        for item in files
    ]


def _data_document(
    config: Config,
    design: str,
    adapter: Any,
    identities: dict[str, str],
    root: Path,
    source: str,
) -> dict[str, Any]:
    section = config.data.model_dump(exclude={"preview_records"})
    endpoint = config.data.endpoint
    served = endpoint.model if endpoint and endpoint.server else None
    full = config.data.model_dump()
    files = _named(source, "data", lambda: adapter.inputs(full, root))
    return {
        "recipe_version": RECIPE_VERSION,
        **section,
        "design_sha256": digest(design),
        "input_files": {str(file): file_digest(file) for file in _relative(files, root)},
        "model_identity": identities[served] if served else None,
    }


def _named(source: str, section: str, call: Any) -> Any:
    """Name the configuration file in an adapter's message."""
    try:
        return call()
    except LockgateError as error:
        where = error.where or section
        raise LockgateError(error.what, where=f"{source}: {where}", hint=error.hint) from None
