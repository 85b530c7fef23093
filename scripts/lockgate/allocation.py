"""What each heavy job asks for: its estimate with margin, more after it ran out of it.

`resources.memory_mb` and `resources.runtime_minutes`, where they are given, take the estimate's
place. An attempt that ran out of memory, or of time, doubles what it had in the next; the same
item is meant (name and digest), so a changed configuration begins anew. Never more than the
partition offers.
"""

from __future__ import annotations

import csv
import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from lockgate import attempts, cluster, margins
from lockgate.attempts import Attempt
from lockgate.cluster import Job, Partition
from lockgate.config.resources import Resources
from lockgate.files import read_json
from lockgate.heavy import RULES
from lockgate.margins import (
    MEMORY_FACTOR,
    MEMORY_MORE_MB,
    UNKNOWN_MB,
    UNKNOWN_MINUTES,
    Estimate,
    at_most,
    exhausted,
    grown,
    memory_mb,
    minutes,
    offered,
    processes_of,
)
from lockgate.runs import Run

_FILES = "preview/review.json", "plan/estimates.csv"
_PHASES = {"preview_data": "generate", "preview_train": "train", "preview_eval": "eval"}

StandsFor = Mapping[tuple[str, str], Sequence[str]]
"""Names of runs by rule and name of a preview."""

Table = dict[tuple[str, str | None], Estimate]
"""Estimates by phase and run (None: the data)."""


def stands_for(runs: Iterable[Run]) -> dict[tuple[str, str], list[str]]:
    """Names of the runs that each preview measures for, by its rule and its name."""
    found: dict[tuple[str, str], list[str]] = {}
    for run in runs:
        found.setdefault(("preview_eval", run.untouched), []).append(run.name)
        if run.shape:
            found.setdefault(("preview_train", run.shape), []).append(run.name)
    return found


class Estimates:
    """The estimates of an experiment, as its files say them now: of its preview, or of its plan.

    Args:
        results: the experiment's results.
        previews: see `stands_for`.
    """

    def __init__(self, results: Path, previews: StandsFor | None = None) -> None:
        self.results, self.previews = results, previews or {}
        self._tables: dict[str, tuple[int, Table]] = {}

    def of(self, rule: str, name: str) -> list[Estimate]:
        """Those that a job's request rests on, the preview's own where it has them."""
        phase = _PHASES.get(rule, rule)
        names: Sequence[str | None] = self.previews.get((rule, name), [])
        if rule in ("train", "eval", "stage"):
            names = [name]
        elif phase == "generate":
            names = [None]
        keys = [(phase, one) for one in names]
        (measured, review), (planned, plan) = map(self._table, _FILES)
        if rule in _PHASES and measured < planned:
            review = {}  # of what was previewed before; this preview is of something else
        return [(review.get(key) or plan[key]) for key in keys if key in review or key in plan]

    def _table(self, path: str) -> tuple[int, Table]:
        """When a file was written, and its estimates; 0 and none where there is no whole file."""
        file = self.results / path
        try:
            stamp = file.stat().st_mtime_ns
        except OSError:
            return 0, {}
        if path not in self._tables or self._tables[path][0] != stamp:
            self._tables[path] = stamp, _read(file)
        return self._tables[path]


