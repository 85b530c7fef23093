"""Which records of a design count: for each one, nothing or the reason why it does not."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jinja2
import jinja2.sandbox

from lockgate.data import projection
from lockgate.data.columns import at, texts
from lockgate.errors import LockgateError
from lockgate.tools import Column

# a job title goes on with a noun: "I'm an AI engineer"
_AI = (
    r"an? (?:ai|artificial intelligence|(?:large )?language model)(?: (?:language )?model"
    r"| assistant)?(?=[,.;]|$| and\b| so\b| i\b)"
)
_CANNOT = r"i(?: cannot| can't| can not| won't| will not|(?:'m| am) (?:unable|not able) to)"
_HELP = (
    r"(?:(?:help|assist|comply|engage)(?: you)?(?: with|\.|,|$)|do that|"
    r"(?:answer|fulfil|respond to) (?:that|this|your|such|the question))"
)
_MAKE = (
    r"(?:(?:create|generate|write|produce|give|continue|complete|provide|discuss|share) (?:you )?"
    r"(?:with )?(?:that|this|such|your request|"
    r"(?:any |explicit |harmful |medical |legal |financial )?(?:content|advice)|"
    r"(?:information|instructions) (?:about|on|for)))"
)
_NO = rf"{_CANNOT} (?:{_HELP}|{_MAKE})"

REFUSALS = (
    rf"(?:i'm |i am )?(?:very |really |so )?sorry,? (?:but )?(?:{_NO}|as {_AI})",
    rf"(?:i apologi[sz]e|unfortunately),? (?:but )?{_NO}",
    _NO,
    r"i (?:must|have to) (?:decline|refuse)",
    r"i (?:do not|don't) feel comfortable (?:writing|answering|creating|providing|with)",
    rf"as {_AI}",
    rf"i(?:'m| am) (?:just |only )?{_AI}",
)
"""How a model's answer begins when it refuses: regular expressions, in lower case."""

_REFUSAL = re.compile("|".join(REFUSALS))


def refuses(text: str) -> bool:
    """The text begins like a model's refusal to answer (English only)."""
    start = text.lstrip(" \t\r\n\"'*#>-")[:120].lower().replace("\u2019", "'")
    return _REFUSAL.match(start) is not None


def compile_when(when: str) -> Callable[..., Any]:
    """The expression of `accept.when`, to be called with a record's fields.

    Raises:
        LockgateError: if it is not a Jinja2 expression.
    """
    environment = jinja2.sandbox.SandboxedEnvironment(undefined=jinja2.StrictUndefined)
    try:
        return environment.compile_expression(when, undefined_to_none=False)
    except jinja2.TemplateSyntaxError as error:
        raise LockgateError(
            f"not a Jinja2 expression: {error.message}",
            where="data.accept.when",
            hint="write it without braces, like answer | length > 10",
        ) from None


def verdicts(
    records: Iterable[Mapping[str, Any]],
    accept: Mapping[str, Any],
    columns: Sequence[Column],
    rows: Mapping[str, str | None] | None,
) -> list[str]:
    """For each record nothing, or a short reason why it is refused; see `Rules`."""
    rules = Rules(accept, columns, rows)
    return [rules.verdict(record) for record in records]


class Rules:
    """What a record has to be, ready for use.

    Args:
        accept: the section `data.accept`.
        columns: of the design.
        rows: the section `data.rows`; None: the records are rows.

    Raises:
        LockgateError: where a score is asked for that no judge gives.
    """

    def __init__(
        self,
        accept: Mapping[str, Any],
        columns: Sequence[Column],
        rows: Mapping[str, str | None] | None,
    ) -> None:
        self._form = projection.compile_rows(rows) if rows else None
        self._when = compile_when(accept["when"]) if accept["when"] else None
        self._least = _least(accept["scores"], columns)
        known = {column.name: column for column in columns}
        asked = checked(accept, columns)
        self._checks: list[_Check] = [
            _unless_skipped(known[name], check(known[name]))
            for check, names in (
                (_completeness, asked["written"]),
                (_validity, asked["validators"]),
                (_fit, asked["schemas"]),
            )
            for name in names
        ]
        self._skipped = {column.name: column.skipped for column in columns}

    def verdict(self, record: Mapping[str, Any]) -> str:
        """Empty, or why the record does not count; the same words for the same reason."""
        for check in self._checks:
            if reason := check(record):
                return reason
        for name, (column, path, least) in self._least.items():
            value = record.get(column)
            if value in self._skipped[column]:
                continue
            if reason := _below(name, at(value, path), least):
                return reason
        if self._when:
            try:
                if not self._when(record):
                    return "accept.when is not true"
            except Exception as error:  # an expression may raise anything
                return f"accept.when fails: {error}"
        return projection.problem(record, self._form) if self._form else ""


