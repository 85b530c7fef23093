"""What clusters do to jobs: finished work is kept, others go on, the next call completes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster
from project import Project, Result

from lockgate import attempts
from lockgate.attempts import Attempt
from tiny_model import make_tiny_model

pytestmark = pytest.mark.slurm

RUNS = [f"tiny_learning-rate-{rate}" for rate in ("0.001", "0.002", "0.003", "0.004")]


def _long(config: dict[str, Any]) -> None:
    """Trainings that are long enough for something to happen to them."""
    config["training"]["parameters"] |= {"method": "lora", "lora_rank": 4, "epochs": 30}
    config["training"]["parameters"] |= {"checkpoint_steps": 10, "batch_size": 2}
    config["training"]["variables"] = {"learning_rate": [1e-3, 2e-3, 3e-3, 4e-3]}
    config["data"]["records"] = 60
    config["evaluation"]["tasks"] = config["evaluation"]["tasks"][1:]
    config["resources"] = {"threads": 1, "gpus": 1}


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose data is made and whose preview is approved; nothing is trained."""
    path = tmp_path_factory.mktemp("faults") / "project"
    project = Project.create(path, "config/examples/own_model.yaml")
    make_tiny_model(path / "models" / "tiny", chat_template=False)
    project.edit(_long)
    for gate in ("plan", "preview"):
        result = project.run()
        assert result.closed == gate, result.output
        project.approve(gate)
    result = project.run("--until", "assemble")
    assert result.status == 0, result.output
    return project


@pytest.fixture
def project(prepared: Project, tmp_path: Path) -> Project:
    return prepared.copy(tmp_path / "project")


class Call:
    """Snakemake in the background, with SLURM.

    Args:
        project: it runs there.
        runs: those to train, and nothing after it.
        options: more arguments.
    """

    def __init__(self, project: Project, *runs: str, options: tuple[str, ...] = ()) -> None:
        self.project, self.log = project, project.path / f"call-{time.time()}.log"
        targets = [str(manifest(project, run).relative_to(project.path)) for run in runs]
        self.process = subprocess.Popen(
            project.command(*targets, *options, profile="slurm"),
            cwd=project.path,
            stdout=open(self.log, "w"),  # noqa: SIM115
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )

    def __enter__(self) -> Call:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def until(self, ready: Callable[[], object], seconds: float = 600) -> None:
        """Wait for something to hold while it runs."""
        deadline = time.monotonic() + seconds
        while not ready():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.3)

    def end(self, seconds: float = 900) -> Result:
        return Result(self.process.wait(timeout=seconds), self.log.read_text())


def manifest(project: Project, run: str) -> Path:
    return project.results / "train" / run / "manifest.json"


def made(project: Project, run: str) -> dict[str, Any]:
    return json.loads(manifest(project, run).read_text())


def tries(project: Project, run: str) -> list[Attempt]:
    return attempts.read(manifest(project, run).with_name(attempts.NAME))


def outcomes(project: Project, run: str) -> list[str]:
    return [one.outcome for one in attempts.settled(tries(project, run))]


