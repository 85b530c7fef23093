"""One attempt at a time holds a job's directory; how each ended is kept, or found out."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from lockgate import attempts, cluster, process
from lockgate.attempts import Attempt
from lockgate.errors import LockgateError, OutOfGpuMemory, Stopped

ITEM = "train/a:0123"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "train/a/manifest.json"


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Gives a function that sets what `squeue` prints."""
    commands = tmp_path / "commands"
    commands.mkdir()
    monkeypatch.setenv("PATH", f"{commands}:/usr/bin:/bin")

    def say(*lines: str) -> None:
        text = "\n".join(lines)
        (commands / "squeue").write_text(f"#!/bin/sh\ncat <<'EOF'\n{text}\nEOF\n")
        (commands / "squeue").chmod(0o755)
        (commands / "sacct").write_text("#!/bin/sh\nexit 1\n")
        (commands / "sacct").chmod(0o755)

    return say


def told(out: Path) -> list[Attempt]:
    return attempts.read(attempts.place(out) / attempts.NAME)


def one(**changes) -> Attempt:
    return Attempt(**{"item": ITEM, "job": None, "host": "h", "pid": 1, "began": 1.0, **changes})


def test_an_attempt_leaves_its_begin_and_its_end(out: Path) -> None:
    with attempts.attempt(out, ITEM, "run a is being trained") as earlier:
        assert earlier == []
        assert [(a.item, a.outcome, a.pid) for a in told(out)] == [(ITEM, "", os.getpid())]
    (done,) = told(out)
    assert (done.outcome, done.host, done.job) == ("done", socket.gethostname(), None)
    assert done.ended is not None and done.ended >= done.began


@pytest.mark.parametrize(
    ("error", "outcome", "detail"),
    [
        (LockgateError("bad rows", where="x"), "failed", "bad rows"),
        (Stopped("stopped at step 3"), "stopped", "stopped at step 3"),
        (OutOfGpuMemory("4 rows do not fit"), "out of GPU memory", "4 rows do not fit"),
        (MemoryError(), "out of memory", "MemoryError: "),
        (KeyError("x"), "failed", "KeyError: 'x'"),
    ],
)
def test_how_it_ended_is_kept(out: Path, error: Exception, outcome: str, detail: str) -> None:
    with pytest.raises(type(error)), attempts.attempt(out, ITEM, "run a is being trained"):
        raise error
    (ended,) = told(out)
    assert (ended.outcome, ended.detail) == (outcome, detail)
    with attempts.attempt(out, ITEM, "run a is being trained") as earlier:
        assert [a.outcome for a in earlier] == [outcome]


def test_a_full_disk_is_one_message_with_a_hint(out: Path) -> None:
    def save() -> None:
        try:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise RuntimeError("the writer failed") from error

    with (
        pytest.raises(LockgateError, match="no space is left on the disk(.|\n)*Hint: free"),
        attempts.attempt(out, ITEM, "run a is being trained"),
    ):
        save()


def holder(out: Path, code: str) -> subprocess.Popen[str]:
    """A process that holds the directory, and then does what `code` says."""
    program = (
        "from pathlib import Path\nfrom lockgate import attempts\nimport os, signal, time\n"
        f"with attempts.attempt(Path({str(out)!r}), {ITEM!r}, 'x'):\n"
        f"    print('held', flush=True)\n    {code}\n"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(attempts.__file__).parents[1])}
    child = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=env
    )
    assert child.stdout and child.stdout.readline() == "held\n"
    return child


def test_another_process_is_refused_and_named(out: Path) -> None:
    child = holder(out, "time.sleep(60)")
    try:
        with (
            pytest.raises(LockgateError, match=f"run a is being trained .process {child.pid} on"),
            attempts.attempt(out, ITEM, "run a is being trained"),
        ):
            pass
    finally:
        child.kill()
        child.communicate()


def test_a_killed_one_blocks_nobody_and_is_told_of(out: Path) -> None:
    child = holder(out, "os.kill(os.getpid(), signal.SIGKILL)")
    child.communicate()
    assert told(out)[0].outcome == ""
    with attempts.attempt(out, ITEM, "run a is being trained") as earlier:
        assert [(a.outcome, a.detail) for a in earlier] == [("died", "its process was killed")]
    assert [a.outcome for a in told(out)] == ["died", "done"]


def test_a_running_one_has_no_outcome(out: Path) -> None:
    child = holder(out, "time.sleep(60)")
    try:
        assert attempts.settled(told(out))[0].outcome == ""
    finally:
        child.kill()
        child.communicate()
    assert attempts.settled(told(out))[0].outcome == "died"


