"""The cluster that the other tests use is a real one, and Lockgate reads it right."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

import pytest
from cluster import NODES, Cluster
from machine import HOSTS, until

from lockgate import cluster as told

pytestmark = pytest.mark.slurm

HOG = "python3 -c 'import time; held = b\"1\" * 500_000_000; time.sleep(60)'"


def _forget(cluster: Cluster) -> None:
    """Start the controller without what it knew of jobs; new ones get new numbers."""
    cluster.slurmctld_stop()
    conf = cluster.directory / "slurm.conf"
    number = re.search(r"FirstJobId=(\d+)", conf.read_text())
    assert number
    conf.write_text(conf.read_text().replace(number[0], f"FirstJobId={int(number[1]) + 500}"))
    cluster.slurmctld_start("-c")


def test_gpus_are_handed_out_and_a_ninth_waits(cluster: Cluster) -> None:
    script = "echo seen=$CUDA_VISIBLE_DEVICES; sleep 60"
    jobs = [cluster.submit(script, "--gres=gpu:4") for _ in range(2)]
    nodes = {cluster.wait(job, "RUNNING")["NodeList"] for job in jobs}
    assert nodes == set(NODES)
    until(lambda: all("seen=0,1,2,3" in cluster.log(job) for job in jobs))
    ninth = cluster.submit("true", "--gres=gpu:1")
    until(lambda: cluster.job(ninth)["Reason"] == "Resources")
    assert cluster.job(ninth)["JobState"] == "PENDING"
    cluster.call("scancel", jobs[0])
    cluster.wait(ninth, "COMPLETED")


def test_more_gpus_than_a_node_has_are_refused(cluster: Cluster) -> None:
    with pytest.raises(RuntimeError, match="Requested node configuration is not available"):
        cluster.submit("true", "--gres=gpu:5")


def test_a_walltime_above_the_partitions_is_refused(cluster: Cluster) -> None:
    with pytest.raises(RuntimeError, match="Requested time limit is invalid"):
        cluster.submit("true", "--partition=short", "--time=6")


def test_a_job_that_holds_more_memory_than_it_asked_for_is_killed(cluster: Cluster) -> None:
    greedy = cluster.submit(HOG, "--mem=100")
    modest = cluster.submit(HOG.replace("60", "8"), "--mem=1000")
    ended = {"OUT_OF_MEMORY", "FAILED", "COMPLETED", "CANCELLED"}
    assert cluster.wait(greedy, *ended)["JobState"] == cluster.out_of_memory
    assert re.search("oom-kill|exceeded memory limit", cluster.log(greedy))
    assert cluster.wait(modest, *ended)["JobState"] == "COMPLETED"


@pytest.mark.slow
def test_a_job_over_its_walltime_is_a_timeout(cluster: Cluster) -> None:
    job = cluster.submit("sleep 300", "--time=1")
    assert cluster.wait(job, "TIMEOUT", "COMPLETED", seconds=180)["JobState"] == "TIMEOUT"
    assert "DUE TO TIME LIMIT" in cluster.log(job)


def test_processes_of_a_step_find_each_other_by_the_nodes_names(cluster: Cluster) -> None:
    script = "getent hosts gpu1 && getent hosts gpu2 && echo of $SLURMD_NODENAME $SLURM_LOCALID"
    wide = ["--nodes=2", "--ntasks-per-node=2", "--gres=gpu:2"]
    found = cluster.call("srun", *wide, "bash", "-c", script)
    assert sorted(line for line in found.splitlines() if line.startswith("of ")) == [
        f"of {node} {task}" for node in NODES for task in range(2)
    ]


def test_commands_in_a_job_find_the_cluster_without_slurm_variables(cluster: Cluster) -> None:
    job = cluster.submit("env -u SLURM_CONF squeue -h -o '%i %T' -j $SLURM_JOB_ID")
    cluster.wait(job, "COMPLETED")
    assert cluster.log(job) == f"{job} RUNNING\n"


def test_a_more_urgent_job_takes_the_nodes_and_the_preempted_one_runs_again(
    cluster: Cluster,
) -> None:
    jobs = [cluster.submit("sleep 100", "--gres=gpu:4") for _ in range(2)]
    for job in jobs:
        cluster.wait(job, "RUNNING")
    urgent = cluster.submit("sleep 1", "--gres=gpu:4", "--partition=urgent")
    cluster.wait(urgent, "COMPLETED", seconds=90)
    (preempted,) = (job for job in jobs if cluster.job(job)["Restarts"] == "1")
    cluster.wait(preempted, "RUNNING", seconds=90)


def test_a_dead_node_takes_its_jobs_with_it_and_they_start_again_elsewhere(
    cluster: Cluster,
) -> None:
    lost = cluster.submit("sleep 300", "--gres=gpu:4", "--nodelist=gpu2")
    spared = cluster.submit("sleep 300", "--gres=gpu:1", "--nodelist=gpu1")
    cluster.wait(lost, "RUNNING")
    cluster.wait(spared, "RUNNING")
    cluster.node_kill("gpu2")
    assert cluster.processes("gpu2") == []
    assert cluster.processes("gpu1")
    cluster.wait(lost, "PENDING")
    assert cluster.job(spared)["JobState"] == "RUNNING"
    cluster.node_resume("gpu2")
    cluster.wait(lost, "RUNNING", seconds=90)


def test_jobs_outlive_the_controller(cluster: Cluster) -> None:
    brief, lasting = cluster.submit("sleep 4"), cluster.submit("sleep 300")
    for job in (brief, lasting):
        cluster.wait(job, "RUNNING")
    cluster.slurmctld_stop()
    assert told.alive(lasting) is None, "nobody answers: not known, rather than gone"
    cluster.slurmctld_start()
    cluster.wait(brief, "COMPLETED")
    assert cluster.job(lasting)["JobState"] == "RUNNING"


def test_lockgate_reads_the_partitions(cluster: Cluster) -> None:
    main, short, urgent = sorted(told.partitions(), key=lambda partition: partition.name)
    expected = told.Partition("main", True, True, 60, 2, 8, 16000, 4)
    assert main == expected
    assert (short.name, short.default, short.minutes) == ("short", False, 5)
    assert (urgent.name, urgent.nodes, urgent.gpus) == ("urgent", 2, 4)


def test_lockgate_reads_jobs(cluster: Cluster) -> None:
    runs = cluster.submit("sleep 60", "--gres=gpu:4", "--time=7", "--comment=run a|b")
    other = cluster.submit("sleep 60", "--gres=gpu:4")
    waits = cluster.submit("sleep 60", "--gres=gpu:4")
    fails = cluster.submit("exit 3")
    for job in (runs, other):
        cluster.wait(job, "RUNNING")
    cluster.wait(fails, "FAILED")
    until(lambda: cluster.job(waits)["Reason"] == "Resources")
    jobs = told.jobs([runs, waits, fails, "999999999"])
    assert jobs is not None and set(jobs) == {runs, waits, fails}
    assert jobs[runs] == told.Job(runs, "RUNNING", "", jobs[runs].nodes, 7, "run a|b")
    assert jobs[runs].nodes in NODES
    assert (jobs[waits].state, jobs[waits].reason) == ("PENDING", "Resources")
    assert (jobs[fails].state, jobs[fails].reason) == ("FAILED", "NonZeroExitCode")
    assert [told.alive(job) for job in (runs, waits, fails, "999999999")] == [
        True, True, False, False,
    ]  # fmt: skip


def test_lockgate_cancels_jobs(cluster: Cluster) -> None:
    job, kept = cluster.submit("sleep 60"), cluster.submit("sleep 60")
    cluster.wait(job, "RUNNING")
    assert told.cancel([job]) == ""
    cluster.wait(job, "CANCELLED")
    assert told.alive(kept) is True
    assert "Invalid job id" in told.cancel(["no number"])


def test_lockgate_reads_arrays(cluster: Cluster) -> None:
    array = cluster.submit("sleep 60", "--array=1-9%1", "--gres=gpu:1")
    first, last = f"{array}_1", f"{array}_9"
    until(lambda: (told.jobs([first]) or {})[first].state == "RUNNING")
    jobs = told.jobs([array, first, last])
    assert jobs is not None and jobs[last].state == "PENDING"
    assert jobs[last].reason == "JobArrayTaskLimit"
    assert told.alive(array) is True
    assert told.cancel([first]) == ""
    until(lambda: told.alive(first) is False)
    assert told.alive(array) is True


def test_without_accounting_there_are_no_accounts(cluster: Cluster) -> None:
    assert told.accounts() is None
    with pytest.raises(RuntimeError, match="accounting storage is disabled"):
        cluster.call("sacct")


def test_with_accounting_jobs_are_known_when_the_controller_forgot_them(
    accounting_cluster: Cluster,
) -> None:
    assert "lab" in (told.accounts() or [])
    assert "nobody" not in (told.accounts() or [])
    with pytest.raises(RuntimeError, match="Invalid account"):
        accounting_cluster.submit("true", "--account=nobody")
    good, bad = accounting_cluster.submit("true"), accounting_cluster.submit("exit 4")
    accounting_cluster.wait(good, "COMPLETED")
    accounting_cluster.wait(bad, "FAILED")
    assert accounting_cluster.job(good)["Account"] == "lab"
    _forget(accounting_cluster)
    assert good not in accounting_cluster.call("squeue", "-h", "-t", "all", "-o", "%i")
    until(lambda: good in (told.jobs([good]) or {}))
    jobs = told.jobs([good, bad])
    assert jobs is not None
    assert {job.id: job.state for job in jobs.values()} == {good: "COMPLETED", bad: "FAILED"}
    assert told.alive(good) is False


def test_lockgate_says_that_slurm_is_not_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert told.partitions() == []
    assert told.accounts() is None
    assert told.jobs(["1"]) is None
    assert told.alive("1") is None
    assert told.cancel(["1"]) == "scancel is not on the PATH"


def test_two_clusters_run_side_by_side_and_nothing_is_left(cluster: Cluster) -> None:
    with tempfile.TemporaryDirectory(prefix="cluster-") as folder, Cluster(Path(folder)) as other:
        theirs = other.submit("srun sleep 300", "--gres=gpu:2", "--nodes=2", "--ntasks=2")
        mine = cluster.submit("sleep 300")
        other.wait(theirs, "RUNNING")
        cluster.wait(mine, "RUNNING")
        assert cluster.call("squeue", "-h", "-o", "%A").split() == [mine]
        until(lambda: all(other.processes(node) for node in NODES))
        assert str(other.directory) in HOSTS.read_text()
    assert other.processes() == []
    listed = subprocess.run(["ps", "-eo", "stat,args"], capture_output=True, text=True, check=True)
    assert [line for line in listed.stdout.splitlines() if str(other.directory) in line] == []
    assert str(other.directory) not in HOSTS.read_text()
    assert not list(Path("/sys/fs/cgroup").glob(f"memory/slurm_*/uid_*/job_{theirs}"))
    assert cluster.job(mine)["JobState"] == "RUNNING"


def test_a_directory_too_deep_for_sockets_is_refused() -> None:
    Cluster(Path("/" + 69 * "d"))
    with pytest.raises(SystemExit, match="too long for sockets"):
        Cluster(Path("/" + 70 * "d"))
