"""Make the rows of the experiment of the records that its data design gave.

    python make_rows.py data/records.jsonl

How is in data/rows.yaml: the templates, the shares of the splits, the seed, and what runs have of
their own. Rows with nearly the same prompt stay in one split.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lockgate.data.projection import own_rows, project
from lockgate.data.splits import split
from lockgate.errors import entry
from lockgate.files import read_jsonl, read_yaml, write_jsonl


@entry
def main() -> None:
    """Read the records, and write the splits of each folder of rows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("records", type=Path)
    options = parser.parse_args()
    settings = read_yaml("data/rows.yaml")
    rows = project(read_jsonl(options.records), settings["rows"], str(options.records))
    splits = split(rows, settings["splits"], settings["seed"], settings["similarity"])
    folders = {"data": splits}
    for folder, own in settings["folders"].items():
        folders[folder] = dict(own_rows(own, splits, "data/rows.yaml"))
    for folder, parts in folders.items():
        for name, part in parts.items():
            write_jsonl(Path(folder) / f"{name}.jsonl", part)
            print(f"{folder}/{name}.jsonl: {len(part)} rows")


if __name__ == "__main__":
    main()
