"""Rows from records, and the rows that a run has of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from lockgate.data import records as reading
from lockgate.data.splits import check_apart
from lockgate.errors import LockgateError
from lockgate.stages import conversations

Rows = Mapping[str, list[dict[str, Any]]]
"""Rows by split."""


def compile_rows(templates: Mapping[str, str | None]) -> dict[str, jinja2.Template]:
    """The row templates, compiled.

    Raises:
        LockgateError: if one is not a Jinja2 template.
    """
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    compiled = {}
    for key, text in templates.items():
        if text is None:
            continue
        try:
            compiled[key] = environment.from_string(text)
        except jinja2.TemplateSyntaxError as error:
            raise LockgateError(
                f"not a Jinja2 template: {error.message}",
                where=f"data.rows.{key}",
                hint="fields are written {{ field }}",
            ) from None
    return compiled


def project(
    records: list[dict[str, Any]], templates: dict[str, str] | None, where: str
) -> list[dict[str, Any]]:
    """Rows (`id`, `prompt`, `completion`, `fields`) from records.

    A record that its file put in a split gives a row with `split`.

    Args:
        records: what the data tool made or the file holds.
        templates: Jinja2 templates `prompt` and `completion` over a record's fields; None: the
            records are rows, of any kind that `lockgate.stages.conversations` knows.
        where: the file or key that the records come from, for messages.

    Raises:
        LockgateError: if there is no record, a field is missing, a row comes out empty, or a
            record that should be a row is not one question and its answer.
    """
    if not records:
        raise LockgateError("there is no record", where=where, hint="a row is made of each record")
    splits = [{"split": one[reading.SPLIT]} if reading.SPLIT in one else {} for one in records]
    fields = [{k: v for k, v in one.items() if k != reading.SPLIT} for one in records]
    rows = _templated(fields, templates, where) if templates else _turns(fields, where)[0]
    return [
        {**row, "fields": own, **split}
        for row, own, split in zip(rows, fields, splits, strict=True)
    ]


def _turns(fields: list[dict[str, Any]], where: str) -> tuple[list[dict[str, str]], str | None]:
    """Records that are rows, and the system message that they share."""
    try:
        given = [(f"{where}: record {number}", one) for number, one in enumerate(fields, 1)]
        return conversations.as_turns(given, None)
    except LockgateError as error:
        hint = f"{error.hint}; of other fields, data.rows makes rows"
        raise LockgateError(error.what, where=error.where, hint=hint) from None


def _templated(
    records: list[dict[str, Any]], templates: dict[str, str], where: str
) -> list[dict[str, Any]]:
    compiled = compile_rows(templates)
    rows = []
    for number, record in enumerate(records, 1):
        row: dict[str, Any] = {"id": f"{number - 1:06d}"}
        for key, template in compiled.items():
            try:
                text = template.render(record).strip()
            except Exception as error:  # a template may raise what any expression raises
                raise LockgateError(
                    f"record {number} cannot become a row: {error} (data.rows.{key})",
                    where=where,
                    hint=f"its fields are: {', '.join(map(str, record))}",
                ) from None
            if not text:
                raise LockgateError(
                    f"record {number} gives an empty {key} (data.rows.{key})",
                    where=where,
                    hint="take the record out, or mend the template",
                )
            row[key] = text
        rows.append(row)
    return rows


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
    records = [{**row, **row.get("fields", {})} for row in rows]
    made = _templated(records, templates, where)
    return [
        {**row, **{key: new[key] for key in templates}} for row, new in zip(rows, made, strict=True)
    ]


def own_rows(run: Mapping[str, Any], splits: Rows, where: str) -> Rows:
    """The rows of one run, which may have prompts or rows to train on of its own.

    Args:
        run: of a built training: `rows` (templates, see `revise`), `train_files` (other rows to
            train on, or None), `train_rows` (how many are trained on, or None), and for
            `train_files` what the data section says: `projection` and `similarity`.
        splits: the data's rows by split.
        where: for messages, the file that names the keys.

    Raises:
        LockgateError: if rows to train on are like held-out ones, or there are too few.
    """
    made = dict(splits)
    if run["train_files"] is not None:
        made["train"] = other_rows(run)
        hint = f"take them out of {run['train_files']}"
        _apart(made, run["similarity"], f"{where}: data.train_files", hint)
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


def check_system(
    records: list[dict[str, Any]],
    templates: dict[str, str] | None,
    path: Path,
    system_prompts: set[str | None],
    source: str,
) -> None:
    """Refuse chat records whose system message is not that of the runs that use them.

    Args:
        records: as read.
        templates: that make rows of them; None: they are rows.
        path: their file.
        system_prompts: of the runs.
        source: the configuration's file, for messages.

    Raises:
        LockgateError: with both.
    """
    fields = [{k: v for k, v in one.items() if k != reading.SPLIT} for one in records]
    system = None if templates else _turns(fields, str(path))[1]
    if system is not None and system_prompts != {system}:
        raise LockgateError(
            f"the rows of {path} have the system message {system!r:.200}, and the runs have "
            f"{', '.join(sorted(f'{one!r:.200}' for one in system_prompts))}",
            where=f"{source}: training.system_prompt",
            hint="set it to the rows' system message, or take that out of the rows",
        )


def other_rows(run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of a run's `train_files`; of a file with splits of its own those to train on.

    Raises:
        LockgateError: if a record is no row.
    """
    path = Path(run["train_files"])
    rows = project(reading.read(path), run["projection"], str(path))
    return [row for row in rows if row.get("split", "train") == "train"]


def _apart(made: Rows, similarity: float, where: str, hint: str) -> None:
    """See `lockgate.data.splits.check_apart`."""
    held_out = [*made["validation"], *made["test"]]
    check_apart(made["train"], held_out, similarity, where, hint)
