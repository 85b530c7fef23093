"""Files of a folder handed over, gathered before the first is written."""

from __future__ import annotations

import re
from pathlib import Path

from lockgate import files
from lockgate.errors import LockgateError

_WRITTEN = re.compile(
    r"(results|logs|data/(made|tool))/|data/(train|validation|test|records)\.jsonl"
)
"""What the folder's own commands write, or what is written beside these files."""


class Contents:
    """The files by their name in the folder.

    Args:
        source: the configuration's file, for messages.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._known: dict[str, bytes] = {}
        self._apart: set[str] = set()

    def put(self, name: str, content: str | bytes) -> None:
        """Add a file.

        Raises:
            LockgateError: if one of that name is there with other content.
        """
        content = content.encode() if isinstance(content, str) else content
        if self._known.setdefault(name, content) != content:
            raise LockgateError(
                f"two files of the folder would be {name}",
                where=self._source,
                hint="rename your own file of that name",
            )

    def copy(self, name: str, path: Path) -> None:
        """Add a file of the user's own, byte by byte.

        Raises:
            LockgateError: see `put`; or if it cannot be read, or is where results will be.
        """
        if _WRITTEN.match(name):
            raise LockgateError(
                f"the folder's own commands write {name}",
                where=self._source,
                hint="move your own file of that name to another directory",
            )
        try:
            content = path.read_bytes()
        except OSError as error:
            raise LockgateError(
                f"cannot read {path}: {error.strerror}", where=self._source
            ) from error
        self.put(name, content)

    def set_apart(self, names: tuple[str, ...]) -> None:
        """These run in another environment than the folder's."""
        self._apart |= set(names)

    def programs(self) -> dict[str, bytes]:
        """Python files that run in the folder's environment."""
        return {
            name: content
            for name, content in self._known.items()
            if name.endswith(".py") and name not in self._apart
        }

    def naming(self, places: set[str]) -> list[str]:
        """Where files name one of these absolute paths: `NAME, line N`, the first of each file."""
        known = "|".join(re.escape(place) for place in sorted(places - {"/"}))
        if not known:
            return []
        pattern = re.compile(rf"(?<![\w./])(?:{known})(?![\w-])")
        found = []
        for name, content in self._known.items():
            text = content.decode(errors="replace")
            if match := pattern.search(text):
                found.append(f"{name}, line {text.count(chr(10), 0, match.start()) + 1}")
        return found

    def write(self, out: Path) -> None:
        """Write them below the directory `out`; shell scripts can be executed."""
        for name, content in self._known.items():
            files.write_bytes(out / name, content)
            if name.endswith(".sh"):
                (out / name).chmod(0o755)
