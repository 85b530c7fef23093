"""Training with torchtune's recipes, in an environment of its own, all weights or an adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lockgate import environments
from lockgate.handover import Handover, PlainRun
from lockgate.launch import ALONE, World
from lockgate.tools.torchtune import options

ENVIRONMENT = "torchtune"
_PACKAGES = ["torchtune", "torchao", "torch"]


class _Torchtune:
    kind = "training"

    def versions(self) -> dict[str, str]:
        return environments.versions(ENVIRONMENT, _PACKAGES, "training.tool")

    def render(self, run: dict[str, Any]) -> dict[str, Any]:
        parameters = run["parameters"]
        return {
            "system_prompt": run["system_prompt"],
            "method": parameters["method"],
            "precision": parameters["precision"],
            "max_length": parameters["max_length"],
            "settings": options.settings(run),
            "recipe": options.recipe(parameters),
            "environment": environments.digest(ENVIRONMENT),
        }

    def steps(self, rows: int, parameters: dict[str, Any]) -> int:
        """Optimizer steps: rows that do not fill one are dropped in each epoch."""
        processes = (parameters.get("extra") or {}).get("nproc_per_node") or 1
        size = parameters["batch_size"] * parameters["gradient_accumulation"] * processes
        return rows // size * parameters["epochs"]

    def saves(self, steps: int, parameters: dict[str, Any]) -> int:
        """Saves of a run: the recipes save after each epoch and at no other step."""
        return int(parameters["epochs"])

    def capped(self, config: dict[str, Any], steps: int) -> dict[str, Any]:
        """A rendered run that takes so many optimizer steps an epoch at most."""
        return {**config, "most_steps": steps}

    def caveat(self, parameters: dict[str, Any]) -> str:
        """What an estimate does not know of a run: a dataset of the user's own."""
        told = "steps and memory are those of the prepared rows: extra.dataset's are not measured"
        return told if self.own_dataset(parameters) else ""

    def own_dataset(self, parameters: dict[str, Any]) -> bool:
        """A run is taught by a dataset of the user's own, not by the rows that it is given."""
        return "dataset" in (parameters.get("extra") or {})

    def processes(self, config: dict[str, Any]) -> int:
        """Processes that `nproc_per_node` asks for; each takes a batch of its own.

        Those of a `World` share one batch, and are not counted here.
        """
        return int(config["recipe"]["processes"] or 1)

    def validate(self, config: dict[str, Any]) -> None:
        from lockgate.tools.torchtune import command

        command.validate(config)

    def train(
        self,
        config: dict[str, Any],
        model: Path,
        train: Path,
        validation: Path | None,
        out: Path,
        world: World = ALONE,
    ) -> dict[str, Any]:
        from lockgate.tools.torchtune import run

        return run.train(config, model.absolute(), train, validation, out.absolute(), world)

    def progress(self, out: Path) -> dict[str, Any] | None:
        from lockgate.tools.torchtune import run

        return run.progress(out)

    def scaffold(self, runs: list[PlainRun], root: Path) -> Handover:
        from lockgate.tools.torchtune import scaffold

        return scaffold.scaffold(runs, root)


ADAPTER = _Torchtune()
