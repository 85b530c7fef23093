"""Records from the tool's `create`: kept across crashes, counted, topped up.

The tool writes finished row groups as parquet files and resumes by them, but it has traps:

- its samplers start over when it resumes, so each start gets a seed of its own;
- groups made side by side take turns at the samplers by chance, so there is one at a time;
- it exits with 0 although records are missing, so the records are counted, in the files;
- a resume leaves gaps inside finished groups, so new groups are added for what is missing;
- a group that lost all its records leaves no file, and the next start makes it, after later ones:
  the order in which groups were found is written down, so that records keep their places;
- it gives up where half of ten values in a row could not be made, which a small model may need
  more than one try for, so it is given more;
- it refuses to resume, or discards finished groups, when a crash left no good metadata.json.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lockgate import files
from lockgate.errors import LockgateError
from lockgate.tools import Endpoint
from lockgate.tools.data_designer import command
from lockgate.tools.data_designer.watch import IDLE, Watch, blame, causes, wait_for

STARTS = 30
"""Calls of the tool for one shard in one job, before giving up."""
FRUITLESS = 6
"""Calls in a row that made less than a tenth of what was missing, before giving up; one in which
the model's answers were of no use counts three times."""
PAUSE = 1.0
"""Seconds before the next call after a fruitless one, twice as many after each further one."""

SETTINGS = {
    "max_concurrent_row_groups": 1,
    "otel_metrics_port": None,  # jobs would collide on one port
    "shutdown_error_rate": 0.9,
    "shutdown_error_window": 20,
}


@dataclass
class Plan:
    """How the shard is cut into row groups; it never shrinks."""

    original: int
    """Records asked for at first; their last group may be short."""
    planned: int
    """Records asked for by now; of what was added the last group may be short too."""
    group: int
    """Records in a group."""
    order: list[int] = field(default_factory=list)
    """Finished groups, as they were found: the order of the records."""

    def size(self, group: int) -> int:
        """Records that a group has when none was dropped."""
        first = math.ceil(self.original / self.group)
        if group < first:
            return min(self.group, self.original - group * self.group)
        return min(self.group, self.planned - self.original - (group - first) * self.group)

    def extend(self, wanted: int, finished: dict[int, int]) -> None:
        """Add groups until all planned ones together can reach `wanted`, losing as many records
        as so far."""
        groups = math.ceil(self.original / self.group)
        groups += math.ceil((self.planned - self.original) / self.group)
        ahead = sum(self.size(group) for group in range(groups) if group not in finished)
        have = sum(finished.values())
        missing = wanted - have - ahead
        if missing <= 0:
            return
        kept = have / sum(self.size(group) for group in finished)
        missing = math.ceil(missing / max(kept, 0.25))
        if groups - 1 in finished and self.planned > self.original:
            # the tool takes a short last group for whole, once it is there
            added = self.planned - self.original
            self.planned = self.original + math.ceil(added / self.group) * self.group
        self.planned += missing

    def note(self, finished: dict[int, int]) -> None:
        """Put groups that were finished since the last time behind the others."""
        known = [group for group in self.order if group in finished]
        self.order = known + [group for group in sorted(finished) if group not in known]


def create(
    tool: command.Command,
    design: Path,
    wanted: int,
    seed: int,
    shard: int,
    shards: int,
    work: Path,
    endpoint: Endpoint | None = None,
    told: Callable[[int], None] | None = None,
    idle: float = IDLE,
) -> list[dict[str, Any]]:
    """Make `wanted` records in `work`, keeping what is there; earlier ones keep their places.

    Args:
        tool: the tool's command.
        design: the built design.
        wanted: of this shard.
        seed, shard, shards: what the samplers' seeds are made of.
        work: this shard's directory.
        endpoint: it is waited for where it does not answer.
        told: see `Watch`.
        idle: see `Watch`.

    Raises:
        LockgateError: if there are fewer after several calls; what was made stays.
    """
    dataset, log = work / "dataset", work / "create.log"
    failures: Counter[tuple[str, str]] = Counter()
    fruitless, reason = 0, ""
    for _ in range(STARTS):
        finished = _finished(dataset)
        have = sum(finished.values())
        if have >= wanted or fruitless >= FRUITLESS:
            break
        if fruitless:
            time.sleep(PAUSE * 2 ** (fruitless - 1))
        if endpoint:
            wait_for(endpoint)
        plan = _plan(work / "plan.json", dataset, wanted, finished)
        files.write_yaml(work / "run.yaml", {"buffer_size": plan.group, **SETTINGS})
        watch = Watch(
            lambda: sum(_finished(dataset, at_work=True).values()), log, endpoint, told, idle
        )
        try:
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
                look=watch.look,
            )
        except command.Unreachable:
            continue  # it is waited for
        failures = causes(done.stdout)
        reason = command.message(done) if done.returncode != 0 else ""
        if sum(_finished(dataset).values()) - have >= max(1, (wanted - have) / 10):
            fruitless = 0
        else:
            fruitless += 3 if failures else 1
    records = _read(work / "plan.json", dataset, wanted)
    if len(records) < wanted:
        raise _too_few(len(records), wanted, failures, reason, f"{shard + 1} of {shards}", log)
    return records


