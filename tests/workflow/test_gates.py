"""Gates on real Snakemake: what opens them, what they say, and what they keep from starting."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest
from project import Project


def test_a_dry_run_shows_every_phase_before_any_approval(new: Project) -> None:
    result = new.dry_run()
    assert result.status == 0, result.output
    rules = {job.split(":")[0] for job in result.jobs}
    assert {
        "resolve", "learn", "plan", "build_data", "build_train", "build_eval", "build_smoke",
        "validate_data", "validate_config", "validate_report", "preview_data", "preview_train",
        "preview_eval", "review", "generate", "assemble", "train", "untrained", "eval", "report",
    } <= rules  # fmt: skip
    assert re.search(r"\njob +count\n", result.output) and "assemble  " in result.output
    assert not new.results.exists(), "a dry run writes nothing"


def test_a_closed_gate_ends_the_run_and_says_what_to_do(new: Project) -> None:
    first = new.run()
    assert first.status == 0 and first.closed == "plan"
    assert first.jobs == {"resolve", "learn", "plan", "all"}
    assert f"file://{new.results}/plan/plan.html" in first.output
    assert "Traceback" not in first.output
    again = new.run()
    assert again.status == 0 and again.closed == "plan" and again.jobs == set()
    for name in ("plan.md", "runs.csv", "cells.csv", "estimates.csv", "design-experiment.log"):
        assert (new.results / "plan" / name).stat().st_size > 0


def test_a_target_behind_a_closed_gate_is_refused_by_name(new: Project) -> None:
    new.run()
    target = str((new.results / "data/train.jsonl").relative_to(new.path))
    result = new.run(target)
    assert result.status != 0
    assert "Gate 'plan' is closed" in result.output and "touch approvals/" in result.output
    assert not (new.results / "build").exists()


def test_which_marker_counts(new: Project) -> None:
    new.edit(lambda config: config.update(approvers=["nobody-known-here"]))
    assert new.run().closed == "plan"
    marker = new.approve("plan")
    result = new.run()
    assert result.closed == "plan" and "not among the approvers" in result.output

    owner = subprocess.run(["id", "-un"], capture_output=True, text=True).stdout.strip()
    new.edit(lambda config: config.update(approvers=[owner]))
    assert new.run().closed == "plan"
    past = time.time() - 3600
    os.utime(marker, (past, past))
    assert "older than the document" in new.run().output
    marker.write_text("digest: 0123456789ab\n")
    assert "names another document" in new.run().output
    marker.write_text("by: me\nnote: read it all\n")
    result = new.run("--until", "build_data")
    assert result.status == 0 and "build_data" in result.jobs
    (entry,) = map(json.loads, (new.approvals / "ledger.jsonl").read_text().splitlines())
    assert entry["gate"] == "plan" and entry["owner"] == owner and entry["note"] == "read it all"
    assert any(item.startswith("train/") for item in entry["items"])


@pytest.mark.slow
def test_the_ledger_is_enough_once_it_records_an_approval(done: Project) -> None:
    for gate in ("plan", "preview"):
        (done.approvals / f"{gate}.approved").unlink()
    result = done.run()
    assert (result.status, result.closed, result.jobs) == (0, None, set())


def directories(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir() if entry.is_dir())


@pytest.mark.slow
def test_a_job_refuses_what_no_approval_covers(done: Project) -> None:
    run = "tiny_learning-rate-0.001_lora-rank-4"
    spec, run_directory = done.results / f"build/train/{run}.yaml", done.results / "train" / run
    before = directories(run_directory)
    spec.write_text(spec.read_text().replace("learning_rate: 0.001", "learning_rate: 0.5"))
    result = done.run()
    assert result.status != 0
    assert f"train/{run}:" in result.output and "not approved at gate 'plan'" in result.output
    assert directories(run_directory) == before, "nothing was trained"


@pytest.mark.slow
def test_two_at_once_are_refused(done: Project) -> None:
    holder = subprocess.Popen(
        ["flock", str(done.results / ".lock"), "sleep", "60"], start_new_session=True
    )
    try:
        time.sleep(0.5)
        result = done.run()
        assert result.status != 0
        assert "already running" in result.output and "Hint:" in result.output
        assert done.dry_run().status == 0, "a dry run needs no lock"
    finally:
        os.killpg(holder.pid, 9)
        holder.wait()
    assert done.run().status == 0


@pytest.mark.slow
def test_no_run_is_trained_twice_at_once(done: Project) -> None:
    directory = done.results / "train" / "tiny_learning-rate-0.001_lora-rank-4"
    (directory / "manifest.json").unlink()
    holder = subprocess.Popen(
        ["flock", str(directory / ".lock"), "sleep", "60"], start_new_session=True
    )
    try:
        time.sleep(0.5)
        result = done.run()
        assert result.status != 0 and "is being trained" in result.output
        assert not (directory / "manifest.json").exists()
    finally:
        os.killpg(holder.pid, 9)
        holder.wait()
    assert done.run().status == 0


def test_the_slurm_profile_plans_the_same_jobs(new: Project) -> None:
    local = new.dry_run()
    remote = new.run("-n", profile="slurm")
    assert remote.status == 0, remote.output
    assert remote.jobs == local.jobs