def advice(reason: str) -> str:
    """Which key to change where most records are refused for this reason."""
    for start, key in (
        ("validator ", "the prompt of what it checks, or accept.valid"),
        ("judge ", "the prompt of what it judges, or accept.scores"),
        ("accept.when ", "accept.when"),
    ):
        if reason.startswith(start):
            return key
    if " does not fit its schema" in reason:
        return "data.endpoint.constrain (true keeps answers to the schema), or a larger model"
    if "data.rows" in reason:
        return "data.rows"
    return "the column's prompt or its model, or accept.complete"


def checked(accept: Mapping[str, Any], columns: Sequence[Column]) -> dict[str, list[str]]:
    """Names of the columns that are looked at: whose text has to be there and no refusal
    (`written`), which have to say yes (`validators`), which have to fit (`schemas`); and which the
    design may leave out (`skipped`)."""
    return {
        "written": [
            column.name
            for column in columns
            if accept["complete"] and column.role in ("written", "structured")
        ],
        "validators": [column.name for column in columns if accept["valid"] and column.passed],
        "schemas": [
            column.name for column in columns if accept["valid"] and column.schema is not None
        ],
        "skipped": [column.name for column in columns if column.skipped],
    }


_Check = Callable[[Mapping[str, Any]], str]


def _unless_skipped(column: Column, check: _Check) -> _Check:
    if not column.skipped:
        return check
    return lambda record: "" if record.get(column.name) in column.skipped else check(record)


def _completeness(column: Column) -> _Check:
    name = column.name

    def check(record: Mapping[str, Any]) -> str:
        value = record.get(name)
        if value is None or value in ("", [], {}) or (isinstance(value, str) and not value.strip()):
            return f"{name} is empty"
        return f"{name} refuses" if any(map(refuses, texts(value))) else ""

    return check


def _validity(column: Column) -> _Check:
    name = column.name

    def check(record: Mapping[str, Any]) -> str:
        passed = at(record.get(name), column.passed)
        if passed is None:
            return f"validator {name} says nothing"
        return "" if passed is True else f"validator {name} says no"

    return check


def _fit(column: Column) -> _Check:
    import jsonschema

    assert column.schema is not None
    name = column.name
    validator = jsonschema.validators.validator_for(column.schema)(column.schema)

    def check(record: Mapping[str, Any]) -> str:
        value = record.get(name)
        if validator.is_valid(value) or validator.is_valid(value := _given(value)):
            return ""
        error = jsonschema.exceptions.best_match(validator.iter_errors(value))
        assert error is not None
        return f"{name} does not fit its schema ({error.json_path}: {error.validator})"

    return check


def _given(value: Any) -> Any:
    """The value without the members that a table of records has added as null."""
    if isinstance(value, dict):
        return {key: _given(one) for key, one in value.items() if one is not None}
    return [_given(one) for one in value] if isinstance(value, list) else value


def _least(
    scores: Mapping[str, float], columns: Sequence[Column]
) -> dict[str, tuple[str, str, float]]:
    """By name of a score its column, its path there, and what it has to be at least."""
    judges = {column.name: column.scores for column in columns if column.role == "judge"}
    found: dict[str, tuple[str, str, float]] = {}
    for asked, least in scores.items():
        column, _, score = asked.partition(".")
        known = judges.get(column, {})
        named = [score] if score else list(known)
        if not named or not set(named) <= known.keys():
            all_names = [*judges, *(f"{judge}.{one}" for judge in judges for one in judges[judge])]
            near = difflib.get_close_matches(asked, all_names, 1)
            raise LockgateError(
                f"no judge gives the score '{asked}'",
                where="data.accept.scores",
                hint=f"did you mean '{near[0]}'?"
                if near
                else f"there are: {', '.join(all_names)}"
                if all_names
                else "the design has no judge column",
            )
        for one in named:
            # a score's own line says more than its column's
            if score or f"{column}.{one}" not in scores:
                found[f"{column}.{one}"] = (column, known[one], least)
    return found


def _below(name: str, value: Any, least: float) -> str:
    if value is None:
        return f"judge {name} gives no score"
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if math.isnan(number):
        return f"judge {name} gives no number"
    return f"judge {name} is {number:g}, below {least:g}" if number < least else ""
