"""What is in a folder handed over, written step by step."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import Any

import yaml

from lockgate import decision, margins, pages, tools
from lockgate.allocation import Estimates
from lockgate.errors import LockgateError
from lockgate.handover import Handover, PlainRun
from lockgate.matrix import Matrix
from lockgate.models import adapter_base
from lockgate.runs import Run
from lockgate.scaffold import facts, rows
from lockgate.scaffold.contents import Contents
from lockgate.scaffold.flatten import flatten

_PROGRAMS = Path(__file__).parent / "programs"


class Folder:
    """The folder of one experiment.

    Args:
        experiment: as the configuration describes it, and as it is built.
        out: the folder, empty.
        root: the project; relative paths in the configuration start there.
    """

    def __init__(self, experiment: Matrix, out: Path, root: Path) -> None:
        self.experiment, self.out, self.root = experiment, out, root
        self.config = experiment.config
        self.runs = [run for run in experiment.runs.values() if run.name not in experiment.blocked]
        self.versions: dict[str, str] = {}
        self.contents = Contents(experiment.source)
        self.notes: list[str] = []

    def write(self) -> list[str]:
        """Write every file.

        Returns:
            What the reader has to know, one sentence each.

        Raises:
            LockgateError: if no run's model is here, or two files have one name.
        """
        blocked = self.experiment.blocked
        if not self.runs:
            raise LockgateError(
                f"no run can be handed over: {'; '.join(dict.fromkeys(blocked.values()))}",
                where=f"{self.experiment.source}: models",
                hint="bring a model",
            )
        if blocked:
            told = ", ".join(f"{name} ({self.experiment.runs[name].model})" for name in blocked)
            self.notes.append(f"Runs left out, because their model was not here: {told}.")
        make_data = self._data()
        trained = self._handover("training", self._trained())
        measured = self._handover("evaluation", self._measured(trained))
        runs = self.runs
        models = facts.models(self.experiment, runs)
        programs = ["summarize", "check_model"]
        programs += ["convert_model"] if any(model["convert"] for model in models) else []
        for name in programs:
            self.contents.put(f"{name}.py", flatten(_PROGRAMS / f"{name}.py"))
        common = {
            "experiment": self.config.experiment,
            "resources": self.config.resources,
            "models": models,
            "runs": runs,
            "quote": shlex.quote,
        }
        for run in runs:
            self._job(run, trained, measured, common)
        for name in ("settings.sh", "run.sh", "submit.sh", "models.md"):
            self._render(name, f"{name}.j2", common)
        more = {*trained.imports, *measured.imports}
        text, unknown = facts.requirements(self.versions, self.contents.programs(), more)
        self.contents.put("requirements.txt", text)
        self.notes += [f"No installed package gives the module '{name}'." for name in unknown]
        self.notes += self._places()
        readme = {
            "decided_by": [
                decision.statement(rule.model_dump(), rule.task)
                for rule in self.config.experiment.decision
            ],
            "variables": list(dict.fromkeys(name for run in runs for name in run.varied)),
            "setup": trained.setup + measured.setup,
            "keys": facts.keys([self.config.evaluation.model_dump()]),
            "runs": [_shown(run) for run in runs],
            "make_data": make_data,
            "own_rows": sorted({rows.place(run) for run in runs} - {"data"}),
            "cells": facts.scores(self.experiment, runs),
            "losses": facts.losses(self.experiment, runs),
            "approvals": facts.approvals(self.experiment),
            "notes": self.notes,
        }
        self._render("README.md", "README.md.j2", {**common, **readme})
        self.contents.write(self.out)
        return self.notes

    def _render(self, name: str, template: str, values: dict[str, Any]) -> None:
        text = pages.render(f"scaffold/{template}", **values).rstrip("\n") + "\n"
        self.contents.put(name, text)

    def _job(self, run: Run, trained: Handover, measured: Handover, common: dict[str, Any]) -> None:
        """The script of one run."""
        names = facts.variables(list(self.config.models))
        base = adapter_base(self.config.models[run.model])
        values = {
            "run": run,
            "model": names[base or run.model],
            "adapter": names[run.model] if base else None,
            "data": rows.place(run),
            "train": trained.jobs.get(run.name),
            "measure": measured.jobs.get(run.name),
            "asks": self._asks(run),
        }
        self._render(f"sbatch/{run.name}.sh", "job.sh.j2", {**common, **values})

    def _asks(self, run: Run) -> dict[str, int]:
        """Memory in MB and minutes of one run's job, which trains and evaluates."""
        resources = self.config.resources
        found = Estimates(self.config.results)
        phases = ["train", "eval"] if run.trained else ["eval"]
        told = [
            margins.asked(
                found.of(phase, run.name), resources, None, margins.processes_of(phase, resources)
            )
            for phase in phases
        ]
        time = resources.runtime_minutes or sum(one["minutes"] for one in told)
        return {"memory_mb": max(one["memory_mb"] for one in told), "minutes": time}

    def _data(self) -> dict[str, Any] | None:
        """Put the rows into the folder, or the design and what makes rows of it.

        Returns:
            None, or what the README says of rows that are not made: `job` of the data tool (None
            where it gives none), `endpoint`, and `keys` (variables that hold them).
        """
        found = rows.find(self.experiment)
        if found is not None:
            rows.write(self.experiment, self.runs, found, self.out, self.root)
            return None
        document = self.experiment.documents["data/data"]
        adapter = tools.get("data", document["tool"], self.experiment.source)
        self.contents.put("make_rows.py", flatten(_PROGRAMS / "make_rows.py"))
        for file, name in rows.train_files(self.runs).items():
            self.contents.copy(name, self.root / file)
        recipe = rows.recipe(self.experiment, self.runs)
        self.contents.put("data/rows.yaml", _yaml(recipe, "# For make_rows.py.\n"))
        self.notes.append("The rows are not made yet; README.md says how to make them.")
        design = f"data/{adapter.design_name}"
        told = {"endpoint": document["endpoint"], "keys": facts.keys(document), "job": None}
        if hasattr(adapter, "scaffold"):
            self.versions |= adapter.versions()
            contributed: Handover = adapter.scaffold(document, self.root)
            self._take(contributed)
            if design not in contributed.files:
                self.contents.put(design, self.experiment.design)
            return {**told, "job": contributed.jobs["data"]}
        self.contents.put(design, self.experiment.design)
        self.notes.append(
            f"How the data tool '{document['tool']}' is run cannot be handed over: bring "
            "data/records.jsonl, one record a line."
        )
        return told

    def _trained(self) -> list[PlainRun]:
        return [
            PlainRun(
                run.name,
                self.experiment.documents[f"train/{run.name}"]["config"],
                f"configs/train/{run.name}.yaml",
                rows.place(run),
                f"results/{run.name}",
            )
            for run in self.runs
            if run.trained
        ]

    def _measured(self, trained: Handover) -> list[PlainRun]:
        found = []
        for run in self.runs:
            tasks: dict[int | None, list[str]] = {}
            for cell in self.experiment.cells:
                if cell.run == run.name:
                    tasks.setdefault(cell.epoch, []).append(cell.task)
            job, out = trained.jobs.get(run.name), f"results/{run.name}"

            def weights_of(epoch: int, job: Any = job, out: str = out) -> str:
                return str(job.checkpoints[epoch] if job else f"{out}/train/epoch-{epoch}")

            found.append(
                PlainRun(
                    run.name,
                    self.experiment.documents[f"eval/{run.name}"]["config"],
                    f"configs/eval/{run.name}.yaml",
                    rows.place(run),
                    out,
                    tuple(
                        (epoch, None if epoch is None else weights_of(epoch), names)
                        for epoch, names in tasks.items()
                    ),
                    adapter_base(self.config.models[run.model]) is not None,
                )
            )
        return found

    def _handover(self, kind: str, runs: list[PlainRun]) -> Handover:
        """What a tool's adapter contributes; its configurations alone where that is nothing."""
        name = getattr(self.config, kind).tool
        adapter = tools.get(kind, name, self.experiment.source)
        if hasattr(adapter, "scaffold"):
            contributed: Handover = adapter.scaffold(runs, self.root)
            self.versions |= {} if contributed.setup else adapter.versions()
            self._take(contributed)
            return contributed
        self.notes.append(
            f"How the {kind} tool '{name}' is run cannot be handed over: there are only its "
            "configurations, in configs/."
        )
        for run in runs:
            self.contents.put(run.path, _yaml(run.config))
        return Handover({}, {})

    def _take(self, contributed: Handover) -> None:
        """Put what an adapter contributes into the folder."""
        for name, text in contributed.files.items():
            self.contents.put(name, text)
        for name, path in contributed.own.items():
            self.contents.copy(name, path)
        self.contents.set_apart(contributed.apart)
        self.notes += contributed.notes

    def _places(self) -> list[str]:
        """Files that name a place of this machine, as the user's own may."""
        models = (Path(model.path) for model in self.config.models.values() if model.path)
        absolute = {str(path) for path in models if path.is_absolute()}
        found = self.contents.naming({str(self.root.resolve()), str(Path.home()), *absolute})
        return [f"{place}, names a place of this machine." for place in found]


def _yaml(value: Any, header: str = "") -> str:
    return header + yaml.safe_dump(value, sort_keys=False, allow_unicode=True)


def _shown(run: Run) -> Run:
    """The run as a reader elsewhere sees it: a file by its name, without its directory here."""
    key = "data.train_files"
    name = {key: Path(run.varied[key]).name} if key in run.varied else {}
    return dataclasses.replace(run, varied={**run.varied, **name})