def saved(project: Project, *runs: str) -> bool:
    """Each of the runs has a checkpoint to continue from."""
    folders = [manifest(project, run).parent for run in runs]
    return all(list(folder.glob("*/checkpoint-*/trainer_state.json")) for folder in folders)


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Callable[[], None] | None]:
    """A file system of 2 MB at a folder; gives what makes it larger (None: no right to mount)."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(folder)]
    if subprocess.run(command, check=False).returncode:
        warnings.warn("a full disk is not checked: nothing can be mounted here", stacklevel=3)
        yield None
        return
    try:
        yield (
            lambda: (
                subprocess.run(["mount", "-o", "remount,size=500m", str(folder)], check=True)
                and None
            )
        )
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_each_run_has_its_own_fault(cluster: Cluster, project: Project) -> None:
    killed, cancelled, late, full = RUNS
    with small_disk(manifest(project, full).parent) as enlarge:
        with Call(project, *RUNS) as call:
            call.until(lambda: saved(project, killed, cancelled, late))
            os.kill(tries(project, killed)[-1].pid, signal.SIGKILL)
            cluster.call("scancel", str(tries(project, cancelled)[-1].job))
            # SLURM's warning lets it go on: it cannot be done before
            os.kill(tries(project, late)[-1].pid, signal.SIGSTOP)
            job = str(tries(project, late)[-1].job)
            cluster.call("scontrol", "update", f"jobid={job}", "TimeLimit=1")
            first = call.end()
        assert first.status != 0
        # out of time: warned before the end, it saved, and went on with more time
        assert outcomes(project, late)[-2:] == [attempts.OUT_OF_TIME, attempts.DONE]
        assert tries(project, late)[-2].detail.startswith("training stopped at step")
        assert made(project, late)["resumed_from_step"] > 0
        # an exit code: submitted again
        assert outcomes(project, killed) == [attempts.DIED, attempts.DONE]
        assert made(project, killed)["resumed_from_step"] > 0
        # cancelled by somebody: not begun again behind his back, and told of
        assert outcomes(project, cancelled) == [attempts.CANCELLED]
        assert f"FAILED: train {cancelled}: cancelled (SLURM job" in first.output
        assert not manifest(project, cancelled).exists()
        if enlarge:  # the disk: one message, in the log's last lines too
            assert set(outcomes(project, full)) == {attempts.FAILED}
            assert f"FAILED: train {full}: failed (SLURM job" in first.output
            assert "no space is left on the disk" in first.output
            assert "Hint: free some" in first.output
            assert not manifest(project, full).exists()

        times = [manifest(project, run).stat().st_mtime for run in (killed, late)]
        if enlarge:
            enlarge()
        with Call(project, *RUNS) as call:
            second = call.end()
        assert second.status == 0, second.output
        assert second.heavy == {f"train:{cancelled}", *([f"train:{full}"] if enlarge else [])}
        assert made(project, cancelled)["resumed_from_step"] > 0
        assert [manifest(project, run).stat().st_mtime for run in (killed, late)] == times
        steps = {made(project, run)["steps"] for run in RUNS}
        assert len(steps) == 1
        for run in RUNS:
            assert [loss["step"] for loss in made(project, run)["losses"]] == list(
                range(1, steps.copy().pop() + 1)
            )


def test_more_memory_after_it_ran_out(cluster: Cluster, project: Project) -> None:
    project.edit(lambda config: config["resources"].update(memory_mb=300))
    plan = project.run(str((project.results / "plan/plan.json").relative_to(project.path)))
    assert plan.status == 0, plan.output
    with Call(project, RUNS[0]) as call:
        result = call.end()
    assert result.status == 0, result.output
    found = tries(project, RUNS[0])
    assert [one.outcome for one in found] == [attempts.OUT_OF_MEMORY, attempts.DONE]
    assert [one.memory_mb for one in found] == [300, 600]


def test_a_killed_snakemake_leaves_jobs_that_the_next_call_takes_over(
    cluster: Cluster, project: Project
) -> None:
    run, other = RUNS[:2]
    with Call(project, run) as call:
        call.until(lambda: saved(project, run))
    job = str(tries(project, run)[-1].job)
    assert cluster.job(job)["JobState"] == "RUNNING"  # it outlives Snakemake
    with Call(project, run, other) as call:
        result = call.end()
    assert result.status == 0, result.output
    first, second = attempts.settled(tries(project, run))
    assert (first.outcome, second.outcome) == (attempts.STOPPED, attempts.DONE)
    assert first.ended is not None and first.ended <= second.began  # never two at once
    assert made(project, run)["resumed_from_step"] > 0
    log = (project.results / "logs/train" / f"{run}.log").read_text()
    assert f"by SLURM job {job}, left over: it is cancelled" in log


def test_preemption_a_dead_node_and_a_restarted_controller(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a cluster of its own, whose parts it breaks."""
    runs = RUNS[:2]
    apart = ("--set-resources", "train:mem_mb=9000")  # a node for each
    with tempfile.TemporaryDirectory(prefix="cluster-") as folder, Cluster(Path(folder)) as own:
        for name, value in own.environment().items():
            monkeypatch.setenv(name, value)
        with Call(project, *runs, options=apart) as call:
            call.until(lambda: saved(project, *runs))
            jobs = [str(tries(project, run)[-1].job) for run in runs]
            preempted, lost = (own.job(job)["NodeList"] for job in jobs)
            assert preempted != lost
            own.node_kill(lost)
            own.slurmctld_restart()
            own.node_resume(lost)
            urgent = own.submit("sleep 5", "-p", "urgent", "--exclusive", "-w", preempted)
            own.wait(urgent, "COMPLETED", seconds=120)
            result = call.end()
        assert result.status == 0, result.output
        for run, job in zip(runs, jobs, strict=True):
            assert outcomes(project, run) == [attempts.STOPPED, attempts.DONE]
            assert made(project, run)["resumed_from_step"] > 0
            assert {one.job for one in tries(project, run)} == {job}  # no attempt is used up
            assert own.job(job)["Restarts"] == "1"
        saved_first, killed = (tries(project, run)[0].detail for run in runs)
        assert saved_first.startswith("training stopped at step")
        assert killed == "SLURM put it back"


def test_what_sbatch_refuses_is_told_and_the_rest_goes_on(
    accounting_cluster: Cluster, project: Project
) -> None:
    limit = ["sacctmgr", "-i", "modify", "account", "lab", "set"]
    charged = ("--set-resources", "train:slurm_account=lab")
    accounting_cluster.call(*limit, "MaxSubmitJobs=1")
    try:
        with Call(project, *RUNS[:2], options=charged) as call:
            first = call.end()
    finally:
        accounting_cluster.call(*limit, "MaxSubmitJobs=-1")
    assert first.status != 0
    assert "SLURM sbatch failed" in first.output and "violates" in first.output
    assert [manifest(project, run).exists() for run in RUNS[:2]].count(True) == 1
    with Call(project, *RUNS[:2], options=charged) as call:
        second = call.end()
    assert second.status == 0, second.output
    assert len(second.heavy) == 1


def test_an_unknown_partition_is_told(cluster: Cluster, project: Project) -> None:
    absent = ("--set-resources", "train:slurm_partition=absent")
    with Call(project, RUNS[0], options=absent) as call:
        result = call.end()
    assert result.status != 0
    assert "invalid partition specified: absent" in result.output
    assert "Traceback" not in result.output
    assert not manifest(project, RUNS[0]).exists()
