"""System messages of conversations: those of the runs that learn them, or an error."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lockgate.data.projection import system_message
from lockgate.errors import LockgateError


def check_records(
    records: list[dict[str, Any]],
    rows: Mapping[str, str | None] | None,
    path: Path,
    system_prompts: set[str | None],
    source: str,
) -> None:
    """Refuse records whose system message is not that of the runs that use them.

    Args:
        records: as read.
        rows: the section `data.rows`; None: they are rows.
        path: their file.
        system_prompts: of the runs.
        source: the configuration's file, for messages.

    Raises:
        LockgateError: with both.
    """
    system = system_message(records, rows, str(path))
    _check(system, f"the rows of {path}", system_prompts, f"{source}: ")


def check_rows(rows: list[dict[str, Any]], system_prompts: set[str | None]) -> None:
    """The same for rows that `project` made of a design's records.

    Raises:
        LockgateError: with both.
    """
    first = next((row["messages"][0] for row in rows if "messages" in row), None)
    if first and first["role"] == "system":
        _check(first["content"], "the conversations", system_prompts, "")


def _check(system: str | None, what: str, system_prompts: set[str | None], source: str) -> None:
    if system is not None and system_prompts != {system}:
        raise LockgateError(
            f"{what} have the system message {system!r:.200}, and the runs have "
            f"{', '.join(sorted(f'{one!r:.200}' for one in system_prompts))}",
            where=f"{source}training.system_prompt",
            hint="set it to the rows' system message, or take that out of the rows",
        )
