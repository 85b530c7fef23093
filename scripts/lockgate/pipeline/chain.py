"""An experiment that is a chain of stages."""

from __future__ import annotations

import re
import sys
from typing import Any

from lockgate.pipeline.base import Call, Pipeline
from lockgate.stages import chain, run


class ChainPipeline(Pipeline):
    """An experiment that is a chain of stages; arguments as MatrixPipeline."""

    staged = True

    def __init__(self, values: Any, source: str, call: Call) -> None:
        self.chain = chain.read(values, source)
        self.config = self.chain.config
        self.stages = {stage.name: stage for stage in self.chain.stages}
        roots = [f"{one.name}={one.root.resolve()}" for one in self.chain.catalogs.catalogs]
        self.environment = {run.ROOTS: ":".join(roots)}
        super().__init__(self.chain, call, self.chain.blocked)

    @property
    def jobs(self) -> dict[str, list[str]]:
        return {rule: list(self.stages) for rule in ("smoke_stage", "stage")}

    def interrupted(self) -> None:
        super().interrupted()
        told = "Finished stages are kept: run the same command again once the fault is mended."
        print(told, file=sys.stderr, flush=True)

    def finished(self) -> list[str]:
        return [f"{self.results}/stages/{name}/manifest.json" for name in self.stages]

    @property
    def records(self) -> list[str]:
        """Every validation record."""
        return [f"{self.results}/validate/stages/{name}.json" for name in self.stages]

    def upstream(self, name: str, folder: str) -> list[str]:
        """Manifests of the stages that feed a stage."""
        sources = self.stages[name].inputs.values()
        names = dict.fromkeys(source.stage for source in sources if source.stage)
        return [f"{self.results}/{folder}/{stage}/manifest.json" for stage in names]

    @property
    def any_stage(self) -> str:
        """Regular expression that matches the names of the stages."""
        return "|".join(map(re.escape, self.stages)) or "(?!)"

    def stage_items(self, name: str) -> list[str]:
        """Names and digests of a stage's documents: the real one and the smoke one."""
        return [self.item(f"stages/{name}"), self.item(f"smoke/{name}")]

    def spread(self, wildcards: Any) -> tuple[int, int]:
        """Nodes of a stage's job, and GPUs of each."""
        stage = self.stages[wildcards.stage]
        return stage.nodes, stage.gpus
