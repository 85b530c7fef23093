"""Seed files: their columns from their head, and what is wrong with them in one message."""

import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from lockgate.errors import LockgateError
from lockgate.tools import get
from lockgate.tools.data_designer import seeds

TOOL = get("data", "data_designer", "test")
TOPIC = {
    "name": "topic",
    "column_type": "sampler",
    "sampler_type": "category",
    "params": {"values": ["a"]},
}


def write(path, records):
    if path.suffix == ".parquet":
        table = pyarrow.Table.from_pylist(records, schema=pyarrow.schema([("doc", "string")]))
        pyarrow.parquet.write_table(table, path)
    elif path.suffix == ".csv":
        path.write_text("\ufeffdoc\n" + "".join(f'"{one["doc"]}"\n' for one in records))
    elif path.suffix == ".json":
        path.write_text(json.dumps(records))
    else:
        path.write_text("".join(json.dumps(one) + "\n" for one in records))


def design(path, *columns, kind="local", **source):
    given = {"seed_type": kind, "path": path, **source}
    return {"columns": [TOPIC, *columns], "seed_config": {"source": given}}


@pytest.mark.parametrize("suffix", seeds.SUFFIXES)
def test_columns_are_in_the_head_of_each_kind_of_file(tmp_path, suffix):
    write(tmp_path / f"seed{suffix}", [{"doc": "one\ntwo"}, {"doc": "three"}])
    assert seeds.columns(design(f"seed{suffix}"), tmp_path) == ["doc"]


@pytest.mark.parametrize("suffix", seeds.SUFFIXES)
def test_a_file_without_records_is_refused(tmp_path, suffix):
    write(tmp_path / f"seed{suffix}", [])
    with pytest.raises(LockgateError, match="no records") as error:
        seeds.columns(design(f"seed{suffix}"), tmp_path)
    assert error.value.where == seeds.WHERE


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("seed.parquet", "no parquet", "cannot be read"),
        ("seed.jsonl", "{oops\n", "cannot be read"),
        ("seed.json", "[1, 2", "cannot be read"),
        ("seed.csv", b"", "has no records"),
        ("seed.csv", b"a\n\xff\n", "cannot be read"),
        ("seed.txt", "a", "cannot be a seed dataset"),
        (None, "", "does not exist"),
    ],
)
def test_a_file_that_is_no_seed_dataset_is_refused(tmp_path, name, content, what):
    if name:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(LockgateError, match=what) as error:
        seeds.columns(design(name or "seed.csv"), tmp_path)
    assert error.value.where == seeds.WHERE
    assert error.value.hint


def test_several_files_and_folders_are_inputs(tmp_path):
    for name in ("a.csv", "b.csv"):
        write(tmp_path / name, [{"doc": "x"}])
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "one.md").write_text("text")
    many, folder = design("*.csv"), design("texts", kind="file_contents", file_pattern="*.md")
    assert [path.name for path in TOOL.inputs({"design": many}, tmp_path)] == ["a.csv", "b.csv"]
    assert [path.name for path in TOOL.inputs({"design": folder}, tmp_path)] == ["one.md"]
    assert "content" in seeds.columns(folder, tmp_path)


def test_a_long_text_is_a_value_as_any_other(tmp_path):
    write(tmp_path / "seed.csv", [{"doc": "x" * 200_000}])
    assert seeds.columns(design("seed.csv"), tmp_path) == ["doc"]


@pytest.mark.parametrize("between", [",", ";", "\t", "|"])
def test_values_stand_apart_as_the_tool_finds_them(tmp_path, between):
    rows = [["doc", "topic"], ["one, and two", "a"], ["it's", "b"]]
    quoted = [between.join(f'"{value}"' for value in row) for row in rows]
    (tmp_path / "it's.csv").write_text("\n".join(quoted) + "\n")
    assert seeds.columns(design("it's.csv"), tmp_path) == ["doc", "topic"]


@pytest.mark.parametrize("suffix", seeds.SUFFIXES)
def test_each_shard_needs_a_seed_row(tmp_path, suffix):
    write(tmp_path / f"seed{suffix}", [{"doc": "one"}, {"doc": "two"}, {"doc": "three"}])
    data = {"records": 8, "design": design(f"seed{suffix}"), "endpoint": None, "shards": 3}
    TOOL.fields(data, tmp_path)
    data["shards"] = 4
    with pytest.raises(LockgateError, match="has 3 rows for 4 shards") as error:
        TOOL.fields(data, tmp_path)
    assert error.value.where == "data.shards" and error.value.hint


def test_rows_of_several_files_are_counted_and_those_of_a_folder(tmp_path):
    for name in ("a.csv", "b.csv"):
        write(tmp_path / name, [{"doc": "x"}, {"doc": "y"}])
    assert seeds.rows(design("*.csv"), 9, tmp_path) == 4
    assert seeds.rows(design("*.csv"), 3, tmp_path) == 3
    assert seeds.rows(design(".", kind="directory"), 9, tmp_path) == 2
    assert seeds.rows(design("datasets/a/b/c.csv", kind="hf"), 9, tmp_path) is None
    assert seeds.rows({"columns": [TOPIC]}, 9, tmp_path) is None


@pytest.mark.parametrize("named", [5, [1, 2]])
def test_columns_are_not_the_users_to_name(tmp_path, named):
    write(tmp_path / "seed.csv", [{"doc": "x"}])
    data = {"records": 2, "design": design("seed.csv", columns=named), "endpoint": None}
    assert [column.name for column in TOOL.fields(data, tmp_path)] == ["doc", "topic"]


@pytest.mark.parametrize(
    ("given", "key", "what"),
    [
        (design(2024), "path", "2024 is no path"),
        (design(["a.csv"]), "path", "is no path"),
        (design(".", kind="directory", file_pattern="/x"), "file_pattern", "'/x' is no pattern"),
        (
            design(".", kind="directory", file_pattern="", recursive=False),
            "file_pattern",
            "'' is no pattern",
        ),
        (design(".", kind="directory", file_pattern=5), "file_pattern", "5 is no pattern"),
        (design("**x.csv"), "path", "'[*][*]x.csv' is no pattern"),
    ],
)
def test_a_source_that_names_no_files_is_refused(tmp_path, given, key, what):
    data = {"records": 2, "design": given, "endpoint": None}
    with pytest.raises(LockgateError, match=what) as error:
        TOOL.inputs(data, tmp_path)
    assert error.value.where == f"data.design.seed_config.source.{key}"
    assert error.value.hint
    if key == "path" and "pattern" not in what:
        with pytest.raises(LockgateError, match=what):
            TOOL.render(data, tmp_path)


def test_columns_that_only_the_tool_can_tell_are_not_known():
    assert seeds.columns(design("datasets/a/b/c.parquet", kind="hf"), Path()) is None


@pytest.mark.parametrize(
    ("column", "key", "what"),
    [
        ({**TOPIC, "name": "doc"}, "columns[1].name", "has a column 'doc' too"),
        (
            {"name": "e", "column_type": "expression", "expr": "{{ dok }}"},
            "columns[1].expr",
            "needs 'dok'",
        ),
    ],
)
def test_seed_columns_are_part_of_the_design(tmp_path, column, key, what):
    write(tmp_path / "seed.csv", [{"doc": "x"}])
    data = {"records": 2, "design": design("seed.csv", column), "endpoint": None}
    TOOL.render(data, tmp_path)  # the file is read in the jobs only
    with pytest.raises(LockgateError, match=what) as error:
        TOOL.fields(data, tmp_path)
    assert error.value.where == f"data.design.{key}"
