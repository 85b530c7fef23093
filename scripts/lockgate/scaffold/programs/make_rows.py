"""Make the rows of the experiment of the records that its data design gave.

    python make_rows.py data/records.jsonl

How is in data/rows.yaml: which records count, what makes rows of them, the shares of the splits,
the seed, and what runs have of their own. Rows with nearly the same prompt stay in one split.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

from lockgate.data.acceptance import verdicts
from lockgate.data.projection import own_rows, project
from lockgate.data.splits import split
from lockgate.data.systems import check_rows
from lockgate.errors import LockgateError, entry
from lockgate.files import read_jsonl, read_yaml, write_jsonl
from lockgate.tools import Column


@entry
def main() -> None:
    """Read the records, and write the splits of each folder of rows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("records", type=Path)
    options = parser.parse_args()
    settings = read_yaml("data/rows.yaml")
    records = accepted(read_jsonl(options.records), settings, str(options.records))
    rows = project(records, settings["rows"], str(options.records))
    check_rows(rows, set(settings["system_prompts"]))
    kept = (settings["similarity"], settings["group"])
    splits = split(rows, settings["splits"], settings["seed"], *kept)
    folders = {"data": splits}
    for folder, own in settings["folders"].items():
        folders[folder] = dict(own_rows(own, splits, "data/rows.yaml"))
    for folder, parts in folders.items():
        for name, part in parts.items():
            write_jsonl(Path(folder) / f"{name}.jsonl", part)
            print(f"{folder}/{name}.jsonl: {len(part)} rows")


def accepted(
    records: list[dict[str, Any]], settings: dict[str, Any], where: str
) -> list[dict[str, Any]]:
    """The first records that count, as many as there are to be.

    Raises:
        LockgateError: if there are too few, with the reasons.
    """
    columns = [Column(**one) for one in settings["columns"]]
    reasons = verdicts(records, settings["accept"], columns, settings["rows"])
    kept = [one for one, reason in zip(records, reasons, strict=True) if not reason]
    if len(kept) < settings["records"]:
        counted = Counter(filter(None, reasons)).most_common(5)
        told = ", ".join(f"{reason} ({count})" for reason, count in counted)
        raise LockgateError(
            f"{len(kept)} of {len(records)} records count, {settings['records']} are wanted"
            + (f"; refused: {told}" if told else ""),
            where=where,
            hint="have more made: raise --num-records in the command that README.md gives",
        )
    return kept[: settings["records"]]


if __name__ == "__main__":
    main()
