"""Any directory of steps: each is run as a program of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from lockgate.catalog.model import Step
from lockgate.errors import LockgateError

_DEPTH = 5
"""Directories below a root in which a manifest is looked for."""


class Script:
    """Runs `step.py --config CONFIG` with this Python."""

    kind = "catalog"
    notes = None
    local_processes = None
    inherits = False

    def steps(self, root: Path) -> Path | None:
        """The directory itself, if it has types.toml or `<category>/.../step.toml`."""
        return root if (root / "types.toml").is_file() or _has_step(root) else None

    def find(self, cwd: Path) -> list[Path]:
        """`catalog/` in the working directory, where new steps are put."""
        own = cwd / "catalog"
        return [own] if self.steps(own) else []

    def command(self, step: Step, config: Path, profile: str, dry: bool) -> list[str]:
        """The step's own program.

        Raises:
            LockgateError: if `dry` is asked, or a profile: there are none here.
        """
        if dry:
            raise LockgateError(
                f"step '{step.id}' has no dry run of its own",
                where=f"{step.catalog}: {step.path}",
                hint="its smoke run shows what it does",
            )
        if profile:
            raise LockgateError(
                f"step '{step.id}' knows no profile '{profile}'",
                where=f"{step.catalog}: {step.path}",
                hint="leave `profile` out",
            )
        return [sys.executable, str(step.directory / "step.py"), "--config", str(config)]

    def directory(self, step: Step, project: Path) -> Path:
        """The project: paths of the user's own keys start there."""
        return project

    def available(self, step: Step) -> str:
        """Empty if the step has a program."""
        if (step.directory / "step.py").is_file():
            return ""
        return f"{step.path}/step.py is missing: write it, or take another step"


def _has_step(root: Path) -> bool:
    base = len(root.parts)
    for folder, below, names in os.walk(root):
        depth = len(Path(folder).parts) - base
        below[:] = [name for name in below if name[0] not in "._"] if depth < _DEPTH else []
        if depth and "step.toml" in names:
            return True
    return False


ADAPTER = Script()
