"""Several processes for one training: their shares, their stop, and their end."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from lockgate import launch
from lockgate.errors import LockgateError, OutOfGpuMemory, Stopped
from lockgate.launch import World, micro_batches

WORLDS = [World(), World(1, 2), World(2, 4), World(1, 1, 2), World(1, 2, 8)]


@pytest.mark.parametrize("world", WORLDS)
def test_the_effective_batch_is_the_same_in_every_world(world: World) -> None:
    for batch, accumulation in itertools.product(range(1, 9), (1, 2, 3, 4)):
        if batch * accumulation % world.size:
            with pytest.raises(LockgateError, match="cannot share equally"):
                micro_batches(batch, accumulation, world)
            continue
        rows, times = micro_batches(batch, accumulation, world)
        assert rows * times * world.size == batch * accumulation
        assert 1 <= rows <= max(1, batch // world.divide)


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_each_time_the_memory_was_too_small_the_micro_batch_is_smaller(size: int) -> None:
    for batch, accumulation in ((16, 1), (24, 2), (8, 4)):
        tried = [micro_batches(batch, accumulation, World(1, size, 2**n))[0] for n in range(7)]
        shrinking = tried[: tried.index(1) + 1]
        assert shrinking == sorted(set(shrinking), reverse=True) and set(tried[6:]) == {1}


def test_alone_the_micro_batch_is_the_configured_one() -> None:
    assert micro_batches(6, 5, World()) == (6, 5)


def test_after_the_memory_was_too_small_the_micro_batch_is_half() -> None:
    assert micro_batches(8, 2, World(1, 1, 2)) == (4, 4)
    assert micro_batches(8, 2, World(1, 2, 4)) == (2, 4)
    assert micro_batches(16, 1, World(1, 8, 2)) == (1, 2)
    assert micro_batches(8, 2, World(1, 1, 64)) == (1, 16)


def test_a_batch_that_cannot_be_shared_names_the_numbers_that_fit() -> None:
    with pytest.raises(LockgateError) as caught:
        micro_batches(6, 2, World(2, 4))
    assert caught.value.where == "training.parameters.batch_size"
    assert "is 12, which 8 processes (2 nodes x 4)" in caught.value.what
    assert (
        caught.value.hint
        == "make the product 8 or 16, or use 1, 2, 3, 4, 6 GPUs in all (resources)"
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGURG])
def test_a_stop_is_told_and_the_handlers_are_put_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with launch.stop_signals() as told:
        assert not told.is_set()
        os.kill(os.getpid(), number)
        assert told.wait(5)
    assert signal.getsignal(number) is before


@pytest.mark.parametrize(("job", "status"), [("", -signal.SIGTERM), ("7", 0)])
def test_a_second_sigterm_ends_it_at_once_where_slurm_does_not_send_them(
    job: str, status: int
) -> None:
    code = """
        import os, signal, time
        from lockgate import launch
        with launch.stop_signals():
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)  # the same one, passed on by somebody
            time.sleep(launch._SAME + 0.1)
            os.kill(os.getpid(), signal.SIGTERM)
    """
    env = {**os.environ, "SLURM_JOB_ID": job}
    if not job:
        env.pop("SLURM_JOB_ID")
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], env=env, check=False)
    assert done.returncode == status


def test_several_nodes_need_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(LockgateError, match="2 nodes need a job of SLURM") as caught:
        launch.run("nothing", [], World(2, 2), tmp_path)
    assert caught.value.where == "resources.nodes"


# --- real processes

WORKER = """
import os, sys, time
from pathlib import Path
from lockgate import launch
from lockgate.errors import LockgateError, OutOfGpuMemory, Stopped

kind, out = sys.argv[1], Path(sys.argv[2])
with launch.worker() as stopping:
    rank = os.environ["RANK"]
    (out / f"began-{rank}").write_text(os.environ["WORLD_SIZE"] + " " + os.environ["MASTER_PORT"])
    if kind == "memory" and rank == "1":
        raise OutOfGpuMemory("too large", where="here", hint="smaller")
    if kind == "bug" and rank == "1":
        raise RuntimeError("a bug")
    while kind != "end" and not stopping.wait(0.05):
        pass
    if kind == "stop":
        time.sleep(1.0 if rank == "0" else 0.0)  # still saving, when the other has ended
        (out / f"saved-{rank}").touch()
        raise Stopped(f"stopped {rank}", where="here")
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "a_worker.py").write_text(WORKER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    return "a_worker"


def leader(kind: str, out: Path) -> subprocess.Popen[str]:
    """A process that runs two workers in `out`, and tells how that ended."""
    code = f"""
        from pathlib import Path
        from lockgate import launch
        try:
            launch.run("a_worker", [{kind!r}, {str(out)!r}], launch.World(1, 2), Path({str(out)!r}))
        except launch.LockgateError as error:
            print(type(error).__name__, error.what, flush=True)
    """
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True
    )


def begun(out: Path) -> None:
    until = time.monotonic() + 60
    while len(list(out.glob("began-*"))) < 2:
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.slow
def test_both_workers_know_their_world(module: str, tmp_path: Path) -> None:
    launch.run(module, ["end", str(tmp_path)], World(1, 2), tmp_path)
    told = {(tmp_path / f"began-{rank}").read_text() for rank in (0, 1)}
    assert len(told) == 1 and told.pop().startswith("2 ")
    assert not (tmp_path / ".workers").exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGURG])
def test_a_stop_of_the_leader_waits_for_the_slowest_worker(
    module: str, tmp_path: Path, number: signal.Signals
) -> None:
    started = leader("stop", tmp_path)
    begun(tmp_path)
    started.send_signal(number)
    assert started.communicate(timeout=60)[0].splitlines()[-1].startswith("Stopped stopped ")
    assert {path.name for path in tmp_path.glob("saved-*")} == {"saved-0", "saved-1"}


@pytest.mark.slow
def test_a_worker_that_fails_ends_the_others_and_says_why(module: str, tmp_path: Path) -> None:
    with pytest.raises(OutOfGpuMemory, match="too large") as caught:
        launch.run(module, ["memory", str(tmp_path)], World(1, 2), tmp_path)
    assert (caught.value.where, caught.value.hint) == ("here", "smaller")
    with pytest.raises(LockgateError, match="RuntimeError: a bug") as bug:
        launch.run(module, ["bug", str(tmp_path)], World(1, 2), tmp_path, log=tmp_path / "log")
    assert not isinstance(bug.value, Stopped)
    assert "RuntimeError: a bug" in (tmp_path / "log").read_text()


@pytest.mark.slow
def test_workers_do_not_outlive_a_killed_leader(module: str, tmp_path: Path) -> None:
    started = leader("wait", tmp_path)
    begun(tmp_path)
    below = psutil.Process(started.pid).children(recursive=True)
    assert len(below) >= 3  # the launcher and two workers
    started.kill()
    gone, alive = psutil.wait_procs(below, timeout=20)
    assert not [one for one in alive if one.status() != psutil.STATUS_ZOMBIE]
