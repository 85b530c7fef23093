"""What SLURM's commands print is read right; tests/slurm asks a real cluster."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lockgate import cluster


@pytest.fixture
def bin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory for commands, first on the PATH."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


def _command(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5:00", 5),
        ("0:30", 1),
        ("59:59", 60),
        ("1:00:00", 60),
        ("1-00:00:00", 1440),
        ("2-12:30:01", 3631),
        ("10:00:00", 600),
        ("infinite", None),
        ("UNLIMITED", None),
        ("NOT_SET", None),
        ("n/a", None),
        ("", None),
        ("7", None),
    ],
)
def test_walltimes_are_minutes(text: str, expected: int | None) -> None:
    assert cluster.minutes(text) == expected


@pytest.mark.parametrize(
    ("gres", "gpus"),
    [
        ("(null)", 0),
        ("gpu:4", 4),
        ("gpu:4(S:0-1)", 4),
        ("gpu:h100:8", 8),
        ("gpu:h100:8(S:0-1)", 8),
        ("gpu:a100:2,gpu:v100:1", 3),
        ("gpu:a100_1g.5gb:14(S:0),nic:2", 14),
        ("nic:2,gpu:1", 1),
        ("tmpgpu:9", 0),
        ("shard:16", 0),
        ("nic:gpu:3", 0),
    ],
)
def test_gpus_of_a_node_are_counted(bin: Path, gres: str, gpus: int) -> None:
    _command(bin / "sinfo", f"echo 'main*|up|1:00:00|2|8|16000|{gres}'")
    (partition,) = cluster.partitions()
    assert partition.gpus == gpus


def test_a_partition_of_unlike_nodes_has_the_best_of_each(bin: Path) -> None:
    lines = [
        "long|up|infinite|2|64+|256000+|gpu:a100:4(S:0-1)",
        "long|up|infinite|3|32|512000|(null)",
        "old|inact|1-00:00:00|1|8|16000|(null)",
    ]
    _command(bin / "sinfo", "cat <<'END'\n" + "\n".join(lines) + "\nEND")
    assert cluster.partitions() == [
        cluster.Partition("long", False, True, None, 5, 64, 512000, 4),
        cluster.Partition("old", False, False, 1440, 1, 8, 16000, 0),
    ]


def test_a_command_that_fails_is_no_answer(bin: Path) -> None:
    for name in ("sinfo", "squeue", "sacctmgr"):
        _command(bin / name, "echo broken >&2; exit 1")
    assert cluster.partitions() == []
    assert cluster.accounts() is None
    assert cluster.jobs(["1"]) is None
    assert cluster.alive("1") is None


def test_nothing_is_asked_for_no_jobs(bin: Path) -> None:
    _command(bin / "squeue", "exit 1")
    assert cluster.jobs([]) == {}
    assert cluster.cancel([]) == ""


def test_why_jobs_were_not_cancelled_is_told(bin: Path) -> None:
    _command(bin / "scancel", "echo no: $* >&2; exit 1")
    assert cluster.cancel(["3", "4"]) == "no: 3 4"


def test_a_job_knows_its_own_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)
    assert cluster.job_id() is None
    monkeypatch.setenv("SLURM_JOB_ID", "14")
    assert cluster.job_id() == "14"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    assert cluster.job_id() == "12_2"


def test_a_job_that_only_accounting_remembers_is_found_there(bin: Path) -> None:
    _command(bin / "squeue", "exit 0")
    _command(bin / "sacct", "echo '7|CANCELLED by 0|gpu1'; echo '8|COMPLETED|gpu2'")
    told = cluster.jobs(["7", "8", "9"])
    assert told is not None
    assert {job.id: (job.state, job.nodes) for job in told.values()} == {
        "7": ("CANCELLED", "gpu1"),
        "8": ("COMPLETED", "gpu2"),
    }
    assert cluster.alive("9") is False
