"""Attempts at one job: its directory is taken by one at a time, and how each ended is kept.

`attempts.jsonl` has a line where an attempt begins (`event`, `time`, `item`, `job` (SLURM's
number, or null), `host`, `pid`, `memory_mb` and `minutes` that it was given) and one where it ends
(`event`, `time`, `job`, `pid`, `outcome`, `detail`).
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

import psutil

from lockgate import cluster, files, process
from lockgate.errors import LockgateError, OutOfGpuMemory, Stopped

Known = dict[str, cluster.Job] | None

NAME = "attempts.jsonl"
DONE, FAILED, STOPPED, CANCELLED = "done", "failed", "stopped", "cancelled"
OUT_OF_MEMORY, OUT_OF_GPU_MEMORY = "out of memory", "out of GPU memory"
OUT_OF_TIME, NODE_FAILED, DIED = "out of time", "node failed", "died"

WARNING_SECONDS = 120
"""A job is told so long before its walltime ends, or a quarter of a shorter one."""

_STATES = {
    "OUT_OF_MEMORY": OUT_OF_MEMORY,
    "TIMEOUT": OUT_OF_TIME,
    "DEADLINE": OUT_OF_TIME,
    "CANCELLED": CANCELLED,
    "REVOKED": CANCELLED,
    "NODE_FAIL": NODE_FAILED,
    "BOOT_FAIL": NODE_FAILED,
    "PREEMPTED": STOPPED,
}
_SLURM_LATE = 60  # seconds: it sends its warning up to so much too early
_PUT_BACK = "SLURM put it back"
_PATIENCE = 180  # seconds in which a cancelled job has to end


@dataclass(frozen=True)
class Attempt:
    """One attempt.

    Attributes:
        item: name and digest of what was worked on.
        job: number of its SLURM job; None: it was none.
        host, pid: of its process.
        began, ended: unix times; `ended` None: nothing was written at its end.
        outcome: how it ended; empty: it has not, or nothing says how.
        detail: the reason, one line.
        log: the file that its process printed to.
        memory_mb, minutes: what it was given (None: not known).
    """

    item: str
    job: str | None
    host: str
    pid: int
    began: float
    ended: float | None = None
    outcome: str = ""
    detail: str = ""
    log: str = ""
    memory_mb: int | None = None
    minutes: int | None = None


def place(out: Path) -> Path:
    """Directory of a job's attempts and its lock, from its result's path."""
    alone = out.stem in ("manifest", "scores", "summary")
    return out.parent if alone else out.with_suffix("")


def read(path: Path) -> list[Attempt]:
    """The attempts in an `attempts.jsonl`, oldest first; none where there is no file."""
    found: list[Attempt] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return found
    for line in lines:
        try:
            entry = json.loads(line)
            event, owner = entry["event"], (entry["job"], entry["host"], entry["pid"])
        except (ValueError, KeyError, TypeError):
            continue  # a kill cut it short
        if event == "begin":
            known = {key: entry.get(key) for key in ("memory_mb", "minutes")}
            known["log"] = entry.get("log", "")
            found.append(Attempt(entry["item"], *owner, began=entry["time"], **known))
            continue
        for index in reversed(range(len(found))):
            one = found[index]
            if (one.job, one.host, one.pid) == owner and one.ended is None:
                told = {"outcome": entry["outcome"], "detail": entry["detail"]}
                found[index] = replace(one, ended=entry["time"], **told)
                break
    return found


def settled(
    attempts: list[Attempt], jobs: Callable[[Iterable[str]], Known] | None = None
) -> list[Attempt]:
    """The same, with an outcome of those that ended without a word.

    SLURM is asked only where there are some (and why the last one, if it was stopped or failed),
    by `jobs` (none: `cluster.jobs`). The last one of all keeps an empty outcome while its job or
    its process is there (or while SLURM does not answer).
    """
    asked = unclear(attempts)
    return settle(attempts, (jobs or cluster.jobs)(asked) if asked else {})


def kept(out: Path) -> list[Attempt]:
    """The attempts at a job, settled; SLURM forgets ended jobs, so what it said is written down.

    Args:
        out: the job's result.
    """
    path = place(out) / NAME
    return _keep(path, settled(read(path)))


def _keep(path: Path, tries: list[Attempt]) -> list[Attempt]:
    """Write down the outcomes that `settled` found."""
    for old, one in zip(read(path), tries, strict=False):
        if old.ended is None and one.outcome:
            _append(path, one.job, one.host, one.pid, _end(one.outcome, one.detail))
    return tries


def unclear(attempts: list[Attempt]) -> list[str]:
    """Numbers of the jobs of which SLURM knows more than the attempts say."""
    last = attempts[-1:] if attempts and attempts[-1].outcome in (STOPPED, FAILED) else []
    return [one.job for one in attempts if one.job and (one.ended is None or one in last)]


def settle(attempts: list[Attempt], known: Known) -> list[Attempt]:
    """The same from what SLURM said of the jobs (`cluster.jobs`)."""
    return [_settle(one, one is attempts[-1], known) for one in attempts]


def _settle(one: Attempt, last: bool, known: Known) -> Attempt:
    if one.ended is not None:
        job = (known or {}).get(one.job or "") if last else None
        if job is None or one.outcome not in (STOPPED, FAILED):
            return one
        outcome = _STATES.get(job.state, one.outcome)
        # the kernel may have killed a process that this one had started, and waited for
        failed = outcome == FAILED and not job.active
        ran_out = failed and cluster.memory_ran_out(job.id, one.log)
        return replace(one, outcome=OUT_OF_MEMORY if ran_out else outcome)
    if one.job is None:
        here = one.host == socket.gethostname()
        if last and (not here or _is_running(one)):
            return one
        return replace(one, outcome=DIED, detail="its process was killed")
    if known is None:
        return one if last else replace(one, outcome=DIED, detail="SLURM does not say why")
    job = known.get(one.job)
    if job is None:
        return replace(one, outcome=DIED, detail="SLURM knows its job no more")
    if job.active:
        # the same job, begun again: it was preempted, or its node failed
        return one if last else replace(one, outcome=STOPPED, detail=_PUT_BACK)
    outcome = _STATES.get(job.state, DIED)
    if outcome == DIED and cluster.memory_ran_out(job.id):
        outcome = OUT_OF_MEMORY
    detail = f"SLURM says {job.state}" + (f" ({job.reason})" if job.reason else "")
    return replace(one, outcome=outcome, detail=detail)


def _put_back(one: Attempt) -> Attempt:
    """The same; one of this very job ended before SLURM began it again."""
    again = one.job == process.granted.job is not None and not one.outcome
    return replace(one, outcome=STOPPED, detail=_PUT_BACK) if again else one


def _is_running(one: Attempt) -> bool:
    try:
        # a process of that number that began later is another
        return psutil.Process(one.pid).create_time() <= one.began
    except psutil.Error:
        return False


def trailing(attempts: list[Attempt], item: str, outcome: str) -> int:
    """How many of the last attempts at an item ended that way, one after the other.

    Those that ended in another way in between do not count.
    """
    count = 0
    for one in reversed(attempts):
        if one.item != item or one.outcome == DONE:
            break
        count += one.outcome == outcome
    return count


@contextmanager
def attempt(out: Path, item: str, what: str) -> Iterator[list[Attempt]]:
    """Hold a job's directory while the block runs, and keep how it ended.

    Args:
        out: the job's result.
        item: name and digest of what is worked on.
        what: to say where another process holds it, like `run x is being trained`.

    Yields:
        The earlier attempts, with their outcomes.

    Raises:
        LockgateError: if another process holds it that may not be superseded; if the disk is
            full.
    """
    directory = place(out)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / NAME
    with _sole(directory / ".lock", what) as superseded:
        earlier = _keep(path, [_put_back(one) for one in settled(read(path))])
        _refuse(earlier, superseded, str(directory))
        _append(
            path,
            *_own(),
            {
                "event": "begin",
                "item": item,
                "memory_mb": process.granted.memory_mb,
                "minutes": process.granted.minutes,
                "log": _output(),
            },
        )
        try:
            yield earlier
        except BaseException as error:
            outcome, detail = _reason(error)
            with suppress(OSError):  # a full disk: the error itself says more
                _append(path, *_own(), _end(outcome, detail))
            if outcome == STOPPED and process.granted.job:
                # it makes room for another: no failure, so no attempt is used up
                cluster.requeue(process.granted.job)
            if _no_space(error):
                raise LockgateError(
                    "no space is left on the disk",
                    where=str(directory),
                    hint="free some, and run it again: what is finished is kept",
                ) from error
            raise
        _append(path, *_own(), _end(DONE, ""))


def _refuse(earlier: list[Attempt], superseded: str, where: str) -> None:
    """Do not begin again, in one call, what would only end in the same way."""
    last = earlier[-1] if earlier else None
    if process.granted.attempt == 1 or last is None or last.job in (None, superseded):
        return
    if last.outcome == CANCELLED:
        raise LockgateError(
            f"SLURM job {last.job} was cancelled: it is not begun again by itself",
            where=where,
            hint="run the pipeline again to go on",
        )
    given = process.granted.memory_mb
    if last.outcome == OUT_OF_MEMORY and given and given <= (last.memory_mb or 0):
        raise LockgateError(
            f"{last.memory_mb} MB were not enough, and there are no more than {given}",
            where=where,
            hint="give it more: resources.memory_mb, or a partition with larger nodes",
        )


def _output() -> str:
    """The file that this process prints to; empty: it is none."""
    with suppress(OSError):
        file = os.readlink("/proc/self/fd/1")
        return file if os.path.isfile(file) else ""
    return ""


def cancelled(out: Path, item: str, job: str | None, by: str) -> None:
    """Keep that a job was cancelled on purpose, begun or not: it is not begun again by itself.

    Args:
        out: its result.
        item: name and digest of what it was for.
        job: number of its SLURM job; None: its process was told to end.
        by: what cancelled it.
    """
    path = place(out) / NAME
    tries = read(path)
    if tries and tries[-1].ended is None and tries[-1].job == job:
        owner = tries[-1].host, tries[-1].pid
    else:  # it never began, or has just ended
        path.parent.mkdir(parents=True, exist_ok=True)
        owner = socket.gethostname(), os.getpid()
        _append(path, job, *owner, {"event": "begin", "item": item})
    _append(path, job, *owner, _end(CANCELLED, f"by {by}"))


def _own() -> tuple[str | None, str, int]:
    return process.granted.job, socket.gethostname(), os.getpid()


def _end(outcome: str, detail: str) -> dict[str, Any]:
    return {"event": "end", "outcome": outcome, "detail": detail}


def _append(path: Path, job: str | None, host: str, pid: int, entry: dict[str, Any]) -> None:
    line = {**entry, "time": round(time.time(), 2), "job": job, "host": host, "pid": pid}
    with open(path, "ab+") as handle:
        cut = handle.tell() and (handle.seek(-1, os.SEEK_END), handle.read())[1] != b"\n"
        handle.write((b"\n" if cut else b"") + json.dumps(line).encode() + b"\n")


def _reason(error: BaseException) -> tuple[str, str]:
    """Outcome and detail of an attempt that ended with an error."""
    detail = error.what if isinstance(error, LockgateError) else f"{type(error).__name__}: {error}"
    detail = (detail.splitlines() or [""])[0][:300]
    if isinstance(error, Stopped):
        given = cluster.given(process.granted.job) if process.granted.job else None
        left = given.seconds_left if given else None
        late = left is not None and left < WARNING_SECONDS + _SLURM_LATE
        return (OUT_OF_TIME if late else STOPPED), detail
    if isinstance(error, OutOfGpuMemory):
        return OUT_OF_GPU_MEMORY, detail
    return (OUT_OF_MEMORY if isinstance(error, MemoryError) else FAILED), detail


def warning_seconds(minutes: int) -> int:
    """How long before the end of so many minutes a job is told."""
    return min(WARNING_SECONDS, minutes * 60 // 4)


def _no_space(error: BaseException | None) -> bool:
    """Libraries wrap the system's error in one of their own."""
    while error is not None:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            return True
        if os.strerror(errno.ENOSPC) in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def _sole(path: Path, what: str) -> Iterator[str]:
    """Hold a lock that names its owner's SLURM job; gives the number of one that it cancelled.

    A job of SLURM that is left over (its Snakemake was killed) is cancelled by a later job and
    waited for; it saves what it has. A lock whose owner is gone blocks nobody.
    """
    job = process.granted.job
    with open(path, "a+", encoding="utf-8") as handle:
        deadline, cancelled = time.monotonic() + _PATIENCE, ""
        while True:
            free, owner = files.take(handle), _owner(handle)
            orphan = owner.get("job")
            other = orphan and orphan != job
            # where the file system has no locks, the owner's job tells
            if free and not (other and cluster.alive(str(orphan))):
                break
            if job is None or not orphan:
                held = f"SLURM job {orphan}" if orphan else f"process {owner.get('pid', 'unknown')}"
                raise LockgateError(
                    f"{what} ({held} on {owner.get('host', 'an unknown host')})",
                    where=str(path),
                    hint=f"wait for it, or `scancel {orphan}`" if orphan else "wait for it",
                )
            if other and cancelled != orphan:
                print(f"{what} by SLURM job {orphan}, left over: it is cancelled", flush=True)
                cluster.cancel([str(orphan)])
                cancelled = str(orphan)
            if time.monotonic() > deadline:
                raise LockgateError(
                    f"{what}, and SLURM job {orphan} does not end",
                    where=str(path),
                    hint=f"see `scontrol show job {orphan}`",
                )
            if free:
                fcntl.flock(handle, fcntl.LOCK_UN)
            time.sleep(1)
        handle.seek(0)
        handle.truncate()
        json.dump(dict(zip(("job", "host", "pid"), _own(), strict=True)), handle)
        handle.flush()
        try:
            yield cancelled
        finally:
            with suppress(OSError):
                handle.truncate(0)


def _owner(handle: TextIO) -> dict[str, Any]:
    handle.seek(0)
    try:
        told = json.loads(handle.read())
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}
