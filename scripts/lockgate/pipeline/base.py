"""What both kinds of experiment have in common."""

from __future__ import annotations

import atexit
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from lockgate import cluster, heavy
from lockgate.allocation import Allocation, StandsFor
from lockgate.errors import LockgateError
from lockgate.files import digest, locked
from lockgate.gates import ORDER, Gates, State
from lockgate.matrix import Matrix
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


def fail(error: LockgateError) -> NoReturn:
    """End with one message; Snakemake adds nothing to a SystemExit."""
    print(f"ERROR: {error}", file=sys.stderr, flush=True)
    sys.exit(1)
