"""Records from the tool's `create`: kept across crashes, counted, topped up.

The tool writes finished row groups as parquet files and resumes by them, but it has traps:

- its samplers start over when it resumes, so each start gets a seed of its own;
- groups made side by side take turns at the samplers by chance, so there is one at a time;
- it exits with 0 although records are missing, so the records are counted, in the files;
- a resume leaves gaps inside finished groups, so whole groups are added for what is missing
  (less than a whole group would be taken for one that exists);
- it refuses to resume, or discards finished groups, when a crash left no good metadata.json.
"""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lockgate import files
from lockgate.errors import LockgateError
from lockgate.tools.data_designer import command

STARTS = 5
"""Calls of the tool for one shard in one job, before giving up."""
FRUITLESS = 2
"""Calls in a row without one new record, before giving up."""


@dataclass
class Plan:
    """How the shard is cut into row groups; it never shrinks."""

    original: int
    """Records asked for at first; their last group may be short."""
    planned: int
    """Records asked for by now; later groups are whole."""
    group: int
    """Records in a group."""

    def size(self, group: int) -> int:
        """Records that a group has when none was dropped."""
        last = math.ceil(self.original / self.group) - 1
        return self.original - last * self.group if group == last else self.group

    def extend(self, wanted: int, finished: dict[int, int]) -> None:
        """Add groups until all planned ones together can reach `wanted`."""
        dropped = sum(self.size(group) - rows for group, rows in finished.items())
        missing = wanted - (self.planned - dropped)
        if missing > 0:
            self.planned += math.ceil(missing / self.group) * self.group


def create(
    tool: command.Command,
    design: Path,
    wanted: int,
    seed: int,
    shard: int,
    shards: int,
    work: Path,
) -> list[dict[str, Any]]:
    """Make `wanted` records in `work`, keeping what is there.

    Raises:
        LockgateError: if there are fewer after several calls; what was made stays.
    """
    dataset = work / "dataset"
    fruitless = 0
    reason = ""
    for _ in range(STARTS):
        finished = _finished(dataset)
        have = sum(finished.values())
        if have >= wanted or fruitless >= FRUITLESS:
            break
        plan = _plan(work / "plan.json", dataset, wanted, finished)
        settings = {
            "buffer_size": plan.group,
            "max_concurrent_row_groups": 1,
            "otel_metrics_port": None,  # jobs would collide on one port
        }
        files.write_yaml(work / "run.yaml", settings)
        done = tool.run(
            *("create", design, "--num-records", str(plan.planned)),
            *("--dataset-name", dataset.name, "--artifact-path", work),
            *("--run-config", work / "run.yaml", "--no-tui"),
            *("--resume", "always" if finished else "never"),
            env={
                "LOCKGATE_SEED": command.seed(seed, shard, have),
                "LOCKGATE_SHARD": str(shard),
                "LOCKGATE_SHARDS": str(shards),
            },
        )
        if done.returncode != 0:
            reason = command.message(done)
        fruitless = 0 if sum(_finished(dataset).values()) > have else fruitless + 1
    records = _read(dataset)
    if len(records) < wanted:
        raise LockgateError(
            f"made {len(records)} of {wanted} records"
            + (f"; the tool's last message: {reason}" if reason else ""),
            where=f"data.records (shard {shard + 1} of {shards})",
            hint="what was made is kept, and the next call goes on from there; "
            f"the tool's messages are in {work}",
        )
    return records[:wanted]


def _plan(path: Path, dataset: Path, wanted: int, finished: dict[int, int]) -> Plan:
    """The plan of the last call carried on, or a new one where no group was finished."""
    if finished:
        plan = Plan(**files.read_json(path))
        plan.extend(wanted, finished)
        _mend(dataset / "metadata.json", plan)
    else:
        # Without a finished group there is nothing to keep, and the tool would start beside
        # what it finds, in a directory with the time in its name.
        shutil.rmtree(dataset, ignore_errors=True)
        # A crash loses at most the group that is being made; each group's end leaves some of
        # the parallel requests idle.
        plan = Plan(wanted, wanted, group=min(1000, max(16, wanted // 10)))
    files.write_json(path, vars(plan))
    return plan


def _mend(metadata: Path, plan: Plan) -> None:
    """Write the metadata that resuming needs, where a crash left none that can be read."""
    try:
        asked = json.loads(metadata.read_text(encoding="utf-8"))["target_num_records"]
        if isinstance(asked, int):
            return
    except (OSError, ValueError, KeyError, TypeError):
        pass
    files.write_json(
        metadata,
        {
            "target_num_records": plan.original,
            "original_target_num_records": plan.original,
            "buffer_size": plan.group,
        },
    )


def _groups(dataset: Path) -> dict[int, Path]:
    return {
        int(path.stem.removeprefix("batch_")): path
        for path in sorted((dataset / "parquet-files").glob("batch_*.parquet"))
    }


def _finished(dataset: Path) -> dict[int, int]:
    """Rows of each finished group; a file that a crash cut short is removed."""
    import pyarrow
    import pyarrow.parquet

    finished = {}
    for group, path in _groups(dataset).items():
        try:
            finished[group] = pyarrow.parquet.read_metadata(path).num_rows
        except (OSError, pyarrow.ArrowException):
            path.unlink()
    return finished


def _read(dataset: Path) -> list[dict[str, Any]]:
    return [row for _, path in sorted(_groups(dataset).items()) for row in read_parquet(path)]


def read_parquet(path: Path) -> list[dict[str, Any]]:
    """Records as plain JSON values."""
    import pyarrow.parquet

    rows = pyarrow.parquet.read_table(path).to_pylist()
    plain: list[dict[str, Any]] = json.loads(json.dumps(rows, default=str))
    return plain
