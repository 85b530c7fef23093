"""The adapter of existing datasets."""

import json
from pathlib import Path

import pytest
import yaml

from lockgate.data.records import SPLIT
from lockgate.errors import LockgateError
from lockgate.files import read_json, read_jsonl
from lockgate.stages import builtin
from lockgate.tools import get

TOOL_NAME = "dataset"
TOOL = get("data", TOOL_NAME, "test")


def section(**changes):
    return {"tool": "dataset", "files": "rows.jsonl", "preview_records": 3, **changes}


@pytest.fixture
def built(tmp_path):
    """A dataset of ten records, and a function that renders a section for it."""
    rows = [{"number": number} for number in range(10)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def build(**changes):
        data = section(**changes)
        design = tmp_path / TOOL.design_name
        design.write_text(TOOL.render(data, tmp_path))
        return design, data

    return build


def numbers(records):
    return [record["number"] for record in records]


def test_preview_shows_the_first_records(built, tmp_path):
    assert numbers(TOOL.preview(*built(), None, tmp_path / "out")) == [0, 1, 2]


@pytest.mark.parametrize(("records", "expected"), [(None, 10), (7, 7), (2, 2)])
def test_shards_together_give_the_first_records_once(built, tmp_path, records, expected):
    design, data = built(records=records, shards=3)
    parts = [TOOL.generate(design, data, shard, None, tmp_path) for shard in range(3)]
    assert numbers(sum(parts, [])) == list(range(expected))


def test_no_model_is_asked_and_no_design_describes_the_columns(built, tmp_path):
    design, data = built()
    assert TOOL.usage(tmp_path) is None
    assert TOOL.describe(design, data) == []


def test_inputs_are_the_file_so_that_its_content_counts(built, tmp_path):
    assert TOOL.inputs(section(), tmp_path) == [tmp_path / "rows.jsonl"]


@pytest.mark.parametrize(
    ("content", "key", "what"),
    [
        ("", "data.files", "no records"),
        ('{"a": 1}\n{"a": \n', "rows.jsonl", "line 2 is not valid JSON"),
        ('{"a": 1}\n[2]\n', "rows.jsonl", "line 2 is list, not an object"),
    ],
)
def test_validate_names_what_is_wrong_with_the_file(built, tmp_path, content, key, what):
    design, data = built()
    (tmp_path / "rows.jsonl").write_text(content)
    with pytest.raises(LockgateError) as error:
        TOOL.validate(design, data, None, tmp_path)
    assert key in error.value.where
    assert what in error.value.what
    assert error.value.hint


def test_asking_for_more_than_there_is_fails(built, tmp_path):
    design, data = built(records=11)
    with pytest.raises(LockgateError, match="has 10 records, 11 are wanted"):
        TOOL.validate(design, data, None, tmp_path)


@pytest.mark.parametrize(
    ("changes", "key"),
    [({"files": None}, "data.files"), ({"design": {"columns": []}}, "data.design")],
)
def test_a_section_that_does_not_fit_is_refused(tmp_path, changes, key):
    with pytest.raises(LockgateError) as error:
        TOOL.render(section(**changes), tmp_path)
    assert error.value.where == key


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(LockgateError, match="rows.jsonl does not exist"):
        TOOL.inputs(section(), tmp_path)


def test_every_shard_of_a_file_with_splits_says_which_they_are(built, tmp_path):
    parts = {"train": [{"number": 0}, {"number": 1}], "test": [{"number": 2}]}
    (tmp_path / "own.json").write_text(json.dumps(parts))
    design, data = built(files="own.json", shards=2)
    made = [TOOL.generate(design, data, shard, None, tmp_path) for shard in range(2)]
    assert [(one["number"], one[SPLIT]) for one in sum(made, [])] == [
        (0, "train"),
        (1, "train"),
        (2, "test"),
    ]


def test_a_table_is_read_by_its_suffix(built, tmp_path):
    (tmp_path / "rows.csv").write_text("number\n7\n")
    design, data = built(files="rows.csv")
    assert numbers(TOOL.preview(design, data, None, tmp_path / "out")) == ["7"]
    assert "format: csv" in design.read_text()


STEP = Path(__file__).parents[3] / "workflow" / "catalog" / "data" / "dataset"


def made_by_the_step(tmp_path, **values):
    """The rows of each split, and the report, that the built-in step writes."""
    config = tmp_path / "step.yaml"
    given = {"files": str(tmp_path / "own.json"), "output": str(tmp_path / "out"), **values}
    config.write_text(yaml.safe_dump(given))
    builtin.make_data(config, STEP, TOOL_NAME)
    out = tmp_path / "out"
    splits = {name: read_jsonl(out / f"{name}.jsonl") for name in ("train", "validation", "test")}
    return splits, read_json(out / "data.json")


def test_the_step_keeps_the_splits_of_a_file_and_takes_the_first_rows_of_each(tmp_path):
    parts = {
        name: [{"input": f"{name} {n}", "output": "a"} for n in range(count)]
        for name, count in (("train", 9), ("validation", 1), ("test", 5))
    }
    (tmp_path / "own.json").write_text(json.dumps(parts))
    assert made_by_the_step(tmp_path)[0] == parts
    splits, report = made_by_the_step(tmp_path, limit=3)
    assert splits == {name: rows[:3] for name, rows in parts.items()}
    assert report["rows"] == {"train": 3, "validation": 1, "test": 3}
    rows = {"prompt": "{{ input }}?", "completion": "{{ output }}"}
    asked = made_by_the_step(tmp_path, rows=rows)[0]["test"][0]["messages"][0]
    assert asked == {"role": "user", "content": "test 0?"}


def test_the_step_keeps_near_duplicates_together_and_counts_them(tmp_path):
    words = " ".join(f"w{n}" for n in range(40))
    near = [{"input": f"{n} {words} {n}", "output": "a"} for n in range(6)]
    others = [{"input": f"question {n}", "output": "a"} for n in range(34)]
    (tmp_path / "own.json").write_text(json.dumps([*near, *others]))
    splits, report = made_by_the_step(tmp_path)
    assert report["near_duplicates"] == {"rows": 6, "groups": 1}
    assert report["duplicates"] == 0
    assert all(row in splits["train"] for row in near)
    assert not any(row in splits["test"] for row in near)
    assert sum(map(len, splits.values())) == 40
    report = made_by_the_step(tmp_path, similarity=1)[1]
    assert report["near_duplicates"] == {"rows": 0, "groups": 0}


def test_the_step_keeps_groups_together(tmp_path):
    rows = [{"input": f"question {n}", "output": "a", "doc": n % 10} for n in range(40)]
    (tmp_path / "own.json").write_text(json.dumps(rows))
    splits, _ = made_by_the_step(tmp_path, group="doc")
    assert sum(len({row["doc"] for row in part}) for part in splits.values()) == 10
    with pytest.raises(LockgateError, match="record 1 has no field 'docs'") as error:
        made_by_the_step(tmp_path, group="docs")
    assert error.value.where == f"{tmp_path / 'step.yaml'}: group"


def test_the_step_refuses_a_file_whose_test_split_leaks(tmp_path):
    row = {"input": "a", "output": "b"}
    (tmp_path / "own.json").write_text(json.dumps({"train": [row], "test": [row]}))
    with pytest.raises(LockgateError, match="1 of 1 test rows have the prompt of a train row"):
        made_by_the_step(tmp_path)
    assert not (tmp_path / "out" / "train.jsonl").exists()
