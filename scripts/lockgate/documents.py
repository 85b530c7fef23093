"""The documents from which jobs are built: what each of them is told, and nothing more.

An approval covers their digests, so nothing is in them that does not change what a job makes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from lockgate import cells
from lockgate.config import Config, Parameters
from lockgate.config.evaluation import Task
from lockgate.errors import LockgateError
from lockgate.files import digest, file_digest
from lockgate.runs import SHAPE_FIELDS, Run

RECIPE_VERSION = 3
"""Raise it when a change of Lockgate's own code changes what a built document leads to."""

T = TypeVar("T")


@dataclass(frozen=True)
class Builder:
    """Makes the documents of one experiment.

    Attributes:
        config: the configuration.
        adapters: of the tools, by kind: `data`, `training`, `evaluation`.
        identities: of the models, see `lockgate.models.identity`.
        root: the directory that relative paths start from.
        source: the configuration's file, for messages.

    Every method raises LockgateError where the configuration does not fit the tool or a file is
    not there.
    """

    config: Config
    adapters: dict[str, Any]
    identities: dict[str, str]
    root: Path
    source: str

    def design(self) -> str:
        """Text of the data design's file."""
        adapter, section = self.adapters["data"], self.config.data.model_dump()
        return named(self.source, "data", lambda: str(adapter.render(section, self.root)))

    def data(self, design: str) -> dict[str, Any]:
        """The data, but for what changes none of it; which rows are trained on is the run's."""
        left = {"preview_records", "train_rows", "train_files", "licence"}
        section, endpoint = self.config.data, self.config.data.endpoint
        files = self._files("data", section.model_dump())
        served = endpoint.model if endpoint and endpoint.server else None
        return {
            "recipe_version": RECIPE_VERSION,
            **section.model_dump(exclude=left),
            "design_sha256": digest(design),
            "input_files": files,
            "model_identity": self.identities[served] if served else None,
        }

    def training(self, run: Run) -> dict[str, Any]:
        """A run's training."""
        spec = {
            "parameters": run.parameters,
            "seed": run.seed,
            "system_prompt": run.system_prompt,
        }
        adapter = self.adapters["training"]
        return {
            "recipe_version": RECIPE_VERSION,
            "run": run.name,
            "model": {"name": run.model, "identity": self.identities[run.model]},
            "tool": self.config.training.tool,
            **own_rows(run, self.config),
            "input_files": self._train_files(run),
            "config": named(self.source, "training", lambda: adapter.render(spec)),
        }

    def smoke(self, run: Run) -> dict[str, Any]:
        """A few steps of training; nothing in it that the shape does not decide."""
        shape = {key: run.parameters[key] for key in SHAPE_FIELDS}
        parameters = {**Parameters().model_dump(), **shape, "epochs": 1, "checkpoint_steps": 1000}
        spec = {"parameters": parameters, "seed": 0, "system_prompt": None}
        return {
            "recipe_version": RECIPE_VERSION,
            "shape": run.shape,
            "model": {"name": run.model, "identity": self.identities[run.model]},
            "tool": self.config.training.tool,
            "max_length": run.parameters["max_length"],
            "batch_size": run.parameters["batch_size"],
            "gradient_accumulation": run.parameters["gradient_accumulation"],
            "config": self.adapters["training"].render(spec),
        }

    def evaluation(self, run: Run) -> dict[str, Any]:
        """A run's cells: `epochs` says which tasks each epoch is measured on."""
        at: dict[int | None, list[str]] = {}
        for cell in cells.of_run(run, self.config, self.source):
            at.setdefault(cell.epoch, []).append(cell.task)
        epochs = [{"epoch": epoch, "tasks": names} for epoch, names in at.items()]
        return self._asked(run, run.name, cells.tasks(run, self.config), epochs)

    def speed(self, alike: list[Run]) -> dict[str, Any]:
        """All tasks of runs that answer equally fast, for the preview to measure."""
        names = {task.name for run in alike for task in cells.tasks(run, self.config)}
        tasks = [task for task in self.config.evaluation.tasks if task.name in names]
        return self._asked(alike[0], alike[0].untouched, tasks, [])

    def _asked(self, run: Run, name: str, tasks: list[Task], epochs: list[Any]) -> dict[str, Any]:
        section, adapter = self.config.evaluation, self.adapters["evaluation"]
        spec = {
            "tasks": [task.model_dump(exclude={"only", "epochs"}) for task in tasks],
            "system_prompt": section.system_prompt or run.system_prompt,
            "batch_size": section.batch_size,
            "seed": section.seed,
            "temperature": section.temperature,
            "precision": run.parameters["precision"],
        }
        return {
            "recipe_version": RECIPE_VERSION,
            "run": name,
            "model": {"name": run.model, "identity": self.identities[run.model]},
            "tool": section.tool,
            "rows": run.rows,
            "epochs": epochs,
            "config": named(self.source, "evaluation", lambda: adapter.render(spec)),
            "input_files": self._files("evaluation", spec),
        }

    def _files(self, kind: str, section: dict[str, Any]) -> dict[str, str]:
        """Digests of the files that a tool reads, by paths that stay when the project moves."""
        adapter, base = self.adapters[kind], self.root.resolve()
        found = [
            path.resolve()
            for path in named(self.source, kind, lambda: adapter.inputs(section, self.root))
        ]
        return {
            str(file.relative_to(base) if file.is_relative_to(base) else file): file_digest(file)
            for file in found
        }

    def _train_files(self, run: Run) -> dict[str, str]:
        """Digest of the dataset that a run alone is trained on."""
        if run.train_files is None:
            return {}
        path = self.root / run.train_files
        if not path.is_file():
            raise LockgateError(
                f"the file {run.train_files} does not exist",
                where=f"{self.source}: data.train_files",
                hint="paths start at the project's root",
            )
        return {run.train_files: file_digest(path)}


def own_rows(run: Run, config: Config) -> dict[str, Any]:
    """What `lockgate.data.own_rows` needs of a run."""
    own = {"rows": run.rows, "train_rows": run.train_rows, "train_files": run.train_files}
    if run.train_files is None:
        return own
    section = config.data.model_dump(include={"rows", "similarity", "group"})
    return {**own, "projection": section.pop("rows"), **section}


def named(source: str, section: str, call: Callable[[], T]) -> T:
    """What `call` gives; its LockgateError names the configuration's file."""
    try:
        return call()
    except LockgateError as error:
        where = error.where or section
        raise LockgateError(error.what, where=f"{source}: {where}", hint=error.hint) from None
