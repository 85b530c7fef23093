"""SLURM as its own commands tell it: partitions, accounts, and the state of jobs.

Every function gives None (or an empty list) where SLURM is not there or does not answer, so that
what rests on it is "not checked" instead of wrong.
"""

from __future__ import annotations

import getpass
import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from lockgate.errors import LockgateError
from lockgate.files import tail

ACTIVE = {"PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "COMPLETING", "STOPPED", "REQUEUED",
          "REQUEUE_HOLD", "REQUEUE_FED", "SIGNALING", "STAGE_OUT", "RESIZING"}  # fmt: skip
"""States of a job that still holds resources, or is going to."""

_LAST_LINES = 50


@dataclass(frozen=True)
class Partition:
    """What one partition offers.

    Attributes:
        name: of the partition.
        default: jobs that name none go there.
        up: it takes jobs.
        minutes: longest walltime; None: no limit.
        nodes: how many it has.
        cpus: of its largest node.
        memory_mb: of its largest node.
        gpus: of the node that has most.
    """

    name: str
    default: bool
    up: bool
    minutes: int | None
    nodes: int
    cpus: int
    memory_mb: int
    gpus: int


@dataclass(frozen=True)
class Job:
    """One job as SLURM knows it.

    Attributes:
        id: number of the job, `12` or `12_3` in an array.
        state: SLURM's own word, like `RUNNING` or `OUT_OF_MEMORY`.
        reason: why it waits, or why it ended; empty: none.
        nodes: where it runs, in SLURM's short form.
        minutes: its walltime; None: no limit.
        comment: what it was submitted for.
    """

    id: str
    state: str
    reason: str = ""
    nodes: str = ""
    minutes: int | None = None
    comment: str = ""

    @property
    def active(self) -> bool:
        """It waits, runs, or is about to run again."""
        return self.state in ACTIVE


@dataclass(frozen=True)
class Given:
    """What a job has.

    Attributes:
        memory_mb: a node; None: not known.
        minutes: its walltime; None: no limit.
        seconds_left: of it; None: no limit.
        alone: Snakemake's executor submitted it, for one of its jobs; False: somebody's allocation.
    """

    memory_mb: int | None
    minutes: int | None
    seconds_left: int | None
    alone: bool


def job_id() -> str | None:
    """Number of the SLURM job that this process is part of."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")


def prepare(settings: Any, experiment: str) -> None:
    """Before an experiment's jobs are submitted: name them after it, look after them, and take
    those out of the queue that a killed Snakemake left there.

    Args:
        settings: of Snakemake's executor.
        experiment: the name.

    Raises:
        LockgateError: if nothing can be submitted here.
    """
    if not shutil.which("sbatch"):
        raise LockgateError(
            "sbatch is not on the PATH: no job can be submitted",
            where="--profile",
            hint="run on a login node of the cluster, or with --profile local",
        )
    settings.jobname_prefix = settings.jobname_prefix or prefix(experiment)
    poll_steadily(settings)
    # begun later, they would end what is submitted now
    left = submitted(experiment, os.getcwd()) or []
    cancel(job.id for job in left if job.state == "PENDING")


def poll_steadily(settings: Any) -> None:
    """Let Snakemake look after its jobs at a steady pace, that of the first look.

    Its executor waits 10 s longer after each look at which nothing had ended, up to 3 minutes,
    and no setting holds that: a job that follows a long one would start late.

    Args:
        settings: of the executor.
    """
    from snakemake_executor_plugin_slurm import Executor

    pace = settings.init_seconds_before_status_checks
    Executor.next_seconds_between_status_checks = property(lambda self: pace, lambda self, _: None)


def prefix(experiment: str) -> str:
    """What the names of an experiment's jobs start with: at most 50 of the characters allowed."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", experiment)[:50]


def partitions() -> list[Partition]:
    """All partitions; empty: SLURM is not here, or does not answer."""
    told = _ask("sinfo", "-h", "-e", "-o", "%P|%a|%l|%D|%c|%m|%G")
    found: dict[str, Partition] = {}
    for line in (told or "").splitlines():
        name, state, limit, nodes, cpus, memory, gres = line.split("|")
        key = name.rstrip("*")
        known = found.get(key) or Partition(key, False, False, None, 0, 0, 0, 0)
        found[key] = Partition(
            key,
            name.endswith("*"),
            state == "up",
            minutes(limit),
            known.nodes + int(nodes),
            max(known.cpus, _number(cpus)),
            max(known.memory_mb, _number(memory)),
            max(known.gpus, _gpus(gres)),
        )
    return list(found.values())


def accounts() -> list[str] | None:
    """Accounts that this user may charge; None: there is no accounting, or it does not answer."""
    user = getpass.getuser()
    told = _ask("sacctmgr", "-n", "-P", "show", "assoc", f"user={user}", "format=account")
    return None if told is None else sorted({line.strip() for line in told.splitlines() if line})


