"""Several processes for one training: how they are started, how they meet, how they are stopped.

On SLURM `srun` starts them within the job's allocation, elsewhere torch's own launcher does; each
worker then calls `join`. The process that starts them, the leader, trains nothing itself.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from lockgate import errors, process
from lockgate.cluster import job_id, show
from lockgate.errors import LockgateError, OutOfGpuMemory, Stopped
from lockgate.files import read_json, write_json

_TOLD = "LOCKGATE_WORKERS"
"""Variable in which a worker finds the directory where it leaves why it ended."""
_KINDS: list[type[LockgateError]] = [OutOfGpuMemory, LockgateError, Stopped]
"""What a worker may end with; where several do, the first kind is told."""
_SAME = 1.0  # seconds: SLURM, a shell and the leader may each pass on one and the same signal
_AGAIN = 10.0  # seconds after which a stop is passed on again: a worker may have been starting
_LOOK = 0.2  # seconds between two looks at the workers


@dataclass(frozen=True)
class World:
    """The processes of one training.

    Attributes:
        nodes: how many.
        processes: on each of them.
        divide: the micro-batch is at most `batch_size` divided by it; doubled after the GPU's
            memory was too small.
    """

    nodes: int = 1
    processes: int = 1
    divide: int = 1

    @property
    def size(self) -> int:
        """Processes in all."""
        return self.nodes * self.processes


ALONE = World()
"""One process."""


def micro_batches(batch_size: int, accumulation: int, world: World) -> tuple[int, int]:
    """Rows of a micro-batch, and how many each process takes for one optimizer step.

    Their product over all processes is `batch_size * accumulation`, however many there are: what
    is learned does not depend on where it is trained. The micro-batch is the largest possible one
    of at most `batch_size` rows, and each time that `world.divide` is halved it is at most half.

    Raises:
        LockgateError: if the processes cannot share an optimizer step equally.
    """
    whole = batch_size * accumulation
    if whole % world.size:
        fits = ", ".join(str(n) for n in range(1, min(whole, world.size) + 1) if whole % n == 0)
        below = whole // world.size * world.size
        near = [str(n) for n in (below, below + world.size) if n]
        raise LockgateError(
            f"batch_size x gradient_accumulation is {whole}, which {world.size} processes "
            f"({world.nodes} nodes x {world.processes}) cannot share equally",
            where="training.parameters.batch_size",
            hint=f"make the product {' or '.join(near)}, or use {fits} GPUs in all (resources)",
        )
    share, rows = whole // world.size, 2 * batch_size
    for _ in range(world.divide.bit_length()):
        rows = max(n for n in range(1, max(1, min(rows // 2, share)) + 1) if share % n == 0)
    return rows, share // rows


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGURG set: whoever sees it saves what it has, and ends.

    SIGURG is the warning before a walltime's end: every process that does not ask for it ignores
    it. A second SIGTERM ends the process at once; not in a SLURM job, which sends one at each end
    of a preemption's grace, and SIGKILL when its patience is at its end. In another thread than
    the main one: no signal.
    """
    told = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield told
        return
    first: list[float] = []

    def handle(number: int, _: Any) -> None:
        told.set()
        if number != signal.SIGTERM:
            return
        first.append(time.monotonic())
        if first[-1] - first[0] > _SAME and job_id() is None:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGURG)}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run(
    module: str,
    arguments: Sequence[str],
    world: World,
    work: Path,
    env: Mapping[str, str] | None = None,
    log: Path | None = None,
) -> None:
    """Run a module of this package in all processes of a world, and wait for its end.

    Args:
        module: dotted name; it calls `worker`.
        arguments: of its command line.
        world: the processes.
        work: a directory that all nodes share, for what the workers leave there.
        env: variables added to this process's own.
        log: file that what they print is appended to; None: this process's own output.

    Raises:
        Stopped: if they were told to stop, and did.
        LockgateError: what a worker ended with; or that they cannot be started here.
    """
    told = work / ".workers"
    shutil.rmtree(told, ignore_errors=True)
    told.mkdir(parents=True)
    python = [sys.executable, "-u", "-m"]
    if on_slurm():
        command = [*srun(world.nodes, world.processes), *python, module, *arguments]
    else:
        command = [*python, "torch.distributed.run", *meeting(world), "-m", module, *arguments]
    # where `lockgate` is imported from, for a script that found it beside itself
    paths = [str(Path(__file__).parents[1]), *os.environ.get("PYTHONPATH", "").split(":")]
    variables = {"PYTHONPATH": ":".join(filter(None, paths)), _TOLD: str(told.absolute())}
    if not on_slurm() and (threads := os.environ.get("OMP_NUM_THREADS")):
        variables["OMP_NUM_THREADS"] = str(max(1, int(threads) // world.processes))
    with stop_signals() as stopping:
        status = wait(command, stopping, {**variables, **(env or {})}, log)
    ended = [read_json(path) for path in sorted(told.glob("*.json"))]
    if on_slurm():  # srun's processes are children of SLURM's
        held: Counter[str] = Counter()
        for one in (read_json(path) for path in told.glob("*.peak")):
            held[one["node"]] += one["memory_mb"]
        process.count_beside(max(held.values(), default=0.0))
    shutil.rmtree(told)
    order = [one.__name__ for one in _KINDS]
    for one in sorted(ended, key=lambda one: order.index(one["kind"])):
        raise getattr(errors, one["kind"])(one["what"], where=one["where"], hint=one["hint"])
    if status and stopping.is_set():
        raise Stopped(
            "it was stopped before it had saved",
            where=str(work),
            hint="run it again: it continues from its last checkpoint",
        )
    if status:
        raise LockgateError(
            f"a worker of {world.size} ended with status {status}; its own words are "
            + (f"in {log}" if log else "above"),
            where=str(work),
            hint="run it again: it continues from its last checkpoint",
        )


@contextmanager
def worker() -> Iterator[threading.Event]:
    """What a worker does in: it joins the others, and what it raises reaches the leader."""
    told = Path(os.environ[_TOLD])
    try:
        with stop_signals() as stopping:
            join()
            yield stopping
    except Exception as error:
        about = {"what": f"{type(error).__name__}: {error}", "where": "", "hint": ""}
        kind = LockgateError
        if isinstance(error, LockgateError):
            about = {"what": error.what, "where": error.where, "hint": error.hint}
            kind = next(one for one in _KINDS if type(error) is one)
        else:
            traceback.print_exc()
        write_json(
            told / f"{os.environ.get('RANK', 'none')}.json", {"kind": kind.__name__, **about}
        )
        # a status other than 0 ends the others, which may still be saving
        sys.exit(0 if kind is Stopped else 1)
    finally:
        node = os.environ.get("SLURMD_NODENAME", socket.gethostname())
        peak = {"node": node, "memory_mb": process.peak_memory_mb()}
        write_json(told / f"{os.environ.get('RANK', 'none')}.peak", peak)


def join() -> None:
    """Set the variables by which torch's processes find each other (`RANK`, `MASTER_ADDR` ...).

    They are there already where torch's own launcher started this process.
    """
    if "RANK" in os.environ:
        # the launcher killed would leave this process training on
        process.die_with_parent()
        return
    os.environ["SUBMITIT_EXECUTOR"] = "slurm"
    from submitit.helpers import TorchDistributedEnvironment

    found = TorchDistributedEnvironment()
    found.master_addr = address(found.master_addr)
    # all GPUs of the node stay visible: each process takes that of its local rank
    found.export(set_cuda_visible_devices=False)


def on_slurm() -> bool:
    """Whether this process is part of a SLURM job."""
    return job_id() is not None and shutil.which("srun") is not None


def srun(nodes: int, processes: int) -> list[str]:
    """Beginning of a line that starts so many processes on each node of this job's allocation.

    The step has all GPUs, memory and processors of the job; the leader beside it uses none.
    """
    number = job_id() or ""
    told = show("job", number)
    cpus = int(found[1]) if (found := re.search(r"\bNumCPUs=(\d+)", told)) else 0
    line = ["srun", f"--jobid={number}", f"--nodes={nodes}", f"--ntasks={nodes * processes}"]
    line += [f"--ntasks-per-node={processes}", "--kill-on-bad-exit=1", "--mem=0", "--overlap"]
    line += ["--export=ALL", "--mpi=none"]
    if cpus >= nodes * processes:
        line += [f"--cpus-per-task={cpus // (nodes * processes)}"]
    return line


def meeting(world: World) -> list[str]:
    """Options of torch's launcher: how many processes it starts, and where they meet.

    Raises:
        LockgateError: for several nodes outside SLURM.
    """
    if world.nodes == 1:
        return ["--standalone", "--nproc_per_node", str(world.processes)]
    number = job_id()
    if number is None:
        raise LockgateError(
            f"{world.nodes} nodes need a job of SLURM, and this is none",
            where="resources.nodes",
            hint="run with `--profile slurm`, or set resources.nodes to 1",
        )
    found = re.search(r"\bBatchHost=(\S+)", show("job", number))
    host = address(found[1] if found else socket.gethostname())
    port = 20_000 + int(re.sub(r"\D", "", number)) % 40_000
    return [
        *("--nnodes", str(world.nodes), "--nproc_per_node", str(world.processes)),
        *("--rdzv_backend", "c10d", "--rdzv_endpoint", f"{host}:{port}", "--rdzv_id", number),
    ]


def address(node: str) -> str:
    """A node's name where it resolves, else the address that SLURM reaches it by."""
    try:
        socket.getaddrinfo(node, None)
    except OSError:
        found = re.search(r"\bNodeAddr=(\S+)", show("node", node))
        return found[1] if found else node
    return node


def wait(
    command: Sequence[str],
    stopping: threading.Event,
    env: Mapping[str, str] | None = None,
    log: Path | None = None,
    cwd: Path | None = None,
    saves: bool = True,
) -> int:
    """Run a launcher to its end; its exit status.

    A stop is passed on to its workers as SIGURG: told itself, it would end them before they have
    saved. With `saves` false, because they cannot, it ends at once, by SIGTERM.
    """
    handle = open(log, "a", encoding="utf-8") if log else None  # noqa: SIM115
    try:
        print(f"$ {' '.join(command)}", file=handle, flush=True)
        started = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=handle,
            stderr=subprocess.STDOUT if handle else None,
            preexec_fn=process.die_with_parent,
        )
        passed = -_AGAIN
        while (status := started.poll()) is None:
            if stopping.is_set() and time.monotonic() - passed > _AGAIN:
                passed = time.monotonic()
                _pass_on(started.pid) if saves else started.terminate()
            time.sleep(_LOOK)
        return status
    finally:
        if handle:
            handle.close()


def _pass_on(launcher: int) -> None:
    """Tell the workers to stop; one that was told already is not told anything new."""
    if on_slurm():
        # Without --batch: to the steps, not to the leader. Not waited for: where the whole job is
        # being cancelled, the workers know it already, and scancel tries on for a minute.
        line = ["scancel", "--quiet", "--signal=URG", job_id() or ""]
        subprocess.Popen(
            line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        return
    try:
        for child in psutil.Process(launcher).children():
            child.send_signal(signal.SIGURG)
    except psutil.Error:
        pass  # it ended in between
