"""What a model is shown for a row: the same text in training and in evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lockgate.errors import LockgateError
from lockgate.files import read_jsonl, read_text

PLAIN_TEMPLATE = "{{ messages | map(attribute='content') | join('\n\n') }}"
"""Chat template for a tokenizer without one: the prompt itself, below any system prompt."""


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of `id`, `prompt` and `completion`.

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


def messages(prompt: str, system_prompt: str | None) -> list[dict[str, str]]:
    """The conversation before the answer; without a system prompt the template may add one."""
    system = [{"role": "system", "content": system_prompt}] if system_prompt else []
    return [*system, {"role": "user", "content": prompt}]


def tokenize(
    tokenizer: Any, prompt: str, completion: str, system_prompt: str | None
) -> tuple[list[int], int]:
    """Token ids of a training row, and how many of them are the prompt's.

    The prompt's ids are exactly those that the evaluator feeds for the same row, so a tuned
    model is never asked in another form than it was taught. Without a chat template the two
    parts are tokenized apart: joined, tokens could merge across the seam.
    """
    if tokenizer.chat_template is None:
        text = "\n\n".join([*([system_prompt] if system_prompt else []), prompt])
        ids = list(tokenizer(text)["input_ids"])
        answer = list(tokenizer(completion, add_special_tokens=False)["input_ids"])
        if answer[-1:] != [tokenizer.eos_token_id]:
            answer.append(tokenizer.eos_token_id)
        return ids + answer, len(ids)
    before = messages(prompt, system_prompt)
    after = [*before, {"role": "assistant", "content": completion}]
    ids = _apply(tokenizer, before, add_generation_prompt=True)
    whole = _apply(tokenizer, after, add_generation_prompt=False)
    if whole[: len(ids)] != ids:
        # The template shows an answered prompt in another way than an open one (one for
        # reasoning models drops an empty thought, say): train on the open form, as evaluated.
        shared = next(
            (n for n, (a, b) in enumerate(zip(ids, whole, strict=False)) if a != b), len(whole)
        )
        whole = ids + whole[shared:]
    return whole, len(ids)


def _apply(tokenizer: Any, conversation: list[dict[str, str]], **options: bool) -> list[int]:
    text = tokenizer.apply_chat_template(conversation, tokenize=False, **options)
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
