"""What the files of a catalog say: read as text, checked, and nothing in them imported."""

from __future__ import annotations

import difflib
import hashlib
import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from lockgate.catalog.model import Notes, Problem

Model = TypeVar("Model", bound=BaseModel)

_HEADER = re.compile(r"(?m)^# /// script$\s(?P<lines>(?:^#(?:| .*)$\s)+)^# ///$")
_SHA = re.compile(r"[0-9a-f]{40,64}")


class Reader:
    """Reads files below a root, and keeps their digests and what is wrong with them.

    Attributes:
        files: SHA-256 by name.
        problems: in the order found.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files: dict[str, str] = {}
        self.problems: list[Problem] = []

    def problem(self, name: str, key: str, what: str, hint: str = "") -> None:
        """Note what is wrong with a key of a file."""
        self.problems.append(Problem(where=f"{name}: {key}" if key else name, what=what, hint=hint))

    def name(self, path: Path) -> str:
        """A path relative to the root."""
        return path.relative_to(self.root).as_posix()

    def text(self, path: Path, name: str = "") -> str | None:
        """A file's text; None, with a problem, where it cannot be read."""
        name = name or self.name(path)
        try:
            content = path.read_bytes()
            self.files[name] = hashlib.sha256(content).hexdigest()
            return content.decode()
        except OSError as error:
            self.problem(name, "", f"cannot read it: {error.strerror}", "make it readable")
        except UnicodeDecodeError:
            self.problem(name, "", "it is not UTF-8 text", "save it as UTF-8")
        return None

    def toml(self, path: Path, name: str = "") -> dict[str, Any] | None:
        """A file's tables; None, with a problem, where it is broken."""
        name = name or self.name(path)
        text = self.text(path, name)
        try:
            return None if text is None else tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            self.problem(name, "", f"not valid TOML: {error}", "mend the syntax")
        return None

    def build(
        self,
        kind: type[Model],
        values: dict[str, Any],
        name: str,
        key: str = "",
        tables: dict[str, str] | None = None,
    ) -> Model | None:
        """Validate values; None, with a problem for each wrong key, where they do not fit.

        Args:
            kind: the model.
            values: its fields.
            name: the file's name.
            key: where the values are in it; empty: at the top.
            tables: the table that a field is in, where it is not `key`.
        """
        try:
            return kind(**values)
        except ValidationError as error:
            for one in error.errors():
                table = (tables or {}).get(str(one["loc"][0]), key)
                path = dotted((table, *one["loc"]) if table else one["loc"])
                what = one["msg"][0].lower() + one["msg"][1:]
                self.problem(name, path, what, f"mend '{path}'")
        return None

    def notes(self, table: Any, name: str, key: str) -> dict[str, Any]:
        """A `lockgate` table that is known to fit; empty, with problems, where it does not."""
        if not isinstance(table, dict):
            self.problem(name, key, "it is not a table", f"write it as [{key}]")
            return {}
        for field in sorted(set(table) - set(Notes.model_fields)):
            near = nearest(field, Notes.model_fields, 1)
            hint = f"did you mean '{near[0]}'?" if near else "remove it"
            self.problem(name, f"{key}.{field}", "there is no such note", hint)
        return table if self.build(Notes, table, name, key) else {}


