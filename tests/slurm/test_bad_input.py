"""What a real cluster does not offer is told before anything is submitted."""

import pytest

from lockgate import cluster as told
from lockgate import plan, resolve
from lockgate.journal import Journal
from unit.conftest import Project

pytestmark = pytest.mark.slurm


@pytest.fixture
def prerequisites(tmp_path, monkeypatch):
    """A function that gives detail and fix, by name, of what changed `resources` lack."""
    monkeypatch.chdir(tmp_path)
    project = Project(tmp_path)

    def found(**resources):
        changes = {f"resources__{key}": value for key, value in resources.items()}
        changes = {"resources__threads": 1, **changes}
        changes["training__parameters__gradient_accumulation"] = 30  # any number can share it
        matrix = project.read(**changes, cache_dir=str(tmp_path / "cache"))
        data = {"tool": "dataset", "status": "found"}
        tools = {"adapters": {"data": data}, "commands": resolve.commands(Journal())}
        known = resolve.resolve_resources(matrix, tools, Journal())
        checks = plan._checks(matrix, known, [], Journal())
        warned = {one["compared"] for one in checks if one["status"] == "warning"}
        assert {one["detail"] for one in known["prerequisites"]} <= warned
        return {one["name"]: (one["detail"], one["fix"]) for one in known["prerequisites"]}

    return found


@pytest.mark.parametrize(
    ("asked", "name", "detail", "fix"),
    [
        (
            {"partition": "mian"},
            "mian",
            "there is no such partition",
            "did you mean main? There are: main, short, urgent",
        ),
        (
            {"gpus": 5},
            "5 GPUs a node",
            "partition main has at most 4",
            "no partition fits: lower resources.gpus to 4 or less",
        ),
        (
            {"nodes": 3},
            "3 nodes",
            "partition main has at most 2",
            "no partition fits: lower resources.nodes to 2 or less",
        ),
        (
            {"runtime_minutes": 6, "partition": "short"},
            "6 minutes",
            "partition short has at most 5",
            "set resources.partition: main or urgent",
        ),
        (
            {"memory_mb": 10**6},
            "1000000 MB of memory",
            "partition main has at most 16000",
            "no partition fits: lower resources.memory_mb to 16000 or less",
        ),
    ],
)
def test_what_no_node_has_is_a_prerequisite(cluster, prerequisites, asked, name, detail, fix):
    assert prerequisites(**asked) == {name: (detail, fix)}


def test_what_the_cluster_has_is_none(cluster, prerequisites):
    assert prerequisites(gpus=4, nodes=2, threads=2, memory_mb=16000, partition="urgent") == {}
    assert prerequisites(account="lab") == {}  # without accounting there is none to compare


def test_a_partition_that_is_down_is_a_prerequisite(cluster, prerequisites):
    cluster.call("scontrol", "update", "PartitionName=short", "State=DOWN")
    try:
        assert prerequisites(partition="short") == {
            "short": (
                "it takes no jobs now",
                "wait for it, or take one that is up: main, urgent",
            )
        }
    finally:
        cluster.call("scontrol", "update", "PartitionName=short", "State=UP")


def test_an_account_that_does_not_exist_is_a_prerequisite(accounting_cluster, prerequisites):
    assert prerequisites(account="lab") == {}
    ((detail, fix),) = prerequisites(account="lba").values()
    assert detail == "it is none of yours"
    assert fix.startswith("did you mean lab? Yours are: lab")


def test_a_job_knows_what_it_was_given(cluster):
    call = [
        "sbatch",
        "--parsable",
        "--mem=1500",
        "--time=7",
        "--output=/dev/null",
        "--comment=rule_train_wildcards_a",
        "--wrap=sleep 9",
    ]
    number = cluster.call(*call).strip()
    given = told.given(number)
    assert (given.memory_mb, given.minutes, given.alone) == (1500, 7, True)
    assert 0 < given.seconds_left <= 420
    cluster.call("scancel", number)
