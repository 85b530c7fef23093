"""Records of every form of file, and the files that are none."""

import datetime
import json
from decimal import Decimal

import pyarrow
import pytest
from pyarrow import parquet

from lockgate.data import records
from lockgate.data.records import SPLIT
from lockgate.errors import LockgateError

ROWS = [{"prompt": "a, b", "completion": "c"}, {"prompt": 'd\n"e"', "completion": "f"}]


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def refused(path):
    with pytest.raises(LockgateError) as error:
        records.read(path)
    assert str(path) in error.value.where
    assert error.value.hint
    return error.value.what


@pytest.mark.parametrize(
    ("size", "most", "taken"),
    [(0, 3, []), (2, 3, [0, 1]), (3, 3, [0, 1, 2]), (7, 3, [0, 2, 4]), (100, 2, [0, 50])],
)
def test_some_are_taken_evenly_spread(size, most, taken):
    assert records.spread(range(size), most) == taken


def test_every_form_gives_the_same_records(tmp_path):
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    table = 'prompt,completion\n"a, b",c\n\n"d\n""e""",f\n'
    files = [
        write(tmp_path / "rows.jsonl", lines),
        write(tmp_path / "rows.json", ROWS),
        write(tmp_path / "rows.csv", table),
        write(tmp_path / "marked.CSV", "\ufeff" + table),
        write(tmp_path / "rows.tsv", 'prompt\tcompletion\na, b\tc\n"d\n""e"""\tf\n'),
        tmp_path / "rows.parquet",
    ]
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), files[-1])
    for path in files:
        assert records.read(path) == ROWS, path
    assert records.own_splits(ROWS) is None


def test_values_of_a_table_stay_texts(tmp_path):
    path = write(tmp_path / "rows.csv", "a,b\n007,\nNA,1.0\n")
    assert records.read(path) == [{"a": "007", "b": ""}, {"a": "NA", "b": "1.0"}]


def test_a_long_value_of_a_table_is_read(tmp_path):
    path = write(tmp_path / "rows.csv", f"a,b\n{'x' * 200_000},y\n")
    assert len(records.read(path)[0]["a"]) == 200_000


def test_messages_and_dates_of_parquet_become_plain(tmp_path):
    row = {"messages": [{"role": "user", "content": "a"}], "n": 1, "none": None}
    more = {"day": datetime.date(2026, 11, 20), "cost": Decimal("1.50")}
    parquet.write_table(pyarrow.Table.from_pylist([{**row, **more}]), tmp_path / "rows.parquet")
    assert records.read(tmp_path / "rows.parquet") == [{**row, "day": "2026-11-20", "cost": "1.50"}]


def test_a_file_with_splits_keeps_them(tmp_path):
    one, two = {"input": "a", "output": "b"}, {"input": "c", "output": "d"}
    path = write(tmp_path / "own.json", {"test": [two], "train": [one, one]})
    found = records.read(path)
    assert found == [{**one, SPLIT: "train"}, {**one, SPLIT: "train"}, {**two, SPLIT: "test"}]
    assert records.own_splits(found) == {"train": 2, "validation": 0, "test": 1}


ONE = [{"input": "a", "output": "b"}]


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.json", '{"train": [', "not valid JSON"),
        ("a.json", "5", "it is int, not records"),
        ("a.json", {"train": ONE, "dev": ONE, "test": ONE}, "there is no split 'dev'"),
        ("a.json", {"train": ONE}, "there is nothing in 'test'"),
        ("a.json", {"train": [], "test": ONE}, "there is nothing in 'train'"),
        ("a.json", {"train": {"input": "a"}, "test": ONE}, "'train' is dict, not a list"),
        ("a.json", {"train": [*ONE, "b"], "test": ONE}, "record 2 is str, not an object"),
        ("a.json", [1], "record 1 is int, not an object"),
        ("a.csv", "a,b\n1,2\n\n3\n", "line 4 has 1 values, the header has 2"),
        ("a.csv", "a,b\n1,2,3\n", "line 2 has 3 values, the header has 2"),
        ("a.csv", 'a,b\n"1,2\n', "unexpected end of data"),
        ("a.csv", "a,a\n1,2\n", "two columns are called 'a'"),
        ("a.csv", "a,\n1,2\n", "a column has no name"),
        ("a.parquet", "a", "not a Parquet file"),
        ("a.jsonl", "a\n", "line 1 is not valid JSON"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path, name, content, what):
    assert what in refused(write(tmp_path / name, content))


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_a_byte_order_mark_is_no_content(tmp_path, name):
    text = json.dumps(ONE) if name == "a.json" else "".join(json.dumps(one) for one in ONE)
    assert records.read(write(tmp_path / name, "\ufeff" + text)) == ONE


@pytest.mark.parametrize("levels", [100, 5000])
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_a_record_of_too_many_levels_is_refused(tmp_path, name, levels):
    deep = '{"a": ' + "[" * levels + "]" * levels + "}"
    path = write(tmp_path / name, f"[{deep}]" if name == "a.json" else deep)
    assert "is nested too deeply" in refused(path)
    flat = '{"a": ' + "[" * 99 + "]" * 99 + "}"
    assert len(records.read(write(path, f"[{flat}]" if name == "a.json" else flat))) == 1


def test_bytes_are_refused(tmp_path):
    path = tmp_path / "rows.parquet"
    parquet.write_table(pyarrow.Table.from_pylist([{"a": b"x"}]), path)
    assert refused(path) == "a column holds bytes, not text or numbers"


def test_a_table_without_a_line_has_no_records(tmp_path):
    assert records.read(write(tmp_path / "a.csv", "")) == []
    assert records.read(write(tmp_path / "b.csv", "a,b\n")) == []


@pytest.mark.parametrize("name", ["a.json", "a.csv", "a.jsonl"])
def test_a_file_that_is_not_text_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LockgateError, match="not UTF-8"):
        records.read(tmp_path / name)


def test_half_a_character_is_named_with_its_record(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": "fine \\ud83d\\ude00"}\n{"a": ["broken \\ud83d"]}\n')
    with pytest.raises(LockgateError, match="record 2 has half of a character") as error:
        records.read(path)
    assert error.value.where == str(path)
    assert error.value.hint
