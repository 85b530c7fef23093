"""Checks of a step's own program and of the commands in its README."""

from __future__ import annotations

import ast
import importlib.util
import re
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

from lockgate.catalog.model import Step
from lockgate.stages import configs
from lockgate.stages.model import Check


def check_python(step: Step, stage: str = "") -> list[Check]:
    """`python.compiles`, `python.imports`, `readme.commands` of a step of one's own.

    Nothing is imported or executed. Imports are looked for in this environment, and left alone
    where the step's header says that its own runner makes another one.
    """
    files = sorted(step.directory.glob("*.py"))
    if not (step.directory / "step.py").is_file():
        why = "there is no program to read: the step's runner has its own"
        told = f"{step.path}/step.py"
        return [
            Check("python.compiles", stage, "not checked", told, why, "note"),
            *_readme(step, stage),
        ]
    found: list[Check] = []
    missing: dict[str, str] = {}
    for path in files:
        told = f"{step.path}/{path.name}"
        try:
            tree = _compiled(path)
        except (SyntaxError, ValueError) as error:
            at = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
            what = error.msg if isinstance(error, SyntaxError) else str(error)
            fix = f"mend it: {what}"
            found.append(Check("python.compiles", stage, "warning", f"{told}{at}: {what}", fix))
            continue
        found.append(Check("python.compiles", stage, "ok", told))
        missing |= {name: told for name in _imports(tree) if not _resolves(name, step.directory)}
    code, told = "python.imports", f"{step.path}: {len(files)} files"
    if step.runspec is not None:
        why = "its own runner makes the environment that it runs in"
        found.append(Check(code, stage, "not checked", told, why, "note"))
    elif missing:
        told = "; ".join(f"{place} imports {name}" for name, place in sorted(missing.items()))
        fix = f"install {', '.join(sorted(missing))}, or put the module beside step.py"
        found.append(Check(code, stage, "warning", f"{told}: not found", fix))
    else:
        found.append(Check(code, stage, "ok", f"{told}, every import is found"))
    return [*found, *_readme(step, stage)]


def _compiled(path: Path) -> ast.Module:
    source = path.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = ast.parse(source, str(path))
        compile(tree, str(path), "exec", dont_inherit=True)
    return tree


def _imports(node: ast.AST) -> Iterator[str]:
    """Top-level names that must be there; an import that may fail is left out."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name.split(".")[0] for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            # a program has no package that a dot could stand for
            yield "." * child.level if child.level else (child.module or "").split(".")[0]
        elif isinstance(child, ast.Try) and _forgives(child.handlers):
            for part in [*child.handlers, *child.orelse, *child.finalbody]:
                yield from _imports(part)
        elif not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)):
            yield from _imports(child)


def _forgives(handlers: Iterable[ast.ExceptHandler]) -> bool:
    caught = [ast.unparse(one.type) if one.type else "Exception" for one in handlers]
    return any(
        name in text for text in caught for name in ("ImportError", "ModuleNotFound", "Exception")
    )


def _resolves(name: str, directory: Path) -> bool:
    if (directory / f"{name}.py").is_file() or (
        name.isidentifier() and (directory / name).is_dir()
    ):
        return True
    try:
        return not name.startswith(".") and importlib.util.find_spec(name) is not None
    except ValueError:  # a module of this process that has no file
        return True


_CONFIG = re.compile(r"(\S*)\s(?:--config|-c)[=\s]\s*([^\s`'\"]+)")


def _readme(step: Step, stage: str) -> Iterator[Check]:
    """Do the commands in the README name configurations that are there."""
    readme = step.directory / "README.md"
    if not readme.is_file():
        return
    text = readme.read_text(encoding="utf-8", errors="replace")
    named = [
        name
        for before, name in _CONFIG.findall(text)
        if not re.fullmatch(r".*(python[\d.]*|bash|sh)", before) and not re.search(r"[<{$*]", name)
    ]
    folder = configs.folder(step)
    places = (folder, step.directory, configs.root(step), Path())
    absent = [
        name
        for name in dict.fromkeys(named)
        if not any((place / f"{name}{end}").is_file() for place in places for end in ("", ".yaml"))
    ]
    code = "readme.commands"
    if absent:
        there = ", ".join(configs.names(step)) or "none"
        told = f"{step.path}/README.md names {', '.join(absent)}; {folder.name}/ has {there}"
        fix = "name one of these, or add the file"
        yield Check(code, stage, "warning", told, fix, "warning")
    elif named:
        told = f"{step.path}/README.md names {', '.join(dict.fromkeys(named))}"
        yield Check(code, stage, "ok", told)
