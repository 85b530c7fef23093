"""All catalogs together: where they are found, which of two wins, and what links them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from lockgate import tools
from lockgate.catalog.files import nearest
from lockgate.catalog.load import FALLBACK, NO_CATALOG, load_catalog, recognize, runners
from lockgate.catalog.model import ArtifactType, Catalog, Pattern, Problem, Step
from lockgate.errors import LockgateError

BUILTIN = "builtin"
VARIABLE = "LOCKGATE_CATALOGS"


@dataclass(frozen=True)
class Catalogs:
    """Several catalogs as one; the earlier wins.

    Attributes:
        catalogs: in the order of precedence.
        steps: by id, in the order of their catalogs.
        types: by name, over all catalogs.
        patterns: those of all catalogs.
        hidden: by `catalog:id`, the steps whose id an earlier catalog has too.
        shadowed: a note for each entry that an earlier catalog's hides.
        problems: what is wrong with any file; `where` begins with the catalog's name.
    """

    catalogs: list[Catalog]
    steps: dict[str, Step]
    hidden: dict[str, Step]
    types: dict[str, ArtifactType]
    patterns: list[Pattern]
    shadowed: list[Problem]
    problems: list[Problem]
    _above: dict[str, list[str]] = field(default_factory=dict, repr=False, compare=False)

    def step(self, name: str, where: str = "") -> Step:
        """A step by its id, or by `catalog:id`.

        Raises:
            LockgateError: if there is none, with the ids that are most like it.
        """
        catalog, _, identity = name.rpartition(":")
        step = self.steps.get(identity)
        if step is not None and catalog in ("", step.catalog):
            return step
        if name in self.hidden:
            return self.hidden[name]
        near = nearest(identity, self.steps)
        raise LockgateError(
            f"there is no step '{name}'",
            where=where,
            hint=f"did you mean {' or '.join(near)}?" if near else "see `lockgate steps list`",
        )

    def supertypes(self, kind: str) -> list[str]:
        """Types in whose place one may stand, nearest first; not itself, also in a circle."""
        if kind not in self._above:
            found: list[str] = []
            level = [kind]
            while level:
                parents = [up for one in level if one in self.types for up in self.types[one].is_a]
                level = [up for up in dict.fromkeys(parents) if up != kind and up not in found]
                found += level
            self._above[kind] = found
        return self._above[kind]

    def is_a(self, kind: str, other: str) -> bool:
        """Whether a type may stand where another is asked for."""
        return kind == other or other in self.supertypes(kind)

    def converters(self, kind: str) -> dict[str, str]:
        """Step ids by the type that they make of one type, or of what it may stand for."""
        found: dict[str, str] = {}
        for one in (kind, *self.supertypes(kind)):
            if one in self.types:
                found = {**self.types[one].convert_to, **found}
        return found

    def with_goal(self, word: str) -> list[Step]:
        """Steps that do what a goal says, in the order of their catalogs.

        A step without goals in its notes does what its category and the last part of its id
        say.
        """
        return [
            step
            for step in self.steps.values()
            if word in (step.notes.goals or (step.category, step.id.split("/")[-1]))
        ]

    def patterns_for(self, step: Step) -> list[Pattern]:
        """Patterns that name a step's id, its category or the beginning of its id, or none."""
        parts = step.id.split("/")
        names = {step.category, *("/".join(parts[:end]) for end in range(1, len(parts) + 1))}
        return [one for one in self.patterns if not one.steps or names & set(one.steps)]

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 of every file used, by `catalog/<name>/<path>`."""
        return {
            f"catalog/{one.name}/{path}": sha
            for one in self.catalogs
            for path, sha in one.files.items()
        }


def load(sources: list[tuple[str, Path]], builtin: Path, environ: str, cwd: Path) -> Catalogs:
    """Find and load all catalogs.

    Precedence: the configured, those of the environment, those around the working directory or
    installed, then the built-in one. A directory counts once.

    Args:
        sources: the configured ones, names and paths.
        builtin: the built-in one.
        environ: value of `LOCKGATE_CATALOGS`, paths joined by `:`.
        cwd: what relative paths start from.

    Raises:
        LockgateError: if a path that somebody named is no catalog, or two have one name.
    """
    found = _Found()
    for index, (name, path) in enumerate(sources):
        if name == BUILTIN:
            raise LockgateError(
                f"'{BUILTIN}' is the name of the built-in catalog",
                where=f"catalogs[{index}].name",
                hint="give it another name",
            )
        found.add(cwd / path, f"catalogs[{index}]", name)
    for text in filter(None, environ.split(":")):
        found.add(cwd / Path(text).expanduser(), VARIABLE)
    for runner in runners():
        for root in tools.get("catalog", runner, "").find(cwd):
            found.add(root, str(root))
    found.add(builtin, BUILTIN, BUILTIN)
    return merge(found.catalogs)


def load_only(paths: list[Path], cwd: Path) -> Catalogs:
    """Load just these catalogs, the earlier winning.

    Raises:
        LockgateError: if a path is no catalog.
    """
    found = _Found()
    for path in paths:
        found.add(cwd / path.expanduser(), str(path))
    return merge(found.catalogs)


class _Found:
    """Catalogs in the order of precedence; a directory counts once."""

    def __init__(self) -> None:
        self.catalogs: list[Catalog] = []
        self.places: set[Path] = set()

    def add(self, root: Path, where: str, name: str | None = None) -> None:
        """Load a catalog, unless it is there; `name` None: the adapter's or the directory's."""
        known = recognize(root)
        if known is None:
            what = "is not a step catalog" if root.exists() else "does not exist"
            raise LockgateError(f"{root} {what}", where=where, hint=NO_CATALOG)
        runner, steps = known
        taken = [one.name for one in self.catalogs]
        if name in taken:
            raise LockgateError(
                f"there are two catalogs '{name}'", where=where, hint="give each its own name"
            )
        if steps.resolve() not in self.places:
            self.places.add(steps.resolve())
            name = name or _name(root, runner, [BUILTIN, *taken])
            self.catalogs.append(load_catalog(root, name, runner))


def _name(root: Path, runner: str, taken: list[str]) -> str:
    """The adapter's name, or the directory's where the adapter takes any; a number if taken."""
    own = re.sub(r"[^\w.-]+", "-", root.resolve().name) or "catalog"
    base = own if runner == FALLBACK else runner
    name, number = base, 1
    while name in taken:
        number += 1
        name = f"{base}-{number}"
    return name


def merge(catalogs: list[Catalog]) -> Catalogs:
    """Join catalogs, the earlier winning, and check what one entry says of another."""
    steps: dict[str, Step] = {}
    hidden: dict[str, Step] = {}
    types: dict[str, ArtifactType] = {}
    patterns: dict[str, Pattern] = {}
    shadowed: list[Problem] = []
    for catalog in catalogs:
        for step in catalog.steps:
            if step.id not in steps:
                steps[step.id] = step
                continue
            name = f"{catalog.name}:{step.id}"
            hidden[name] = step
            shadowed.append(
                Problem(
                    where=f"{catalog.name}:{step.path}/step.toml: step.id",
                    what=f"'{step.id}' of catalog {steps[step.id].catalog} comes first",
                    hint=f"name this one as {name}",
                )
            )
        for entry in catalog.types:
            first = types.get(entry.name)
            types[entry.name] = entry if first is None else _joined(first, entry)
        for pattern in catalog.patterns:
            if pattern.id in patterns:
                shadowed.append(
                    Problem(
                        where=f"{catalog.name}:{pattern.path}: id",
                        what=f"pattern '{pattern.id}' of catalog "
                        f"{patterns[pattern.id].catalog} comes first",
                        hint="give this one another id",
                    )
                )
            patterns.setdefault(pattern.id, pattern)
    types = {name: _usable(entry, steps) for name, entry in types.items()}
    whole = Catalogs(catalogs, steps, hidden, types, list(patterns.values()), shadowed, [])
    for catalog in catalogs:
        for one in [*catalog.problems, *_broken_links(catalog, whole)]:
            where = f"{catalog.name}:{one.where}"
            whole.problems.append(one.model_copy(update={"where": where}))
    return whole


def _joined(first: ArtifactType, other: ArtifactType) -> ArtifactType:
    return first.model_copy(
        update={
            "description": first.description or other.description,
            "is_a": tuple(dict.fromkeys([*first.is_a, *other.is_a])),
            "convert_to": {**other.convert_to, **first.convert_to},
        }
    )


def _broken_links(catalog: Catalog, whole: Catalogs) -> Iterable[Problem]:
    """Types and steps that a catalog names and none has, and types that stand for themselves."""
    for step in catalog.steps:
        for group in ("consumes", "produces"):
            for number, port in enumerate(getattr(step, group)):
                where = f"{step.path}/step.toml: {group}[{number}].type"
                yield from _unknown("artifact type", port.type, whole.types, where)
    file = next((name for name in catalog.files if Path(name).name == "types.toml"), "types.toml")
    for entry in catalog.types:
        for parent in entry.is_a:
            where = f"{file}: {entry.name}.is_a"
            yield from _unknown("artifact type", parent, whole.types, where)
            circle = _path(parent, entry.name, whole)
            # each circle is told once, at its first name
            if circle and entry.name == min(circle):
                yield Problem(
                    where=where,
                    what=f"is_a goes in a circle: {' -> '.join([entry.name, *circle])}",
                    hint=f"remove one of these links, like '{parent}' here",
                )
        where = f"{file}: {entry.name}.convert_to"
        for target, name in entry.convert_to.items():
            yield from _unknown("step", name, whole.steps, where)
            if target:
                yield from _unknown("artifact type", target, whole.types, where)
            elif name in whole.steps and _product(whole.steps[name]) is None:
                yield Problem(
                    where=where,
                    what=f"it does not say which of its products '{name}' converts to",
                    hint='write { type = "step" }',
                )


def _path(start: str, end: str, whole: Catalogs) -> list[str]:
    """The shortest way from one type to another through is_a; empty: there is none."""
    ways = [[start]]
    seen = {start}
    for way in ways:
        if way[-1] == end:
            return way
        for parent in whole.types[way[-1]].is_a if way[-1] in whole.types else ():
            if parent not in seen:
                seen.add(parent)
                ways.append([*way, parent])
    return []


def _product(step: Step) -> str | None:
    """The one type that a step makes; None where it makes several."""
    made = [port.type for port in step.produces if port.required] or [
        port.type for port in step.produces
    ]
    return made[0] if len(made) == 1 else None


def _usable(entry: ArtifactType, steps: dict[str, Step]) -> ArtifactType:
    """A type whose conversions all name a step that is there and what it makes."""
    pairs = {
        target or _product(steps[step]): step
        for target, step in entry.convert_to.items()
        if step in steps
    }
    usable = {target: step for target, step in pairs.items() if target}
    return entry.model_copy(update={"convert_to": usable})


def _unknown(kind: str, name: str, known: Iterable[str], where: str) -> Iterable[Problem]:
    if name not in known:
        near = nearest(name, known, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"add the {kind}, or remove it here"
        yield Problem(where=where, what=f"there is no {kind} '{name}'", hint=hint)
