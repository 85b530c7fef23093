"""The plan's own checks of a runs table, and what it asks."""

import shutil

import pytest

from lockgate import estimates, journal, plan


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
    row = {"phase": "train", "run": "tiny_epochs-4", "basis": "prior runs", "gpu_hours": 0}
    row |= {"memory_mb": None, "disk_mb": None}
    rows = [{**row, "seconds": {"low": 1, "expected": seconds, "high": 9}} for seconds in (61, 59)]
    found = warnings(rows, resources__runtime_minutes=1)
    told = found["walltime of train tiny_epochs-4"]
    assert told["compared"] == "61 s expected, prior runs; a job has 60 s"
    assert "resources.runtime_minutes" in told["fix"]
    assert "walltime of train tiny_epochs-4" not in warnings(rows[1:], resources__runtime_minutes=1)


def test_a_job_that_no_node_of_its_partition_can_hold_is_told(project):
    row = {"phase": "eval", "run": "tiny_epochs-4", "memory_mb": 9000, "gpu_memory_mb": None}
    partition = {"name": "main", "default": True, "up": True, "minutes": 60, "nodes": 1}
    partition |= {"cpus": 8, "memory_mb": 8000, "gpus": 0}
    resources = {"machine": {"partitions": [partition]}, "resources": []}
    matrix = project.read(resources__memory_mb=None)
    ((job, compared, fix),) = estimates.memory_warnings(matrix, resources, [row])
    assert (job, compared) == ("eval tiny_epochs-4", "9000 MB expected, a job has 8000 MB")
    assert fix.endswith("or a partition whose nodes have more memory")
    matrix = project.read(resources__memory_mb=9000)
    assert estimates.memory_warnings(matrix, resources, [row]) == []


def test_rows_are_those_counted_in_the_file(warnings):
    file = {"kind": "data file", "name": "a", "splits": {"train": 10, "validation": 0, "test": 29}}
    name = "held-out rows enough to tell runs apart"
    assert warnings(resources=[file])[name]["compared"] == "29 test rows"
    file["splits"]["test"] = 30
    assert name not in warnings(resources=[file])


def test_checkpoints_that_do_not_fit_on_the_disk_are_told(warnings):
    row = {"phase": "train", "run": "tiny_epochs-4", "basis": "prior runs", "gpu_hours": 0}
    row |= {"seconds": {"low": 1, "expected": 1, "high": 1}, "memory_mb": None}
    tiny = {"name": "tiny", "parameters": 6, "bytes": 24}
    assert "free disk" not in warnings([{**row, "disk_mb": 1e3}], resources=[tiny])
    found = warnings([{**row, "disk_mb": 1e10}], resources=[tiny])
    assert "10000000000 MB for checkpoints" in found["free disk"]["compared"]


def test_a_checkpoint_whose_control_is_not_measured_is_told(project, warnings):
    shutil.copytree("models/tiny", "models/older")
    changes = {"training__model": "tiny", "evaluation__models": ["older"]}
    changes["models__older"] = {"path": "models/older", "base": "tiny"}
    assert "control of older_eval-only" not in warnings(**changes)
    assert "control of older_eval-only" in warnings(**changes, training__controls=False)


def test_sequences_longer_than_the_context_are_told(warnings):
    model = {"name": "tiny", "context_length": 16}
    told = warnings(resources=[model])["longest sequence of tiny"]
    assert told["compared"] == "max_length 32, a 16 token context"
    assert told["fix"] == "lower training.parameters.max_length to 16 or less"
    assert "longest sequence of tiny" not in warnings(resources=[{**model, "context_length": 32}])
    assert "longest sequence of tiny" not in warnings(resources=[])


@pytest.fixture
def open_questions(project):
    """A function that gives what a changed configuration leaves open: default by key."""

    def found(partitions=(), **changes):
        resources = {"machine": {"partitions": list(partitions)}, "resources": []}
        asked = plan._questions(project.read(**changes), resources)
        assert all(one["ask"].endswith(("?", ".")) for one in asked)
        return {one["key"]: one["default"] for one in asked}

    return found


WHOLE = {
    "experiment__decision": [{"task": "exact", "expect": "better"}],
    "training__seeds": [1, 2],
    "data__records": 100,
    "data__licence": "MIT",
}


def test_what_a_plan_lacks_is_a_question(open_questions):
    assert open_questions(**WHOLE) == {}
    assert list(open_questions()) == [
        "experiment.decision",
        "training.seeds",
        "data.licence",
        "data.records",
    ]
    bare = open_questions(**WHOLE | {"experiment__decision": []}, training__controls=False)
    assert bare == {
        "experiment.decision": "the report gives no verdict",
        "training.controls": "nothing; scores stand alone",
    }
    assert "training.variables" in open_questions(**WHOLE, training__variables={})
    assert "resources.partition" in open_questions([{"name": "long"}], **WHOLE)


def test_a_sanity_check_is_not_asked_for_science(open_questions):
    changes = {"experiment__kind": "sanity_check", "data__records": 100}
    assert open_questions(**changes, training__controls=False) == {}


def test_a_model_that_may_change_or_comes_from_nowhere_is_asked_for(open_questions):
    changes = {
        "models__far": {"hub": "someone/far"},
        "training__model": "tiny",
        "evaluation__models": ["far"],
    }
    found = open_questions(**WHOLE, **changes)
    assert list(found) == ["models.far.revision", "models.far.base"]
    changes["models__far"] |= {"revision": "0" * 40, "base": "tiny"}
    assert open_questions(**WHOLE, **changes) == {}
