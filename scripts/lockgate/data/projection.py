"""Rows from records, and the rows that a run has of its own."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from lockgate.data import records as reading
from lockgate.data.splits import check_apart
from lockgate.errors import LockgateError
from lockgate.stages import conversations

Rows = Mapping[str, list[dict[str, Any]]]
"""Rows by split."""


@dataclass(frozen=True)
class Form:
    """What makes a row of a record, ready for use.

    Attributes:
        templates: `prompt` and `completion`, or `prompt`, `chosen` and `rejected`.
        messages: instead, the field that holds a conversation.
    """

    templates: Mapping[str, jinja2.Template]
    messages: str | None = None


def compile_rows(rows: Mapping[str, str | None]) -> Form:
    """The section `data.rows`, with its templates compiled.

    Raises:
        LockgateError: if one is not a Jinja2 template.
    """
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, finalize=_shown)
    compiled = {}
    for key, text in rows.items():
        if text is None or key == "messages":
            continue
        try:
            compiled[key] = environment.from_string(text)
        except jinja2.TemplateSyntaxError as error:
            raise LockgateError(
                f"not a Jinja2 template: {error.message}",
                where=f"data.rows.{key}",
                hint="fields are written {{ field }}",
            ) from None
    return Form(compiled, rows.get("messages"))


class _NoValue(ValueError):
    pass


def _shown(value: Any) -> Any:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        raise _NoValue("a field in it has no value")  # else the text would be None, or nan
    return value


def row_of(record: Mapping[str, Any], form: Form) -> dict[str, Any]:
    """The row that a record becomes, without `id` and `fields`.

    It has `prompt` and `completion`; of a conversation also `messages`, all of them, and maybe
    `history`, those between system message and prompt; of a preference pair `chosen`, which is
    the completion, and `rejected`.

    Raises:
        LockgateError: if it gives none; the message begins with a verb, like "gives an empty ...".
    """
    return _told(record, form)[0]


def problem(record: Mapping[str, Any], form: Form) -> str:
    """Why a record gives no row, like "gives an empty prompt (data.rows.prompt)"; empty: it does.

    The same for records that lack the same, so that reasons can be counted.
    """
    try:
        row_of(record, form)
    except LockgateError as error:
        return error.what
    return ""


def project(
    records: list[dict[str, Any]], rows: Mapping[str, str | None] | None, where: str
) -> list[dict[str, Any]]:
    """Rows (`id`, what `row_of` gives, `fields`) from records.

    A record that its file put in a split gives a row with `split`.

    Args:
        records: what the data tool made or the file holds.
        rows: the section `data.rows`; None: the records are rows, of any kind that
            `lockgate.stages.conversations` knows.
        where: the file or key that the records come from, for messages.

    Raises:
        LockgateError: if there is no record, one gives no row, or the system messages of
            conversations differ.
    """
    if not records:
        raise LockgateError("there is no record", where=where, hint="a row is made of each record")
    fields = _fields(records)
    splits = [{"split": one[reading.SPLIT]} if reading.SPLIT in one else {} for one in records]
    return [
        {**row, "fields": own, **split}
        for row, own, split in zip(_made(fields, rows, where)[0], fields, splits, strict=True)
    ]


def system_message(
    records: list[dict[str, Any]], rows: Mapping[str, str | None] | None, where: str
) -> str | None:
    """The system message that the conversations among the records share; None: they have none.

    Args and errors are those of `project`.
    """
    if rows and not rows.get("messages"):  # texts have none
        return None
    return _made(_fields(records), rows, where)[1]


def _fields(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in one.items() if k != reading.SPLIT} for one in records]


def _made(
    fields: list[dict[str, Any]], rows: Mapping[str, str | None] | None, where: str
) -> tuple[list[dict[str, Any]], str | None]:
    """Rows without `fields`, and the system message that they share."""
    places = [f"{where}: record {number}" for number in range(1, len(fields) + 1)]
    if not rows:
        try:
            return conversations.as_turns(list(zip(places, fields, strict=True)), None)
        except LockgateError as error:
            hint = f"{error.hint}; of other fields, data.rows makes rows"
            raise LockgateError(error.what, where=error.where, hint=hint) from None
    form, made, systems = compile_rows(rows), [], []
    for number, record in enumerate(fields):
        try:
            row, system = _told(record, form)
        except LockgateError as error:
            what = f"record {number + 1} {error.what}"
            raise LockgateError(what, where=where, hint=error.hint) from None
        made.append({"id": f"{number:06d}", **row})
        systems.append((places[number], system))
    return made, conversations.shared_system(systems, None)


def _told(record: Mapping[str, Any], form: Form) -> tuple[dict[str, Any], str | None]:
    """`row_of` a record, and the system message of its conversation."""
    if form.messages:
        return _conversation(record, form.messages)
    row = _texts(record, form.templates)
    if "chosen" in row:
        if row["chosen"] == row["rejected"]:
            raise LockgateError(
                "prefers nothing: chosen and rejected are equal (data.rows.rejected)",
                hint="take the record out, or mend the templates",
            )
        row = {"prompt": row["prompt"], "completion": row["chosen"], **row}
    return row, None


def _conversation(record: Mapping[str, Any], path: str) -> tuple[dict[str, Any], str | None]:
    """The row of the conversation in a field, and its system message."""
    given: Any = record
    for name in path.split("."):
        if not isinstance(given, Mapping) or name not in given:
            raise LockgateError(
                f"has no field '{path}' (data.rows.messages)",
                hint=f"its fields are: {', '.join(map(str, record))}",
            )
        given = given[name]
    if isinstance(given, str):  # of a table, or a template of the design's
        with contextlib.suppress(ValueError):  # told of below
            given = json.loads(given)
    try:
        said = conversations.conversation(given, "", f"'{path}'")
        row, system = conversations.turns(said, "")
    except LockgateError as error:
        what = f"cannot become a row: {error.what} (data.rows.messages)"
        raise LockgateError(what, hint=error.hint) from None
    return {**row, "messages": said}, system


def _texts(record: Mapping[str, Any], templates: Mapping[str, jinja2.Template]) -> dict[str, Any]:
    """What the templates make of a record.

    Raises:
        LockgateError: if a field is missing, or a text comes out empty.
    """
    row = {}
    for key, template in templates.items():
        try:
            text = template.render(record).strip()
        except Exception as error:  # a template may raise what any expression raises
            raise LockgateError(
                f"cannot become a row: {error} (data.rows.{key})",
                hint="write {{ field or '' }} where one may have none"
                if isinstance(error, _NoValue)
                else f"its fields are: {', '.join(map(str, record))}",
            ) from None
        if not text:
            raise LockgateError(
                f"gives an empty {key} (data.rows.{key})",
                hint="take the record out, or mend the template",
            )
        row[key] = text
    return row


def revise(
    rows: list[dict[str, Any]], templates: dict[str, str], where: str
) -> list[dict[str, Any]]:
    """The same rows with another prompt or completion.

    Args:
        rows: of `project`.
        templates: Jinja2 templates, `prompt` or `completion` or both, over a row's fields and its
            `prompt` and `completion` as they are; none: the rows as they are.
        where: the file that the rows come from, for messages.

    Raises:
        LockgateError: if a field is missing or a row comes out empty.
    """
    if not templates:
        return rows
    compiled, made = compile_rows(templates).templates, []
    for number, row in enumerate(rows, 1):
        try:
            new = _texts({**row, **row.get("fields", {})}, compiled)
        except LockgateError as error:
            what = f"record {number} {error.what}"
            raise LockgateError(what, where=where, hint=error.hint) from None
        # the whole conversation is another one now
        made.append({key: value for key, value in row.items() if key != "messages"} | new)
    return made


def own_rows(run: Mapping[str, Any], splits: Rows, where: str) -> Rows:
    """The rows of one run, which may have prompts or rows to train on of its own.

    Args:
        run: of a built training: `rows` (templates, see `revise`), `train_files` (other rows to
            train on, or None), `train_rows` (how many are trained on, or None), and for
            `train_files` what the data section says: `projection`, `similarity` and `group`.
        splits: the data's rows by split.
        where: for messages, the file that names the keys.

    Raises:
        LockgateError: if rows to train on are like held-out ones, or there are too few.
    """
    made = dict(splits)
    if run["train_files"] is not None:
        made["train"] = other_rows(run)
        hint = f"take them out of {run['train_files']}"
        key = f"{where}: data.train_files"
        _apart(made, run["similarity"], key, hint, run.get("group"))
    if run["rows"]:
        key = f"{where}: data.rows"
        made = {name: revise(rows, run["rows"], key) for name, rows in made.items()}
        hint = "use in the template the fields that tell the rows apart"
        _apart(made, 1.0, key, hint)
    count = run["train_rows"]
    if count is not None and count > len(made["train"]):
        raise LockgateError(
            f"{count} rows to train on are wanted, there are {len(made['train'])}",
            where=f"{where}: data.train_rows",
            hint="lower it, or have more records",
        )
    return made | {"train": made["train"][:count]}


def other_rows(run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of a run's `train_files`; of a file with splits of its own those to train on.

    Raises:
        LockgateError: if a record is no row.
    """
    path = Path(run["train_files"])
    rows = project(reading.read(path), run["projection"], str(path))
    return [row for row in rows if row.get("split", "train") == "train"]


def _apart(made: Rows, similarity: float, where: str, hint: str, group: str | None = None) -> None:
    """See `lockgate.data.splits.check_apart`."""
    held_out = [*made["validation"], *made["test"]]
    check_apart(made["train"], held_out, similarity, where, hint, group)