@pytest.mark.parametrize(
    ("state", "outcome"),
    [
        ("OUT_OF_MEMORY", "out of memory"),
        ("TIMEOUT", "out of time"),
        ("CANCELLED", "cancelled"),
        ("NODE_FAIL", "node failed"),
        ("PREEMPTED", "stopped"),
        ("FAILED", "died"),
        ("RUNNING", ""),
        ("PENDING", ""),
    ],
)
def test_slurm_says_how_a_silent_one_ended(queue, state: str, outcome: str) -> None:
    queue(f"7|7|{state}|NonZeroExitCode|gpu1|1:00:00|rule_train")
    (ended,) = attempts.settled([one(job="7")])
    assert ended.outcome == outcome
    if outcome:
        assert ended.detail == f"SLURM says {state} (NonZeroExitCode)"


def test_a_job_that_slurm_put_back_was_stopped(queue) -> None:
    queue("7|7|RUNNING|None|gpu1|1:00:00|rule_train")
    first, second = attempts.settled([one(job="7", pid=1), one(job="7", pid=2)])
    assert (first.outcome, second.outcome) == ("stopped", "")


def test_the_same_job_begun_again_keeps_that_it_was_put_back(out, queue, monkeypatch) -> None:
    queue("7|7|RUNNING|None|gpu1|1:00:00|rule_train")
    monkeypatch.setattr(process, "granted", process.Granted(job="7"))
    path = attempts.place(out) / attempts.NAME
    path.parent.mkdir(parents=True)
    begin = {"event": "begin", "item": ITEM, "time": 1.0, "job": "7", "host": "h", "pid": 1}
    path.write_text(json.dumps(begin) + "\n")
    with attempts.attempt(out, ITEM, "x") as earlier:
        assert [(a.outcome, a.detail) for a in earlier] == [("stopped", "SLURM put it back")]
    assert [a.outcome for a in told(out)] == ["stopped", "done"]


def test_what_slurm_said_is_kept_when_it_forgets_the_job(out, queue) -> None:
    path = attempts.place(out) / attempts.NAME
    path.parent.mkdir(parents=True)
    begin = {"event": "begin", "item": ITEM, "time": 1.0, "job": "7", "host": "h", "pid": 1}
    path.write_text(json.dumps(begin) + "\n")
    queue("7|7|RUNNING|None|gpu1|1:00:00|rule_train")
    assert [a.outcome for a in attempts.kept(out)] == [""]
    queue("7|7|TIMEOUT|None|gpu1|1:00:00|rule_train")
    assert [a.outcome for a in attempts.kept(out)] == ["out of time"]
    queue()
    assert [a.outcome for a in attempts.kept(out)] == ["out of time"]
    assert len(path.read_text().splitlines()) == 2


def test_a_job_that_slurm_forgot_died(queue) -> None:
    queue("8|8|RUNNING|None|gpu1|1:00:00|other")
    (ended,) = attempts.settled([one(job="7")])
    assert (ended.outcome, ended.detail) == ("died", "SLURM knows its job no more")


def test_a_stopped_one_was_cancelled_where_slurm_says_so(queue) -> None:
    ended = {"job": "7", "ended": 2.0, "outcome": "stopped"}
    queue("7|7|CANCELLED|None|gpu1|1:00:00|rule_train")
    first, last = attempts.settled([one(**ended, pid=1), one(**ended, pid=2)])
    assert (first.outcome, last.outcome) == ("stopped", "cancelled")
    queue("7|7|RUNNING|None|gpu1|1:00:00|rule_train")
    assert attempts.settled([one(**ended)])[0].outcome == "stopped"


def test_a_cancelled_one_is_not_begun_again_in_the_same_call(out, queue, monkeypatch) -> None:
    monkeypatch.setattr(process, "granted", process.Granted(job="7"))
    queue("7|7|CANCELLED|None|gpu1|1:00:00|rule_train")
    with pytest.raises(Stopped), attempts.attempt(out, ITEM, "x"):
        raise Stopped("stopped at step 3")
    monkeypatch.setattr(process, "granted", process.Granted(job="8", attempt=2))
    with (
        pytest.raises(LockgateError, match="job 7 was cancelled(.|\n)*Hint: run the pipeline"),
        attempts.attempt(out, ITEM, "x"),
    ):
        pass
    monkeypatch.setattr(process, "granted", process.Granted(job="8", attempt=1))
    with attempts.attempt(out, ITEM, "x") as earlier:
        assert [a.outcome for a in earlier] == ["cancelled"]


