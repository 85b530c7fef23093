"""What a job asks for, from what is expected of it and from what happened."""

import pytest

from lockgate import margins
from lockgate.attempts import OUT_OF_MEMORY, OUT_OF_TIME, STOPPED, Attempt
from lockgate.cluster import Partition
from lockgate.config.resources import Resources
from lockgate.margins import Estimate

PARTITION = Partition("main", True, True, 60, 2, 8, 16000, 4)


def expected(memory_mb=None, seconds=None, measured=True):
    return Estimate(seconds, memory_mb, measured)


def test_memory_is_the_largest_peak_with_margin():
    found = [expected(2000), expected(1000)]
    assert margins.memory_mb(found, Resources()) == 3100  # 1.3 x 2000 + 500
    assert margins.memory_mb([expected(100)], Resources()) == margins.LEAST_MB
    assert margins.memory_mb([], Resources()) == margins.UNKNOWN_MB
    assert margins.memory_mb([expected(100), expected()], Resources()) == margins.UNKNOWN_MB


def test_what_no_gpu_has_measured_has_room_for_its_libraries():
    asks = Resources(gpus=1)
    assert margins.memory_mb([expected(100, measured=False)], asks) == margins.LEAST_GPU_MB
    assert margins.memory_mb([expected(100)], asks) == margins.LEAST_MB


def test_each_process_of_a_training_holds_its_own():
    assert margins.memory_mb([expected(2000, measured=False)], Resources(), 4) == 10900
    assert margins.memory_mb([expected(2000)], Resources(), 4) == 3100  # of all, as measured
    assert margins.processes_of("train", Resources(gpus=4)) == 4
    assert margins.processes_of("eval", Resources(gpus=4)) == 1


def test_what_is_one_process_holds_one_gpu():
    asks = Resources(nodes=2, gpus=4)
    assert [asks.held(one) for one in ("train", "eval", "generate")] == [(2, 4), (1, 1), (1, 1)]
    assert Resources(nodes=2).held("eval") == (1, 0)
    assert margins.processes_of("train", Resources()) == 1


def test_time_is_the_longest_with_margin():
    found = [expected(seconds=3600), expected(seconds=60)]
    assert margins.minutes(found, Resources()) == 95  # 1.5 x 60 + 5
    assert margins.minutes(found, Resources(), parts=2) == 50
    assert margins.minutes([expected(seconds=1)], Resources()) == margins.LEAST_MINUTES
    assert margins.minutes([expected(100)], Resources()) == margins.UNKNOWN_MINUTES
    assert margins.minutes([], Resources()) == margins.UNKNOWN_MINUTES


def test_what_the_configuration_says_is_taken_as_it_is():
    given = Resources(memory_mb=900, runtime_minutes=3)
    found = [expected(9000, 9000)]
    assert margins.asked(found, given, None) == {"memory_mb": 900, "minutes": 3}
    most = Partition("main", True, True, 2, 1, 8, 800, 0)
    assert margins.asked(found, given, most) == {"memory_mb": 900, "minutes": 3}


def test_no_estimate_asks_for_more_than_a_partition_offers():
    found = [expected(1e6, 1e6)]
    assert margins.asked(found, Resources(), PARTITION) == {"memory_mb": 16000, "minutes": 60}
    assert margins.at_most(90, None, None) == 90


@pytest.mark.parametrize(
    ("first", "ran_out", "asked"),
    [
        (2000, [], 2000),
        (2000, [2000], 4000),
        (2000, [2000, 4000], 8000),
        (2000, [3000], 6000),  # it had more than is asked for now
        (5000, [2000], 5000),  # a new estimate, or the user, says so already
        (2000, [None, None], 8000),
    ],
)
def test_what_ran_out_is_doubled(first, ran_out, asked):
    assert margins.grown(first, ran_out) == asked


def test_a_preview_of_the_data_is_of_all_shards():
    row = {"run": None, "phase": "generate", "seconds": {"high": 3600}, "memory_mb": 2000}
    other = {**row, "run": "a", "phase": "eval"}
    shared, alone = margins.first([row, other], Resources(), None, shards=2)
    assert (shared, alone) == (
        {"memory_mb": 3100, "minutes": 50},
        {"memory_mb": 3100, "minutes": 95},
    )


def attempt(outcome, item="train/a:1", **more):
    return Attempt(item, "1", "here", 1, 0.0, 1.0, outcome, **more)


def test_at_the_ceiling_the_reason_is_told():
    most = attempt(OUT_OF_MEMORY, memory_mb=16000)
    assert margins.exhausted([most], "train/a:1", PARTITION) == (
        "out of memory with 16000 MB, and no node of partition main has more than 16000 MB"
    )
    late = attempt(OUT_OF_TIME, minutes=60)
    told = margins.exhausted([late], "train/a:1", PARTITION)
    assert told == "out of time after 60 minutes, and partition main allows 60"


@pytest.mark.parametrize(
    ("tries", "partition"),
    [
        ([], PARTITION),
        ([attempt(OUT_OF_MEMORY, memory_mb=8000)], PARTITION),
        ([attempt(OUT_OF_MEMORY, memory_mb=16000)], None),
        ([attempt(OUT_OF_MEMORY, "train/a:2", memory_mb=16000)], PARTITION),
        ([attempt(OUT_OF_MEMORY, memory_mb=16000), attempt(STOPPED)], PARTITION),
        ([attempt(OUT_OF_TIME, minutes=600)], Partition("free", True, True, None, 1, 1, 1, 0)),
    ],
)
def test_below_it_nothing_is(tries, partition):
    assert margins.exhausted(tries, "train/a:1", partition) == ""


def test_long_ways_go_first_and_wide_ones_before_narrow_ones() -> None:
    assert margins.weight(1, 600) > margins.weight(4, 300) > margins.weight(1, 300)
    assert margins.weight(0, 60) == margins.weight(1, 60) == 60
    assert [margins.nice(one, 600.0) for one in (600.0, 300.0, 0.0, 900.0)] == [0, 50, 99, 0]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ((1, 0, False), {}),
        ((1, 0, True), {}),
        ((1, 1, True), {"gpu": 1, "nodes": 1}),
        ((1, 4, False), {"gpu": 4, "nodes": 1}),
        ((1, 4, True), {"nodes": 1, "tasks_per_node": 4, "gres": "gpu:4"}),
        ((2, 4, True), {"nodes": 2, "tasks_per_node": 4, "gres": "gpu:4"}),
        ((2, 1, True), {"nodes": 2, "tasks": 2, "gres": "gpu:1"}),
        ((2, 0, True), {"nodes": 2, "tasks": 2}),
    ],
)
def test_where_a_job_goes(asked, found) -> None:
    spread = {"mpi": "srun", "tasks_per_gpu": 0} if {"tasks", "tasks_per_node"} & set(found) else {}
    world = {"world": f"{asked[0]} {asked[1]}"}
    assert margins.placement(*asked) == {**world, **found, **spread}


def test_without_slurm_gpus_are_counted() -> None:
    assert margins.placement(1, 4, True, shared=True) == {"world": "1 4", "gpu": 4}
    assert margins.placement(1, 0, True, shared=True) == {"world": "1 0"}
