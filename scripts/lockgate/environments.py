"""Environments of tools whose packages cannot live beside the others: made, found, listed.

Each is one file of pinned requirements, `workflow/envs/NAME.txt`; a further environment is one
more file. They lie below the cache, shared by experiments.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

from lockgate.errors import LockgateError
from lockgate.files import locked, read_json, read_text, write_json

REQUIREMENTS = Path(__file__).parents[2] / "workflow" / "envs"
_MARKER = "lockgate.json"


def home() -> Path:
    """Where environments lie: below `$LOCKGATE_CACHE`, else below `~/.cache/lockgate`."""
    cache = Path(os.environ.get("LOCKGATE_CACHE") or "~/.cache/lockgate").expanduser()
    return cache.absolute() / "environments"


def names() -> list[str]:
    """Names of the environments that can be made."""
    return sorted(path.stem for path in REQUIREMENTS.glob("*.txt"))


def state(name: str) -> str:
    """`ready`, `missing`, `incomplete` (its making was interrupted) or `outdated`.

    Raises:
        LockgateError: if there is no environment of that name.
    """
    wanted, path = _digest(name), home() / name
    if not path.exists():
        return "missing"
    # The marker is written last; a base interpreter that was removed leaves a dead link.
    if not (path / _MARKER).is_file() or not _python(path).exists():
        return "incomplete"
    return "ready" if read_json(path / _MARKER)["requirements"] == wanted else "outdated"


def python(name: str, where: str = "") -> Path:
    """The environment's interpreter; its programs lie beside it.

    Args:
        name: of the environment.
        where: file and key, for the message.

    Raises:
        LockgateError: with the command that makes it, unless it is ready.
    """
    found = state(name)
    if found != "ready":
        raise LockgateError(
            f"the environment '{name}' is {found}",
            where=where,
            hint=f"lockgate env create {name}",
        )
    return _python(home() / name)


def versions(name: str, packages: list[str], where: str = "") -> dict[str, str]:
    """Versions of distributions in an environment, read from its files.

    Raises:
        LockgateError: with the command that makes it, if it, or one of the packages, is missing.
    """
    place = python(name, where).parents[1]
    sites = [str(site) for site in place.glob("lib/python*/site-packages")]
    found = {one.metadata["Name"].lower(): one.version for one in distributions(path=sites)}
    lacking = [package for package in packages if package not in found]
    if lacking:
        raise LockgateError(
            f"the environment '{name}' lacks {', '.join(lacking)}",
            where=where,
            hint=f"delete {place}, then: lockgate env create {name}",
        )
    return {package: found[package] for package in packages}


def create(name: str) -> tuple[Path, bool]:
    """Make an environment, or make it anew if it is incomplete or its requirements changed.

    Returns:
        Its directory, and whether anything had to be done.

    Raises:
        LockgateError: if there is none of that name, or pip cannot install it.
    """
    state(name)  # an unknown name is told before anything is locked
    path = home() / name
    with locked(home() / f".{name}.lock"):
        if state(name) == "ready":
            return path, False
        if path.exists():
            (path / _MARKER).unlink(missing_ok=True)
            shutil.rmtree(path)
        # this interpreter's own pip does the work: a copy in each environment takes seconds
        _run([sys.executable, "-m", "venv", "--without-pip", str(path)], name, path)
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python"]
        file = REQUIREMENTS / f"{name}.txt"
        install = ["install", "--quiet", "--requirement", str(file)]
        _run([*pip, str(_python(path)), *install], name, path)
        write_json(path / _MARKER, {"requirements": _digest(name), "made_by": sys.version})
    return path, True


def _python(path: Path) -> Path:
    return path / "bin" / "python"


def _digest(name: str) -> str:
    file = REQUIREMENTS / f"{name}.txt"
    if name not in names():
        raise LockgateError(
            f"there is no environment '{name}'", hint=f"there are: {', '.join(names())}"
        )
    return hashlib.sha256(read_text(file).encode()).hexdigest()


def _run(command: list[str], name: str, path: Path) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    except OSError as error:
        raise LockgateError(f"cannot make the environment '{name}': {error}") from None
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        said = said or done.stderr.splitlines()[-1:] or [f"status {done.returncode}"]
        raise LockgateError(
            f"cannot make the environment '{name}': {' '.join(said)}",
            where=str(path),
            hint="check the connection to the package index, then run the same command again",
        )
