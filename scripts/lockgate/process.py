"""Child processes that never outlive their parent, and what a process used."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

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
) -> subprocess.CompletedProcess[str]:
    """Run a child that dies with this process; its output is appended to `log` and returned.

    Args:
        command: program and arguments.
        log: file that gets standard output and standard error.
        env: variables added to this process's own.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        command,
        env={**os.environ, **(env or {})},
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=die_with_parent,
        check=False,
    )
    with open(log, "a", encoding="utf-8") as handle:
        handle.write(f"$ {' '.join(map(str, command))}\n{done.stdout}\n")
    return done


def peak_memory_mb() -> float:
    """Largest resident set of this process or of a child it waited for, in MB (Linux: KiB)."""
    return (
        max(
            resource.getrusage(who).ru_maxrss
            for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
        * 1024
        / 1e6
    )
