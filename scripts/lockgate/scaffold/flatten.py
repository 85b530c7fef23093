"""A program of this package as one file that imports nothing of it.

What the program uses is copied, definition by definition, so the file does what the pipeline does
and cannot drift from it.
"""

from __future__ import annotations

import ast
import functools
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lockgate.errors import LockgateError

_PACKAGES = Path(__file__).parents[2]
_OWN = "lockgate"
_VALUES = (ast.Assign, ast.AnnAssign)
_RENAMED = {"LockgateError": "ExperimentError"}


@dataclass
class _Module:
    """A module's source, and what its top level defines and imports.

    Attributes:
        defined: statement that defines a name.
        own: names imported from this package: module and name there ("" for a module).
        other: import statement, of one name, for each name that other packages give.
    """

    name: str
    lines: list[str]
    tree: ast.Module
    defined: dict[str, ast.stmt] = field(default_factory=dict)
    own: dict[str, tuple[str, str]] = field(default_factory=dict)
    other: dict[str, tuple[str, str, str]] = field(default_factory=dict)


@dataclass
class _Found:
    """Modules read so far, the names wanted of each, and the imports that those need."""

    modules: dict[str, _Module] = field(default_factory=dict)
    wanted: dict[str, set[str]] = field(default_factory=dict)
    imports: set[tuple[str, str, str]] = field(default_factory=set)
    root: str = ""
    instead: tuple[str, str, str] | None = None
    renamed: dict[tuple[str, str], str] = field(default_factory=dict)


@functools.cache
def flatten(program: Path, instead: tuple[str, str, str] | None = None) -> str:
    """Text of a program that runs alone.

    Args:
        program: a module of this package with a docstring and `if __name__ == "__main__"`.
        instead: a module, a definition there, and the program's own that stands for it.

    Raises:
        LockgateError: if a definition that it needs cannot be copied.
    """
    found = _Found(instead=instead)
    root = _module(found, ".".join(program.relative_to(_PACKAGES).with_suffix("").parts))
    found.root = root.name
    for statement in root.tree.body:
        if not isinstance(statement, ast.Import | ast.ImportFrom):
            for name in _names(root, statement):
                _want(found, root, name)
    found.wanted[root.name] = set(root.defined)
    _rename(found, program)
    text = f'"""{ast.get_docstring(root.tree, clean=False)}"""\n\n'
    text += "\n".join(["from __future__ import annotations", *_imports(found.imports)])
    before: ast.stmt | None = None
    for module in _in_order(found, root, []):
        for statement in module.tree.body:
            used = not found.wanted[module.name].isdisjoint(_targets(statement))
            if used or (module is root and isinstance(statement, ast.If)):
                near = isinstance(statement, _VALUES) and isinstance(before, _VALUES)
                text += ("\n" if near else "\n\n\n") + _text(found, module, statement)
                before = statement
    text += "\n"
    for name, renamed in _RENAMED.items():
        text = re.sub(rf"\b{name}\b", renamed, text)
    return text


