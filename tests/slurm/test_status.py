"""`lockgate status` and `lockgate cancel` with jobs in a real queue."""

from __future__ import annotations

import shutil
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from cluster import Cluster

from lockgate import cancel
from lockgate.attempts import NAME, place, read
from lockgate.cluster import prefix
from standing import Standing

pytestmark = pytest.mark.slurm

ROOT = Path(__file__).parents[2]
JOB = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from lockgate import attempts, process
process.granted.job = os.environ["SLURM_JOB_ID"]
with attempts.attempt(Path(sys.argv[2]), sys.argv[3], "it is being trained"):
    print("begun", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def standing(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Standing:
    """The quickstart in a directory of its own; nothing is trained."""
    shutil.copytree(ROOT / "config", tmp_path / "config")
    monkeypatch.chdir(tmp_path)
    return Standing("config/config.yaml", tmp_path)


@pytest.fixture
def submit(cluster: Cluster, standing: Standing) -> Callable[..., str]:
    """Submits a run's training as Snakemake's executor does."""
    name = f"{prefix(standing.experiment.config.experiment.name)}_{uuid.uuid4()}"

    def job(run: str, *options: str) -> str:
        work = standing.works[f"train/{run}"]
        script = (
            f"exec {sys.executable} - {ROOT / 'scripts'} {work.out} {work.item} <<'END'{JOB}END"
        )
        about = [f"--job-name={name}", f"--comment={work.comment}", "--mem=200"]
        return cluster.submit(script, *about, *options)

    return job


def _runs(standing: Standing) -> dict[str, dict[str, object]]:
    return {run["name"]: run for run in standing.tell()["runs"]}


def _until(ready: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_what_waits_and_what_runs_is_told_and_cancelled(
    cluster: Cluster, standing: Standing, submit: Callable[..., str]
) -> None:
    first, second = (name for name, run in _runs(standing).items() if run["kind"] == "fine-tuned")
    running, waiting = submit(first, "--gres=gpu:1"), submit(second, "--begin=now+1hour")
    node = cluster.wait(running, "RUNNING")["NodeList"]
    _until(lambda: standing.run(first)["attempts"] == 1)
    run = standing.run(first)
    assert (run["state"], run["job"], run["node"]) == ("running", running, node)
    run = standing.run(second)
    assert (run["state"], run["job"], run["reason"]) == ("pending", waiting, "BeginTime")
    told, acted = cancel.cancel(standing.experiment, [second])
    assert (told, acted) == ([f"train/{second}: SLURM job {waiting} cancelled"], True)
    cluster.wait(waiting, "CANCELLED")
    assert standing.run(first)["state"] == "running"
    cancel.cancel(standing.experiment, [])
    cluster.wait(running, "CANCELLED")
    assert {name: _runs(standing)[name]["state"] for name in (first, second)} == {
        first: "stopped",
        second: "stopped",
    }
    assert _runs(standing)[first]["reason"] == "cancelled: by `lockgate cancel`"


def test_a_job_that_another_ended_is_told_from_what_slurm_says(
    cluster: Cluster, standing: Standing, submit: Callable[..., str]
) -> None:
    run = next(name for name, run in _runs(standing).items() if run["kind"] == "fine-tuned")
    number = submit(run)
    path = place(standing.works[f"train/{run}"].out) / NAME
    _until(lambda: read(path))
    cluster.call("scancel", "--signal=KILL", "--full", number)
    cluster.wait(number, "CANCELLED", "FAILED", "NODE_FAIL")
    told = standing.run(run)
    assert told["state"] in ("stopped", "failed")
    assert f"SLURM says {cluster.job(number)['JobState']}" in told["reason"]
    assert told["job"] == number
