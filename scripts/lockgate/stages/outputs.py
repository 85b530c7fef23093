"""What a stage's job finds and leaves on the disk: inputs as they are now, outputs that are there.

That a step ended with status 0 says little: what it made is looked at.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lockgate.catalog.model import OutputNote, Step
from lockgate.errors import LockgateError
from lockgate.files import read_json, read_text
from lockgate.stages.model import PREFIXES, RESULTS, Source

TRACKER = "latest_checkpointed_iteration.txt"
"""File beside checkpoints that names the last one that was saved completely."""

_TEMPORARY = re.compile(r"(^|[._-])(tmp|temp|partial|incomplete|unfinished)(?![a-z])", re.I)
_SMALL = 1_000_000  # bytes; the content of larger files is not digested
_SHOWN = 3


def resolve_iterations(value: str, pattern: str) -> str:
    """The newest complete checkpoint directory below a path.

    Newest is by the numbers in its name, never by time or as text. Complete is one that holds a
    file with content and is not marked as temporary; where the tool keeps a tracker file, none
    above the number in it, which has to be there.

    Args:
        value: the directory above, or a concrete one already.
        pattern: as in `OutputNote.iterations`, like `iter_*` or `step_*/weights`.

    Raises:
        LockgateError: if there is none.
    """
    root = Path(value)
    above = root.parents[len(Path(pattern).parts) - 1 : len(Path(pattern).parts)]
    if above and root.is_dir() and root.relative_to(above[0]).match(pattern):
        if _complete(root, above[0]):
            return value
        raise LockgateError("it is empty or temporary", where=value, hint="name another one")
    found = [path for path in root.glob(pattern) if path.is_dir()]
    complete = [path for path in found if _complete(path, root)]
    numbered = sorted((_numbers(path.relative_to(root)), str(path)) for path in complete)
    numbered = _tracked(numbered, root)
    if not numbered:
        seen = ", ".join(sorted(path.name for path in root.glob("*"))[:_SHOWN]) or "nothing"
        if not root.is_dir():
            seen = "no such directory"
        raise LockgateError(
            f"there is no complete checkpoint {pattern} (found: {seen})",
            where=value,
            hint="let the stage that writes it finish, or name a concrete directory",
        )
    return numbered[-1][1]


def _numbers(path: Path) -> tuple[int, ...]:
    return tuple(int(digits) for digits in re.findall(r"\d+", str(path)))


def _complete(path: Path, root: Path) -> bool:
    parts = path.relative_to(root).parts
    marked = any(_TEMPORARY.search(part) for part in parts)
    marked = marked or any(
        root.joinpath(*parts[:end]).with_name(f"{parts[end - 1]}-unfinished").exists()
        for end in range(1, len(parts) + 1)
    )
    return not marked and any(size for _, size in _files(path))


def _tracked(
    numbered: list[tuple[tuple[int, ...], str]], root: Path
) -> list[tuple[tuple[int, ...], str]]:
    """Those up to the number in the tracker file, if there is one."""
    tracker = root / TRACKER
    if not tracker.is_file():
        return numbered
    text = read_text(tracker).strip()
    if not text.isdigit():
        raise LockgateError(
            f"it says '{text[:40]}', which is no number",
            where=str(tracker),
            hint="name a concrete checkpoint directory in place of the one above",
        )
    kept = [one for one in numbered if one[0] and one[0][-1] <= int(text)]
    if not kept or kept[-1][0][-1] != int(text):
        raise LockgateError(
            f"it names iteration {text}, which is missing, empty or temporary",
            where=str(tracker),
            hint="restore that checkpoint, or name a concrete one",
        )
    return kept


def resolve(
    config: Mapping[str, Any], sources: Mapping[str, Source | Mapping[str, Any]], results: Path
) -> dict[str, Any]:
    """A stage's configuration with its inputs as they are now.

    A directory above checkpoints becomes the newest of them, the glob of an earlier stage's
    output the newest path that it matches, and what asks for prefixes the list of them.

    Args:
        config: as built, nested; it is not changed.
        sources: the stage's inputs by type (or what `dataclasses.asdict` makes of them).
        results: the results directory.

    Raises:
        LockgateError: if an input that an earlier stage makes is not there.
    """
    replaced: dict[str, str] = {}
    for kind, one in sorted(sources.items()):
        source = one if isinstance(one, Source) else Source(**one)
        if not source.stage and not source.iterations:
            continue
        planned = placed(source.path, results).rstrip("/")
        actual = planned
        if glob.has_magic(planned) and not os.path.exists(planned):
            matches = sorted(glob.glob(planned), key=lambda path: (os.path.getmtime(path), path))
            actual = matches[-1] if matches else planned
        if not os.path.exists(actual):
            raise LockgateError(
                f"its {kind} is not there",
                where=planned,
                hint=f"run the stage {source.stage} again" if source.stage else "check the path",
            )
        if source.iterations:
            actual = resolve_iterations(actual, source.iterations)
        replaced[planned] = replaced[os.path.abspath(planned)] = actual
    settled = _replaced(placed(dict(config), results), replaced)
    assert isinstance(settled, dict)
    return settled


def placed(value: Any, results: Path) -> Any:
    """The same with the planned results directory as it is on this machine, absolute."""
    return _each(value, lambda text: text.replace(RESULTS, str(results.resolve())))


def _replaced(value: Any, paths: Mapping[str, str]) -> Any:
    def one(text: str) -> Any:
        prefixes = text.startswith(PREFIXES)
        text = text.removeprefix(PREFIXES)
        # the longest first: one path may lie in another
        for planned in sorted(paths, key=len, reverse=True):
            if text.rstrip("/") == planned or text.startswith(f"{planned}/"):
                text = paths[planned] + text[len(planned) :]
                break
        return _prefixes(Path(text)) if prefixes else text

    return _each(value, one)


def _each(value: Any, change: Callable[[str], Any]) -> Any:
    """The same with every text in it changed."""
    if isinstance(value, dict):
        return {key: _each(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [_each(item, change) for item in value]
    return change(value) if isinstance(value, str) else value


def _prefixes(path: Path) -> list[Any]:
    document = read_json(path)
    found = document.get("train") if isinstance(document, dict) else None
    if not isinstance(found, list) or not found:
        raise LockgateError(
            "it has no list under `train`",
            where=str(path),
            hint="it is what the preparation of the data writes: run that stage again",
        )
    return found


def verify(step: Step, outputs: Mapping[str, str | Path]) -> list[dict[str, Any]]:
    """Look at what a step should have made.

    Args:
        step: the step; its notes say which files each artifact must have.
        outputs: path of each artifact by its type, absolute; a glob where a part of it is only
            known after the run.

    Returns:
        One record an artifact: what `describe` gives, and `type`, `iteration` (the newest
        checkpoint, where there are such), and `problems`, one sentence each.
    """
    return [
        _verified(kind, str(path), step.notes.outputs.get(kind, OutputNote()))
        for kind, path in outputs.items()
    ]


def _verified(kind: str, path: str, note: OutputNote) -> dict[str, Any]:
    record = {"type": kind, **describe(path), "iteration": None}
    tops = _matches(path)
    problems = [f"{path}/{one} {told}" for one in note.verify if (told := _lack(path, one))]
    if not tops:
        problems = [f"{path} is not there"]
    elif not record["bytes"]:
        problems = [f"{path} has no file with content"]
    elif record["rows"] == 0:
        problems.append(f"{path} has no rows")
    elif note.iterations and not problems:
        try:
            record["iteration"] = resolve_iterations(tops[-1], note.iterations)
        except LockgateError as error:
            problems.append(f"{error.where}: {error.what}")
    asked = [one for pattern in note.verify for one in _below(path, pattern)]
    for file in sorted({file for one in asked or tops for file, _ in _files(Path(one))}):
        if _is_cut(file):
            problems.append(f"{file} ends in the middle of a row")
    return {**record, "problems": problems}


def _below(path: str, pattern: str) -> list[str]:
    """What a pattern matches below an artifact; of a file, the file itself."""
    if os.path.isfile(path):
        return [path] if Path(path).match(pattern) else []
    return _matches(f"{glob.escape(path) if os.path.exists(path) else path}/{pattern}")


def _lack(path: str, pattern: str) -> str:
    """What is wrong with what a pattern should match below an artifact."""
    found = _below(path, pattern)
    if any(size for one in found for _, size in _files(Path(one))):
        return ""
    return "is empty" if found else "is not there"


def _matches(path: str) -> list[str]:
    """What a path or a glob names."""
    if os.path.exists(path):
        return [path]
    return sorted(glob.glob(path, recursive=True)) if glob.has_magic(path) else []


def _files(path: Path) -> Iterator[tuple[Path, int]]:
    """Each file at or below a path, in order, with its size in bytes."""
    if path.is_file():
        yield path, path.stat().st_size
        return
    for folder, below, names in os.walk(path):
        below.sort()
        for name in sorted(names):
            file = Path(folder, name)
            if file.is_file():  # a link may lead nowhere
                yield file, file.stat().st_size


def _is_cut(path: Path) -> bool:
    """Whether the last row of a JSON Lines file is not whole."""
    if path.suffix != ".jsonl":
        return False
    last = b"null"
    with open(path, "rb") as handle:
        for line in handle:
            last = line if line.strip() else last
    try:
        json.loads(last)
    except ValueError:
        return True
    return False


def describe(path: str | Path) -> dict[str, Any]:
    """What is at a path, or at what a glob matches.

    Returns:
        `path`, `files` (count), `bytes`, `rows` (of all JSON Lines files; None without one) and
        `digest` (12 hex digits over names, sizes, and the content of files up to 1 MB).
    """
    sha = hashlib.sha256()
    count = total = 0
    rows: int | None = None
    for top in _matches(str(path)):
        for file, size in _files(Path(top)):
            count, total = count + 1, total + size
            name = file.name if file == Path(top) else os.path.relpath(file, top)
            sha.update(json.dumps([name, size]).encode())
            if size <= _SMALL:
                sha.update(file.read_bytes())
            if file.suffix == ".jsonl":
                with open(file, "rb") as handle:
                    rows = (rows or 0) + sum(1 for line in handle if line.strip())
    return {
        "path": str(path),
        "files": count,
        "bytes": total,
        "rows": rows,
        "digest": sha.hexdigest()[:12],
    }
