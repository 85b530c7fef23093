"""End the jobs of an experiment: SLURM's by `scancel`, this machine's by SIGTERM."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

from lockgate import activity, attempts, cluster, status
from lockgate.activity import Seen
from lockgate.catalog.files import nearest
from lockgate.errors import LockgateError
from lockgate.pipeline import ChainPipeline, MatrixPipeline, Pipeline


def cancel(experiment: Pipeline, names: list[str]) -> tuple[list[str], bool]:
    """Tell the jobs of some runs, or of all, to end. A training that can save does.

    Args:
        experiment: the experiment.
        names: its runs, or its stages; none: everything of it, the preview and the data too.

    Returns:
        What was done, one sentence each, and whether anything was.

    Raises:
        LockgateError: if there is no such run (before anything is done), or SLURM refuses.
    """
    staged = isinstance(experiment, ChainPipeline)
    if isinstance(experiment, ChainPipeline):
        known = list(experiment.stages)
    else:
        assert isinstance(experiment, MatrixPipeline)
        known = list(experiment.matrix.runs)
    for name in names:
        if name not in known:
            near = nearest(name, known)
            raise LockgateError(
                f"there is no {'stage' if staged else 'run'} '{name}'",
                where="lockgate cancel",
                hint=f"did you mean {' or '.join(near)}?" if near else "see `lockgate status`",
            )
    own = ("stage", "smoke_stage") if staged else ("train", "eval")
    works = [
        work
        for work in status.works(experiment)
        if not names or (work.rule in own and work.wildcard in names)
    ]
    name = experiment.config.experiment.name
    seen, others, answered = activity.look(works, name, str(Path.cwd()))
    told, acted, quiet = [], False, list(names)
    rest = [] if names else [job.id for job in others]
    ids = [*(one for work in works for one in seen[work.name].ids), *rest]
    if fault := cluster.cancel(ids):
        raise LockgateError(fault, where="scancel", hint=f"by hand: scancel {' '.join(ids)}")
    for work in works:
        said, ended = _cancel(seen[work.name])
        if ended:  # or the retries of a Snakemake that runs would begin it again
            for job in seen[work.name].ids or (None,):
                attempts.cancelled(work.out, work.item, job, "`lockgate cancel`")
        if said:
            told.append(f"{work.name}: {said}")
            acted = acted or ended
            quiet = [one for one in quiet if one != work.wildcard]
    if rest:
        told.append(f"tasks of arrays: {_cancelled(rest)}")
        acted = True
    told += [f"{one}: nothing of it runs or waits in a queue" for one in quiet]
    if answered is False:
        told.append("SLURM does not answer: what only its queue knows of is not cancelled")
    return told, acted


def _cancel(seen: Seen) -> tuple[str, bool]:
    """What was done with one job (empty: nothing is there to end), and whether anything was."""
    if seen.ids:
        return _cancelled(list(seen.ids)), True
    owner = seen.owner
    if owner is None or not seen.live:
        return "", False
    process = f"process {owner.pid}"
    if owner.host != socket.gethostname():
        return f"it is {process} on {owner.host}, which cannot be reached: end it there", False
    try:
        # it is seen as running: no other process of that number began before the attempt did
        os.kill(owner.pid, signal.SIGTERM)
    except ProcessLookupError:
        return f"{process} has just ended", False
    except PermissionError:
        return f"{process} belongs to another user", False
    return f"{process} is told to end", True


def _cancelled(ids: list[str]) -> str:
    return f"SLURM job{'' if len(ids) == 1 else 's'} {', '.join(ids)} cancelled"
