"""How far a shard is while it is being made: a line in its log, and a file that tells others."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from lockgate.files import write_json

NAME = "progress.json"
_EVERY = 10  # seconds between two lines


class Progress:
    """Counts a shard's accepted records; those that nobody has judged yet count at the rate so far.

    Args:
        directory: of the job; the file `NAME` is written there.
        wanted: accepted records in the end.
    """

    def __init__(self, directory: Path, wanted: int) -> None:
        self._path, self._wanted = directory / NAME, wanted
        self._accepted = self._judged = self._step = 0
        self._first: tuple[float, int] | None = None
        self._printed = self._changed = time.time()

    def judged(self, accepted: int, judged: int) -> None:
        """So many records were judged, and so many of them are accepted."""
        self._accepted, self._judged = accepted, judged

    def told(self, made: int) -> None:
        """So many records are made."""
        now, rate = time.time(), self._accepted / self._judged if self._judged else 1.0
        step = int(self._accepted + max(0, made - self._judged) * rate)
        step = min(self._wanted, max(self._accepted, step))
        if self._first is None:
            self._first = now, step
        elif step > self._step:
            self._changed = now
        self._step = step
        began, before = self._first
        pace = (now - began) / (step - before) if step > before else None
        told = {
            "step": step,
            "steps": self._wanted,
            "seconds_per_step": pace,
            "updated": round(self._changed, 2),
        }
        write_json(self._path, told)
        if now - self._printed >= _EVERY:
            self._printed = now
            line = f"{step} of {self._wanted} records ({step / self._wanted:.0%}), {made} made"
            if pace:
                line += f", {1 / pace:.3g} a second, {_left(pace * (self._wanted - step))} left"
            print(line, flush=True)


def progress(path: Path) -> dict[str, Any] | None:
    """What a job wrote at `path`: `step`, `steps`, `seconds_per_step` and `updated`."""
    if path.name != NAME:
        return None
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) else None


def _left(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
