"""What a built-in task asks of a row, and how an answer is scored: nothing heavy is imported."""

from __future__ import annotations

import re
from collections import Counter
from decimal import Decimal
from typing import Any

import jinja2

from lockgate.errors import LockgateError

CHOICES = ("choice", "probabilities")
"""Scorers of an answer that is one of the task's options."""

_NUMBER = re.compile(
    r"(?<![\w.])[-+\u2212]?(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+|(?=\.[0-9]))"
    r"(?:\.[0-9]+)?(?:[eE][-+\u2212]?[0-9]+)?"
)
_MOST_DIGITS = 300  # of an exponent's size: what a float still holds


def question(template: str | None, row: dict[str, Any]) -> str:
    """The user's message for a row.

    Args:
        template: Jinja2 over `prompt` (the row's) and the row's own fields; None: the prompt.
        row: `prompt`, and maybe `fields`.

    Raises:
        LockgateError: if it is no template, a field is missing, or the message comes out empty.
    """
    if template is None:
        return str(row["prompt"])
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    fields = row.get("fields") or {}
    try:
        text = environment.from_string(template).render({**fields, "prompt": row["prompt"]})
    except Exception as error:  # a template may raise what any expression raises
        raise LockgateError(
            f"it cannot be filled: {error}",
            hint=f"it may use: {', '.join(dict.fromkeys(['prompt', *fields]))}",
        ) from None
    if not text.strip():
        raise LockgateError("it comes out empty", hint="{{ prompt }} is the row's own prompt")
    return text


def options_of(options: list[str] | str, row: dict[str, Any]) -> list[str]:
    """The options of a row: the task's own, or those in the row's field of that name.

    Raises:
        LockgateError: if the row has no such field, or it is not a list of two texts or more
            that differ in more than case.
    """
    if not isinstance(options, str):
        return options
    fields = row.get("fields") or {}
    if options not in fields:
        raise LockgateError(
            f"it has no field '{options}'", hint=f"its fields are: {', '.join(fields) or 'none'}"
        )
    if problem := options_problem(fields[options]):
        raise LockgateError(
            f"its field '{options}' {problem}", hint='options are a list, like ["yes", "no"]'
        )
    return list(fields[options])


def options_problem(options: Any) -> str:
    """What is wrong with a list of options; empty: nothing."""
    if not isinstance(options, list) or not all(isinstance(one, str) for one in options):
        return "is not a list of texts"
    plain = [_plain(one) for one in options]
    if "" in plain:
        return "has an option without text"
    if len(plain) < 2:
        return f"has {len(plain)} option{'s' * (len(plain) != 1)}; two are the fewest"
    twice = next((one for one in plain if plain.count(one) > 1), None)
    return f"has the option '{twice}' twice (case does not count)" if twice else ""


def same_option(text: str, options: list[str]) -> str | None:
    """The option that a text equals, ignoring case and outer white space; None: none."""
    return next((one for one in options if _plain(one) == _plain(text)), None)


def chosen(answer: str, options: list[str]) -> str | None:
    """The option that an answer chooses, ignoring case.

    It is the one that the answer equals, else the one it begins with, else the only one that it
    mentions; as whole words, and of two options at one place the longer. None: there is none.
    """
    equal = same_option(answer, options)
    if equal is not None:
        return equal
    longest = sorted((one.strip() for one in options), key=len, reverse=True)
    pattern = "|".join(re.escape(one) for one in longest)
    found = list(re.finditer(rf"(?<!\w)(?:{pattern})(?!\w)", answer, re.IGNORECASE))
    named = {same_option(match[0], options) for match in found}
    if found and not answer[: found[0].start()].strip():
        return same_option(found[0][0], options)
    return named.pop() if len(named) == 1 else None


