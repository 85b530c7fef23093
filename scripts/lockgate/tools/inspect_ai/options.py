"""How probable a model finds each of several answers to a prompt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from lockgate.prompts import tokenize


def answer_ids(
    tokenizer: Any,
    prompt: str,
    answer: str,
    system_prompt: str | None,
    ends: set[int],
    history: Sequence[dict[str, str]] = (),
) -> list[int]:
    """Token ids of an answer behind its prompt, as training shows it, without what ends it.

    Args:
        tokenizer: of the model.
        prompt: the user's message.
        answer: the text that is weighed.
        system_prompt: of the conversation, or None.
        ends: ids of the tokens at which the model stops.
        history: what was said before the prompt.
    """
    ids, count = tokenize(tokenizer, prompt, answer, system_prompt, history)
    own = ids[count:]
    return own[: next((at for at, token in enumerate(own) if token in ends), len(own))]


def option_probabilities(
    model: Any, prompt: list[int], answers: list[list[int]], batch_size: int
) -> list[float]:
    """Probability that the model begins its answer with each of these, given that it does so.

    Where one answer begins with another (`10` with `1`), the shorter one's probability is that
    of all that begins so, less the longer one's: no text counts twice.

    Args:
        model: a causal language model.
        prompt: token ids.
        answers: token ids of each answer.
        batch_size: answers that are computed at once.

    Returns:
        One number for each answer, 1 in sum.
    """
    logs: list[float] = []
    for start in range(0, len(answers), batch_size):
        logs += _log_likelihoods(model, prompt, answers[start : start + batch_size])
    own = [log + math.log(_rest(answers, logs, at)) for at, log in enumerate(logs)]
    found: list[float] = torch.tensor(own, dtype=torch.float64).softmax(0).tolist()
    return found


def _rest(answers: list[list[int]], logs: list[float], at: int) -> float:
    """Share of an answer's probability that no other answer has by beginning with it."""
    answer = answers[at]
    longer = {
        tuple(other): log
        for other, log in zip(answers, logs, strict=True)
        if len(other) > len(answer) and other[: len(answer)] == answer
    }
    nearest = [
        log
        for other, log in longer.items()
        if not any(other != one and other[: len(one)] == one for one in longer)
    ]
    return max(1 - sum(math.exp(log - logs[at]) for log in nearest), 1e-12)


def _log_likelihoods(model: Any, prompt: list[int], answers: list[list[int]]) -> list[float]:
    longest = max(map(len, answers))
    # What follows an answer, to fill the row, is behind all that its probability depends on.
    rows = [prompt + answer + prompt[-1:] * (longest - len(answer)) for answer in answers]
    with torch.inference_mode():
        ids = torch.tensor(rows, device=model.device)
        # The last of the prompt's tokens gives the first of the answer's.
        logits = model(input_ids=ids, logits_to_keep=longest + 1).logits[:, -longest - 1 : -1]
        scores = logits.float().log_softmax(-1)
        chosen = scores.gather(-1, ids[:, len(prompt) :, None])[..., 0].double()
    return [float(row[: len(one)].sum()) for row, one in zip(chosen, answers, strict=True)]
