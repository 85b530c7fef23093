"""Environments of tools whose packages cannot live beside the others: made, found, listed.

Each is one file of pinned requirements, `workflow/envs/NAME.txt`; a further environment is one
more file. They lie below the cache, shared by experiments, in directories named by what they were
made from: other requirements make another directory, and take nothing from jobs that still run.
"""

from __future__ import annotations

import hashlib
import os
import re
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


def digest(name: str) -> str:
    """Digest of an environment's pinned requirements: what a configuration that depends on it
    carries, so that other requirements make it another one.

    Raises:
        LockgateError: if there is no environment of that name.
    """
    if name not in names():
        raise LockgateError(
            f"there is no environment '{name}'", hint=f"there are: {', '.join(names())}"
        )
    return hashlib.sha256(read_text(REQUIREMENTS / f"{name}.txt").encode()).hexdigest()


def place(name: str) -> Path:
    """The environment's directory, by its name and its requirements.

    Raises:
        LockgateError: if there is no environment of that name.
    """
    return home() / f"{name}-{digest(name)[:8]}"


def state(name: str) -> str:
    """`ready`, `missing` or `incomplete` (its making was interrupted).

    Raises:
        LockgateError: if there is no environment of that name.
    """
    path = place(name)
    if not path.exists():
        return "missing"
    # The marker is written last. A base interpreter that was removed leaves a dead link; the
    # environment's programs name the place it was made at, and so fail where that is another.
    if not (path / _MARKER).is_file() or not _python(path).exists():
        return "incomplete"
    made_at = read_json(path / _MARKER).get("place")
    return "ready" if made_at == str(path.resolve()) else "incomplete"


def old(name: str) -> list[Path]:
    """Directories of the environment that were made from other requirements."""
    form = re.compile(re.escape(name) + "(-[0-9a-f]{8})?")
    found = home().iterdir() if home().is_dir() else ()
    kept = place(name)
    return sorted(path for path in found if form.fullmatch(path.name) and path != kept)


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
    return _python(place(name))


def versions(name: str, packages: list[str], where: str = "") -> dict[str, str]:
    """Versions of distributions in an environment, read from its files.

    Raises:
        LockgateError: with the command that makes it, if it, or one of the packages, is missing.
    """
    path = python(name, where).parents[1]
    sites = [str(site) for site in path.glob("lib/python*/site-packages")]
    found = {one.metadata["Name"].lower(): one.version for one in distributions(path=sites)}
    lacking = [package for package in packages if package not in found]
    if lacking:
        raise LockgateError(
            f"the environment '{name}' lacks {', '.join(lacking)}",
            where=where,
            hint=f"delete {path}, then: lockgate env create {name}",
        )
    return {package: found[package] for package in packages}


def create(name: str) -> tuple[Path, bool]:
    """Make an environment, or make it anew if it is incomplete.

    Returns:
        Its directory, and whether anything had to be done.

    Raises:
        LockgateError: if there is none of that name, or pip cannot install it.
    """
    path = place(name)  # an unknown name is told before anything is locked
    with locked(home() / f".{name}.lock"):
        if state(name) == "ready":
            return path, False
        if path.exists():
            (path / _MARKER).unlink(missing_ok=True)
            shutil.rmtree(path)
        real = path.resolve()  # a path that leads through a link ends with that link
        # this interpreter's own pip does the work: a copy in each environment takes seconds
        _run([sys.executable, "-m", "venv", "--without-pip", str(real)], name, path)
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python"]
        file = REQUIREMENTS / f"{name}.txt"
        install = ["install", "--quiet", "--requirement", str(file)]
        _run([*pip, str(_python(real)), *install], name, path)
        about = {"requirements": digest(name), "made_by": sys.version, "place": str(real)}
        write_json(path / _MARKER, about)
    return path, True


def _python(path: Path) -> Path:
    return path / "bin" / "python"


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
