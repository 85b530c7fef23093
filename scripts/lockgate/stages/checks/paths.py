"""Are paths concrete, apart from each other, and whole."""

from __future__ import annotations

import fnmatch
import glob
import posixpath
from collections.abc import Iterable, Iterator
from pathlib import Path

from lockgate.stages.checks.context import Context, absent
from lockgate.stages.checks.values import Unresolved, resolve
from lockgate.stages.model import Check, Source, Stage


def present(context: Context) -> Iterator[Check]:
    """`paths.present`: what the user names is here, unless it may be on the Hub or elsewhere."""
    code = "paths.present"
    for stage in context.stages:
        for kind, source in stage.inputs.items():
            if source.stage or source.model or source.path == "???":
                continue  # a model is verified by itself
            told = f"{kind}: {source.path}"
            if absent(source.path):
                fix = "put it there, or mend the path in the configuration"
                yield Check(code, stage.name, "warning", f"{told} is not here", fix)
            elif Path(source.path).exists() or glob.has_magic(source.path):
                yield Check(code, stage.name, "ok", f"{told} is here")
            else:
                why = "it is on the Hub or elsewhere, or absent: the stage itself will find out"
                yield Check(code, stage.name, "not checked", told, why, severity="note")


def iteration(context: Context) -> Iterator[Check]:
    """`paths.iteration`: a checkpoint of many iterations is one concrete directory of them."""
    code = "paths.iteration"
    for stage in context.stages:
        for kind, source in stage.inputs.items():
            pattern = source.iterations or ("" if source.stage else _pattern(context, source))
            note = stage.step.notes.inputs.get(kind)
            if not pattern:
                continue
            if note and note.parent:
                told = f"{kind}: {stage.step.id} takes the newest {pattern} below it"
                yield Check(code, stage.name, "ok", f"{told} itself")
                continue
            if source.stage:
                told = f"{kind}: the newest complete {pattern} of {source.stage}"
                yield Check(code, stage.name, "ok", f"{told}, taken when the stage starts")
            elif _names(source.path, pattern):
                yield Check(code, stage.name, "ok", f"{kind}: {source.path} names its {pattern}")
            else:
                yield Check(
                    code,
                    stage.name,
                    "warning",
                    f"{kind}: {source.path} has no directory {pattern}",
                    f"name one, like {source.path.rstrip('/')}/{_example(pattern)}",
                )


def _names(path: str, pattern: str) -> bool:
    """Whether directories of a path, one after the other, match those of a pattern."""
    parts, wanted = path.split("/"), pattern.split("/")
    return any(
        all(map(fnmatch.fnmatchcase, parts[at : at + len(wanted)], wanted))
        for at in range(len(parts) - len(wanted) + 1)
    )


def _pattern(context: Context, source: Source) -> str:
    """How the known steps that make such a thing name its iterations.

    A pattern of several directories leads to a finished model: what is not below one may be a
    finished model as well.
    """
    for step in [*(stage.step for stage in context.stages), *context.alternatives]:
        note = step.notes.outputs.get(source.type)
        if note and note.iterations and "/" not in note.iterations:
            return note.iterations
    return ""


def _example(pattern: str) -> str:
    return pattern.replace("*", "0000100").replace("?", "0")


def overlap(context: Context) -> Iterator[Check]:
    """`paths.overlap`: no stage writes where it or another reads what the user brings, or where
    another stage writes."""
    code = "paths.overlap"
    outputs = {stage.name: _outputs(context, stage) for stage in context.stages}
    inputs = {stage.name: _inputs(context, stage) for stage in context.stages}
    for at, stage in enumerate(context.stages):
        mine = outputs[stage.name]
        clashes = []
        for other in context.stages:
            theirs = inputs[other.name]
            if other.name != stage.name:
                # reading below what an earlier stage made is what chains are for
                theirs = [
                    path for path in theirs if not any(_inside(path, out) for out in mine)
                ] + _foreign(other, theirs)
            clashes += [
                f"{one} and {two}, which {other.name} reads"
                for one in mine
                for two in theirs
                if _touch(one, two)
            ]
        for other in context.stages[:at]:
            clashes += [
                f"{one} and {two}, which {other.name} writes"
                for one in mine
                for two in outputs[other.name]
                if _touch(one, two)
            ]
        told = f"{stage.name} writes {', '.join(dict.fromkeys(stage.outputs.values()))}"
        if clashes:
            fix = "give its output a directory of its own (leave the key out: the plan sets one)"
            each = "; ".join(dict.fromkeys(clashes))
            yield Check(code, stage.name, "warning", f"{told}: {each}", fix)
        elif mine:
            yield Check(code, stage.name, "ok", f"{told}, apart from all that is read")


def _foreign(stage: Stage, paths: list[str]) -> list[str]:
    """The user's own paths among a stage's inputs."""
    own = {_plain(source.path) for source in stage.inputs.values() if not source.stage}
    return [path for path in paths if path in own]


def _outputs(context: Context, stage: Stage) -> list[str]:
    keys = [key for note in stage.step.notes.outputs.values() for key in note.key]
    return _paths([*stage.outputs.values(), *_values(context, stage, keys)])


def _inputs(context: Context, stage: Stage) -> list[str]:
    keys = [
        key
        for kind, note in stage.step.notes.inputs.items()
        if kind in stage.inputs and note.form == "path"
        for key in note.key
    ]
    sources = [source.path for source in stage.inputs.values()]
    return _paths([*sources, *_values(context, stage, keys)])


def _values(context: Context, stage: Stage, keys: Iterable[str]) -> Iterator[str]:
    for key in keys:
        try:
            value = resolve(stage.config, key, context.environ)
        except Unresolved:
            continue
        if isinstance(value, str):
            yield value


def _paths(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(_plain(value) for value in values if value))


def _plain(path: str) -> str:
    """A path up to its first wildcard."""
    parts = path.split("/")
    at = next((at for at, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return posixpath.normpath("/".join(parts[:at]) or path)


def _inside(path: str, directory: str) -> bool:
    return directory == "." or path == directory or path.startswith(f"{directory.rstrip('/')}/")


def _touch(one: str, two: str) -> bool:
    return _inside(one, two) or _inside(two, one)


def globs(context: Context) -> Iterator[Check]:
    """`paths.glob`: where a key takes a glob, the whole glob arrives there."""
    code = "paths.glob"
    for stage in context.stages:
        for kind, source in stage.inputs.items():
            note = stage.step.notes.inputs.get(kind)
            # in another form the key names a file that holds the path
            wanted = _wanted(source, note.glob) if note and note.form == "path" else ""
            for key in note.key if note and wanted else ():
                try:
                    value = str(resolve(stage.config, key, context.environ))
                except Unresolved as error:
                    value = str(error)
                if value == wanted:
                    yield Check(code, stage.name, "ok", f"{key} = {value}")
                else:
                    told = f"{key} = {value}, not {wanted}"
                    yield Check(code, stage.name, "warning", told, f"set {key} to {wanted}")


def _wanted(source: Source, pattern: str) -> str:
    """What the key has to hold; empty where there is no glob."""
    if source.stage:
        return f"{source.path.rstrip('/')}/{pattern}" if pattern else ""
    return source.path if glob.has_magic(source.path) else ""
