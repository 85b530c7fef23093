"""The tool's commands: which are here, and the verbs that each one has.

The same design can be run by `data-designer` and by the `nemo` command of the NeMo Platform. The
latter ran designs by itself up to version 0.4 (`preview run`), and hands them to a running
platform from 0.5 on. Lockgate runs `data-designer`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lockgate.errors import LockgateError

NAME, PLATFORM = "data-designer", "nemo"
INSTALL = "pip install data-designer==0.9.6 'typer<0.29'"
PLATFORM_ONLY = (0, 5)
"""From this version of `nemo` on, designs are run by a platform."""

_WHY = (
    "data-designer checks that the models answer and resumes a generation, which nemo does not; "
    "both run the same design"
)
_VERBS: dict[str, dict[str, str | None]] = {
    NAME: {
        "validate": "validate DESIGN",
        "check_models": "check-models DESIGN",
        "preview": "preview DESIGN --num-records N --save-results --artifact-path DIR",
        "create": "create DESIGN --num-records N --dataset-name NAME --artifact-path DIR "
        "--run-config FILE --no-tui --resume always|never",
    },
    "local": {
        "validate": "data-designer validate DESIGN --execution-context local",
        "check_models": None,
        "preview": "data-designer preview run DESIGN --num-records N --save-results "
        "--artifact-path DIR",
        "create": "data-designer create run DESIGN --num-records N",
    },
    "platform": {
        "validate": "data-designer validate DESIGN",
        "check_models": None,
        "preview": "data-designer preview DESIGN --num-records N --save-results "
        "--artifact-path DIR",
        "create": "data-designer create DESIGN --num-records N",
    },
}


def find(name: str, configured: str | None = None) -> Path | None:
    """Path of a command: as configured, else beside this Python, in the project, on PATH.

    Args:
        name: `data-designer` or `nemo`.
        configured: path of either; the other is looked for beside it.
    """
    places = [Path(sys.executable).parent, Path(".venv/bin").absolute()]
    if configured:
        given = Path(configured).expanduser().absolute()
        places.insert(0, given.parent)
        if given.name == name and not _runs(given):
            raise LockgateError(
                f"there is no command {configured}", where="data.command", hint="correct the path"
            )
    found = next((place / name for place in places if _runs(place / name)), None)
    on_path = shutil.which(name)
    return found or (Path(on_path).absolute() if on_path else None)


def command(configured: str | None = None) -> Path:
    """Path of the command that Lockgate runs.

    Raises:
        LockgateError: if it is not here, with what installs it.
    """
    if configured and Path(configured).name not in (NAME, PLATFORM):
        raise LockgateError(
            f"{configured} is neither {NAME} nor {PLATFORM}",
            where="data.command",
            hint="give the path of one of these commands, or leave it out",
        )
    found = find(NAME, configured)
    if found is None:
        there = find(PLATFORM, configured)
        raise LockgateError(
            f"only {there} is here, and Lockgate runs the command {NAME}: {_WHY}"
            if there
            else "NeMo Data Designer is not installed",
            where="data.tool",
            hint=INSTALL,
        )
    return found


def record(configured: str | None = None) -> dict[str, Any]:
    """Each command with path, version, generation and the verbs that it has, and which is used.

    Raises:
        LockgateError: if the command that Lockgate runs is not here, or is of another version
            than the package that the design is checked with.
    """
    used = command(configured)
    told = _version(used)
    try:
        package = version(NAME)
    except PackageNotFoundError:
        package = None
    if package and told and told != package:
        raise LockgateError(
            f"{used} is version {told}, and the Python package that checks designs {package}",
            where="data.command",
            hint=f"install the same version in both: pip install {NAME}=={told}",
        )
    found: dict[str, Any] = {NAME: _one(used, told, None, NAME), PLATFORM: None}
    other = find(PLATFORM, configured)
    if other is not None:
        told = _version(other)
        numbers = tuple(map(int, re.findall(r"\d+", told or "")[:2]))
        kind = "platform" if numbers >= PLATFORM_ONLY else "local"
        # a version that cannot be told is not taken for one
        found[PLATFORM] = _one(other, told, kind if told else None, kind if told else "")
    return found | {"used": {"command": str(used), "why": _WHY}}


def _one(path: Path, told: str | None, generation: str | None, verbs: str) -> dict[str, Any]:
    lines = _VERBS.get(verbs, {})
    return {
        "path": str(path),
        "version": told,
        "generation": generation,
        "verbs": {key: f"{path.name} {line}" if line else None for key, line in lines.items()},
    }


def _runs(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _version(path: Path) -> str | None:
    """What `--version` says; None: nothing that looks like one."""
    settings = {"NEMO_TELEMETRY_ENABLED": "false", "DATA_DESIGNER_DISABLE_VERSION_CHECK": "1"}
    try:
        done = subprocess.run(
            [path, "--version"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, **settings},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"\d+(\.\d+)+\S*", done.stdout + done.stderr)
    return found[0] if found and done.returncode == 0 else None
