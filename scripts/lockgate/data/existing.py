"""A dataset that exists already: its own splits, and what is in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lockgate.config.data import Data, Splits
from lockgate.data import hub
from lockgate.data import records as reading
from lockgate.data.projection import own_rows, project
from lockgate.data.splits import duplicates, labels, near_duplicates, split
from lockgate.data.systems import check_records
from lockgate.errors import LockgateError
from lockgate.files import file_digest
from lockgate.prompts import asked_text
from lockgate.scoring import check_targets


def own_splits(section: Data, root: Path, source: str) -> Data:
    """The data section with the shares that the file itself made, where it made splits.

    Args:
        section: of the configuration.
        root: the directory that relative paths start from.
        source: the configuration's file, for messages.

    Raises:
        LockgateError: if the section asks for other splits, or for a part of the records; if the
            file is on the Hub and cannot be fetched.
    """
    if Path(str(section.files)).suffix.lower() != ".json":
        return section
    try:
        path = hub.local(str(section.files), root)
    except LockgateError as error:
        where = f"{source}: {error.where}"
        raise LockgateError(error.what, where=where, hint=error.hint) from None
    if not path.is_file():
        return section
    sizes = reading.own_splits(reading.read(path))
    if sizes is None:
        return section
    for key in ("splits", "records"):
        if key in section.model_fields_set and getattr(section, key) is not None:
            raise LockgateError(
                f"{path} has splits of its own, which are kept as they are",
                where=f"{source}: data.{key}",
                hint=f"leave data.{key} out, or make the file one list of records",
            )
    total = sum(sizes.values())
    shares = Splits(**{name: size / total for name, size in sizes.items()})
    return section.model_copy(update={"splits": shares})


def inspect_file(
    section: Data,
    path: Path,
    system_prompts: set[str | None],
    source: str,
    own: Iterable[Mapping[str, Any]] = (),
    tasks: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Counts of a dataset, every row of which becomes a row and fits its split.

    Args:
        section: of the configuration.
        path: its file.
        system_prompts: with which the runs are trained and measured.
        source: the configuration's file, for messages.
        own: what runs have of their own, see `own_rows`.
        tasks: of the configuration, each of which has to be able to score its rows.

    Returns:
        `rows`, `fields` (of all records, sorted), `sha256` (of the file), `characters` (of prompts
        and completions), `splits` (rows of each), `duplicates` and `near_duplicates` (see the
        function of that name).

    Raises:
        LockgateError: whatever is wrong with the rows.
    """
    records = reading.read(path)
    templates = section.rows.model_dump() if section.rows else None
    wanted = section.records
    if wanted is not None and wanted > len(records):
        raise LockgateError(
            f"{path} has {len(records)} records, {wanted} are wanted",
            where=f"{source}: data.records",
            hint="lower data.records, or leave it out to use all",
        )
    rows = project(records, templates, f"data.files {path}")
    check_records(records, templates, path, system_prompts, source)
    used = rows[:wanted]
    alike = labels(used, section.similarity)
    shares = section.splits.model_dump()
    splits = split(used, shares, section.seed, section.similarity, section.group, alike)
    for run in own:
        made = own_rows(run, splits, source)
        try:
            check_targets(tasks or [], dict(made))
        except LockgateError as error:
            raise LockgateError(
                error.what, where=f"{source}: {error.where}", hint=error.hint
            ) from None
    return {
        "rows": len(rows),
        "fields": sorted({str(key) for row in used for key in row["fields"]}),
        "sha256": file_digest(path),
        "characters": sum(len(asked_text(row) + row["completion"]) for row in used),
        "splits": {name: len(splits[name]) for name in reading.NAMES},
        "duplicates": duplicates(used),
        "near_duplicates": near_duplicates(used, alike),
    }