def jobs(ids: Iterable[str]) -> dict[str, Job] | None:
    """The jobs that SLURM still knows of, by their number; None: it does not answer.

    A job that ended is known for some minutes (`MinJobAge`), and from then on where there is
    accounting.
    """
    wanted = list(dict.fromkeys(ids))
    if not wanted:
        return {}
    told = _ask("squeue", "-h", "-a", "-t", "all", "-r", "-o", "%i|%F|%T|%r|%N|%l|%k")
    if told is None:
        return None
    found = {}
    for line in told.splitlines():
        number, whole, state, reason, nodes, limit, comment = line.split("|", 6)
        reason = "" if reason == "None" else reason
        job = Job(number, state, reason, nodes, minutes(limit), comment)
        found[number] = job
        if whole != number and not (whole in found and found[whole].active):
            found[whole] = job  # an array is what one of its tasks is, if possible an active one
    known = {one: found[one] for one in wanted if one in found}
    gone = [one for one in wanted if one not in known]
    if gone:
        told = _ask("sacct", "-n", "-X", "-P", "-j", ",".join(gone), "-o", "JobID,State,NodeList")
        for line in (told or "").splitlines():
            number, state, nodes = line.split("|")
            if number in gone:  # "CANCELLED by 0" has the state first
                known[number] = Job(number, state.split(" ")[0], nodes=nodes)
    return known


def submitted(experiment: str, directory: str) -> list[Job] | None:
    """Jobs that wait or run, submitted for an experiment by a Snakemake started in a directory.

    None: SLURM does not answer.
    """
    told = _ask("squeue", "-h", "-a", "-r", "-o", "%i|%T|%r|%N|%l|%j|%Z|%k")
    if told is None:
        return None
    named = re.compile(re.escape(prefix(experiment)) + "_[0-9a-f-]{36}")
    found = []
    for line in told.splitlines():
        number, state, reason, nodes, limit, name, where, comment = line.split("|", 7)
        if named.fullmatch(name) and os.path.realpath(where) == os.path.realpath(directory):
            reason = "" if reason == "None" else reason
            job = Job(number, state, reason, nodes, minutes(limit), comment=comment)
            found += [job] if job.active else []
    return found


def show(kind: str, name: str) -> str:
    """What SLURM says of a `job` or a `node`, in one line; empty where it does not answer."""
    return _ask("scontrol", "show", "--oneliner", kind, name) or ""


def memory_ran_out(number: str, log: str = "") -> bool:
    """Whether SLURM's words in a failed job's output say that its memory ran out.

    Where it was one of the job's steps whose memory did, the job itself is only FAILED.

    Args:
        number: of the job.
        log: a file of the job's own, for the words of a step that it started.
    """
    files = [log, *re.findall(r" StdOut=(\S+)", show("job", number))]
    words = r"oom[-_ ]kill|Out Of Memory|exceeded memory limit"
    lines = [line for file in files if file for line in tail(file, _LAST_LINES)]
    return any(re.search(words, line) for line in lines)


def alive(number: str) -> bool | None:
    """Whether a job waits or runs; None: SLURM does not answer."""
    known = jobs([number])
    if known is None:
        return None
    return number in known and known[number].active


def given(number: str) -> Given | None:
    """What a job has; None: SLURM does not answer, or knows no such job."""
    told = (_ask("squeue", "-h", "-a", "-j", number, "-o", "%m|%l|%L|%k") or "").strip()
    if told.count("|") < 3:
        return None
    memory, limit, left, comment = told.split("|", 3)
    # SLURM has no word for a time below zero
    seconds = 0 if left == "INVALID" else _seconds(left)
    return Given(_megabytes(memory), minutes(limit), seconds, comment.startswith("rule_"))


def requeue(number: str) -> bool:
    """Put a running job back into the queue, where it waits under its own number."""
    known = jobs([number]) or {}
    # one that is being cancelled must not come back
    running = number in known and known[number].state == "RUNNING"
    return running and _ask("scontrol", "requeue", number) is not None


def cancel(ids: Iterable[str]) -> str:
    """Cancel jobs: SIGTERM, and SIGKILL some seconds later; what went wrong, or empty."""
    wanted = list(ids)
    if not wanted:
        return ""
    if not shutil.which("scancel"):
        return "scancel is not on the PATH"
    done = subprocess.run(["scancel", *wanted], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr.strip()


def minutes(text: str) -> int | None:
    """Minutes of what SLURM prints, `[[days-]hours:]minutes:seconds`, rounded up; None: no end."""
    seconds = _seconds(text)
    return None if seconds is None else -(-seconds // 60)


def _seconds(text: str) -> int | None:
    days, _, rest = text.rpartition("-")
    parts = rest.split(":")
    if not 2 <= len(parts) <= 3 or not all(part.isdigit() for part in [days or "0", *parts]):
        return None
    hours, whole, seconds = [0, *map(int, parts)][-3:]
    return ((int(days or 0) * 24 + hours) * 60 + whole) * 60 + seconds


def _ask(*command: str) -> str | None:
    """What a command of SLURM prints; None: it is not here, fails, or does not answer."""
    if not shutil.which(command[0]):
        return None
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _number(text: str) -> int:
    """A count like `8` or `8+`."""
    found = re.match(r"\d+", text)
    return int(found[0]) if found else 0


def _megabytes(text: str) -> int | None:
    """MB of what SLURM prints of memory, like `4000M`, `4G`; None: not known, or all there is."""
    found = re.fullmatch(r"([\d.]+)([KMGT]?)[cn]?", text)
    if not found or float(found[1]) == 0:
        return None
    return round(float(found[1]) * {"K": 1 / 1024, "": 1, "M": 1, "G": 1024, "T": 2**20}[found[2]])


def _gpus(gres: str) -> int:
    """GPUs of a node from its `Gres`, like `gpu:a100:4(S:0-1),gpu:2`."""
    return sum(int(found[1]) for found in re.finditer(r"(?:^|,)gpu(?::[^:,()]+)?:(\d+)", gres))
