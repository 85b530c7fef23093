"""What is in a folder handed over, written step by step."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

from lockgate import decision, files, pages, tools, weights
from lockgate.matrix import Matrix
from lockgate.runs import Run
from lockgate.scaffold import facts, rows
from lockgate.scaffold.flatten import flatten
from lockgate.tools import Handover, PlainRun

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
        self.versions: dict[str, str] = {}
        self.texts: dict[str, str] = {}
        self.notes: list[str] = []

    def write(self) -> list[str]:
        """Write every file.

        Returns:
            What the reader has to know, one sentence each.
        """
        make_data = self._data()
        trained = self._handover("training", self._trained())
        measured = self._handover("evaluation", self._measured(trained))
        models = facts.models(self.experiment)
        programs = ["summarize", "check_model"]
        programs += ["convert_model"] if any(model["convert"] for model in models) else []
        for name in programs:
            self.texts[f"{name}.py"] = flatten(_PROGRAMS / f"{name}.py")
        runs = list(self.experiment.runs.values())
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
        scripts = {name: text for name, text in self.texts.items() if name.endswith(".py")}
        text, unknown = facts.requirements(self.versions, scripts, more)
        self.texts["requirements.txt"] = text
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
            "make_data": make_data,
            "own_rows": sorted({rows.place(run) for run in runs} - {"data"}),
            "cells": facts.scores(self.experiment),
            "losses": facts.losses(self.experiment),
            "approvals": facts.approvals(self.experiment),
            "notes": self.notes,
        }
        self._render("README.md", "README.md.j2", {**common, **readme})
        for name, text in self.texts.items():
            files.write_text(self.out / name, text)
            if name.endswith(".sh"):
                (self.out / name).chmod(0o755)
        return self.notes

    def _render(self, name: str, template: str, values: dict[str, Any]) -> None:
        self.texts[name] = pages.render(f"scaffold/{template}", **values).rstrip("\n") + "\n"

    def _job(self, run: Run, trained: Handover, measured: Handover, common: dict[str, Any]) -> None:
        """The script of one run."""
        names = facts.variables(list(self.config.models))
        base = self.config.models[run.model].base if self._is_adapter(run) else None
        values = {
            "run": run,
            "model": names[base or run.model],
            "adapter": names[run.model] if base else None,
            "data": rows.place(run),
            "train": trained.jobs.get(run.name),
            "measure": measured.jobs.get(run.name),
        }
        self._render(f"sbatch/{run.name}.sh", "job.sh.j2", {**common, **values})

    def _data(self) -> dict[str, Any] | None:
        """Put the rows into the folder, or the design and what makes rows of it.

        Returns:
            None, or what the README says of rows that are not made: `job` of the data tool (None
            where it gives none), `endpoint`, and `keys` (variables that hold them).
        """
        found = rows.find(self.experiment)
        if found is not None:
            rows.write(self.experiment, found, self.out)
            return None
        document = self.experiment.documents["data/data"]
        adapter = tools.get("data", document["tool"], self.experiment.source)
        self.texts[f"data/{adapter.design_name}"] = self.experiment.design
        self.texts["make_rows.py"] = flatten(_PROGRAMS / "make_rows.py")
        files.write_yaml(
            self.out / "data" / "rows.yaml", rows.recipe(self.experiment), "For make_rows.py."
        )
        self.notes.append("The rows are not made yet; README.md says how to make them.")
        told = {"endpoint": document["endpoint"], "keys": facts.keys(document), "job": None}
        if hasattr(adapter, "scaffold"):
            self.versions |= adapter.versions()
            contributed: Handover = adapter.scaffold(document)
            self.texts |= contributed.files
            return {**told, "job": contributed.jobs["data"]}
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
            for run in self.experiment.runs.values()
            if run.trained
        ]

    def _measured(self, trained: Handover) -> list[PlainRun]:
        found = []
        for run in self.experiment.runs.values():
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
                    self._is_adapter(run),
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
            self.texts |= contributed.files
            return contributed
        self.notes.append(
            f"How the {kind} tool '{name}' is run cannot be handed over: there are only its "
            "configurations, in configs/."
        )
        for run in runs:
            files.write_yaml(self.out / run.path, run.config)
        return Handover({}, {})

    def _is_adapter(self, run: Run) -> bool:
        """Whether the run measures an adapter that was there before."""
        path = self.config.models[run.model].path
        return bool(path) and weights.is_adapter(Path(str(path)).expanduser())

    def _places(self) -> list[str]:
        """Files that name a place of this machine, as the user's own may."""
        models = (str(model.path) for model in self.config.models.values() if model.path)
        places = {str(self.root.resolve()), str(Path.home()), *models}
        known = "|".join(re.escape(place) for place in sorted(places) if len(place) > 1)
        pattern = re.compile(rf"(?<![\w./])(?:{known})(?![\w-])")
        return [
            f"{name} names a place of this machine: {found[0]}"
            for name, text in self.texts.items()
            if (found := pattern.search(text)) and found[0].startswith("/")
        ]
