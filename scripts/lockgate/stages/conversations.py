"""Chat rows: `messages`, a `prompt` and its `completion`, or an `input` and its `output`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lockgate.errors import LockgateError
from lockgate.files import read_jsonl, read_text

_FORM = (
    'a row is {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": '
    '"..."}]} or {"prompt": "...", "completion": "..."} (or "input" and "output")'
)

_PAIRS = (("prompt", "completion"), ("input", "output"))


def read(pattern: str, key: str) -> list[tuple[str, dict[str, Any]]]:
    """Rows of a JSON Lines file, or of all that a glob matches, each with `file: line N`.

    Args:
        pattern: a file, or a glob.
        key: configuration file and key that name it, for messages.

    Raises:
        LockgateError: if there is no file or no row, or a line is broken.
    """
    path = Path(pattern).expanduser()
    files = sorted(path.parent.glob(path.name)) if "*" in path.name else [path]
    found = []
    for file in files:
        rows = read_jsonl(file, where=key)
        numbers = [n for n, line in enumerate(read_text(file).split("\n"), 1) if line.strip()]
        found += [(f"{file}: line {n}", row) for n, row in zip(numbers, rows, strict=True)]
    if not found:
        raise LockgateError(
            f"{pattern} has no rows" if files else f"no file matches {pattern}",
            where=key,
            hint=_FORM,
        )
    return found


def messages(row: dict[str, Any], where: str) -> list[dict[str, str]]:
    """The messages of a row of any kind; the last one is the assistant's answer.

    Raises:
        LockgateError: naming `where`, if it is of no kind, or nothing is left to learn.
    """
    pair = next((pair for pair in _PAIRS if all(key in row for key in pair)), None)
    if "messages" in row:
        given = row["messages"]
        if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
            raise LockgateError("'messages' is not a list of messages", where=where, hint=_FORM)
        found = [{"role": one.get("role"), "content": one.get("content")} for one in given]
    elif pair == ("input", "output") and row.get("instruction"):
        raise LockgateError(
            "'input' has an 'instruction' beside it, which would be lost",
            where=where,
            hint="write both into one 'prompt'",
        )
    elif pair:
        found = [
            {"role": role, "content": row[key]}
            for role, key in zip(("user", "assistant"), pair, strict=True)
        ]
    else:
        raise LockgateError(
            f"neither 'messages' nor 'prompt' and 'completion' (it has: {', '.join(row)})",
            where=where,
            hint=_FORM,
        )
    for number, one in enumerate(found, 1):
        if one["role"] not in ("system", "user", "assistant"):
            raise LockgateError(
                f"message {number} has the role {one['role']!r}",
                where=where,
                hint="the roles are system, user and assistant",
            )
        if not isinstance(one["content"], str) or not one["content"].strip():
            raise LockgateError(
                f"the {one['role']}'s message {number} is empty or not text",
                where=where,
                hint="take the row out, or write its content as one text",
            )
    if len(found) < 2 or found[-1]["role"] != "assistant":
        raise LockgateError(
            "it does not end with an answer of the assistant", where=where, hint=_FORM
        )
    return found


def single_turns(
    pattern: str, key: str, system_prompt: str | None, limit: int | None
) -> tuple[list[dict[str, str]], str | None]:
    """Rows of `id`, `prompt` and `completion`, and the system prompt that all of them share.

    Args:
        pattern: a file or glob of rows of any kind.
        key: configuration file and key that name it, for messages.
        system_prompt: the configured one; None: that of the rows, if they have one.
        limit: take the first rows only.

    Raises:
        LockgateError: naming file and line, where a row is not one question and its answer, or
            has another system message than the rest.
    """
    return as_turns(read(pattern, key)[:limit], system_prompt)


def as_turns(
    given: list[tuple[str, dict[str, Any]]], system_prompt: str | None
) -> tuple[list[dict[str, str]], str | None]:
    """Like `single_turns`, of rows that were read already, each with where it is."""
    rows, shared = [], system_prompt
    for number, (where, row) in enumerate(given):
        found = messages(row, where)
        own = found.pop(0)["content"] if found[0]["role"] == "system" else None
        if [one["role"] for one in found] != ["user", "assistant"]:
            raise LockgateError(
                f"it has {len(found)} messages, not one question and its answer",
                where=where,
                hint="cut it into rows of one turn each, or use a step that takes whole "
                "conversations",
            )
        if number == 0 and system_prompt is None:
            shared = own
        if own != shared and not (own is None and system_prompt is not None):
            raise LockgateError(
                "its system message is not that of the other rows"
                if system_prompt is None
                else "its system message is not the configured system_prompt",
                where=where,
                hint="use one system prompt, or one stage for each",
            )
        name = str(row["id"]) if "id" in row else f"{number:06d}"
        rows.append({"id": name, "prompt": found[0]["content"], "completion": found[1]["content"]})
    if len({row["id"] for row in rows}) < len(rows):  # a conversation's, say: not a row's own
        rows = [{**row, "id": f"{number:06d}"} for number, row in enumerate(rows)]
    return rows, shared