def numbers(text: str) -> list[Decimal]:
    """The numbers in a text, exactly as written.

    A comma separates thousands (`1,234.5`); signs, decimals and exponents are read; digits in a
    word (`v2`) are none, nor is what no float can hold.
    """
    found = (match[0] for match in _NUMBER.finditer(text))
    values = [Decimal(one.replace(",", "").replace("\u2212", "-")) for one in found]
    return [value for value in values if abs(value.adjusted()) <= _MOST_DIGITS]


def number(text: str) -> Decimal | None:
    """The first number in a text; None: it has none."""
    return next(iter(numbers(text)), None)


def score_number(answer: str, target: str, tolerance: float) -> tuple[float, float | None]:
    """1 if the answer's first number is within `tolerance` of the target's, else 0; that number.

    The bound is compared in decimals as they are written: 1.1 is within 0.1 of 1.
    """
    given, wanted = number(answer), number(target)
    if given is None or wanted is None:
        return 0.0, None
    return float(abs(given - wanted) <= Decimal(str(tolerance))), float(given)


def score_text(scorer: str, answer: str, target: str) -> float:
    """Score of an answer against the row's completion, ignoring case and outer white space.

    Punctuation and articles count: without them, labels like `A` or `C++` would be unmatchable,
    or equal to others.

    Args:
        scorer: `exact`, `match`, `includes` or `f1`.
        answer: of the model.
        target: the row's completion.
    """
    given, wanted = _plain(answer), _plain(target)
    if scorer == "exact":
        return float(given == wanted)
    if scorer == "match":
        return float(given.startswith(wanted))
    if scorer == "includes":
        return float(wanted in given)
    given_words, wanted_words = (Counter(re.findall(r"\w+", text)) for text in (given, wanted))
    if not given_words or not wanted_words:
        return float(given == wanted)
    shared = (given_words & wanted_words).total()
    return 2 * shared / (given_words.total() + wanted_words.total())


def check_targets(tasks: list[dict[str, Any]], rows: dict[str, list[dict[str, Any]]]) -> None:
    """See that each built-in task can ask for and score every row it is measured on.

    Args:
        tasks: of the configuration, as plain values.
        rows: `prompt`, `completion`, `fields` and maybe `id`, by split; a split that is not
            there is not looked at.

    Raises:
        LockgateError: naming the task's key, the row and its target.
    """
    for place, task in enumerate(tasks):
        for count, row in enumerate(rows.get(task["split"], []), 1):
            check_target(task, place, row, row.get("id", count))


def check_target(task: dict[str, Any], place: int, row: dict[str, Any], name: Any) -> None:
    """The same for one row.

    Args:
        task: of the configuration.
        place: where it is in the list of tasks, from 0.
        row: `prompt`, `completion` and maybe `fields`.
        name: of the row, for messages.

    Raises:
        LockgateError: as `check_targets`.
    """
    scorer, target = task["scorer"], row["completion"]
    about, where = f"task '{task['name']}', row {name}", f"evaluation.tasks[{place}]"
    try:
        key = "prompt"
        question(task.get("prompt"), row)
        key = "options"
        options = options_of(task["options"], row) if scorer in CHOICES else []
    except LockgateError as error:
        raise LockgateError(
            f"{about}: {error.what}", where=f"{where}.{key}", hint=error.hint
        ) from None
    if scorer in CHOICES and same_option(target, options) is None:
        raise LockgateError(
            f"{about}: the target {target!r:.80} is none of its options "
            f"({', '.join(map(repr, options))})",
            where=f"{where}.options",
            hint=f"add it, or take a scorer that fits: '{scorer}' scores only options",
        )
    if scorer == "numeric" and (count := len(numbers(target))) != 1:
        raise LockgateError(
            f"{about}: the target {target!r:.80} has {count or 'no'} number{'s' * (count > 1)}, "
            "not one",
            where=f"{where}.scorer",
            hint="'numeric' compares one number; take another scorer, or mend the completion",
        )


def _plain(text: str) -> str:
    return text.strip().casefold()
