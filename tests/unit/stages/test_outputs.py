"""What a stage's job finds on the disk: concrete checkpoints, inputs as they are, outputs."""

import dataclasses
import json
import os
from pathlib import Path

import pytest

from lockgate.catalog.model import Notes, Step
from lockgate.errors import LockgateError
from lockgate.stages import outputs
from lockgate.stages.model import PREFIXES, RESULTS, Source


def checkpoint(root, name, content="weights"):
    """A checkpoint directory with one file."""
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "model.bin").write_text(content)
    return str(folder)


def test_the_newest_checkpoint_is_the_one_with_the_largest_number(tmp_path):
    newest = checkpoint(tmp_path, "iter_1000")
    checkpoint(tmp_path, "iter_200")
    older = checkpoint(tmp_path, "iter_99")
    os.utime(older, (2e9, 2e9))
    assert outputs.resolve_iterations(str(tmp_path), "iter_*") == newest


def test_several_numbers_count_from_the_left(tmp_path):
    checkpoint(tmp_path, "epoch_0_step_99/model")
    newest = checkpoint(tmp_path, "epoch_1_step_7/model")
    assert outputs.resolve_iterations(str(tmp_path), "epoch_*_step_*/model") == newest


@pytest.mark.parametrize("name", ["iter_30.tmp", "iter_tmp_30", "iter_30-unfinished"])
def test_a_temporary_checkpoint_is_not_taken(tmp_path, name):
    whole = checkpoint(tmp_path, "iter_20")
    checkpoint(tmp_path, name)
    assert outputs.resolve_iterations(str(tmp_path), "iter_*") == whole


def test_an_empty_or_marked_checkpoint_is_not_taken(tmp_path):
    whole = checkpoint(tmp_path, "iter_20")
    checkpoint(tmp_path, "iter_30", content="")
    (tmp_path / "iter_40").mkdir()
    checkpoint(tmp_path, "iter_50")
    (tmp_path / "iter_50-unfinished").write_text("")
    assert outputs.resolve_iterations(str(tmp_path), "iter_*") == whole


def test_the_tracker_names_the_last_whole_one(tmp_path):
    whole = checkpoint(tmp_path, "iter_0000020")
    checkpoint(tmp_path, "iter_0000030")
    (tmp_path / outputs.TRACKER).write_text("20\n")
    assert outputs.resolve_iterations(str(tmp_path), "iter_*") == whole


@pytest.mark.parametrize(("text", "what"), [("40", "missing, empty"), ("release", "no number")])
def test_a_tracker_that_names_nothing_stops(tmp_path, text, what):
    checkpoint(tmp_path, "iter_0000020")
    (tmp_path / outputs.TRACKER).write_text(text)
    with pytest.raises(LockgateError, match=what):
        outputs.resolve_iterations(str(tmp_path), "iter_*")


def test_a_concrete_directory_is_taken_as_it_is(tmp_path):
    concrete = checkpoint(tmp_path, "iter_0000020")
    checkpoint(tmp_path, "iter_0000030")
    assert outputs.resolve_iterations(concrete, "iter_*") == concrete
    deep = checkpoint(tmp_path, "step_3/policy/weights")
    assert outputs.resolve_iterations(deep, "step_*/policy/weights") == deep


def test_no_checkpoint_says_what_is_there_instead(tmp_path):
    (tmp_path / "logs").mkdir()
    with pytest.raises(LockgateError, match=r"iter_\* \(found: logs\)"):
        outputs.resolve_iterations(str(tmp_path), "iter_*")
    with pytest.raises(LockgateError, match="no such directory"):
        outputs.resolve_iterations(str(tmp_path / "gone"), "iter_*")


def test_inputs_become_what_is_there_and_the_rest_stays(tmp_path):
    newest = checkpoint(tmp_path / "stages/sft/k/out", "iter_0000010")
    train = tmp_path / "stages/prep/k/splits/train"
    train.mkdir(parents=True)
    config = {
        "defaults": "/somewhere/default.yaml",
        "model": {"path": f"{tmp_path}/stages/sft/k/out"},
        "data": [f"{RESULTS}/stages/prep/k/splits/train/*.parquet"],
        "other": f"{tmp_path}/stages/sft/k/output_of_another",
        "steps": 3,
    }
    sources = {
        "checkpoint": Source(
            "checkpoint", f"{RESULTS}/stages/sft/k/out", stage="sft", iterations="iter_*"
        ),
        "packed": dataclasses.asdict(Source("packed", f"{RESULTS}/stages/prep/k", stage="prep")),
        "own": Source("text", "rows.jsonl"),
    }
    before = json.dumps(config)
    settled = outputs.resolve(config, sources, tmp_path)
    assert settled["model"]["path"] == newest
    assert settled["data"] == [f"{train}/*.parquet"]
    assert settled["other"] == config["other"]
    assert (settled["defaults"], settled["steps"]) == ("/somewhere/default.yaml", 3)
    assert json.dumps(config) == before


def test_the_glob_in_an_earlier_output_becomes_its_path_and_the_readers_glob_stays(tmp_path):
    made = tmp_path / "stages/prep/k/runs/4f2a/train"
    made.mkdir(parents=True)
    source = Source("rows", f"{RESULTS}/stages/prep/k/runs/*/train", stage="prep")
    config = {"data": f"{RESULTS}/stages/prep/k/runs/*/train/*.jsonl"}
    settled = outputs.resolve(config, {"rows": source}, tmp_path)
    assert settled == {"data": f"{made}/*.jsonl"}


