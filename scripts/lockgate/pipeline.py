"""What the Snakefile needs to know: the experiment's files, its gates and its targets."""

from __future__ import annotations

import atexit
import re
import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from lockgate import cluster, estimates, heavy, matrix, models, tools
from lockgate.allocation import Allocation, StandsFor, stands_for
from lockgate.data import records
from lockgate.errors import LockgateError
from lockgate.files import digest, locked, read_json
from lockgate.gates import ORDER, Gates, State
from lockgate.matrix import Matrix
from lockgate.stages import chain, run
from lockgate.stages.chain import Chain


@dataclass(frozen=True)
class Call:
    """What Snakemake tells of the call that the experiment is read in.

    Attributes:
        main: this process plans and starts the jobs (it is not one of them).
        dryrun: tells whether nothing is going to run; Snakemake knows once it builds the DAG.
        slurm: gives the settings of the executor that submits to SLURM; None: it is another.
    """

    main: bool
    dryrun: Callable[[], bool]
    slurm: Callable[[], Any]


class Pipeline(ABC):
    """What both kinds of experiment have in common: the gates, and the one that runs.

    Args:
        experiment: the runs table, or the chain.
        call: the one that reads it.
        blocked: why nothing can start, whatever is approved; empty: something can.
        previews: names of the runs that each preview measures for.
        shards: jobs that make the data.
    """

    def __init__(
        self,
        experiment: Matrix | Chain,
        call: Call,
        blocked: str = "",
        previews: StandsFor | None = None,
        shards: int = 1,
    ) -> None:
        self.call = call
        self._states: list[State] | None = None
        self.documents = experiment.documents
        self.fingerprint = experiment.fingerprint
        self.experiment = experiment.config.experiment.name
        self.results = str(experiment.config.results)
        self.resources = experiment.config.resources
        self.gates = Gates(
            experiment.config.results,
            experiment.config.approvals,
            experiment.items,
            experiment.fingerprint,
            experiment.config.approvers,
            blocked,
        )
        self.ledger = str(self.gates.ledger)
        results = Path(self.results)
        self.allocation = Allocation(
            results, self.resources, self.item, previews, shards, call.main
        )

    def states(self) -> list[State]:
        """The gates up to the first closed one, looked at once by the process that runs jobs.

        From then on no other process may run this experiment: two at once would race for the
        same runs. A dry run, and a job on another node, look at nothing.
        """
        if self._states is None:
            self._states = []
            if self.call.main and not self.call.dryrun():
                try:
                    lock = locked(
                        Path(self.results) / ".lock",
                        "this experiment is already running",
                        hint="wait for it, or stop it first",
                    )
                    stack = ExitStack()
                    stack.enter_context(lock)
                    atexit.register(stack.close)
                    if settings := self.call.slurm():
                        cluster.prepare(settings, self.experiment)
                    self._states = self.gates.advance()
                except LockgateError as error:
                    fail(error)
                self.announce()
        return self._states

    @property
    def closed(self) -> State | None:
        """The first closed gate; None if the road is open (or nothing is going to run)."""
        return next((state for state in self.states() if not state.open), None)

    def targets(self) -> list[str]:
        """What `rule all` asks for: everything, or the closed gate's document."""
        plan = [f"{self.results}/plan/plan.json", f"{self.results}/plan/plan.html"]
        # every configuration is checked before the user is asked to approve the preview
        preview = [
            f"{self.results}/validate/report.json",
            f"{self.results}/preview/review.json",
            f"{self.results}/preview/review.html",
        ]
        closed = self.closed  # also where no approval helps: that is said each time
        if self.gates.blocked:
            return plan
        if closed:
            return plan if closed.gate == "plan" else plan + preview
        return [
            *plan,
            *preview,
            f"{self.results}/build/experiment_summary.md",
            *self.finished(),
            f"{self.results}/report/report.html",
        ]

    staged = False
    """It is a chain of stages."""

    environment: Mapping[str, str] = {}
    """Variables that its jobs need."""

    schemas: Mapping[str, str] = {}
    """Further files of the phase learn."""

    tables: Mapping[str, str] = {}
    """Further files of the phase plan."""

    @property
    @abstractmethod
    def jobs(self) -> dict[str, list[str]]:
        """Names of the jobs of each heavy rule."""

    @abstractmethod
    def finished(self) -> list[str]:
        """What the open road makes between the gates and the report's page."""

    def gate(self, name: str) -> Callable[[Any], list[str]]:
        """Input function of a gated job: no file, but an error where the gate is closed.

        The marker is no input: were it taken away after the ledger recorded it, the set of
        inputs would differ and everything approved would run again. A job on another node
        leaves the decision to its own check of the ledger.
        """

        def check(_wildcards: Any) -> list[str]:
            closed = self.closed
            if closed and ORDER.index(closed.gate) <= ORDER.index(name):
                from snakemake.exceptions import WorkflowError

                raise WorkflowError(self.gates.message(closed))
            return []

        return check

    def announce(self) -> None:
        """Tell the user of a closed gate."""
        if self.closed:
            print(self.gates.message(self.closed), file=sys.stderr, flush=True)

    def conclude(self) -> None:
        """After the jobs: the closed gate again, now that its document is written."""
        if self.closed:
            state = self.gates.state(self.closed.gate)
            if state.open:
                state = State(state.gate, False, "its new version is approved already", False)
            print(self.gates.message(state), file=sys.stderr, flush=True)

    def interrupted(self) -> None:
        """After a failed job: why, and what there is all the same."""
        results, more = Path(self.results), self.allocation.exhausted
        for line in heavy.failures(results, self.jobs, self.item, more):
            print(line, file=sys.stderr, flush=True)

    def item(self, document: str) -> str:
        """Name and digest of one built document."""
        return f"{document}:{digest(self.documents[document])}"


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
        self.schemas = {"schemas": f"{self.results}/learn/{self.config.data.tool}.json"}
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


def read(
    values: Any,
    source: str,
    main: bool,
    dryrun: Callable[[], bool],
    slurm: Callable[[], Any] = lambda: None,
) -> Pipeline:
    """The experiment that a configuration describes; ends with one message if it is wrong."""
    kind = ChainPipeline if isinstance(values, dict) and "stages" in values else MatrixPipeline
    try:
        return kind(values, source, Call(main, dryrun, slurm))
    except LockgateError as error:
        fail(error)


def fail(error: LockgateError) -> NoReturn:
    """End with one message; Snakemake adds nothing to a SystemExit."""
    print(f"ERROR: {error}", file=sys.stderr, flush=True)
    sys.exit(1)
