"""Child processes that never outlive their parent, and what a process used."""

from __future__ import annotations

import atexit
import ctypes
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass
class Granted:
    """What a job was given; None: nobody said.

    Attributes:
        job: number of the SLURM job that does this alone.
        memory_mb: host memory of a node.
        minutes: walltime.
        nodes, gpus: those that a training is spread over, GPUs a node.
        attempt: which one it is in this call of the pipeline, from 1.
    """

    job: str | None = None
    memory_mb: int | None = None
    minutes: int | None = None
    nodes: int = 1
    gpus: int = 0
    attempt: int = 1


granted = Granted()
"""This job's own; its command line says it."""

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent ends (Linux; elsewhere: nothing).

    Snakemake killed with SIGKILL cannot stop its jobs; without this a job would train on,
    beside the one that the next call starts.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def limit_threads(threads: int) -> None:
    """Set every numeric library's thread count; call it before they are imported.

    Two jobs that each take all cores are several times slower than one after the other.
    """
    for name in ("OMP", "MKL", "OPENBLAS", "NUMEXPR"):
        os.environ[f"{name}_NUM_THREADS"] = str(threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


def run(
    command: Sequence[str],
    log: Path,
    env: Mapping[str, str] | None = None,
    look: Callable[[], None] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a child that dies with this process; its output goes to `log` and is returned.

    Args:
        command: program and arguments.
        log: file that gets standard output and standard error, as they come.
        env: variables added to this process's own.
        look: called every second while the child runs; if it raises, the child is killed.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab+") as handle:
        handle.write(f"$ {' '.join(map(str, command))}\n".encode())
        handle.flush()
        began = handle.tell()
        child = subprocess.Popen(
            command,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=handle,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent,
        )
        try:
            while look is not None:
                try:
                    child.wait(1)
                    break
                except subprocess.TimeoutExpired:
                    look()
            status = child.wait()
        except BaseException:
            child.kill()
            child.wait()
            raise
        handle.seek(began)
        output = handle.read().decode(errors="replace")
        handle.write(b"\n")
    return subprocess.CompletedProcess(command, status, output)


def seconds() -> float:
    """Wall time since this process began, its interpreter's start included."""
    return time.time() - psutil.Process().create_time()


_INTERVAL = 0.5  # seconds between two looks at what the children hold
_largest = 0.0  # MB
_beside = 0.0  # MB, of processes that are not this one's children


def watch_memory() -> None:
    """From now on count memory that this process and its children hold at the same time.

    A server and the tool that asks it are two children: neither's own peak is the job's.
    """
    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(ended,), daemon=True)
    watcher.start()

    def stop() -> None:
        # a thread that still runs while the interpreter is taken down may crash it
        ended.set()
        watcher.join()

    atexit.register(stop)


def _watch(ended: threading.Event) -> None:
    global _largest
    own = psutil.Process()
    while True:
        try:
            children = own.children(recursive=True)
            if children:  # alone, the kernel's own count is exact
                _largest = max(_largest, sum(map(_held, [own, *children])) / 1e6)
        except psutil.Error:
            pass  # one ended in between
        if ended.wait(_INTERVAL):
            return


def _held(process: psutil.Process) -> int:
    """Bytes, each shared page divided among those that share it (where the kernel tells)."""
    memory = process.memory_full_info()
    return int(getattr(memory, "pss", memory.rss))


def peak_memory_mb() -> float:
    """Most memory held so far, in MB: by this process, or by a child that it waited for, or by
    all of them together where they are watched; and by those beside it."""
    waited = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return max(_own_peak() / 1e6, waited / 1e6, _largest) + _beside


def count_beside(memory_mb: float) -> None:
    """Count what processes held that work for this one, but are no children of it."""
    global _beside
    _beside = max(_beside, memory_mb)


def _own_peak() -> int:
    """Bytes; `ru_maxrss` would start from what the process held that started this one."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def gpus() -> list[str]:
    """Names of the GPUs that this job may use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, check=False)
    except OSError:
        return []
    found = done.stdout.splitlines() if done.returncode == 0 else []
    return found if visible is None else found[: len([i for i in visible.split(",") if i.strip()])]


def disk_mb(path: Path) -> float:
    """Size of everything below a directory, in MB."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e6
