"""From what is expected of a job to what it asks for: margin, growth, and what there is at most.

Memory is host memory in MB, a node; time is walltime in minutes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lockgate import attempts
from lockgate.attempts import Attempt
from lockgate.cluster import Partition
from lockgate.config.resources import Resources

MEMORY_FACTOR, MEMORY_MORE_MB = 1.3, 500
"""Over the expected peak, which short runs on a few rows told; and the two processes of a job's own
Snakemake hold 175 to 180 MB each beside it."""
LEAST_MB = 2000
"""Below it nothing is gained: Python with its numeric libraries takes a good part of it."""
LEAST_GPU_MB = 4000
"""Until the preview has measured it: no formula counts the GPU's own libraries."""
TIME_FACTOR, TIME_MORE_MINUTES = 1.5, 5
"""Over the longest expected time, which was told for this machine: another node may be slower;
and the job's own Snakemake has to start, on a file system that is slow at first."""
LEAST_MINUTES = 10
"""A shorter walltime starts no job sooner."""
WIDTH = 0.3
"""Over the longest way to go, for each GPU after the first: by length alone wide jobs wait for
nodes that are seldom free, by width alone the longest ways begin last."""
UNKNOWN_MB, UNKNOWN_MINUTES = 4000, 120
"""Of a job without an estimate; also the longest time of a preview, which takes some steps of
what its runs take."""


@dataclass(frozen=True)
class Estimate:
    """What is expected of one job.

    Attributes:
        seconds: at most; None: not known.
        memory_mb: peak of host memory; None: not known.
        measured: in the preview.
    """

    seconds: float | None
    memory_mb: float | None
    measured: bool


def weight(gpus: int, minutes: int) -> float:
    """How early a job should begin.

    Args:
        gpus: of the job, on all its nodes.
        minutes: its walltime, and that of what waits for it.
    """
    return minutes * (1 + WIDTH * max(0, gpus - 1))


def nice(weight: float, heaviest: float) -> int:
    """By how much a waiting job stands back, 0 (the heaviest) to 99.

    Where sites weigh users, that is next to nothing.
    """
    return round(99 * (1 - min(1.0, weight / heaviest)))


def placement(nodes: int, gpus: int, spread: bool, shared: bool = False) -> dict[str, int | str]:
    """Where Snakemake's SLURM executor is to put a job, by its names of resources.

    `world` is the job's own: its nodes, and the GPUs of each.

    Args:
        nodes: of the job.
        gpus: a node.
        spread: the job starts a process for each GPU, or each node where there is none; else it
            is one process.
        shared: there is no SLURM, the GPUs are only counted.
    """
    asked: dict[str, int | str] = {"world": f"{nodes} {gpus}"}
    if shared:
        return asked | ({"gpu": nodes * gpus} if gpus else {})
    each = max(1, gpus)
    if not spread or nodes * each == 1:
        # SLURM would spread GPUs over nodes, where the one process cannot use them
        return asked | ({"gpu": gpus, "nodes": 1} if gpus else {})
    # so many on each node: SLURM would pack tasks as it likes, and the executor takes no 1
    tasks = {"tasks_per_node": each} if each > 1 else {"tasks": nodes}
    gres = {"gres": f"gpu:{gpus}"} if gpus else {}
    # with `mpi` the executor leaves it to the job to start its processes
    return asked | {"nodes": nodes, **tasks, **gres, "tasks_per_gpu": 0, "mpi": "srun"}


def processes_of(phase: str, resources: Resources) -> int:
    """Processes of a job on one node."""
    return max(1, resources.held(phase)[1])


def memory_mb(found: Iterable[Estimate], resources: Resources, processes: int = 1) -> int:
    """Host memory in MB, a node, of a first attempt.

    Args:
        found: the estimates that it rests on; none: it is not known.
        resources: of the configuration.
        processes: of a training on a node; each of them loads the weights.
    """
    if resources.memory_mb is not None:
        return resources.memory_mb
    asked = [0]
    for one in found:
        if one.memory_mb is None:
            asked.append(UNKNOWN_MB)
            continue
        least = LEAST_GPU_MB if resources.gpus and not one.measured else LEAST_MB
        # what was measured is of all of them
        held = one.memory_mb if one.measured else one.memory_mb * processes
        need = held * MEMORY_FACTOR + MEMORY_MORE_MB
        asked.append(max(least, math.ceil(need)))
    return max(asked) or UNKNOWN_MB


