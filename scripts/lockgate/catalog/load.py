"""One catalog, loaded from its files; what is wrong in one of them does not stop the others."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lockgate import tools
from lockgate.catalog import files
from lockgate.catalog.files import Reader
from lockgate.catalog.model import (
    MARK,
    Advice,
    ArtifactType,
    Catalog,
    InputNote,
    Notes,
    OutputNote,
    Pattern,
    Port,
    Step,
)
from lockgate.errors import LockgateError
from lockgate.files import digest

FALLBACK = "script"
"""The adapter for catalogs that no other one recognizes."""

NO_CATALOG = (
    "name a checkout that has steps, or a directory with types.toml or <category>/<step>/step.toml"
)

_ID = re.compile(r"[\w.-]+(/[\w.-]+)*")
_FIELDS = ("id", "name", "category", "description", "tags", "tool")
_LISTS = ("consumes", "produces", "parameters", "models", "strategies", "errors", "reference")


def runners() -> list[str]:
    """Names of the adapters that know catalogs; the one that takes any of them comes last."""
    return sorted(tools.names("catalog"), key=lambda name: (name == FALLBACK, name))


def recognize(root: Path) -> tuple[str, Path] | None:
    """The adapter that knows a catalog, and the directory of its steps; None: it is none."""
    for name in runners():
        steps = tools.get("catalog", name, str(root)).steps(root)
        if steps is not None:
            return name, steps
    return None


def load_catalog(root: Path, name: str, runner: str | None = None) -> Catalog:
    """Read every file of a catalog; nothing in it is imported.

    Args:
        root: the checkout, or a directory of `<category>/<step>/step.toml`.
        name: what to call it.
        runner: the adapter that runs its steps; None: the first that recognizes it.

    Returns:
        The catalog, with steps, types and patterns in the order of their ids. What is wrong
        with a file is in `problems`, `where` relative to the root. What names something of
        another catalog is not checked here but in `discover.merge`.

    Raises:
        LockgateError: if the root is no catalog.
    """
    root = Path(os.path.abspath(root))
    steps: Path | None
    if runner is None:
        runner, steps = recognize(root) or ("", None)
    else:
        steps = tools.get("catalog", runner, str(root)).steps(root)
    if steps is None:
        raise LockgateError(
            "it is not a step catalog" if root.is_dir() else "there is no such directory",
            where=str(root),
            hint=NO_CATALOG,
        )
    notes = tools.get("catalog", runner, str(root)).notes
    loader = _Loader(Reader(root), name, f"notes:{runner}", notes)
    return Catalog(
        name=name,
        root=root,
        runner=runner,
        commit=files.commit(root),
        steps=loader.steps(steps),
        types=loader.types(steps / "types.toml"),
        patterns=loader.patterns(steps),
        problems=loader.reader.problems,
        files=dict(sorted(loader.reader.files.items())),
    )


class _Loader:
    """Builds a catalog's entries from its files and from its adapter's notes."""

    def __init__(self, reader: Reader, catalog: str, source: str, notes: Path | None) -> None:
        self.reader, self.catalog, self.source = reader, catalog, source
        self.notes: dict[str, dict[str, Any]] = {}
        if notes is not None:
            for kind, table in (reader.toml(notes, source) or {}).items():
                if isinstance(table, dict):
                    self.notes[kind] = table
                else:
                    reader.problem(source, kind, "it is not a table", f'write [{kind}."ID"]')

    def steps(self, directory: Path) -> list[Step]:
        """All steps below a directory, by id."""
        found: dict[str, Step] = {}
        for path in _manifests(directory):
            step = self._step(path)
            if step is not None and step.id in found:
                self.reader.problem(
                    self.reader.name(path),
                    "step.id",
                    f"there are two steps '{step.id}'; the one in {found[step.id].path} is used",
                    "give each its own id",
                )
            elif step is not None:
                found[step.id] = step
        return [found[key] for key in sorted(found)]

    def _step(self, path: Path) -> Step | None:
        reader, name = self.reader, self.reader.name(path)
        manifest = reader.toml(path)
        if manifest is None:
            return None
        table = manifest.get("step")
        if not isinstance(table, dict) or "id" not in table:
            reader.problem(
                name, "step.id", "it has no [step] with an id", 'add id = "category/name"'
            )
            return None
        identity = table["id"]
        if not isinstance(identity, str) or not _ID.fullmatch(identity):
            reader.problem(name, "step.id", f"{identity!r} is no id", "write it like category/name")
            return None
        values = {key: table[key] for key in _FIELDS if key in table}
        values |= {key: manifest[key] for key in _LISTS if key in manifest}
        values.setdefault("category", identity.split("/")[0])
        step = reader.build(Step, values, name, tables=dict.fromkeys(_FIELDS, "step"))
        if step is None:
            return None
        extra = self._noted("steps", identity)
        notes = Notes(
            **files.merged(
                reader.notes(extra, self.source, f'steps."{identity}"'),
                reader.notes(manifest.get("lockgate", {}), name, "lockgate"),
            )
        )
        own = {name: reader.files[name]}
        configs = sorted((path.parent / "config").glob("*.y*ml"))
        for file in [*configs, path.with_name("step.py")]:
            text = reader.text(file) if file.is_file() else None
            # a configuration that was installed here is no part of the step
            if text is not None and text.startswith(MARK):
                del reader.files[reader.name(file)]
            elif text is not None:
                own[reader.name(file)] = reader.files[reader.name(file)]
        folder = reader.name(path.parent)
        return step.model_copy(
            update={
                "description": step.description.strip(),
                "consumes": _ports(step.consumes, notes.inputs),
                "produces": _ports(step.produces, notes.outputs),
                "runspec": self._runspec(path.with_name("step.py"), folder),
                "notes": notes,
                "catalog": self.catalog,
                "path": folder,
                "directory": path.parent,
                "digest": digest(
                    [{key.removeprefix(folder): sha for key, sha in own.items()}, extra]
                ),
            }
        )

    def _noted(self, kind: str, identity: str) -> Any:
        """What the adapter's notes say of a step or a pattern."""
        return self.notes.get(kind, {}).get(identity, {})

    def _runspec(self, path: Path, folder: str) -> dict[str, Any] | None:
        text = self.reader.text(path) if path.is_file() else None
        try:
            return None if text is None else files.runspec(text, folder)
        except ValueError as error:
            self.reader.problem(
                self.reader.name(path),
                "tool.runspec",
                str(error),
                "mend the lines below /// script",
            )
            return None

    def types(self, path: Path) -> list[ArtifactType]:
        """The artifact types of a types.toml, by name; none where there is no such file."""
        reader, name = self.reader, self.reader.name(path)
        found = []
        for key, table in sorted((reader.toml(path) or {} if path.is_file() else {}).items()):
            if not isinstance(table, dict):
                reader.problem(name, key, "it is not a table", f"write it as [{key}]")
                continue
            values = {**table, "name": key, "convert_to": {}}
            try:
                values["convert_to"] = dict(files.conversions(table.get("convert_to", {})))
            except ValueError as error:
                reader.problem(
                    name, f"{key}.convert_to", str(error), 'write { type = "category/step" }'
                )
            entry = reader.build(ArtifactType, values, name, key)
            if entry is not None:
                found.append(entry)
        return found

    def patterns(self, directory: Path) -> list[Pattern]:
        """The patterns of a catalog, by id."""
        found: dict[str, Pattern] = {}
        places = [*directory.glob("patterns/*.md"), *directory.glob("*/patterns/*.md")]
        for path in sorted(path for path in places if path.stem.upper() != "README"):
            pattern = self._pattern(path)
            if pattern is not None and pattern.id in found:
                self.reader.problem(
                    pattern.path,
                    "id",
                    f"there are two patterns '{pattern.id}'; the one in "
                    f"{found[pattern.id].path} is used",
                    "give each its own id",
                )
            elif pattern is not None:
                found[pattern.id] = pattern
        return [found[key] for key in sorted(found)]

    def _pattern(self, path: Path) -> Pattern | None:
        reader, name = self.reader, self.reader.name(path)
        text = reader.text(path)
        if text is None:
            return None
        try:
            values, body = files.front_matter(text)
        except ValueError as error:
            reader.problem(name, "", str(error), "begin it with --- and `id: name`")
            return None
        values = {key: value for key, value in values.items() if value is not None}
        identity = str(values.get("id"))
        if "lockgate" in values:
            advice = self._advice(values["lockgate"], name, "lockgate")
        else:
            extra = self._noted("patterns", identity)
            advice = self._advice(extra, self.source, f'patterns."{identity}"')
        values |= {
            "advice": advice,
            "body": body,
            "catalog": self.catalog,
            "path": name,
            "digest": digest([reader.files[name], [one.model_dump() for one in advice]]),
        }
        return reader.build(Pattern, values, name)

    def _advice(self, table: Any, name: str, key: str) -> list[Advice]:
        entries = table.get("advice", []) if isinstance(table, dict) else None
        if not isinstance(entries, list):
            self.reader.problem(name, key, "it has no list `advice`", "write [[...advice]] tables")
            return []
        found = []
        for number, entry in enumerate(entries):
            place = f"{key}.advice[{number}]"
            if not isinstance(entry, dict):
                self.reader.problem(name, place, "it is not a table", f"write it as [[{key}]]")
                continue
            advice = self.reader.build(Advice, entry, name, place)
            if advice is not None:
                found.append(advice)
        return found


def _manifests(directory: Path) -> Iterator[Path]:
    """Every step.toml below a directory, in order; hidden directories are left out."""
    for folder, below, names in os.walk(directory):
        below[:] = sorted(name for name in below if name[0] not in "._")
        if "step.toml" in names:
            yield Path(folder) / "step.toml"


def _ports(ports: list[Port], notes: dict[str, InputNote] | dict[str, OutputNote]) -> list[Port]:
    """The manifest's ports with what the notes know better, and those that only they have."""
    found = []
    for port in ports:
        note = notes.get(port.type)
        required = port.required if note is None or note.required is None else note.required
        found.append(port.model_copy(update={"stated": port.required, "required": required}))
    stated = {port.type for port in ports}
    for kind in sorted(set(notes) - stated):
        added = notes[kind].required
        if added is not None:
            found.append(Port(type=kind, required=added))
    return found
