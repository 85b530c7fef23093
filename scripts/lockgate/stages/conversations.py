"""Chat rows: `messages`, a `prompt` and its `completion`, or an `input` and its `output`.

A conversation of several turns is a row as well: its last answer is learned, and what was said
before its last question is the row's `history`.
"""

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
        return conversation(row["messages"], where, "'messages'")
    if pair == ("input", "output") and row.get("instruction"):
        raise LockgateError(
            "'input' has an 'instruction' beside it, which would be lost",
            where=where,
            hint="write both into one 'prompt'",
        )
    if not pair:
        raise LockgateError(
            f"neither 'messages' nor 'prompt' and 'completion' (it has: {', '.join(row)})",
            where=where,
            hint=_FORM,
        )
    said = zip(("user", "assistant"), pair, strict=True)
    return conversation([{"role": role, "content": row[key]} for role, key in said], where)


def conversation(given: Any, where: str, name: str = "it") -> list[dict[str, str]]:
    """Messages as plain texts; the last one is the assistant's answer.

    Args:
        given: a list of `role` and `content`, which is a text or a list of blocks of text.
        where: for messages.
        name: of what is given, for messages.

    Raises:
        LockgateError: if it is none, or nothing is left to learn.
    """
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise LockgateError(f"{name} is not a list of messages", where=where, hint=_FORM)
    found = [{"role": one.get("role"), "content": _text(one.get("content"))} for one in given]
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


def turns(found: list[dict[str, str]], where: str) -> tuple[dict[str, Any], str | None]:
    """`prompt`, `completion` and, where more was said before, `history`; and the system message.

    Args:
        found: of `messages` or `conversation`.
        where: for messages.

    Raises:
        LockgateError: if user and assistant do not take turns.
    """
    system = found[0]["content"] if found[0]["role"] == "system" else None
    said = found[system is not None :]
    for number, one in enumerate(said):
        if one["role"] != ("user", "assistant")[number % 2]:
            raise LockgateError(
                f"message {number + len(found) - len(said) + 1} is not the "
                f"{('user', 'assistant')[number % 2]}'s: the user and the assistant take turns",
                where=where,
                hint="take the row out, or make one message of what one of them says in a row",
            )
    history = {"history": said[:-2]} if len(said) > 2 else {}
    return {"prompt": said[-2]["content"], "completion": said[-1]["content"], **history}, system


def read_turns(
    pattern: str, key: str, system_prompt: str | None, limit: int | None
) -> tuple[list[dict[str, Any]], str | None]:
    """Rows of `id`, `prompt`, `completion` and maybe `history`, and their common system prompt.

    Args:
        pattern: a file or glob of rows of any kind.
        key: configuration file and key that name it, for messages.
        system_prompt: the configured one; None: that of the rows, if they have one.
        limit: take the first rows only.

    Raises:
        LockgateError: naming file and line, where a row is no conversation that ends with an
            answer, or has another system message than the rest.
    """
    return as_turns(read(pattern, key)[:limit], system_prompt)


def as_turns(
    given: list[tuple[str, dict[str, Any]]], system_prompt: str | None
) -> tuple[list[dict[str, Any]], str | None]:
    """Like `read_turns`, of rows that were read already, each with where it is."""
    rows, found = [], []
    for number, (where, row) in enumerate(given):
        made, own = turns(messages(row, where), where)
        rows.append({"id": str(row["id"]) if "id" in row else f"{number:06d}", **made})
        found.append((where, own))
    system = shared_system(found, system_prompt)
    if len({row["id"] for row in rows}) < len(rows):  # a conversation's, say: not a row's own
        rows = [{**row, "id": f"{number:06d}"} for number, row in enumerate(rows)]
    return rows, system


def shared_system(found: list[tuple[str, str | None]], system_prompt: str | None) -> str | None:
    """The one system prompt of rows.

    Args:
        found: where each row is, and its own system message.
        system_prompt: the configured one; None: that of the rows, if they have one.

    Raises:
        LockgateError: naming the first row that has another one.
    """
    shared = found[0][1] if found and system_prompt is None else system_prompt
    for where, own in found:
        if own != shared and not (own is None and system_prompt is not None):
            raise LockgateError(
                "its system message is not that of the other rows"
                if system_prompt is None
                else "its system message is not the configured system_prompt",
                where=where,
                hint="use one system prompt, or one stage for each",
            )
    return shared


def _text(content: Any) -> Any:
    """A list of blocks of text as one text; anything else as it is."""
    if not isinstance(content, list) or not content:
        return content
    texts = [one.get("text") if isinstance(one, dict) else None for one in content]
    return "".join(map(str, texts)) if all(isinstance(one, str) for one in texts) else content