def minutes(found: Iterable[Estimate], resources: Resources, parts: int = 1) -> int:
    """Walltime in minutes of a first attempt.

    Args:
        found: the estimates that it rests on; none: it is not known.
        resources: of the configuration.
        parts: jobs that share what was estimated.
    """
    if resources.runtime_minutes is not None:
        return resources.runtime_minutes
    known = [one.seconds / parts for one in found if one.seconds is not None]
    if not known:
        return UNKNOWN_MINUTES
    return max(LEAST_MINUTES, math.ceil(max(known) / 60 * TIME_FACTOR + TIME_MORE_MINUTES))


def grown(first: int, ran_out: Iterable[int | None]) -> int:
    """What the next attempt asks for.

    Args:
        first: what a first one asks for.
        ran_out: what each attempt had that it was not enough for, oldest first (None: not known).
    """
    asked = first
    for had in ran_out:
        if had is None or had >= asked:  # an estimate that is above it already may well be right
            asked = 2 * (had or asked)
    return asked


def at_most(asked: int, most: int | None, given: int | None) -> int:
    """The same within what a partition offers, but never below what the user gave."""
    return asked if most is None else min(asked, max(most, given or 0))


def offered(partitions: Iterable[Partition], name: str | None) -> Partition | None:
    """The partition of that name, or the default one; None: there is none, or it is not known."""
    return next(
        (one for one in partitions if (one.default if name is None else one.name == name)), None
    )


def asked(
    found: Sequence[Estimate],
    resources: Resources,
    partition: Partition | None,
    processes: int = 1,
    parts: int = 1,
) -> dict[str, int]:
    """`memory_mb` and `minutes` of a first attempt.

    Args:
        found: the estimates that it rests on; none: it is not known.
        resources: of the configuration.
        partition: where it goes; None: not known.
        processes: see `memory_mb`.
        parts: see `minutes`.
    """
    memory, time = memory_mb(found, resources, processes), minutes(found, resources, parts)
    if partition is not None:
        memory = at_most(memory, partition.memory_mb, resources.memory_mb)
        time = at_most(time, partition.minutes, resources.runtime_minutes)
    return {"memory_mb": memory, "minutes": time}


def first(
    rows: Iterable[Mapping[str, Any]],
    resources: Resources,
    partition: Partition | None,
    shards: int = 1,
    measured: bool = False,
) -> list[dict[str, int]]:
    """What the job of each estimate asks for first, see `asked`.

    Args:
        rows: see `lockgate.estimates`.
        resources: of the configuration.
        partition: where it goes; None: not known.
        shards: jobs that the data is generated in.
        measured: the rows are the preview's.
    """
    return [
        asked(
            [Estimate(row["seconds"]["high"], row["memory_mb"], measured)],
            resources,
            partition,
            processes_of(row["phase"], resources),
            shards if row["run"] is None else 1,
        )
        for row in rows
    ]


def exhausted(tries: Sequence[Attempt], item: str, partition: Partition | None) -> str:
    """Why the next attempt cannot ask for more than the last had; empty: it can, or need not.

    Args:
        tries: the attempts, settled.
        item: name and digest of what is worked on.
        partition: where it goes; None: not known.
    """
    own = [one for one in tries if one.item == item]
    if not own or partition is None:
        return ""
    last = own[-1]
    if last.outcome == attempts.OUT_OF_MEMORY and (last.memory_mb or 0) >= partition.memory_mb:
        return (
            f"out of memory with {last.memory_mb} MB, and no node of partition {partition.name} "
            f"has more than {partition.memory_mb} MB"
        )
    most = partition.minutes
    if last.outcome == attempts.OUT_OF_TIME and most is not None and (last.minutes or 0) >= most:
        return (
            f"out of time after {last.minutes} minutes, and partition {partition.name} allows "
            f"{most}"
        )
    return ""
