"""What lies in a run's directory: its inputs, checkpoints, progress and result."""

from __future__ import annotations

import json
import shutil
import statistics
import time
from collections import deque
from pathlib import Path
from typing import Any

from lockgate.files import digest, file_digest, read_json, write_json
from lockgate.weights import weights_digest

RESULT = "result.json"
"""Written last: without it, nothing in the directory is finished."""
_INPUTS = "inputs.json"
_PROGRESS = "progress.json"
_EVERY = 5.0  # seconds between two writes of the progress, at least: one takes about 13 ms
_LAST = 20  # steps whose median stands for the next ones


def continues(
    config: dict[str, Any], base: Path, train: Path, validation: Path | None, out: Path
) -> bool:
    """Whether what lies in `out` came of the same inputs; if not, clear it."""
    inputs = {
        "config": digest(config),
        "model": weights_digest(base),
        "train": file_digest(train),
        "validation": file_digest(validation) if validation else None,
    }
    if (out / _INPUTS).exists() and read_json(out / _INPUTS) == inputs:
        return True
    for pattern in ("checkpoint-*", "epoch-*", ".epoch-*"):
        for directory in out.glob(pattern):
            shutil.rmtree(directory)
    for name in (RESULT, _PROGRESS):
        (out / name).unlink(missing_ok=True)
    write_json(out / _INPUTS, inputs)
    return False


def finished(out: Path) -> dict[str, Any] | None:
    """The result of a run that has ended, if its models are still there."""
    if not (out / RESULT).exists():
        return None
    result: dict[str, Any] = read_json(out / RESULT)
    whole = all((out / checkpoint["path"]).is_dir() for checkpoint in result["checkpoints"])
    return result if whole else None


def finish(out: Path, result: dict[str, Any]) -> None:
    """Write the result; then what only served to resume goes."""
    write_json(out / RESULT, result)
    # the optimizer's state is twice as large as what was trained
    for checkpoint in _checkpoints(out):
        shutil.rmtree(checkpoint)


def _checkpoints(out: Path) -> list[Path]:
    """Directories to resume from, newest first."""
    numbered = [path for path in out.glob("checkpoint-*") if path.name[11:].isdigit()]
    return sorted(numbered, key=lambda path: int(path.name[11:]), reverse=True)


def last_complete(out: Path) -> Path | None:
    """The newest checkpoint whose save came to its end, with the models of the epochs before.

    The trainer writes trainer_state.json last: without it, a kill came in between. Each of
    several processes has a random state of its own.
    """
    for path in _checkpoints(out):
        try:
            state = json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
            step = int(state["global_step"])
            done = step * int(state["num_train_epochs"]) // int(state["max_steps"])
        except (OSError, ValueError, KeyError):
            continue
        parts = ("optimizer.pt", "scheduler.pt")
        whole = all((path / part).exists() for part in parts) and any(path.glob("rng_state*.pth"))
        models = all((out / f"epoch-{epoch}").is_dir() for epoch in range(done))
        if models and whole and path.name == f"checkpoint-{step}":
            return path
    return None


class Progress:
    """Tells those outside how far a training is, in one small file."""

    def __init__(self, out: Path) -> None:
        self.file = out / _PROGRESS
        self.seconds: deque[float] = deque(maxlen=_LAST)
        self.written = 0.0

    def tell(self, step: int, steps: int, loss: float | None, seconds: float | None) -> None:
        """A step is done, or (without seconds) the training begins or ends at this one."""
        if seconds is not None:
            self.seconds.append(seconds)
            if time.monotonic() - self.written < _EVERY:
                return
        self.written = time.monotonic()
        about = {
            "step": step,
            "steps": steps,
            "seconds_per_step": statistics.median(self.seconds) if self.seconds else None,
            "loss": loss,
            "updated": time.time(),
        }
        write_json(self.file, about)


def progress(out: Path) -> dict[str, Any] | None:
    """See `Trainer`; None: nothing is told yet."""
    try:
        told = json.loads((out / _PROGRESS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) else None
