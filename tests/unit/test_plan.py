"""The plan's own checks of a runs table: steps against warm-up, time against walltime."""

import pytest

from lockgate import journal, plan


@pytest.fixture
def warnings(project):
    """A function that gives the warnings of a changed configuration, by name."""

    def found(rows=(), resources=(), **changes):
        machine = {"memory_mb": 9e9, "partitions": [], "free_disk_mb": 9e9}
        resources = {"machine": machine, "resources": list(resources), "prerequisites": []}
        matrix = project.read(**changes)
        records = plan._checks(matrix, resources, list(rows), journal.Journal())
        return {one["name"]: one for one in records if one["status"] == "warning"}

    return found


def test_a_run_shorter_than_three_warm_ups_is_told(warnings):
    # 100 records, 70 of them to train on, 8 a step: 9 steps an epoch
    changes = {"data__records": 100, "data__splits": {"train": 0.7, "validation": 0.1, "test": 0.2}}
    changes |= {"training__parameters__batch_size": 8}
    found = warnings(**changes, training__parameters__warmup_steps=4)
    assert found["steps of tiny_epochs-1"]["compared"] == "9 optimizer steps, 4 of them warm-up"
    assert "steps of tiny_epochs-4" not in found
    halved = {"training__parameters__gradient_accumulation": 2}
    found = warnings(**changes, **halved, training__parameters__warmup_steps=2)
    assert found["steps of tiny_epochs-1"]["compared"] == "5 optimizer steps, 2 of them warm-up"
    found = warnings(**changes, training__parameters__warmup_steps=3)
    assert [name for name in found if name.startswith("steps of")] == []


def test_a_job_longer_than_its_walltime_is_told(warnings):
    row = {"phase": "train", "run": "tiny_epochs-4", "basis": "prior runs"}
    rows = [{**row, "seconds": {"low": 1, "expected": seconds, "high": 9}} for seconds in (61, 59)]
    found = warnings(rows, resources__runtime_minutes=1)
    told = found["walltime of train tiny_epochs-4"]
    assert told["compared"] == "61 s expected, prior runs; a job has 60 s"
    assert "resources.runtime_minutes" in told["fix"]
    assert "walltime of train tiny_epochs-4" not in warnings(rows[1:], resources__runtime_minutes=1)


def test_rows_are_those_counted_in_the_file(warnings):
    file = {"kind": "data file", "name": "a", "splits": {"train": 10, "validation": 0, "test": 29}}
    name = "held-out rows enough to tell runs apart"
    assert warnings(resources=[file])[name]["compared"] == "29 test rows"
    file["splits"]["test"] = 30
    assert name not in warnings(resources=[file])