def _too_few(
    made: int,
    wanted: int,
    failures: Counter[tuple[str, str]],
    reason: str,
    shard: str,
    log: Path,
) -> LockgateError:
    """What went wrong most, with its column, and what to change."""
    what = f"made {made} of {wanted} records"
    hints = [
        "what was made is kept, and the next call goes on",
        f"the tool's messages are in {log}",
    ]
    if failures:
        reason, change = blame(failures)
        what += f"; {reason}"
        hints = [change, *hints] if change else hints
    elif reason:
        what += f"; the tool's last message: {reason}"
    return LockgateError(what, where=f"data.records (shard {shard})", hint="; ".join(hints))


def _plan(path: Path, dataset: Path, wanted: int, finished: dict[int, int]) -> Plan:
    """The plan of the last call carried on, or a new one where no group was finished."""
    if finished:
        plan = Plan(**files.read_json(path))
        plan.note(finished)
        plan.extend(wanted, finished)
        _mend(dataset / "metadata.json", plan)
    else:
        # Without a finished group there is nothing to keep, and the tool would start beside
        # what it finds, in a directory with the time in its name.
        shutil.rmtree(dataset, ignore_errors=True)
        # A crash loses at most the group that is being made; each group's end leaves some of
        # the parallel requests idle: with 4 of them, groups of 16 take a tenth longer than of 64.
        group = max(16, min(64, wanted // 4), min(1000, wanted // 10))
        plan = Plan(wanted, wanted, group)
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


def _finished(dataset: Path, at_work: bool = False) -> dict[int, int]:
    """Rows of each finished group; a file that a crash cut short is put beside the dataset, unless
    the tool is at work there.

    Raises:
        LockgateError: if a file cannot be read now; what is in it may be good.
    """
    import pyarrow
    import pyarrow.parquet

    finished = {}
    for group, path in _groups(dataset).items():
        try:
            finished[group] = pyarrow.parquet.read_metadata(path).num_rows
        except (OSError, pyarrow.ArrowException) as error:
            if at_work:
                continue
            if _is_systems(error):
                raise _unreadable(path, error) from error
            bad = dataset.parent / f"{path.name}.bad"
            path.replace(bad)
            print(f"{path.name} is broken ({error}): it is made again, and kept as {bad}")
    return finished


def _is_systems(error: Exception) -> bool:
    """It comes from the file system, and says nothing of the content."""
    return isinstance(error, OSError) and error.errno is not None


def _unreadable(path: Path, error: Exception) -> LockgateError:
    hint = "move it away, and run again: its records are made again"
    if _is_systems(error):
        hint = "it is kept: run again when its file system answers and its rights allow it"
    return LockgateError(f"cannot be read: {error}", where=str(path), hint=hint)


def _read(path: Path, dataset: Path, wanted: int) -> list[dict[str, Any]]:
    """The first `wanted` records in the plan's order."""
    import pyarrow

    finished = _finished(dataset)
    if not finished:
        return []
    plan = Plan(**files.read_json(path))
    plan.note(finished)
    files.write_json(path, vars(plan))
    groups = _groups(dataset)
    found: list[dict[str, Any]] = []
    for group in plan.order:
        if len(found) < wanted:
            try:
                found += read_parquet(groups[group])
            except (OSError, pyarrow.ArrowException) as error:
                raise _unreadable(groups[group], error) from error
    return found[:wanted]


def read_parquet(path: Path) -> list[dict[str, Any]]:
    """Records as plain JSON values."""
    import pyarrow.parquet

    rows = pyarrow.parquet.read_table(path).to_pylist()
    plain: list[dict[str, Any]] = json.loads(json.dumps(rows, default=str))
    return plain
