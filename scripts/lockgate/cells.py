"""What is measured: which tasks a run takes, and at which epochs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lockgate.config import Config
from lockgate.config.evaluation import Task
from lockgate.errors import LockgateError
from lockgate.runs import Run, known, unknown


@dataclass(frozen=True)
class Cell:
    """One evaluation: run x task x epoch (a run that is not trained has no epoch)."""

    run: str
    task: str
    epoch: int | None


def tasks(run: Run, config: Config) -> list[Task]:
    """The tasks that a run is measured on."""
    has = _has(run)

    def fits(key: str, value: Any) -> bool:
        wanted = value if isinstance(value, list) else [value]
        return has[key] in wanted if key in has else not run.trained

    return [
        task
        for task in config.evaluation.tasks
        if all(fits(key, value) for key, value in task.only.items())
    ]


def _has(run: Run) -> dict[str, Any]:
    """Everything that a run has a value of."""
    has = {"model": run.model, **run.varied, "system_prompt": run.system_prompt, **run.parameters}
    return has | ({} if run.seed is None else {"seed": run.seed})


def check(runs: list[Run], config: Config, source: str) -> None:
    """Refuse a task that measures no tuned run, and a run that no task measures.

    Raises:
        LockgateError: naming the key, or the run.
    """
    tuned = [run for run in runs if run.trained]
    for number, task in enumerate(config.evaluation.tasks):
        where = f"{source}: evaluation.tasks[{number}].only"
        for key, value in task.only.items():
            fields = ["seed", *known()]
            if key not in fields:
                raise unknown(key, fields, f"{where}.{key}", "parameter")
            has = list({str(one): one for one in (_has(run).get(key) for run in tuned)}.values())
            for one in value if isinstance(value, list) and value not in has else [value]:
                if one not in has:
                    raise LockgateError(
                        f"no run has {key} {one}",
                        where=f"{where}.{key}",
                        hint=f"runs have: {', '.join(map(str, has))}",
                    )
        if not any(task in tasks(run, config) for run in tuned):
            raise LockgateError(
                f"task '{task.name}' measures no run",
                where=where,
                hint="give values that a run has",
            )
    for run in runs:
        if not tasks(run, config):
            raise LockgateError(
                f"run '{run.name}' is measured on no task",
                where=f"{source}: evaluation.tasks",
                hint="give one task without `only`, or leave the run out",
            )


def of_run(run: Run, config: Config, source: str) -> list[Cell]:
    """Each task and each epoch at which a run is measured.

    Epochs count from 0; a run that is not trained has none.

    Raises:
        LockgateError: if an epoch will not exist.
    """
    found = []
    for task in tasks(run, config):
        epochs: list[int | None] = [None]
        if run.trained:
            last = int(run.parameters["epochs"]) - 1
            wanted, key = config.evaluation.epochs, "evaluation.epochs"
            if task.epochs is not None:
                number = config.evaluation.tasks.index(task)
                wanted, key = task.epochs, f"evaluation.tasks[{number}].epochs"
            if isinstance(wanted, list):
                epochs = list(dict.fromkeys(wanted))
            else:
                epochs = [last] if wanted == "last" else list(range(last + 1))
            for index, epoch in enumerate(epochs):
                if epoch is not None and epoch > last:
                    raise LockgateError(
                        f"run '{run.name}' has no epoch {epoch}: its last is {last} (they count "
                        "from 0)",
                        where=f"{source}: {key}[{index}]",
                        hint="raise training.parameters.epochs, or leave the epoch out",
                    )
        found += [Cell(run.name, task.name, epoch) for epoch in epochs]
    return found
