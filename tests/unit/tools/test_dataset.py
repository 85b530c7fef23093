"""The adapter of existing datasets."""

import json

import pytest

from lockgate.errors import LockgateError
from lockgate.tools import get

TOOL = get("data", "dataset", "test")


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
