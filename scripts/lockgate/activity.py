"""What happens with each heavy job now: as its files and SLURM tell it, nothing is locked."""

from __future__ import annotations

import json
import re
import shutil
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lockgate import attempts, cluster
from lockgate.attempts import Attempt
from lockgate.cluster import Job
from lockgate.errors import LockgateError
from lockgate.files import read_json

WAITING, PENDING, RUNNING, DONE = "waiting", "pending", "running", "done"
STOPPED, FAILED = "stopped", "failed"

_AT_WORK = ("RUNNING", "COMPLETING", "SIGNALING", "STAGE_OUT", "SUSPENDED")
_LINES = 8
_HEAD, _TAIL = 4096, 16384  # bytes
_SILENT = 300  # seconds without a step before a word is said of it, or 20 steps' time

_RUNS = ("*", str(Path("*", "*", "work", "run")))
"""What below a job's directory may tell of its progress."""


@dataclass(frozen=True)
class Work:
    """One heavy job of an experiment.

    Attributes:
        rule, wildcard: Snakemake's names of it; `wildcard` empty: the rule has one job.
        item: name and digest of its built document.
        spec, out, log: its built document, its result and its log.
        after: results that it rests on: done is what is not older.
        teller: adapter or module that may tell its progress; None: nobody can.
    """

    rule: str
    wildcard: str
    item: str
    spec: Path
    out: Path
    log: Path
    after: tuple[Path, ...] = ()
    teller: Any = None

    @property
    def name(self) -> str:
        """Its rule and what it is for, like `train/x`."""
        return f"{self.rule}/{self.wildcard}" if self.wildcard else self.rule

    @property
    def comment(self) -> str:
        """What the SLURM executor submits it with."""
        rule = f"rule_{self.rule}"
        return f"{rule}_wildcards_{self.wildcard}" if self.wildcard else rule


@dataclass(frozen=True)
class Seen:
    """What was seen of a job.

    Attributes:
        state: `waiting`, `pending` (SLURM has it in its queue), `running`, `done`, `stopped` (it
            was told to, or cancelled: it continues when run again) or `failed`.
        reason: why it waits, or how it ended.
        job: its SLURM job, or None; of what is not checked only the number is known.
        ids: every SLURM job that waits or runs for it (a left over one and a new one).
        owner: its attempt that runs, stopped or failed, or None.
        attempts: how many were made at it as it is now.
        progress: `step`, `steps`, `percent`, `seconds_per_step`, `seconds_left`, `loss`,
            `updated`; None: nothing tells.
        lines: last lines of the log of a failed one.
    """

    state: str
    reason: str = ""
    job: Job | None = None
    ids: tuple[str, ...] = ()
    owner: Attempt | None = None
    attempts: int = 0
    progress: dict[str, Any] | None = None
    lines: list[str] = field(default_factory=list)

    @property
    def live(self) -> bool:
        """It waits in SLURM's queue, or runs."""
        return self.state in (PENDING, RUNNING)


def look(
    works: Iterable[Work], experiment: str, directory: str
) -> tuple[dict[str, Seen], list[Job], bool | None]:
    """Look at all jobs of an experiment; SLURM is asked twice at most.

    Args:
        works: the jobs.
        experiment: its name.
        directory: where its Snakemake is started.

    Returns:
        What was seen of each, by its name; jobs in SLURM's queue of which it is not known what
        they are for (tasks of an array); whether SLURM answered (None: nothing was to be asked).
    """
    works = list(works)
    tried = {work.name: attempts.read(attempts.place(work.out) / attempts.NAME) for work in works}
    queue = cluster.submitted(experiment, directory)
    ids = {one.job for tries in tried.values() for one in tries[-1:] if one.job}
    silent = {one.job for tries in tried.values() for one in tries if one.job and not one.ended}
    known = cluster.jobs(silent) if silent else {}
    # all tasks of an array have the comment of the first
    asked: dict[str, list[Job]] = {work.comment: [] for work in works}
    others: list[Job] = []
    for job in queue or []:
        if "_" not in job.id and job.comment in asked:
            asked[job.comment].append(job)
        elif job.id not in ids:
            others.append(job)
    by_id = {job.id: job for job in queue or []}
    seen = {}
    for work in works:
        tries = attempts.settle(tried[work.name], known)
        again = by_id.get(str(tries[-1].job)) if tries else None
        found = _look(work, tries, [*([again] if again else []), *asked[work.comment]], known)
        live = [*([found.job] if found.job else []), *asked[work.comment]]
        seen[work.name] = replace(found, ids=tuple(dict.fromkeys(job.id for job in live)))
    here = bool(silent) or shutil.which("squeue") is not None
    answered = (queue is not None and known is not None) if here else None
    return seen, others, answered


