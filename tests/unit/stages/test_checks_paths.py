"""Paths are concrete, apart from each other, and whole."""

import pytest

from checked_chains import checks, only, stage, step
from lockgate.stages.model import Source

TRAIN = step(
    "train/a",
    ["packed", "checkpoint_sharded?"],
    ["checkpoint_sharded"],
    goals="sft",
    inputs={
        "packed": {"key": ["data.train", "data.again"], "glob": "train/*.parquet"},
        "checkpoint_sharded": {"key": "load"},
    },
    outputs={"checkpoint_sharded": {"key": "save", "iterations": "iter_*"}},
)
PACK = step(
    "pack/a",
    ["rows"],
    ["packed"],
    inputs={"rows": {"key": "blend", "form": "blend", "glob": "*.jsonl"}},
    outputs={"packed": {"key": "out"}},
)


def start(path, **more):
    source = Source(type="checkpoint_sharded", path=path, **more)
    return stage("train", TRAIN, {"packed": "shards", "checkpoint_sharded": source})


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("ckpt/iter_0000500", "ok"),
        ("ckpt/iter_0000500/", "ok"),
        ("ckpt/iter_0000500/model", "ok"),
        ("ckpt", "warning"),
        ("ckpt/latest", "warning"),
    ],
)
def test_the_user_s_checkpoint_names_its_iteration(path, status):
    for source in (start(path), start(path, iterations="iter_*")):
        check = only("paths.iteration", source)
        assert check.status == status
    if status == "warning":
        assert check.fix == f"name one, like {path}/iter_0000100"


def test_a_pattern_of_several_directories_is_matched_as_a_whole():
    pattern = "epoch_*_step_*/model"
    assert only("paths.iteration", start("a/epoch_1_step_9/model", iterations=pattern)).status == (
        "ok"
    )
    for path in ("a/epoch_1_step_9", "a/model", "a/epoch_1_step_9/x/model"):
        assert only("paths.iteration", start(path, iterations=pattern)).status == "warning"


def test_an_earlier_stage_s_iteration_is_taken_when_the_stage_starts():
    first = stage("first", TRAIN, {"packed": "shards"})
    source = Source("checkpoint_sharded", first.outputs["checkpoint_sharded"], "first", None, "it*")
    second = stage("second", TRAIN, {"packed": "shards", "checkpoint_sharded": source})
    check = only("paths.iteration", first, second)
    assert (check.status, check.compared) == (
        "ok",
        "checkpoint_sharded: the newest complete it* of first, taken when the stage starts",
    )


def test_a_step_that_finds_the_newest_itself_is_given_the_directory_above():
    note = {"checkpoint_sharded": {"key": "load", "parent": True}}
    own = step("train/b", ["checkpoint_sharded"], inputs=note)
    source = Source("checkpoint_sharded", "ckpt", iterations="iter_*")
    assert only("paths.iteration", stage("a", own, {"checkpoint_sharded": source})).status == "ok"


def test_a_finished_model_need_not_lie_below_an_iteration():
    outputs = {"checkpoint_hf": {"iterations": "epoch_*/model"}}
    own = step("train/b", ["checkpoint_hf"], ["checkpoint_hf"], outputs=outputs)
    assert not checks("paths.iteration", stage("a", own, {"checkpoint_hf": "models/one"}))


def test_a_checkpoint_without_iterations_is_not_looked_at():
    source = Source(type="checkpoint_hf", path="models/one")
    assert not checks("paths.iteration", stage("a", TRAIN, {"checkpoint_sharded": source}))


def test_outputs_apart_from_everything_are_fine():
    packed = stage("pack", PACK, {"rows": "data.jsonl"})
    train = stage("train", TRAIN, {"packed": packed})
    assert [check.status for check in checks("paths.overlap", packed, train)] == ["ok", "ok"]


