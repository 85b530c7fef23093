"""What a model is shown for a row: the same text in training and in evaluation."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from lockgate.errors import LockgateError
from lockgate.files import read_jsonl, read_text

PLAIN_TEMPLATE = "{{ messages | map(attribute='content') | join('\n\n') }}"
"""Chat template for a tokenizer without one: the prompt itself, below any system prompt."""


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of `id`, `prompt` and `completion`, and maybe of `history`: messages before the prompt.

    Raises:
        LockgateError: naming the line, where a row has no prompt or no completion, or the file
            has no rows.
    """
    rows = read_jsonl(path)
    if not rows:
        raise LockgateError(
            "has no rows", where=str(path), hint="check the data section, or delete it and rerun"
        )
    lines = (n for n, line in enumerate(read_text(path).split("\n"), 1) if line.strip())
    for number, row in zip(lines, rows, strict=True):
        for key in ("prompt", "completion"):
            value = row.get(key)
            if not isinstance(value, str) or not value.strip():
                problem = "is empty" if isinstance(value, str) else "is missing or not text"
                raise LockgateError(
                    f"line {number}: '{key}' {problem}",
                    where=str(path),
                    hint='each line must be {"id": "...", "prompt": "...", "completion": "..."}',
                )
    return rows


def asked_text(row: Mapping[str, Any]) -> str:
    """All that is said up to a row's answer as one text, by which alike rows are found."""
    return "\n\n".join([*(one["content"] for one in row.get("history", ())), row["prompt"]])


def messages(
    prompt: str, system_prompt: str | None, history: Sequence[dict[str, str]] = ()
) -> list[dict[str, str]]:
    """The conversation before the answer; without a system prompt the template may add one.

    Args:
        prompt: the user's last message.
        system_prompt: what comes first, or None.
        history: what was said between the two, as `role` and `content`.
    """
    system = [{"role": "system", "content": system_prompt}] if system_prompt else []
    return [*system, *history, {"role": "user", "content": prompt}]


def asked(
    tokenizer: Any,
    prompt: str,
    system_prompt: str | None,
    history: Sequence[dict[str, str]] = (),
) -> list[int]:
    """Token ids of a row's prompt, as the evaluator feeds them to the model.

    Raises:
        Exception: whatever the chat template raises; one may refuse a system prompt.
    """
    return _ids(tokenizer, _text(tokenizer, messages(prompt, system_prompt, history), True))


def tokenize_row(
    tokenizer: Any, row: Mapping[str, Any], system_prompt: str | None
) -> tuple[list[int], int]:
    """`tokenize` for a row of `read_rows`."""
    history = row.get("history", ())
    return tokenize(tokenizer, row["prompt"], row["completion"], system_prompt, history)


def tokenize(
    tokenizer: Any,
    prompt: str,
    completion: str,
    system_prompt: str | None,
    history: Sequence[dict[str, str]] = (),
) -> tuple[list[int], int]:
    """Token ids of a training row, and how many of them are the prompt's: only the rest is learned.

    The prompt's ids are exactly those that the evaluator feeds for the same row, so a tuned
    model is never asked in another form than it was taught. Without a chat template the two
    parts are tokenized apart: joined, tokens could merge across the seam.
    """
    ids = asked(tokenizer, prompt, system_prompt, history)
    if tokenizer.chat_template is None:
        answer = list(tokenizer(completion, add_special_tokens=False)["input_ids"])
        if answer[-1:] != [tokenizer.eos_token_id]:
            answer.append(tokenizer.eos_token_id)
        return ids + answer, len(ids)
    before = messages(prompt, system_prompt, history)
    after = [*before, {"role": "assistant", "content": completion}]
    text = _text(tokenizer, after, False)
    whole = _ids(tokenizer, text)
    if whole[: len(ids)] != ids:
        opened = _text(tokenizer, before, True)
        if text.startswith(opened):
            # A token lies across the seam; the model writes its answer behind it.
            return ids + _ids(tokenizer, text[len(opened) :]), len(ids)
        # The template shows an answered prompt in another way than an open one (one for
        # reasoning models drops an empty thought, say): train on the open form, as evaluated.
        shared = next(
            (n for n, (a, b) in enumerate(zip(ids, whole, strict=False)) if a != b), len(whole)
        )
        whole = ids + whole[shared:]
    return whole, len(ids)


def inserted(tokenizer: Any) -> str:
    """Text that the chat template puts before a first message of the user, by itself.

    Found by what stands before a later message, and stripped of special tokens; empty where
    there is none, or where the template refuses such conversations.
    """
    first, answer, second, system = "Qfirst", "Qanswer", "Qsecond", "Qsystem"
    turns = messages(first, None)
    later = [*turns, {"role": "assistant", "content": answer}, *messages(second, None)]

    def before(conversation: list[dict[str, str]], word: str) -> str:
        text = tokenizer.apply_chat_template(conversation, tokenize=False, enable_thinking=None)
        return str(text.partition(word)[0])

    try:
        head = before(turns, first)
        usual = before(later, second).rpartition(answer)[2]
    except Exception:  # a template may raise what any expression raises
        return ""
    shared = 0
    while shared < min(len(head), len(usual)) and head[-1 - shared] == usual[-1 - shared]:
        shared += 1
    extra = head[: len(head) - shared]
    try:
        role = before(messages(first, system), system)  # what opens a system message, in most
    except Exception:
        role = ""
    if role and extra.startswith(role) and extra != role:
        extra = extra[len(role) :]
    for token in tokenizer.added_tokens_encoder:
        extra = extra.replace(token, "")
    return extra.strip()


@contextmanager
def on(day: datetime) -> Iterator[None]:
    """Templates are told that it is `day`; they get the time by a function of the library."""
    library: Any = importlib.import_module("transformers.utils.chat_template_utils")

    class Fixed(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return day

    before, library.datetime = library.datetime, Fixed
    try:
        yield
    finally:
        library.datetime = before


def _text(tokenizer: Any, conversation: list[dict[str, str]], opened: bool) -> str:
    """The conversation as text; `opened`: up to where the answer begins."""
    template = PLAIN_TEMPLATE if tokenizer.chat_template is None else tokenizer.get_chat_template()
    return str(
        tokenizer.apply_chat_template(
            conversation,
            chat_template=template,
            tokenize=False,
            add_generation_prompt=opened,
            # The evaluator hands over the name, empty; a template may ask whether it is there.
            enable_thinking=None,
        )
    )


def _ids(tokenizer: Any, text: str) -> list[int]:
    # A template brings its own special tokens.
    plain = tokenizer.chat_template is None
    return list(tokenizer(text, add_special_tokens=plain)["input_ids"])