def dotted(parts: Iterable[str | int]) -> str:
    """A key as a person reads it, like `consumes[0].type`."""
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def nearest(word: str, known: Iterable[str], number: int = 3) -> list[str]:
    """The names that a mistyped one is most like, also where only its last part is."""
    names = sorted(known)
    tails: dict[str, str] = {}
    for name in names:
        tails.setdefault(name.split("/")[-1], name)
    found = difflib.get_close_matches(word, names, number)
    found += [tails[tail] for tail in difflib.get_close_matches(word.split("/")[-1], tails, number)]
    return list(dict.fromkeys(found))[:number]


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Two nested mappings in one; `over` wins."""
    result = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


def front_matter(text: str) -> tuple[dict[str, Any], str]:
    """The front matter of a markdown file, and what follows it.

    Raises:
        ValueError: saying what is wrong, if there is none or it is no YAML mapping.
    """
    parts = re.split(r"(?m)^---[ \t]*\r?$\n?", text, maxsplit=2)
    if len(parts) < 3 or parts[0].strip():
        raise ValueError("it has no front matter between two lines of ---")
    try:
        values = yaml.load(parts[1], yaml.CSafeLoader)
    except yaml.YAMLError as error:
        raise ValueError(f"its front matter is not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise ValueError("its front matter is not a mapping")
    return values, parts[2].strip()


def runspec(text: str, directory: str) -> dict[str, Any] | None:
    """What the header of a step.py says of running it; None: it has no such header.

    Args:
        text: the file's text.
        directory: the step's, relative to its catalog's root.

    Raises:
        ValueError: saying what is wrong, if the header is broken.
    """
    header = _HEADER.search(text)
    if header is None:
        return None
    lines = (line[2:] for line in header["lines"].splitlines())
    try:
        tool = tomllib.loads("\n".join(lines)).get("tool", {})
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"its header is not valid TOML: {error}") from error
    if "runspec" not in tool:
        return None
    spec = tool["runspec"]
    run, config, resources = (spec.get(key, {}) for key in ("run", "config", "resources"))
    if not all(isinstance(table, dict) for table in (run, config, resources)):
        raise ValueError("in its header run, config and resources must be tables")
    least = {"nodes": 1, "gpus_per_node": 0}
    counts = {key: resources.get(key, value) for key, value in least.items()}
    for key, value in counts.items():
        if type(value) is not int or value < least[key]:
            raise ValueError(f"in its header {key} is {value!r}, not a number")
    return {
        "name": spec.get("name"),
        "image": spec.get("image"),
        "launch": run.get("launch", "python"),
        "config_dir": (Path(directory) / config.get("dir", "config")).as_posix(),
        "default_config": config.get("default", "default"),
        "resources": counts,
    }


def conversions(value: Any) -> Iterator[tuple[str, str]]:
    """Pairs of a target type and the step that makes it, from any spelling of `convert_to`.

    `{type = "step"}`, `{type = {step = "..."}}`, or one or a list of `{step = "...",
    type = "..."}` (also `to` or `target`). A target that is not named is empty.

    Raises:
        ValueError: saying what is wrong, if it is none of these.
    """
    if isinstance(value, list):
        for item in value:
            yield from conversions(item)
        return
    if not isinstance(value, dict):
        raise ValueError("it is not a table of type = step")
    if "step" in value:
        named = [value[key] for key in ("type", "to", "target") if key in value]
        value = {named[0] if named else "": value["step"]}
    for target, step in value.items():
        step = step.get("step") if isinstance(step, dict) else step
        if not isinstance(step, str) or not isinstance(target, str):
            raise ValueError(f"the step for '{target}' is not text")
        yield target, step


def commit(root: Path) -> str | None:
    """The commit that a checkout has out, without running git; None: it is in no git checkout."""
    try:
        root = next(one for one in (root, *root.resolve().parents) if (one / ".git").exists())
        store = root / ".git"
        if store.is_file():  # a worktree or a submodule
            store = root / store.read_text().removeprefix("gitdir:").strip()
        head = (store / "HEAD").read_text().strip()
        if not head.startswith("ref:"):
            return head if _SHA.fullmatch(head) else None
        ref = head.removeprefix("ref:").strip()
        shared = store / "commondir"
        common = store / shared.read_text().strip() if shared.is_file() else store
        for place in (store, common):
            if (place / ref).is_file():
                return (place / ref).read_text().strip()
        for line in (common / "packed-refs").read_text().splitlines():
            sha, _, name = line.partition(" ")
            if name == ref:
                return sha
    except (OSError, StopIteration, UnicodeDecodeError):
        pass
    return None