def test_nothing_is_said_of_a_job_while_slurm_does_not_answer(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (silent,) = attempts.settled([one(job="7")])
    assert silent.outcome == ""


def test_a_line_that_a_kill_cut_short_is_left_out(tmp_path: Path) -> None:
    begin = {"event": "begin", "time": 1.0, "item": ITEM, "job": "3", "host": "h", "pid": 9}
    end = {**begin, "event": "end", "time": 2.0, "outcome": "done", "detail": ""}
    file = tmp_path / attempts.NAME
    file.write_text(f'{json.dumps(begin)}\n{json.dumps(end)}\n[]\n"x"\n{{"event": "beg')
    assert attempts.read(file) == [
        one(job="3", pid=9, ended=2.0, outcome="done"),
    ]
    assert attempts.read(tmp_path / "absent") == []


def test_what_follows_a_line_cut_short_is_kept(out: Path) -> None:
    attempts.place(out).mkdir(parents=True)
    (attempts.place(out) / attempts.NAME).write_text('{"event": "beg')
    with attempts.attempt(out, ITEM, "x"):
        pass
    assert [a.outcome for a in told(out)] == ["done"]


def test_what_ran_out_last_is_counted() -> None:
    history = [
        one(outcome="out of memory"),
        one(outcome="failed"),
        one(outcome="out of memory"),
        one(outcome="stopped"),
        one(outcome="out of memory"),
        one(outcome="out of GPU memory"),
    ]
    assert attempts.trailing(history, ITEM, "out of memory") == 3
    assert attempts.trailing(history, ITEM, "out of GPU memory") == 1
    assert attempts.trailing(history, "train/a:other", "out of memory") == 0
    assert attempts.trailing([*history, one(outcome="done")], ITEM, "out of memory") == 0


def test_stopped_shortly_before_the_walltime_is_out_of_time(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "granted", process.Granted(job="7"))
    for left, outcome in ((100, "out of time"), (6000, "stopped"), (None, "stopped")):
        given = cluster.Given(None, 600, left, True)
        monkeypatch.setattr(cluster, "given", lambda number, g=given: g)
        with pytest.raises(Stopped), attempts.attempt(out, ITEM, "x"):
            raise Stopped("stopped at step 3")
        assert told(out)[-1].outcome == outcome


def test_a_failed_one_whose_child_the_kernel_killed_ran_out_of_memory(queue, tmp_path) -> None:
    log = tmp_path / "train.log"
    ended = one(job="7", ended=2.0, outcome="failed", log=str(log))
    queue("7|7|FAILED|NonZeroExitCode|gpu1|1:00:00|rule_train")
    log.write_text("ERROR: bad rows\n")
    assert attempts.settled([ended])[0].outcome == "failed"
    log.write_text("srun: error: gpu1: task 0: Out Of Memory\nERROR: a worker ended\n")
    assert attempts.settled([ended])[0].outcome == "out of memory"
    queue("7|7|OUT_OF_MEMORY|None|gpu1|1:00:00|rule_train")
    assert attempts.settled([one(job="7", ended=2.0, outcome="failed")])[0].outcome == (
        "out of memory"
    )


def test_no_more_memory_is_not_tried_again(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = process.Granted(job="7", memory_mb=4000)
    monkeypatch.setattr(process, "granted", first)
    with pytest.raises(MemoryError), attempts.attempt(out, ITEM, "x"):
        raise MemoryError
    again = process.Granted(job="8", memory_mb=4000, attempt=2)
    monkeypatch.setattr(process, "granted", again)
    with (
        pytest.raises(LockgateError, match="4000 MB were not enough(.|\n)*Hint: give it more"),
        attempts.attempt(out, ITEM, "x"),
    ):
        pass
    again.memory_mb = 8000
    with attempts.attempt(out, ITEM, "x"):
        pass


def test_the_warning_comes_two_minutes_before_the_end_or_earlier_in_a_short_job() -> None:
    assert [attempts.warning_seconds(minutes) for minutes in (1, 4, 60)] == [15, 60, 120]


def test_where_a_job_keeps_its_attempts() -> None:
    assert attempts.place(Path("train/a/manifest.json")) == Path("train/a")
    assert attempts.place(Path("eval/a/scores.json")) == Path("eval/a")
    assert attempts.place(Path("data/shards/3.json")) == Path("data/shards/3")
