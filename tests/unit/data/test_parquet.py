"""Records as Parquet."""

import json

import pytest
from pyarrow import parquet as arrow

from lockgate.data import parquet

CHAT = [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["a", None], "string"),
        ([1, 2], "int64"),
        ([1, 2.5], "double"),
        ([True, None], "bool"),
        ([None, None], "null"),
        ([CHAT, []], "list<item: struct<role: string, content: string>>"),
        ([{"a": 1}, {"a": 2}], "struct<a: int64>"),
    ],
)
def test_values_of_one_kind_keep_it(tmp_path, values, kind):
    records = [{"x": value, "n": number} for number, value in enumerate(values)]
    found, as_text = parquet.columns(records)
    assert (str(found["x"].type).replace("element", "item"), as_text) == (kind, [])
    parquet.write(tmp_path / "x.parquet", found)
    assert arrow.read_table(tmp_path / "x.parquet").to_pylist() == records


@pytest.mark.parametrize(
    "values",
    [
        [1, "a"],
        [1, True],
        [{"a": 1}, {"b": 2}],
        [{}, {}],
        [[{}], []],
        [{"a": {}}, {"a": {}}],
        [{"a": 1}, [1]],
        [2**70, 1],
        [2**60 + 1, 0.5],
        ["a", {"b": [1, "c"]}],
    ],
)
def test_whatever_else_is_json_text_and_nothing_is_lost(tmp_path, values):
    found, as_text = parquet.columns([*({"x": value} for value in values), {}])
    assert as_text == ["x"]
    parquet.write(tmp_path / "x.parquet", found)
    *texts, last = arrow.read_table(tmp_path / "x.parquet")["x"].to_pylist()
    assert [json.loads(text) for text in texts] == values
    assert last is None


def test_fields_are_one_column_and_rows_can_be_chosen(tmp_path):
    records = [{"a": 1}, {"a": 2, "b": "x"}, {"a": 3, "b": {}}]
    fields, as_text = parquet.columns(records)
    columns, _ = parquet.columns([{"id": str(n)} for n in range(3)])
    parquet.write(tmp_path / "x.parquet", columns, fields, [2, 1])
    assert as_text == ["b"]
    assert arrow.read_table(tmp_path / "x.parquet").to_pylist() == [
        {"id": "2", "fields": {"a": 3, "b": "{}"}},
        {"id": "1", "fields": {"a": 2, "b": '"x"'}},
    ]
    parquet.write(tmp_path / "x.parquet", columns, fields, [])
    empty = arrow.read_table(tmp_path / "x.parquet")
    assert (empty.num_rows, empty.column_names) == (0, ["id", "fields"])
    assert [path.name for path in tmp_path.iterdir()] == ["x.parquet"]