class Allocation:
    """What the jobs of one experiment ask for; cheap enough for thousands of them.

    Args:
        results: the experiment's results.
        resources: of the configuration.
        item: gives name and digest of a built document (like `Pipeline.item`).
        previews: see `stands_for`; a chain of stages has none.
        shards: jobs that the data is generated in.
        main: this is the process that submits: it may ask SLURM. Another one, inside a job of
            SLURM, gives what its job was given.
    """

    def __init__(
        self,
        results: Path,
        resources: Resources,
        item: Callable[[str], str],
        previews: StandsFor | None = None,
        shards: int = 1,
        main: bool = True,
    ) -> None:
        self.results, self.resources, self.item = results, resources, item
        self.shards, self.main = shards, main
        self.estimates = Estimates(results, previews)
        self._tried: dict[tuple[str, str, int], tuple[str, list[Attempt]]] = {}

    def memory_mb(self, rule: str, name: str, attempt: int) -> int:
        """Host memory in MB, a node, that a job asks for.

        Args:
            rule: one of `heavy.RULES`.
            name: run, shape, shard or stage in its wildcards (`preview_data`: any).
            attempt: Snakemake's count of attempts in this call, from 1; what happened is read
                anew for each.
        """
        if self._given and self._given.memory_mb is not None:
            return self._given.memory_mb
        phase = _PHASES.get(rule, rule)
        processes = processes_of(phase, self.resources)
        asked = memory_mb(self.estimates.of(rule, name), self.resources, processes)
        asked = grown(asked, self._ran_out(rule, name, attempt, attempts.OUT_OF_MEMORY))
        most = self.partition.memory_mb if self.partition else None
        return at_most(asked, most, self.resources.memory_mb)

    def minutes(self, rule: str, name: str, attempt: int) -> int:
        """Walltime in minutes that a job asks for; arguments as `memory_mb`."""
        if self._given and self._given.minutes is not None:
            return self._given.minutes
        parts = self.shards if rule == "generate" else 1
        asked = minutes(self.estimates.of(rule, name), self.resources, parts)
        if rule.startswith("preview") and self.resources.runtime_minutes is None:
            asked = min(asked, UNKNOWN_MINUTES)
        asked = grown(asked, self._ran_out(rule, name, attempt, attempts.OUT_OF_TIME))
        most = self.partition.minutes if self.partition else None
        return at_most(asked, most, self.resources.runtime_minutes)

    def nice(self, rule: str, name: str, attempt: int, gpus: int) -> int:
        """By how much a job waits behind the experiment's others; arguments as `memory_mb`.

        Args:
            gpus: of the job, on all its nodes.
        """
        own = self._weight(rule, name, attempt, gpus)
        return margins.nice(own, max(own, self._heaviest))

    def exhausted(self, rule: str, name: str) -> str:
        """Why no more can be asked for than the last attempt had, as things are now."""
        self._tried.pop((rule, name, 0), None)
        item, tries = self._history(rule, name, 0)
        return exhausted(tries, item, self.partition)

    @functools.cached_property
    def partition(self) -> Partition | None:
        """The partition that the jobs go to; None: there is no SLURM, or it was not asked."""
        if not self.main:
            return None
        return offered(cluster.partitions(), self.resources.partition)

    @functools.cached_property
    def _heaviest(self) -> float:
        """Largest weight of a training, or of the evaluation of a run that has none."""
        known = self.estimates.previews.items()
        pairs = {(_PHASES[rule], name) for (rule, _), names in known for name in names}
        gpus = {phase: math.prod(self.resources.held(phase)) for phase in ("train", "eval")}
        weights = (self._weight(phase, name, 1, gpus[phase]) for phase, name in pairs)
        return max(weights, default=0)

    def _weight(self, rule: str, name: str, attempt: int, gpus: int) -> float:
        after = self.minutes("eval", name, 1) if rule == "train" else 0
        return margins.weight(gpus, self.minutes(rule, name, attempt) + after)

    @functools.cached_property
    def _given(self) -> cluster.Given | None:
        """Memory and minutes of the job of SLURM that this process is in."""
        number = None if self.main else cluster.job_id()
        return cluster.given(number) if number else None

    def _ran_out(self, rule: str, name: str, attempt: int, outcome: str) -> list[int | None]:
        """What each attempt had that ended so."""
        item, tries = self._history(rule, name, attempt)
        field = "memory_mb" if outcome == attempts.OUT_OF_MEMORY else "minutes"
        return [getattr(one, field) for one in tries if one.item == item and one.outcome == outcome]

    def _history(self, rule: str, name: str, attempt: int) -> tuple[str, list[Attempt]]:
        """The item of a job, and its earlier attempts, with their outcomes."""
        key = rule, name, attempt
        if key not in self._tried:
            result = self.results / RULES[rule].result.format(name)
            tries = attempts.read(attempts.place(result) / attempts.NAME)
            if tries and self.main:
                # at the beginning one question for all of them; later only this one has changed
                tries = attempts.settled(tries, self._jobs if attempt == 1 else cluster.jobs)
            item = self.item(RULES[rule].document.format(name)) if tries else ""
            self._tried[key] = item, tries
        return self._tried[key]

    def _jobs(self, _ids: Iterable[str]) -> dict[str, Job] | None:
        return self._silent_jobs

    @functools.cached_property
    def _silent_jobs(self) -> dict[str, Job] | None:
        """The jobs that `attempts.settled` may ask for, of all attempts of the experiment."""
        silent = []
        for one in RULES.values():
            place = attempts.place(Path(one.result.format("*"))) / attempts.NAME
            for path in self.results.glob(str(place)):
                silent += attempts.unclear(attempts.read(path))
        return cluster.jobs(silent)


def _read(file: Path) -> Table:
    """Estimates of `estimates.csv` or of `review.json`."""
    if file.suffix == ".csv":
        with open(file, encoding="utf-8", newline="") as handle:
            return {
                (row["phase"], row["run"] or None): Estimate(
                    float(row["high"]), float(row["memory_mb"]) if row["memory_mb"] else None, False
                )
                for row in csv.DictReader(handle)
            }
    review = read_json(file)
    rows = review.get("estimates", [])
    table: Table = {
        (row["phase"], row["run"]): Estimate(row["seconds"]["high"], row["memory_mb"], True)
        for row in rows
    }
    # a stage's reduced run held the same model; its time says nothing
    for stage in review.get("stages", []):
        peak = max(stage["peak_memory_mb"], (UNKNOWN_MB - MEMORY_MORE_MB) // MEMORY_FACTOR)
        table["stage", stage["stage"]] = Estimate(None, peak, True)
    return table
