"""Files and digests: every write is atomic, every digest is stable across runs and machines."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import yaml

from lockgate.errors import LockgateError


def digest(value: Any) -> str:
    """SHA-256 (first 12 hex digits) of a JSON-able value, independent of key order."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def file_digest(path: Path | str) -> str:
    """SHA-256 (64 hex digits) of a file's content."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def write_text(path: Path | str, text: str) -> None:
    write_bytes(path, text.encode())


def write_bytes(path: Path | str, content: bytes) -> None:
    """Write a file under a temporary name, then rename it: it is whole or it is not there."""
    write_parts(path, [content])


def write_parts(path: Path | str, parts: Iterable[bytes]) -> None:
    """The same in parts, so that a large file need not be held as a whole."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as handle:
            handle.writelines(parts)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path | str, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_yaml(path: Path | str, value: Any, header: str = "") -> None:
    """Write YAML in the order of the keys given, below an optional `#` comment."""
    comment = "".join(f"# {line}".rstrip() + "\n" for line in header.splitlines())
    write_text(path, comment + yaml.safe_dump(value, sort_keys=False, allow_unicode=True))


def write_jsonl(path: Path | str, rows: Iterable[Any]) -> None:
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_text(path: Path | str, *, where: str = "", hint: str = "") -> str:
    """Read a text file.

    Raises:
        LockgateError: if it does not exist, is not readable or is not UTF-8.
    """
    try:
        return Path(path).read_text(encoding="utf-8-sig")  # with or without a byte order mark
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise LockgateError(f"cannot read {path}: {reason}", where=where, hint=hint) from error


def read_json(path: Path | str) -> Any:
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise LockgateError(
            f"not valid JSON: {error}", where=str(path), hint="delete the file and run again"
        ) from error


def read_yaml(path: Path | str) -> Any:
    try:
        return yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise LockgateError(f"not valid YAML: {error}", where=str(path)) from error


def read_jsonl(path: Path | str, where: str = "") -> list[dict[str, Any]]:
    """Read a JSON Lines file of objects, naming the line when one is broken."""
    rows = []
    # not splitlines: JSON leaves U+2028 and its like unescaped within a line
    for number, line in enumerate(read_text(path, where=where).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise LockgateError(
                f"line {number} is not valid JSON: {error.msg}",
                where=str(path),
                hint="each line must be one JSON object",
            ) from error
        except RecursionError:
            raise LockgateError(
                f"line {number} is nested too deeply",
                where=str(path),
                hint="flatten it: write what is within as text, or as fields of the record",
            ) from None
        if not isinstance(row, dict):
            raise LockgateError(
                f"line {number} is {type(row).__name__}, not an object",
                where=str(path),
                hint='each line must be one JSON object, like {"question": "...", "answer": "..."}',
            )
        rows.append(row)
    return rows


def tail(path: Path | str, lines: int) -> list[str]:
    """The last lines of a log that are not empty; none where there is no file."""
    try:
        with open(path, "rb") as handle:
            handle.seek(max(0, handle.seek(0, 2) - 64_000))
            text = handle.read().decode("utf-8", "replace")
    except OSError:
        return []
    return [line.rstrip() for line in text.splitlines() if line.strip()][-lines:]


def take(handle: IO[Any], wait: bool = False) -> bool:
    """Lock an open file; False: another process holds it.

    Args:
        handle: the file.
        wait: for the other process, instead.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        print(
            f"WARNING: {handle.name}: its file system has no locks; not checked whether another "
            "process works here",
            file=sys.stderr,
        )
    return True


@contextmanager
def locked(path: Path | str, what: str = "", hint: str = "") -> Iterator[None]:
    """Hold an exclusive lock on a file for as long as the block runs.

    The kernel releases it when the process ends, however it ends.

    Args:
        path: the lock file; it holds the owner's process id.
        what: what to say when another process holds it; empty: wait for it instead.
        hint: what to do then.

    Raises:
        LockgateError: at once, if another process holds it and `what` is given.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+") as handle:
        if not take(handle, wait=not what):
            handle.seek(0)
            raise LockgateError(
                f"{what} (process {handle.read().strip() or 'unknown'})",
                where=str(path),
                hint=hint,
            )
        handle.seek(0)
        handle.truncate()
        handle.write(str(os.getpid()))
        handle.flush()
        yield
