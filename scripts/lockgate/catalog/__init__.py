"""Step catalogs: what each step consumes and produces, read from `step.toml` files."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from lockgate.errors import LockgateError
from lockgate.files import file_digest


def read_catalog(root: Path) -> dict[str, dict[str, Any]]:
    """Every step of a catalog, by id.

    Args:
        root: a directory of `<category>/<step>/step.toml`.

    Raises:
        LockgateError: naming the file, if a manifest is broken.
    """
    steps = {}
    for path in sorted(root.glob("*/*/step.toml")):
        try:
            manifest = tomllib.loads(path.read_text(encoding="utf-8"))
        except tomllib.TOMLDecodeError as error:
            raise LockgateError(f"not valid TOML: {error}", where=str(path)) from error
        step = manifest.get("step")
        if not isinstance(step, dict) or "id" not in step:
            raise LockgateError("it has no [step] with an id", where=str(path))
        steps[str(step["id"])] = {
            **step,
            "consumes": manifest.get("consumes", []),
            "produces": manifest.get("produces", []),
            "digest": file_digest(path)[:12],
        }
    return steps


def steps_of(tools: list[str], root: Path) -> dict[str, dict[str, Any]]:
    """The steps that use these tools, in the order of the tools.

    Raises:
        LockgateError: if a tool has no step.
    """
    by_tool = {step.get("tool"): (name, step) for name, step in read_catalog(root).items()}
    missing = [tool for tool in tools if tool not in by_tool]
    if missing:
        raise LockgateError(
            f"no step uses the tool '{missing[0]}'",
            where=str(root),
            hint="add <category>/<step>/step.toml for it",
        )
    return dict(by_tool[tool] for tool in tools)
