"""The design that a user's own script builds, asked of the script in a process of its own."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from lockgate.errors import LockgateError
from lockgate.tools.data_designer import checks, constrain, seeds

SECONDS = 120
"""A script that takes longer to build its design is given up."""

_PROGRAM = """
import contextlib, json, sys

with contextlib.redirect_stdout(sys.stderr):
    from data_designer.cli.utils.config_loader import load_config_builder

    built = load_config_builder(sys.argv[1]).build()
    design = built.model_dump(mode="json")
    for column, told in zip(built.columns, design["columns"]):
        if column.column_type == "custom":
            told["required_columns"] = column.required_columns
            told["side_effect_columns"] = column.side_effect_columns
    source = getattr(built.seed_config, "source", None)
    if hasattr(source, "df"):
        design["seed_config"]["source"]["columns"] = [str(name) for name in source.df.columns]
json.dump(design, sys.stdout)
"""


def design_of(path: Path) -> dict[str, Any]:
    """The built design as plain values; functions are there by name only.

    Raises:
        LockgateError: if the script fails, with its last line.
    """
    settings = {"NEMO_TELEMETRY_ENABLED": "false", "PYTHONHASHSEED": "0"}
    try:
        with tempfile.TemporaryDirectory() as home:  # the tool writes its defaults there
            done = subprocess.run(
                [sys.executable, "-c", _PROGRAM, str(path)],
                capture_output=True,
                text=True,
                timeout=SECONDS,
                env={**os.environ, **settings, "DATA_DESIGNER_HOME": home},
                check=False,
            )
    except subprocess.TimeoutExpired:
        raise LockgateError(
            f"load_config_builder() took more than {SECONDS} seconds",
            where="data.script",
            hint="it should only describe the columns: make no records in it",
        ) from None
    if done.returncode != 0:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        last = re.sub(r"^[\w.]+Error: ", "", lines[-1]) if lines else "it said nothing"
        raise LockgateError(
            f"the script failed: {last}",
            where="data.script",
            hint=f"run it by hand: data-designer validate {path}",
        )
    design: dict[str, Any] = json.loads(done.stdout)
    return design


def check(design: dict[str, Any], root: Path) -> None:
    """Check the names in a built design.

    Raises:
        LockgateError: naming the column; the key is the script.
    """
    try:
        constrain.check(design["columns"])
        checks.check(design, seeds.columns(design, root))
    except LockgateError as error:
        raise LockgateError(error.what, where="data.script", hint=error.hint) from None


def notes(path: Path) -> list[str]:
    """What cannot be told of a script: all that it reads, and whether it draws the same values
    each time."""
    found = [
        "not checked: whether files that the script reads are the same as at the approval, where "
        "it and what it imports do not name them in full, from the project's root"
    ]
    if "LOCKGATE_SEED" in path.read_text(encoding="utf-8"):
        return found
    return [
        *found,
        "not checked: whether the same seed gives the same records: the script never reads the "
        "environment variable LOCKGATE_SEED (random.seed and numpy.random.seed take it)",
    ]


def named(modules: list[Path], root: Path) -> list[Path]:
    """Files of the project whose paths, from `root`, Python files spell out, like `data/a.csv`."""
    texts = [text for module in modules for text in _texts(module) if _is_file(root, text)]
    return [path for text in dict.fromkeys(texts) if inside(path := root / text, root)]


def inside(path: Path, root: Path) -> str:
    """A file's path below the project; empty: it is outside."""
    relative = os.path.relpath(path.absolute(), root.absolute())
    return "" if relative.startswith("..") else Path(relative).as_posix()


def _texts(file: Path) -> list[str]:
    """Each text that a Python file spells out."""
    nodes = ast.walk(ast.parse(file.read_bytes()))
    values = [node.value for node in nodes if isinstance(node, ast.Constant)]
    return [value for value in values if isinstance(value, str)]


def _is_file(root: Path, text: str) -> bool:
    """Whether a text is the path of a file."""
    try:
        return bool(text) and (root / text).is_file()
    except (OSError, ValueError):  # too long for a path, or with a zero byte
        return False