def imported(program: str | bytes) -> set[str]:
    """Top-level modules outside the standard library that a program's text imports anywhere.

    Raises:
        SyntaxError: if it is no Python.
    """
    names = set()
    for node in ast.walk(ast.parse(program)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return {name.partition(".")[0] for name in names} - sys.stdlib_module_names


def _module(found: _Found, name: str) -> _Module:
    if name in found.modules:
        return found.modules[name]
    source = _path(name).read_text(encoding="utf-8")
    module = _Module(name, source.splitlines(), ast.parse(source))
    found.modules[name] = module
    found.wanted[name] = set()
    for statement in module.tree.body:
        _read_import(module, statement)
        for target in _targets(statement):
            module.defined[target] = statement
    return module


def _path(name: str) -> Path:
    path = _PACKAGES.joinpath(*name.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _read_import(module: _Module, node: ast.stmt) -> None:
    """Note what an import statement, at the top or within a function, brings."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            known = alias.asname or alias.name.partition(".")[0]
            module.other[known] = ("", alias.name, alias.asname or "")
    elif isinstance(node, ast.ImportFrom) and node.module:
        for alias in node.names:
            known = alias.asname or alias.name
            if node.module.partition(".")[0] != _OWN:
                module.other[known] = (node.module, alias.name, alias.asname or "")
            elif _path(f"{node.module}.{alias.name}").is_file():
                module.own[known] = (f"{node.module}.{alias.name}", "")
            elif known != alias.name:
                raise LockgateError(
                    f"{alias.name} is imported under another name", where=module.name
                )
            else:
                module.own[known] = (node.module, alias.name)


def _targets(statement: ast.stmt) -> list[str]:
    """Names that a statement of the top level defines."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        return [statement.target.id]
    if isinstance(statement, ast.Assign):
        return [
            node.id
            for target in statement.targets
            for node in ast.walk(target)
            if isinstance(node, ast.Name)
        ]
    return []


def _names(module: _Module, statement: ast.AST) -> list[str]:
    """Every name in a statement; `module.name` where a module of this package is meant."""
    for node in ast.walk(statement):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == _OWN:
            _read_import(module, node)
    names = []
    for node in ast.walk(statement):
        if isinstance(node, ast.Attribute) and _of_own(module, node):
            names.append(f"{ast.unparse(node.value)}.{node.attr}")
        elif isinstance(node, ast.Name):
            names.append(node.id)
    return names


def _of_own(module: _Module, node: ast.Attribute) -> bool:
    value = node.value
    return isinstance(value, ast.Name) and module.own.get(value.id, ("", "-"))[1] == ""


def _want(found: _Found, module: _Module, name: str) -> None:
    """Take a definition, and everything that it uses."""
    if found.instead and (module.name, name) == found.instead[:2]:
        return
    prefix, _, attribute = name.partition(".")
    if attribute:
        _want(found, _module(found, module.own[prefix][0]), attribute)
    elif name in module.own and module.own[name][1]:
        _want(found, _module(found, module.own[name][0]), module.own[name][1])
    elif name in module.defined and name not in found.wanted[module.name]:
        found.wanted[module.name].add(name)
        for used in _names(module, module.defined[name]):
            _want(found, module, used)
    elif name in module.other:
        found.imports.add(module.other[name])


def _in_order(found: _Found, module: _Module, seen: list[_Module]) -> list[_Module]:
    """The modules read, each behind those that it imports from."""
    if module not in seen:
        seen.append(module)
        for name, _ in module.own.values():
            if name in found.modules:
                _in_order(found, found.modules[name], seen)
        seen.remove(module)
        seen.append(module)
    return seen


def _rename(found: _Found, program: Path) -> None:
    """Give a definition its module's name too, where its own is taken.

    Another definition has it, an import, or a variable beside a use of it as `module.name`.

    Raises:
        LockgateError: if two imports have one name, or a parameter has that of a definition that
            is renamed: it would be taken for it.
    """
    taken: dict[str, Any] = {}
    for source, member, alias in sorted(found.imports):
        name = alias or member.partition(".")[0]
        # `import a` and `import a.b` both mean the package `a`
        meant = (source, member if source or alias else name)
        if taken.setdefault(name, meant) != meant:
            raise LockgateError(
                f"two modules mean different things by '{name}'", where=program.name
            )
    for module in sorted(found.wanted, key=lambda one: (one != found.root, one)):
        for name in sorted(found.wanted[module]):
            if taken.setdefault(name, module) != module or _hidden(found, module, name):
                if name in _variables(found.modules[module]):
                    raise LockgateError(
                        f"{module} has a definition and a variable '{name}'",
                        where=program.name,
                        hint="rename one of them",
                    )
                found.renamed[module, name] = f"{name}_of_{module.rpartition('.')[2]}"


def _hidden(found: _Found, module: str, name: str) -> bool:
    """Whether a module that writes `module.name` has a variable of that name."""
    return any(
        (module, "") in one.own.values() and name in _variables(one)
        for one in found.modules.values()
    )


def _variables(module: _Module) -> set[str]:
    """Names of parameters, and of variables within functions."""
    found = set()
    for function in ast.walk(module.tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            for node in ast.walk(function):
                if isinstance(node, ast.arg):
                    found.add(node.arg)
                elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                    found.add(node.id)
    return found


def _called(found: _Found, module: _Module, name: str) -> str:
    """What a name of a module is called in the one file."""
    while name in module.own and module.own[name][1]:
        module, name = found.modules[module.own[name][0]], module.own[name][1]
    if found.instead and (module.name, name) == found.instead[:2]:
        return found.instead[2]
    return found.renamed.get((module.name, name), name)


def _text(found: _Found, module: _Module, statement: ast.stmt) -> str:
    """Source of a statement with the comments above it, without this package's own imports."""
    lines = list(module.lines)
    decorators = getattr(statement, "decorator_list", [])
    start = min([statement.lineno, *(one.lineno for one in decorators)]) - 1
    last = statement.end_lineno or statement.lineno
    edits: list[tuple[int, int, int, str]] = []
    dropped: set[int] = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.Attribute) and _of_own(module, node):
            other = found.modules[module.own[ast.unparse(node.value)][0]]
            name = _called(found, other, node.attr)
            edits.append((node.lineno, node.col_offset, node.end_col_offset or 0, name))
        elif isinstance(node, ast.Name) and (name := _called(found, module, node.id)) != node.id:
            edits.append((node.lineno, node.col_offset, node.end_col_offset or 0, name))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == _OWN:
            dropped |= set(range(node.lineno - 1, node.end_lineno or node.lineno))
    for line, begin, end, name in sorted(edits, reverse=True):
        raw = lines[line - 1].encode()  # columns count bytes
        lines[line - 1] = (raw[:begin] + name.encode() + raw[end:]).decode()
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        head, name = statement.lineno - 1, _called(found, module, statement.name)
        lines[head] = re.sub(rf"\b{statement.name}\b", name, lines[head], count=1)
    while start and lines[start - 1].startswith("#"):
        start -= 1
    kept = [lines[number] for number in range(start, last) if number not in dropped]
    return "\n".join(kept)


def _imports(wanted: set[tuple[str, str, str]]) -> list[str]:
    """Import statements, the standard library's first."""
    plain: dict[str, str] = {}
    members: dict[str, set[str]] = {}
    for module, name, alias in wanted:
        told = f"{name} as {alias}" if alias else name
        if module:
            members.setdefault(module, set()).add(told)
        else:
            plain[name] = f"import {told}"
    blocks: dict[bool, list[str]] = {True: [], False: []}
    for name in sorted(plain):
        blocks[name.partition(".")[0] in sys.stdlib_module_names].append(plain[name])
    for name in sorted(members):
        listed = ", ".join(sorted(members[name]))
        line = f"from {name} import {listed}"
        line = line if len(line) <= 100 else f"from {name} import (\n    {listed},\n)"
        blocks[name.partition(".")[0] in sys.stdlib_module_names].append(line)
    return ["", *blocks[True], *([""] if blocks[False] else []), *blocks[False]]
