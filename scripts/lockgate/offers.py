"""What the partitions of a cluster offer, compared with what the configuration asks for."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from typing import Any

from lockgate import cluster, pages
from lockgate.catalog.files import nearest
from lockgate.cluster import Partition
from lockgate.config.resources import Resources
from lockgate.margins import offered

_ASKED: dict[str, tuple[str, Callable[[Partition], int | None]]] = {
    "gpus": ("GPUs a node", lambda one: one.gpus),
    "nodes": ("nodes", lambda one: one.nodes),
    "threads": ("threads", lambda one: one.cpus),
    "memory_mb": ("MB of memory", lambda one: one.memory_mb),
    "runtime_minutes": ("minutes", lambda one: one.minutes),
}
"""What a job asks for, by its key under `resources`, and what a partition has of it at most."""


def records(
    resources: Resources, partitions: Sequence[Partition], here: int, asks: dict[str, int]
) -> list[dict[str, Any]]:
    """What SLURM does not offer, each with the partitions that would fit; and what it does.

    Args:
        resources: of the configuration.
        partitions: of the cluster.
        here: GPUs of this machine itself.
        asks: of the largest job, where it asks for more than `resources` says: by key.
    """
    if not shutil.which("sbatch"):
        return _absent(resources)
    if not partitions:
        asked = resources.partition or resources.account
        told = {"status": "not checked", "detail": "SLURM does not answer: sinfo tells nothing"}
        return [{"kind": "cluster", "name": "SLURM", **told}] if asked else []
    found = [*_partition(resources, partitions), *_account(resources)]
    taken = offered(partitions, resources.partition)
    if taken is None:
        return found
    enough = resources.partition is None and 0 < resources.gpus <= here
    for key, (unit, _) in _ASKED.items():
        wanted = asks.get(key)
        if wanted is None or (enough and key in ("gpus", "threads")) or _has(taken, key, wanted):
            continue
        detail = f"partition {taken.name} has at most {_ASKED[key][1](taken)}"
        missing = {"status": "missing", "detail": detail, "fix": mend(partitions, asks, key)}
        found.append({"kind": "cluster", "name": f"{wanted} {unit}", **missing})
    return found


def mend(partitions: Sequence[Partition], asks: dict[str, int], key: str, own: bool = True) -> str:
    """What to do where a partition has too little of what one key of `resources` asks for.

    Args:
        partitions: of the cluster.
        asks: what the job asks for, by key.
        key: what there is too little of.
        own: the configuration says so itself; else it is what an estimate says.
    """
    fitting = fits(partitions, asks)
    if fitting:
        return f"set resources.partition: {' or '.join(fitting)}"
    having = fits(partitions, {key: asks[key]})
    if having:
        return f"no partition has all that is asked for; enough of this has {' or '.join(having)}"
    most = max((_ASKED[key][1](one) or 0 for one in partitions if one.up), default=0)
    if not own:
        return f"no partition has more than {most} {_ASKED[key][0]}"
    return f"no partition fits: lower resources.{key} to {most} or less"


def chosen(resources: Resources, machine: dict[str, Any]) -> Partition | None:
    """The partition that jobs go to, as resolve found it; None: there is none, or not known."""
    return offered((Partition(**one) for one in machine["partitions"]), resources.partition)


def asked(resources: Resources, stages: Sequence[Any] = ()) -> dict[str, int]:
    """What the largest job asks for, by key; what only an estimate tells is left out.

    Args:
        resources: of the configuration.
        stages: of a chain: each has its own `nodes` and `gpus`.
    """
    told = resources.model_dump(include=set(_ASKED))
    for key in ("nodes", "gpus"):
        if stages:
            told[key] = max(getattr(stage, key) for stage in stages)
    told["threads"] *= max(1, told["gpus"] or 0)  # each GPU has a process of its own
    return {key: value for key, value in told.items() if value}


def fits(partitions: Sequence[Partition], asks: dict[str, int]) -> list[str]:
    """Names of the partitions that have all of it, and take jobs."""
    return [
        one.name
        for one in partitions
        if one.up and all(_has(one, key, wanted) for key, wanted in asks.items())
    ]


def walltimes(
    resources: Resources, machine: dict[str, Any], rows: Sequence[dict[str, Any]], shards: int
) -> list[tuple[str, str, str]]:
    """Jobs that are expected to take longer than they may: the job, what was compared, a fix.

    Args:
        resources: of the configuration.
        machine: what resolve found.
        rows: see `lockgate.estimates`.
        shards: jobs that the data is generated in.
    """
    taken = chosen(resources, machine)
    most, told = resources.runtime_minutes, "a job has"
    if most is None:
        most, told = (taken.minutes if taken else None), "the partition allows"
    found = []
    for row in rows:
        seconds = row["seconds"]["expected"] / (shards if row["run"] is None else 1)
        if most is None or seconds <= most * 60:
            continue
        more = "raise resources.runtime_minutes"
        if resources.runtime_minutes is None:
            known = [Partition(**one) for one in machine["partitions"]]
            wanted = {**asked(resources), "runtime_minutes": math.ceil(seconds / 60)}
            more = mend(known, wanted, "runtime_minutes", own=False)
        job = f"walltime of {row['phase']} {row['run'] or ''}".strip()
        compared = f"{pages.minutes(seconds)} expected, {row['basis']}; {told} "
        compared += pages.minutes(most * 60)
        fix = f"{more}; training continues after a stop, from what its tool saved last"
        found.append((job, compared, fix))
    return found


def _has(partition: Partition, key: str, wanted: int) -> bool:
    most = _ASKED[key][1](partition)
    return most is None or wanted <= most


def _absent(resources: Resources) -> list[dict[str, Any]]:
    """Without `sbatch`: keys that only SLURM knows."""
    keys = [key for key in ("partition", "account") if getattr(resources, key)]
    if not keys:
        return []
    told = " and ".join(f"resources.{key}" for key in keys)
    return [
        {
            "kind": "cluster",
            "name": "SLURM",
            "status": "missing",
            "detail": f"{told} set, and sbatch is not on the PATH",
            "fix": f"run on a login node of the cluster, or leave {told} out",
        }
    ]


def _partition(resources: Resources, partitions: Sequence[Partition]) -> list[dict[str, Any]]:
    name = resources.partition
    taken = offered(partitions, name)
    up = [one.name for one in partitions if one.up]
    record: dict[str, Any] = {"kind": "partition", "name": name or "the default"}
    if taken is None and name is None:
        fix = f"set resources.partition: {' or '.join(up)}"
        return [record | {"status": "missing", "detail": "there is no default", "fix": fix}]
    if taken is None:
        near = nearest(str(name), up)
        fix = f"did you mean {' or '.join(near)}? " if near else ""
        fix += f"There are: {', '.join(up)}"
        return [record | {"status": "missing", "detail": "there is no such partition", "fix": fix}]
    if not taken.up:
        fix = f"wait for it, or take one that is up: {', '.join(up) or 'none'}"
        return [record | {"status": "missing", "detail": "it takes no jobs now", "fix": fix}]
    limit = "no time limit" if taken.minutes is None else f"{taken.minutes} minutes"
    told = f"{taken.nodes} nodes, each at most {taken.cpus} CPUs, {taken.memory_mb} MB, "
    told += f"{taken.gpus} GPUs; {limit}"
    return [{"kind": "partition", "name": taken.name, "status": "found", "detail": told}]


def _account(resources: Resources) -> list[dict[str, Any]]:
    if resources.account is None:
        return []
    record: dict[str, Any] = {"kind": "account", "name": resources.account}
    known = cluster.accounts()
    if known is None:
        told = "the cluster has no accounting, or it does not answer"
        return [record | {"status": "not checked", "detail": told}]
    if resources.account.lower() in known:  # SLURM keeps them in lower case
        return [record | {"status": "found"}]
    near = nearest(resources.account, known)
    fix = f"did you mean {' or '.join(near)}? " if near else ""
    fix += f"Yours are: {', '.join(known)}" if known else "You have none: ask the cluster's staff"
    return [record | {"status": "missing", "detail": "it is none of yours", "fix": fix}]
