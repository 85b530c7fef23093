"""An existing dataset: records are read from a file, none are generated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from lockgate import files
from lockgate.data import hub, records
from lockgate.errors import LockgateError
from lockgate.tools import Column, Endpoint


class Dataset:
    """Reads records from `data.files`."""

    kind = "data"
    design_name = "design.yaml"

    def versions(self) -> dict[str, str]:
        return {}

    def render(self, data: dict[str, Any], root: Path) -> str:
        path = _path(data, root)
        if hub.is_hub(path):
            hub.parse(path)
        for key in ("design", "script", "endpoint"):
            if data.get(key) is not None:
                raise LockgateError(
                    f"an existing dataset has no {key}",
                    where=f"data.{key}",
                    hint=f"remove data.{key}, or choose a tool that generates records",
                )
        design = {
            "format": Path(path).suffix[1:] or "jsonl",
            "files": path,
            "records": data.get("records"),
        }
        return "# Records are read from this file.\n" + yaml.safe_dump(design, sort_keys=False)

    def inputs(self, data: dict[str, Any], root: Path) -> list[Path]:
        path = _path(data, root)
        if hub.is_hub(path):  # its name says which content
            return []
        if not Path(path).is_file():
            raise LockgateError(
                f"the file {path} does not exist", where="data.files", hint="correct the path"
            )
        return [Path(path)]

    def learn(self) -> dict[str, Any]:
        return {"formats": ["jsonl", "json", "csv", "tsv", "parquet"]}

    def validate(
        self, design: Path, data: dict[str, Any], endpoint: Endpoint | None, work: Path
    ) -> None:
        _records(design, data)

    def describe(self, design: Path, data: dict[str, Any]) -> list[Column]:
        return []

    def preview(
        self, design: Path, data: dict[str, Any], endpoint: Endpoint | None, out: Path
    ) -> list[dict[str, Any]]:
        return _records(design, data)[: data["preview_records"]]

    def generate(
        self,
        design: Path,
        data: dict[str, Any],
        shard: int,
        endpoint: Endpoint | None,
        work: Path,
        told: Callable[[int], None] | None = None,
    ) -> list[dict[str, Any]]:
        found = _records(design, data)
        shards = data.get("shards", 1)
        return found[len(found) * shard // shards : len(found) * (shard + 1) // shards]

    def usage(self, work: Path) -> dict[str, int] | None:
        return None


def _path(data: dict[str, Any], root: Path) -> str:
    """The file's path as seen from here, or its name on the Hub."""
    if not data.get("files"):
        raise LockgateError(
            "the dataset's path is missing",
            where="data.files",
            hint="set data.files to a JSON Lines file, one object a line, or to .json, .csv, .tsv "
            "or .parquet, or to a file on the Hub",
        )
    files = str(data["files"])
    return files if hub.is_hub(files) else str(root / files)


def _records(design: Path, data: dict[str, Any]) -> list[dict[str, Any]]:
    """The first `data.records` records, or all."""
    found = records.read(files.read_yaml(design)["files"])
    wanted = data.get("records") or len(found)
    if not found:
        raise LockgateError(
            f"{data['files']} has no records",
            where="data.files",
            hint="each line must be one JSON object",
        )
    if len(found) < wanted:
        raise LockgateError(
            f"{data['files']} has {len(found)} records, {wanted} are wanted",
            where="data.records",
            hint="lower data.records, or leave it out to use all",
        )
    return found[:wanted]


ADAPTER = Dataset()