def _look(
    work: Work, tries: list[Attempt], queued: list[Job], known: dict[str, Job] | None
) -> Seen:
    own = [one for one in tries if one.item == work.item]
    last, count = (tries[-1] if tries else None), len(own)
    before = own[-1].outcome if own else ""
    told = _progress(work, own[0].began, running=False) if own else None
    if last and last.ended is None and not last.outcome:
        return _live(work, last, (known or {}).get(str(last.job)), count)
    for job in queued:
        if _ending(last, job):
            continue
        waits = job.state not in _AT_WORK
        past = f"before: {before}" if before not in ("", attempts.DONE) else ""
        reason = "; ".join(filter(None, [job.reason if waits else "", past]))
        return Seen(PENDING if waits else RUNNING, reason, job=job, attempts=count, progress=told)
    if _made(work):
        return Seen(DONE, attempts=count)
    if own and before != attempts.DONE:
        said = own[-1].detail
        reason = f"{before}: {said}" if said and said != before else before
        if before in (attempts.STOPPED, attempts.CANCELLED):
            return Seen(STOPPED, reason, owner=own[-1], attempts=count, progress=told)
        lines = tail(work.log)
        return Seen(FAILED, reason, owner=own[-1], attempts=count, progress=told, lines=lines)
    if not own and (reason := _refused(work)):
        return Seen(FAILED, reason, lines=tail(work.log))
    if not work.out.exists():
        return Seen(WAITING, attempts=count)
    changed = item_of(work.out) != work.item
    reason = "its configuration changed" if changed else "what it rests on is newer"
    return Seen(WAITING, reason, attempts=count)


def _live(work: Work, last: Attempt, job: Job | None, count: int) -> Seen:
    """An attempt that has not ended, as far as anybody can tell."""
    if job and job.state not in _AT_WORK:
        told = _progress(work, last.began, running=False)
        reason = "; ".join(filter(None, [job.reason, "it was put back"]))
        return Seen(PENDING, reason, job=job, attempts=count, progress=told)
    reason = "with an earlier configuration" if last.item != work.item else ""
    if last.job and job is None:
        reason = "not checked: SLURM does not answer"
        job = Job(last.job, "UNKNOWN")
    elif job is None and last.host != socket.gethostname():
        reason = f"not checked: it began on {last.host}"
    elif job and job.state == "SUSPENDED":
        reason = "suspended"
    told = _progress(work, last.began, running=True)
    if told and not reason:
        silent = time.time() - told["updated"]
        if silent > max(_SILENT, 20 * (told["seconds_per_step"] or 0)):
            reason = f"no step since {silent / 60:.0f} min"
    return Seen(RUNNING, reason, job=job, owner=last, attempts=count, progress=told)


def _ending(last: Attempt | None, queued: Job) -> bool:
    """The job in the queue is the last attempt's, which is over; it is not put back."""
    if last is None or last.job != queued.id or queued.state not in _AT_WORK:
        return False
    return last.outcome != attempts.STOPPED or queued.state == "COMPLETING"


def _progress(work: Work, began: float, running: bool) -> dict[str, Any] | None:
    """How far a training or a shard is, or was when it ended; what was written before `began` is
    another's."""
    tell = getattr(work.teller, "progress", None)
    if tell is None:
        return None
    base = attempts.place(work.out)
    found = [tell(path) for pattern in _RUNS for path in base.glob(pattern)]
    whole = [one for one in found if one and {"step", "steps", "updated"} <= one.keys()]
    told = [one for one in whole if one["steps"] and one["updated"] >= began]
    if not told:
        return None
    last = max(told, key=lambda one: float(one["updated"]))
    pace, rest = last.get("seconds_per_step"), last["steps"] - last["step"]
    return {
        "step": last["step"],
        "steps": last["steps"],
        "percent": round(100 * last["step"] / last["steps"], 1),
        "seconds_per_step": pace,
        "seconds_left": round(rest * pace, 1) if running and pace is not None else None,
        "loss": last.get("loss"),
        "updated": last["updated"],
    }


def _made(work: Work) -> bool:
    """Its result is there, is of the configuration as it is, and not older than what it rests on.

    An edit of that configuration makes it run again, and so does a newer input.
    """
    try:
        made = work.out.stat().st_mtime
        older = all(path.stat().st_mtime <= made for path in work.after)
    except OSError:
        return False
    return older and item_of(work.out) == work.item


def _refused(work: Work) -> str:
    """What a job said that ended before its attempt began; empty: it said nothing."""
    try:
        if work.log.stat().st_mtime < work.spec.stat().st_mtime or work.out.exists():
            return ""
    except OSError:
        return ""
    for line in reversed(tail(work.log)):
        if line.startswith("ERROR:"):
            return line.removeprefix("ERROR:").strip()
    return ""


def item_of(path: Path) -> str | None:
    """Name and digest of what a result was made from; None: it is not there, or says nothing.

    Scores of thousands of samples are not read for it: the item is at the beginning.
    """
    try:
        with open(path, "rb") as handle:
            head = handle.read(_HEAD).decode(errors="replace")
        if found := re.search(r'^  "item": (".*"),?$', head, re.MULTILINE):
            return str(json.loads(found[1]))
        said = read_json(path)
    except (OSError, ValueError, LockgateError):
        return None
    return said.get("item") if isinstance(said, dict) else None


def tail(path: Path, count: int = _LINES) -> list[str]:
    """Last lines of a log, as a terminal would show them, from its last error on if it names one;
    none where there is no log."""
    try:
        with open(path, "rb") as handle:
            handle.seek(max(0, handle.seek(0, 2) - _TAIL))
            text = handle.read().decode(errors="replace")
    except OSError:
        return []
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    shown = (line.rstrip().rsplit("\r", 1)[-1].rstrip() for line in text.split("\n"))
    lines = [line for line in shown if line]
    errors = [index for index, line in enumerate(lines) if line.startswith("ERROR:")]
    return lines[errors[-1] :][:count] if errors else lines[-count:]
