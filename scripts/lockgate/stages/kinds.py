"""Kinds of rows by their fields, and what is wrong with a row that was meant to be one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

FIELDS = {
    "preference": "`prompt`, `chosen` and `rejected`",
    "mcq": "`question`, `options` and `answer`",
    "verifiable": "`prompt` (or `messages`) and what a verifier compares, like `ground_truth`",
    "messages": "`messages`, a list of `role` and `content`",
    "prompt_completion": "`prompt` and `completion`",
    "text": "`text`",
}
"""Kinds of rows with the fields that make them, the more specific first."""

_VERIFIERS = (
    "answer",
    "ground_truth",
    "expected_answer",
    "solution",
    "tests",
    "test_cases",
    "env_metadata",
    "verifier_metadata",
    "reward_model",
)


def kinds_of(row: Any) -> dict[str, str]:
    """Kinds whose fields a row has, each with what is wrong with them; empty: nothing."""
    if not isinstance(row, dict):
        return {}
    found = {}
    for kind, judge in _JUDGES.items():
        fault = judge(row)
        if fault is not None:
            found[kind] = fault
    return found


def _messages(row: dict[str, Any]) -> str | None:
    if "messages" not in row:
        return None
    fault = _conversation(row["messages"])
    if fault:
        return f"messages: {fault}"
    roles = [message["role"] for message in row["messages"]]
    return "" if "assistant" in roles else "messages: no assistant message"


def _conversation(value: Any) -> str:
    """What is wrong with a list of messages; empty: nothing."""
    if not isinstance(value, list) or not value:
        return "not a list of messages" if not isinstance(value, list) else "empty"
    for number, message in enumerate(value, 1):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            return f"message {number} has no role"
        content = message.get("content")
        calls = message.get("tool_calls")
        if not calls and (content is None or not str(content).strip() or content == []):
            return f"message {number} ({message['role']}) has empty content"
        if content is not None and not isinstance(content, str | list):
            return f"message {number} ({message['role']}) has {type(content).__name__} as content"
    return ""


def _said(row: dict[str, Any], name: str) -> str:
    """What is wrong with a field of text or messages; empty: nothing."""
    value = row[name]
    if isinstance(value, str):
        return "" if value.strip() else f"{name} is empty"
    if isinstance(value, list):
        fault = _conversation(value)
        return f"{name}: {fault}" if fault else ""
    return f"{name} is {type(value).__name__}, not text"


def _prompt_completion(row: dict[str, Any]) -> str | None:
    answer = next((name for name in ("completion", "response", "answer") if name in row), None)
    if "prompt" not in row or answer is None:
        return None
    return _said(row, "prompt") or _said(row, answer)


def _preference(row: dict[str, Any]) -> str | None:
    if "chosen" not in row or "rejected" not in row:
        return None
    if "prompt" not in row:
        return "prompt is missing"
    fault = _said(row, "prompt") or _said(row, "chosen") or _said(row, "rejected")
    return fault or ("chosen and rejected are equal" if row["chosen"] == row["rejected"] else "")


def _verifiable(row: dict[str, Any]) -> str | None:
    if "responses_create_params" in row:
        params = row["responses_create_params"]
        asked = isinstance(params, dict) and params.get("input")
        return "" if asked else "responses_create_params has no input"
    prompt = next((name for name in ("prompt", "messages", "question") if name in row), None)
    verifier = next((name for name in _VERIFIERS if name in row), None)
    if prompt is None or verifier is None or "options" in row or "choices" in row:
        return None
    empty = row[verifier] is None or row[verifier] in ("", [], {})
    return _said(row, prompt) or (f"{verifier} is empty" if empty else "")


def _mcq(row: dict[str, Any]) -> str | None:
    options = next((name for name in ("options", "choices") if name in row), None)
    answer = next((name for name in ("answer_index", "answer") if name in row), None)
    if "question" not in row or options is None or answer is None:
        return None
    offered = row[options]
    if not isinstance(offered, list | dict) or len(offered) < 2:
        return f"{options} has fewer than two entries"
    given = row[answer]
    if given is None or given == "":
        return f"{answer} is empty"
    if isinstance(given, int) and not 0 <= given < len(offered):
        return f"{answer} is {given}, of {len(offered)} {options}"
    return _said(row, "question")


def _text(row: dict[str, Any]) -> str | None:
    return _said(row, "text") if "text" in row else None


_JUDGES: dict[str, Callable[[dict[str, Any]], str | None]] = {
    "preference": _preference,
    "mcq": _mcq,
    "verifiable": _verifiable,
    "messages": _messages,
    "prompt_completion": _prompt_completion,
    "text": _text,
}
