"""What a cluster offers, compared with what is asked for."""

import dataclasses

import pytest

from lockgate import offers
from lockgate.cluster import Partition
from lockgate.config.resources import Resources

MAIN = Partition("main", True, True, 60, 2, 8, 16_000, 4)
LONG = Partition("long", False, True, None, 8, 64, 64_000, 0)
DOWN = Partition("down", False, False, None, 99, 99, 10**6, 99)
ALL = [MAIN, LONG, DOWN]


@pytest.fixture(autouse=True)
def path(tmp_path, monkeypatch):
    """The PATH, with only an `sbatch`."""
    program(tmp_path, "sbatch", "")
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def program(path, name, text):
    (path / name).write_text(f"#!/bin/sh\necho '{text}'\n")
    (path / name).chmod(0o755)


def records(partitions=ALL, here=0, stages=(), **resources):
    asks = Resources(**resources)
    return offers.records(asks, partitions, here, offers.asked(asks, stages))


def missing(*args, **resources):
    """Name, detail and fix of what is not there."""
    found = records(*args, **resources)
    return [(one["name"], one["detail"], one["fix"]) for one in found if one["status"] == "missing"]


def test_what_fits_is_told_as_found():
    (record,) = records(gpus=4, nodes=2, threads=2, memory_mb=16_000, runtime_minutes=60)
    assert (record["kind"], record["name"], record["status"]) == ("partition", "main", "found")
    assert record["detail"] == "2 nodes, each at most 8 CPUs, 16000 MB, 4 GPUs; 60 minutes"
    assert records(partition="long")[0]["detail"].endswith("no time limit")


@pytest.mark.parametrize(
    ("asked", "name", "has"),
    [
        ({"threads": 9}, "9 threads", 8),
        ({"memory_mb": 16_001}, "16001 MB of memory", 16_000),
        ({"nodes": 3}, "3 nodes", 2),
        ({"runtime_minutes": 61}, "61 minutes", 60),
    ],
)
def test_too_much_names_the_partitions_that_would_fit(asked, name, has):
    fix = "set resources.partition: long"
    assert missing(**asked) == [(name, f"partition main has at most {has}", fix)]


def test_more_than_any_partition_has_is_told_with_the_most():
    fix = "no partition fits: lower resources.gpus to 4 or less"
    assert missing(gpus=8, threads=1) == [("8 GPUs a node", "partition main has at most 4", fix)]


def test_more_than_one_partition_has_together_is_told():
    told = {name: fix for name, _, fix in missing(gpus=4, threads=4)}
    fix = "no partition has all that is asked for; enough of this has long"
    assert told == {"16 threads": fix}


def test_gpus_of_this_machine_need_no_partition():
    assert missing(ALL, 8, gpus=8) == []
    assert missing(ALL, 8, gpus=8, partition="main") != []


def test_each_gpu_has_a_process_with_threads_of_its_own():
    ((name, detail, _),) = missing(gpus=4, threads=3)
    assert (name, detail) == ("12 threads", "partition main has at most 8")


def test_each_stage_of_a_chain_asks_for_its_own():
    stages = [dataclasses.replace(MAIN, nodes=1, gpus=8), dataclasses.replace(MAIN, nodes=3)]
    assert [name for name, _, _ in missing(stages=stages, threads=1)] == [
        "8 GPUs a node",
        "3 nodes",
    ]
    assert missing(stages=[dataclasses.replace(MAIN, nodes=1, gpus=0)], gpus=8) == []


def test_an_unknown_partition_is_told_with_the_nearest():
    fix = "did you mean main? There are: main, long"
    assert missing(partition="mian") == [("mian", "there is no such partition", fix)]
    assert missing(partition="zzz")[0][2] == "There are: main, long"


def test_a_partition_that_takes_no_jobs_is_told():
    fix = "wait for it, or take one that is up: main, long"
    assert missing(partition="down") == [("down", "it takes no jobs now", fix)]


def test_a_cluster_without_a_default_asks_for_a_partition():
    fix = "set resources.partition: long"
    assert missing([LONG, DOWN]) == [("the default", "there is no default", fix)]
    assert missing([LONG], partition="long") == []


def test_accounts_are_those_of_the_user(path):
    program(path, "sacctmgr", "lab\nother\nlab")
    assert missing(account="lab") == missing(account="LAB") == []
    fix = "did you mean lab? Yours are: lab, other"
    assert missing(account="lap") == [("lap", "it is none of yours", fix)]


def test_without_accounting_an_account_is_not_checked(path):
    for program_there in (False, True):
        record = records(account="lab")[1]
        assert (record["kind"], record["status"]) == ("account", "not checked"), program_there
        program(path, "sacctmgr", "")
        (path / "sacctmgr").write_text("#!/bin/sh\nexit 1\n")


def test_without_slurm_only_what_asks_for_it_is_told(path):
    (path / "sbatch").unlink()
    assert records([], gpus=8, memory_mb=10**9) == []
    ((name, detail, fix),) = missing([], partition="main", account="lab")
    assert name == "SLURM"
    assert detail == "resources.partition and resources.account set, and sbatch is not on the PATH"
    assert fix.startswith("run on a login node of the cluster")


def test_a_cluster_that_does_not_answer_is_not_checked():
    assert records([]) == []
    (record,) = records([], partition="main")
    assert record["status"] == "not checked" and "does not answer" in record["detail"]


def job(minutes, run="a", phase="train"):
    return {"run": run, "phase": phase, "seconds": {"expected": minutes * 60}, "basis": "b"}


def walltimes(rows, partitions=ALL, shards=1, **resources):
    machine = {"partitions": [dataclasses.asdict(one) for one in partitions]}
    return offers.walltimes(Resources(**resources), machine, rows, shards)


def test_a_job_expected_to_outlast_its_partition_is_told_with_those_that_fit():
    ((name, compared, fix),) = walltimes([job(90), job(60)])
    assert name == "walltime of train a"
    assert compared == "90.0 min expected, b; the partition allows 60.0 min"
    assert fix.startswith("set resources.partition: long; training continues after a stop")
    assert "no partition has more than 60 minutes" in walltimes([job(90)], [MAIN])[0][2]
    assert walltimes([job(90)], partition="long") == walltimes([job(90)], []) == []


def test_a_job_expected_to_outlast_what_it_is_given_is_told():
    ((_, compared, fix),) = walltimes([job(90)], [], runtime_minutes=80)
    assert "a job has" in compared and fix.startswith("raise resources.runtime_minutes;")


def test_shards_are_jobs_of_their_own():
    assert walltimes([job(110, None, "generate")], shards=2) == []
