"""One kind of error for everything a user can mend."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

from lockgate.process import die_with_parent


class LockgateError(Exception):
    """Something the user can put right.

    Args:
        what: what is wrong, in one sentence.
        where: the file, and the key in it, that the message is about.
        hint: what to do about it.
    """

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        self.what, self.where, self.hint = what, where, hint
        lines = [f"{where}: {what}" if where else what]
        if hint:
            lines.append(f"Hint: {hint}")
        super().__init__("\n".join(lines))


class Stopped(LockgateError):
    """A job that was told to stop, and saved what it had: run again, it continues from there."""


class OutOfGpuMemory(LockgateError):
    """A training whose micro-batch does not fit into the GPU's memory."""


STATUS_STOPPED = 75
"""Exit status of a job that was stopped: EX_TEMPFAIL of sysexits.h."""


def log_to(path: str) -> None:
    """Send what a light job prints to its rule's log file; the job ends with Snakemake."""
    die_with_parent()
    sys.stdout = sys.stderr = open(path, "w", encoding="utf-8")  # noqa: SIM115


def entry(main: Callable[..., Any]) -> Callable[..., Any]:
    """Let a script's `main` end with one clear message and status 1 instead of a traceback."""

    @functools.wraps(main)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return main(*args, **kwargs)
        except LockgateError as error:
            print(f"ERROR: {error}", file=sys.stderr, flush=True)
            sys.exit(STATUS_STOPPED if isinstance(error, Stopped) else 1)

    return wrapped