@pytest.mark.parametrize(
    ("reads", "writes"),
    [
        ("data/rows", "data/rows"),
        ("data/rows", "data/rows/"),
        ("data/rows", "data/./rows/packed"),
        ("data/rows/a.jsonl", "data/rows"),
        ("data/rows/*.jsonl", "data/rows/packed"),
        ("/data/rows", "/data"),
    ],
)
def test_an_output_on_its_own_input_is_told(reads, writes):
    check = only("paths.overlap", stage("pack", PACK, {"rows": reads}, config={"out": writes}))
    assert check.status == "warning"
    assert "which pack reads" in check.compared


def test_names_that_only_begin_alike_do_not_overlap():
    own = stage("pack", PACK, {"rows": "data/rows"}, config={"out": "data/rows-packed"})
    assert only("paths.overlap", own).status == "ok"
    own = stage("pack", PACK, {"rows": "*.jsonl"}, config={"out": "packed"})
    assert only("paths.overlap", own).status == "ok"


def test_an_output_on_another_stage_s_input_or_output_is_told():
    packed = stage("pack", PACK, {"rows": "data.jsonl"}, config={"out": "work"})
    inputs = {"packed": packed, "checkpoint_sharded": "models/one"}
    train = stage("train", TRAIN, inputs, config={"save": "work/a"})
    again = stage("again", TRAIN, {"packed": packed}, config={"save": "models"})
    found = checks("paths.overlap", packed, train, again)
    assert [check.status for check in found] == ["ok", "warning", "warning"]
    assert "work/a and work, which pack writes" in found[1].compared
    assert "models and models/one, which train reads" in found[2].compared


def test_an_output_named_by_a_variable_is_followed():
    own = stage("pack", PACK, {"rows": "data/a.jsonl"}, config={"out": "${oc.env:OUT}"})
    assert only("paths.overlap", own).status == "ok"
    assert only("paths.overlap", own, environ={"OUT": "data"}).status == "warning"


def glob(path, value, other=None, stages=()):
    inputs = {"packed": path}
    config = {"data": {"train": value, "again": other or value}}
    return checks("paths.glob", *stages, stage("train", TRAIN, inputs, config=config))


def test_the_glob_below_an_earlier_stage_s_output_arrives_in_every_key():
    packed = stage("pack", PACK, {"rows": "data.jsonl"})
    whole = "@results@/stages/pack/packed/train/*.parquet"
    assert [check.status for check in glob(packed, whole, stages=[packed])] == ["ok", "ok"]
    found = glob(packed, whole, whole.removesuffix("/*.parquet"), stages=[packed])
    assert [check.status for check in found] == ["ok", "warning"]
    assert found[1].fix == f"set data.again to {whole}"


def test_the_user_s_glob_arrives_whole():
    assert glob("shards/*.parquet", "shards/*.parquet")[0].status == "ok"
    assert glob("shards/*.parquet", "shards/part-1.parquet")[0].status == "warning"
    assert not glob("shards", "shards/other")


def test_a_key_that_names_a_file_of_paths_holds_no_glob():
    first = stage("first", step("make/a", [], ["rows"]))
    packed = stage("pack", PACK, {"rows": first}, config={"blend": "@results@/blend.json"})
    assert not checks("paths.glob", first, packed)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("here.jsonl", "ok"),
        ("*.jsonl", "ok"),
        ("gone.jsonl", "warning"),
        ("gone/*.jsonl", "warning"),
        ("org/rows", "not checked"),
        ("s3://pail/rows", "not checked"),
    ],
)
def test_what_the_user_names_has_to_be_there(tmp_path, monkeypatch, path, status):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.jsonl").write_text("{}")
    check = only("paths.present", stage("pack", PACK, {"rows": path}))
    assert check.status == status
    assert path in check.compared


def test_what_is_no_file_of_the_users_is_not_looked_for():
    packed = stage("pack", PACK, {"rows": "???"})
    model = Source(type="checkpoint_sharded", path="models/gone", model="gone")
    train = stage("train", TRAIN, {"packed": packed, "checkpoint_sharded": model})
    assert checks("paths.present", packed, train) == []