def test_an_input_that_is_not_there_names_the_stage_that_makes_it(tmp_path):
    source = Source("rows", f"{RESULTS}/stages/prep/k", stage="prep")
    with pytest.raises(LockgateError, match="its rows is not there") as error:
        outputs.resolve({}, {"rows": source}, tmp_path)
    assert "stage prep" in error.value.hint


def test_prefixes_become_the_list_in_the_file(tmp_path):
    (tmp_path / "stages/prep").mkdir(parents=True)
    (tmp_path / "stages/prep/blend.json").write_text('{"train": ["1.0", "/a/shard"]}')
    source = Source("binidx", f"{RESULTS}/stages/prep", stage="prep")
    config = {"paths": f"{PREFIXES}{RESULTS}/stages/prep/blend.json"}
    settled = outputs.resolve(config, {"binidx": source}, tmp_path)
    assert settled == {"paths": ["1.0", "/a/shard"]}


def test_a_file_without_prefixes_stops(tmp_path):
    (tmp_path / "blend.json").write_text('{"valid": []}')
    config = {"paths": f"{PREFIXES}{tmp_path}/blend.json"}
    with pytest.raises(LockgateError, match="no list under `train`"):
        outputs.resolve(config, {}, tmp_path)


def step(**notes):
    return Step(id="a/b", notes=Notes.model_validate({"outputs": notes}))


def problems(one, kind, path):
    (record,) = outputs.verify(one, {kind: path})
    assert record["type"] == kind
    return record["problems"]


def test_each_pattern_must_match_a_file_with_content(tmp_path):
    one = step(weights={"verify": ["config.json", "*.safetensors"]})
    (tmp_path / "config.json").write_text("{}")
    assert problems(one, "weights", tmp_path) == [f"{tmp_path}/*.safetensors is not there"]
    (tmp_path / "model.safetensors").write_text("")
    assert problems(one, "weights", tmp_path) == [f"{tmp_path}/*.safetensors is empty"]
    (tmp_path / "more.safetensors").write_text("w")
    assert problems(one, "weights", tmp_path) == []


def test_without_notes_something_with_content_must_be_there(tmp_path):
    one = step()
    assert problems(one, "rows", tmp_path / "gone") == [f"{tmp_path}/gone is not there"]
    assert problems(one, "rows", tmp_path) == [f"{tmp_path} has no file with content"]
    (tmp_path / "a.txt").write_text("x")
    assert problems(one, "rows", tmp_path) == []


def test_the_record_tells_what_was_found(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\n\n{"a": 2}\n')
    (record,) = outputs.verify(step(), {"rows": str(tmp_path)})
    assert (record["files"], record["bytes"], record["rows"]) == (1, 19, 2)
    assert record["path"] == str(tmp_path)
    assert record["iteration"] is None


def test_rows_that_are_cut_or_missing_are_found(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n{"a": ')
    assert problems(step(), "rows", path) == [f"{path} ends in the middle of a row"]
    path.write_text("\n\n")
    assert problems(step(), "rows", path) == [f"{path} has no rows"]


def test_an_artifact_that_is_a_file_is_checked_by_its_own_name(tmp_path):
    path = tmp_path / "scores.json"
    path.write_text("{}")
    assert problems(step(scores={"verify": "*.json"}), "scores", path) == []
    assert problems(step(scores={"verify": "*.bin"}), "scores", path) == [
        f"{path}/*.bin is not there"
    ]


def test_checkpoints_need_a_complete_one(tmp_path):
    one = step(weights={"iterations": "iter_*", "verify": "iter_*/*"})
    newest = checkpoint(tmp_path, "iter_7")
    (record,) = outputs.verify(one, {"weights": tmp_path})
    assert (record["iteration"], record["problems"]) == (newest, [])
    Path(newest).rename(tmp_path / "iter_7.tmp")
    assert "no complete checkpoint" in problems(one, "weights", tmp_path)[0]


def test_an_artifact_may_be_where_only_the_run_knows(tmp_path):
    one = step(rows={"verify": "*.jsonl"})
    planned = f"{tmp_path}/runs/*/train"
    assert problems(one, "rows", planned)[0] == f"{planned} is not there"
    (tmp_path / "runs/4f2a/train").mkdir(parents=True)
    (tmp_path / "runs/4f2a/train/part.jsonl").write_text("{}\n")
    assert problems(one, "rows", planned) == []


def test_a_path_with_brackets_is_no_pattern(tmp_path):
    folder = tmp_path / "run[1]"
    folder.mkdir()
    (folder / "a.bin").write_text("x")
    assert problems(step(weights={"verify": "*.bin"}), "weights", folder) == []


def test_the_digest_follows_names_and_content_and_not_the_place(tmp_path):
    for name in ("one", "two"):
        checkpoint(tmp_path, f"{name}/sub")
    one, two = (outputs.describe(tmp_path / name) for name in ("one", "two"))
    assert one["digest"] == two["digest"]
    (tmp_path / "two/sub/model.bin").write_text("WEIGHTS")
    assert outputs.describe(tmp_path / "two")["digest"] != one["digest"]
    (tmp_path / "one/sub/model.bin").rename(tmp_path / "one/sub/other.bin")
    assert outputs.describe(tmp_path / "one")["digest"] != one["digest"]
    assert outputs.describe(tmp_path / "gone")["files"] == 0
