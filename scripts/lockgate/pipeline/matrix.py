"""An experiment with a runs table."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

from lockgate import estimates, matrix, models, tools
from lockgate.allocation import stands_for
from lockgate.data import records
from lockgate.errors import LockgateError
from lockgate.files import read_json
from lockgate.pipeline.base import Call, Pipeline


class MatrixPipeline(Pipeline):
    """An experiment with a runs table.

    Args:
        values: the configuration.
        source: its path, for messages.
        call: the one that reads it.
    """

    def __init__(self, values: Any, source: str, call: Call) -> None:
        self.matrix = matrix.read(values, source)
        self.config = self.matrix.config
        self.runs = [name for name in self.matrix.runs if name not in self.matrix.blocked]
        lacking = "; ".join(dict.fromkeys(self.matrix.blocked.values()))
        blocked = "" if self.runs else f"no run can start: {lacking}"
        previews = stands_for(self.matrix.runs[name] for name in self.runs)
        shards = self.config.data.shards
        super().__init__(self.matrix, call, blocked, previews, shards)
        self.design = tools.get("data", self.config.data.tool, source).design_name
        self.schemas = {
            "schemas": f"{self.results}/learn/{self.config.data.tool}.json",
            "editor": f"{self.results}/learn/config.schema.json",
        }
        self.tables = {
            name: f"{self.results}/plan/{name}.csv" for name in ("runs", "cells", "estimates")
        }

    @property
    def jobs(self) -> dict[str, list[str]]:
        return {
            "preview_data": [""],
            "preview_train": self.shapes,
            "preview_eval": self.evaluations,
            "generate": [str(shard) for shard in range(self.config.data.shards)],
            "train": [name for name in self.runs if self.matrix.runs[name].trained],
            "eval": self.runs,
        }

    def finished(self) -> list[str]:
        return [
            f"{self.results}/data/card.md",
            f"{self.results}/report/results.csv",
            *(f"{self.results}/data/{split}.jsonl" for split in records.NAMES),
            *(f"{self.results}/train/{name}/manifest.json" for name in self.runs),
            *(f"{self.results}/eval/{name}/scores.json" for name in self.runs),
        ]

    @property
    def shapes(self) -> list[str]:
        """Shapes of the runs that can start."""
        return [shape for shape, run in self.matrix.shapes.items() if run.name in self.runs]

    def conclude(self) -> None:
        super().conclude()
        if not self.closed:
            shutil.rmtree(Path(self.results, "report", "partial"), ignore_errors=True)

    def interrupted(self) -> None:
        """Also a report on the runs that have scores; the page says which are missing."""
        super().interrupted()
        done = [name for name in self.runs if self._current(name)]
        if self.closed or not done:
            return
        from lockgate import report

        told = f"{len(done)} of {len(self.matrix.runs)} runs have scores"
        try:
            page = report.partial(Path(self.results), done, Path(self.ledger))
        except (LockgateError, OSError) as error:
            print(f"{told}; no report on them: {error}", file=sys.stderr, flush=True)
            return
        print(f"{told}; a report on them: {page.as_uri()}", file=sys.stderr, flush=True)

    def _current(self, run: str) -> bool:
        """A run has scores that fit the configuration as it is and its last training."""
        scores = Path(self.results, "eval", run, "scores.json")
        manifest = Path(self.results, "train", run, "manifest.json")
        if not scores.exists() or not manifest.exists():
            return False
        data = Path(self.results, "data", "manifest.json")
        trained = not self.matrix.runs[run].trained
        order = [data, scores] if trained else [data, manifest, scores]
        times = [path.stat().st_mtime if path.exists() else 0.0 for path in order]
        if not data.exists() or times != sorted(times):
            return False
        trained = trained or read_json(manifest)["item"] == self.item(f"train/{run}")
        return trained and bool(read_json(scores)["item"] == self.item(f"eval/{run}"))

    @property
    def served(self) -> set[str]:
        """Models that an embedded server serves."""
        endpoint = self.config.data.endpoint
        return {endpoint.model} if endpoint and endpoint.server else set()

    def smoke_item(self, run: str) -> str:
        """What the preview's approval has to cover before this run is trained."""
        return self.item(f"smoke/{self.matrix.runs[run].shape}")

    def smoke_model(self, shape: str) -> str:
        """Manifest of the model that a shape measures."""
        return f"{self.results}/models/{self.matrix.shapes[shape].model}.json"

    @property
    def evaluations(self) -> list[str]:
        """Models, each in a precision, whose evaluation the preview measures."""
        return list(dict.fromkeys(self.matrix.runs[name].untouched for name in self.runs))

    def evaluated_model(self, name: str) -> str:
        """Manifest of the model of such an evaluation."""
        return self.run_model(
            next(run for run in self.runs if self.matrix.runs[run].untouched == name)
        )

    def evaluated_shapes(self, name: str) -> list[str]:
        """Measured smoke trainings of the model of such an evaluation."""
        return [
            f"{self.results}/preview/train/{shape}.json"
            for shape in self.shapes
            if self.matrix.shapes[shape].untouched == name
        ]

    def run_model(self, run: str) -> str:
        """Manifest of the model that a run starts from."""
        return f"{self.results}/models/{self.matrix.runs[run].model}.json"

    def model_stamp(self, name: str) -> str:
        """Times and sizes of a model's files."""
        return models.stamp(name, self.config.models, self.matrix.source)

    @property
    def served_models(self) -> list[str]:
        """Manifests of the models that an embedded server serves."""
        return [f"{self.results}/models/{name}.json" for name in sorted(self.served)]

    @property
    def trained_models(self) -> list[str]:
        """Manifests of the models that runs start from."""
        names = sorted({self.matrix.runs[name].model for name in self.runs})
        return [f"{self.results}/models/{name}.json" for name in names]

    @property
    def records(self) -> list[str]:
        """Every validation record."""
        pieces = [name for name in self.matrix.documents if name != "data/data"]
        return [f"{self.results}/validate/{name}.json" for name in ["data", *pieces]]

    def names(self, trained: bool) -> str:
        """Regular expression that matches the names of the runs that are trained, or are not."""
        runs = self.matrix.runs.values()
        names = [re.escape(run.name) for run in runs if run.trained is trained]
        return "|".join(names) or "(?!)"

    @property
    def workload(self) -> list[dict[str, Any]]:
        """What the review needs of each run to estimate it; nothing that changes no time."""
        return [estimates.workload(self.matrix.runs[name], self.matrix) for name in self.runs]
