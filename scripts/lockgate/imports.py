"""Which files of the user's own an import brings in; nothing is imported to find out."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from pathlib import Path

from lockgate.errors import LockgateError
from lockgate.files import read_text


def of_name(name: str, roots: Sequence[Path]) -> list[Path]:
    """Files that importing a dotted name runs: its packages' `__init__.py` and its module.

    Args:
        name: of a module, or of what is in one.
        roots: directories in which it is looked for; the first that has it counts.
    """
    for root in roots:
        found = _below(root, name.split("."))
        if found:
            return found
    return []


def with_imports(files: Iterable[Path], roots: Sequence[Path]) -> list[Path]:
    """The files, and all that they import from the directories `roots`, each once.

    Raises:
        LockgateError: if one of them is not Python.
    """
    found: list[Path] = []
    waiting = list(files)
    while waiting:
        file = waiting.pop(0)
        if file not in found:
            found.append(file)
            waiting += _imported(file, roots)
    return found


def _imported(file: Path, roots: Sequence[Path]) -> list[Path]:
    try:
        tree = ast.parse(read_text(file))
    except SyntaxError as error:
        raise LockgateError(f"line {error.lineno}: {error.msg}", where=str(file)) from None
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [one for alias in node.names for one in of_name(alias.name, roots)]
        elif isinstance(node, ast.ImportFrom):
            above = list(file.parents)[node.level - 1 : node.level] if node.level else roots
            for alias in node.names:
                found += of_name(".".join(filter(None, (node.module, alias.name))), above)
            if node.level:  # `from . import name` runs the package too
                found += [one / "__init__.py" for one in above if (one / "__init__.py").is_file()]
    return found


def _below(root: Path, parts: list[str]) -> list[Path]:
    found = []
    for part in parts:
        root = root / part
        if (root / "__init__.py").is_file():
            found.append(root / "__init__.py")
        elif root.with_name(f"{part}.py").is_file():
            return [*found, root.with_name(f"{part}.py")]
        elif not root.is_dir():
            return found
    return found
