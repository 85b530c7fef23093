"""Rows of data files are known by their fields, and broken ones by file and line."""

import json

import pyarrow
import pytest
from pyarrow import parquet

from lockgate.stages import rows
from lockgate.stages.rows import probe

CHAT = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}]}
PAIR = {"prompt": "2 + 2", "completion": "4"}
PREFERENCE = {"prompt": "2 + 2", "chosen": "4", "rejected": "5"}
VERIFIABLE = {"prompt": "2 + 2", "ground_truth": "4"}
MCQ = {"question": "2 + 2", "options": ["3", "4"], "answer": "B", "answer_index": 1}
TEXT = {"text": "Once upon a time."}


def written(path, values):
    lines = [value if isinstance(value, str) else json.dumps(value) for value in values]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("row", "kinds"),
    [
        (CHAT, ("messages",)),
        (PAIR, ("prompt_completion",)),
        ({"prompt": "2 + 2", "response": "4"}, ("prompt_completion",)),
        (PREFERENCE, ("preference",)),
        (VERIFIABLE, ("verifiable",)),
        ({"prompt": "2 + 2", "answer": "4"}, ("verifiable", "prompt_completion")),
        ({**VERIFIABLE, "ground_truth": 0}, ("verifiable",)),
        ({"responses_create_params": {"input": [{"role": "user"}]}}, ("verifiable",)),
        ({"messages": CHAT["messages"][:1], "tests": ["assert f(1)"]}, ("verifiable",)),
        (MCQ, ("mcq",)),
        ({"question": "?", "choices": {"A": "x", "B": "y"}, "answer": "A"}, ("mcq",)),
        (TEXT, ("text",)),
        ({**CHAT, "text": "both"}, ("messages", "text")),
        ({"a": 1}, ()),
    ],
)
def test_the_fields_of_a_row_tell_its_kinds(row, kinds, tmp_path):
    found = probe(written(tmp_path / "rows.jsonl", [row, row]))
    assert found.kinds == kinds
    assert found.count == 2
    assert found.columns == tuple(sorted(row))


@pytest.mark.parametrize(
    ("row", "good", "why"),
    [
        ({**PREFERENCE, "rejected": "4"}, PREFERENCE, "chosen and rejected are equal"),
        ({"chosen": "4", "rejected": "5"}, PREFERENCE, "prompt is missing"),
        ({"messages": CHAT["messages"][:1]}, CHAT, "messages: no assistant message"),
        ({"messages": []}, CHAT, "messages: empty"),
        ({"messages": "Hi"}, CHAT, "messages: not a list of messages"),
        ({"messages": [{"content": "Hi"}]}, CHAT, "messages: message 1 has no role"),
        (
            {"messages": [*CHAT["messages"], {"role": "user", "content": " "}]},
            CHAT,
            "messages: message 3 (user) has empty content",
        ),
        ({**PAIR, "completion": ""}, PAIR, "completion is empty"),
        ({**PAIR, "prompt": 4}, PAIR, "prompt is int, not text"),
        ({**VERIFIABLE, "ground_truth": None}, VERIFIABLE, "ground_truth is empty"),
        ({**MCQ, "answer_index": 2}, MCQ, "answer_index is 2, of 2 options"),
        ({**MCQ, "options": ["4"]}, MCQ, "options has fewer than two entries"),
        ({"text": " "}, TEXT, "text is empty"),
        ('{"prompt": ', PAIR, "not JSON: Expecting value"),
        ("[1, 2]", PAIR, "list, not an object"),
        ({"a": 1}, PAIR, "has not `prompt` and `completion` (its fields: a)"),
    ],
)
def test_a_broken_row_is_named_with_its_line_and_what_is_wrong(row, good, why, tmp_path):
    found = probe(written(tmp_path / "rows.jsonl", [good, "", row, good]))
    assert found.broken == (f"rows.jsonl:3: {why}",)
    assert found.breaks == 1
    assert found.majority
    assert found.majority not in found.kinds
    assert found.count == 3


def test_a_message_that_calls_a_tool_needs_no_content(tmp_path):
    call = {"role": "assistant", "content": None, "tool_calls": [{"name": "add"}]}
    rows = [{"messages": [{"role": "user", "content": "Add."}, call]}]
    assert probe(written(tmp_path / "rows.jsonl", rows)).kinds == ("messages",)


def test_only_the_first_broken_rows_are_shown_and_all_are_counted(tmp_path):
    found = probe(written(tmp_path / "rows.jsonl", [PAIR] * 20 + [{"a": 1}] * 9))
    assert found.breaks == 9
    assert len(found.broken) == 5
    assert found.broken[0].startswith("rows.jsonl:21: ")


def test_a_file_that_is_broken_throughout_still_has_the_kind_it_was_meant_to_be(tmp_path):
    found = probe(written(tmp_path / "rows.jsonl", [{**PREFERENCE, "rejected": "4"}] * 3))
    assert (found.majority, found.kinds, found.breaks) == ("preference", (), 3)


def test_rows_after_the_limit_are_counted_and_not_looked_at(tmp_path):
    found = probe(written(tmp_path / "rows.jsonl", [PAIR] * 7 + [{"a": 1}]), limit=5)
    assert (found.count, found.looked, found.breaks) == (8, 5, 0)


def test_more_data_than_can_be_counted_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "LARGE", 100)
    found = probe(written(tmp_path / "rows.jsonl", [PAIR] * 10))
    assert found.count is None
    assert found.kinds == ("prompt_completion",)


def test_a_line_that_would_fill_the_memory_is_broken_and_the_next_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "_LONGEST_LINE", 1_000_000)
    long = json.dumps({"prompt": "x" * 2_500_000, "completion": "y"})
    found = probe(written(tmp_path / "rows.jsonl", [PAIR, long, PAIR]))
    assert found.count == 3
    assert found.broken == ("rows.jsonl:2: longer than 1 MB",)


def test_the_longest_row_is_measured_in_characters_of_text(tmp_path):
    found = probe(
        written(tmp_path / "rows.jsonl", [PAIR, {"prompt": "añb", "completion": "c" * 9}])
    )
    assert found.longest == 12


def test_text_that_is_not_utf8_is_a_broken_row(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(json.dumps(PAIR).encode() + b'\n{"prompt": "\xff"}\n')
    assert probe(str(path)).broken == ("rows.jsonl:2: not UTF-8 text",)


def test_a_row_of_endless_brackets_is_broken_and_no_traceback(tmp_path):
    found = probe(written(tmp_path / "rows.jsonl", [PAIR, "[" * 200_000, PAIR]))
    assert found.breaks == 1
    assert found.broken[0].startswith("rows.jsonl:2: n")


def test_an_empty_file_has_no_rows(tmp_path):
    found = probe(written(tmp_path / "rows.jsonl", []))
    assert (found.count, found.looked, found.kinds, found.majority) == (0, 0, (), "")


@pytest.mark.parametrize("pattern", ["", "*.jsonl", "part-*/*.jsonl", "**/*.jsonl"])
def test_directories_and_globs_are_looked_at_as_one(pattern, tmp_path):
    folder = tmp_path / "part-1"
    folder.mkdir()
    written(folder / "b.jsonl", [CHAT, {"messages": []}])
    written(folder / "a.jsonl", [CHAT])
    (folder / "about.json").write_text('{\n"license": "mine"\n}')
    (folder / ".hidden.jsonl").write_text("{}\n")
    whole = {"": "", "*.jsonl": "part-1/*.jsonl"}.get(pattern, pattern)
    found = probe(str(tmp_path / whole))
    assert found.count == 3
    name = "b.jsonl:2" if pattern == "*.jsonl" else "part-1/b.jsonl:2"
    assert [text.endswith(f"{name}: messages: empty") for text in found.broken] == [True]
    assert str(tmp_path) not in found.broken[0]


def test_the_rows_looked_at_are_shared_among_the_files(tmp_path):
    for name in ("a", "b"):
        written(tmp_path / f"{name}.jsonl", [PAIR] * 10)
    assert probe(str(tmp_path), limit=8).looked == 8


@pytest.mark.parametrize(
    "text", [json.dumps([PAIR, PAIR]), f"{json.dumps(PAIR)}\n{json.dumps(PAIR)}\n"]
)
def test_a_json_file_may_be_a_list_or_lines(text, tmp_path):
    path = tmp_path / "rows.json"
    path.write_text(text)
    found = probe(str(path))
    assert (found.count, found.kinds) == (2, ("prompt_completion",))


def test_a_broken_row_of_a_list_is_named_by_its_number(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([PAIR, PAIR, {"prompt": ""}]))
    assert probe(str(path)).broken[0].startswith("rows.json: row 3: ")


@pytest.mark.parametrize("text", ['{"datasets": [{"path": "a"}]}', '{\n "vocab": {}\n}', ""])
def test_a_json_file_that_is_one_object_is_no_rows(text, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(text)
    assert probe(str(path)) is None


@pytest.mark.parametrize("path", ["nobody/dataset", "absent.jsonl", "absent/*.jsonl", "**x/*", ""])
def test_what_is_not_here_is_not_looked_at(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert probe(path) is None


def test_a_file_of_another_kind_is_not_looked_at(tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    assert probe(str(tmp_path / "model.gguf")) is None


def test_parquet_is_counted_from_its_header_and_its_first_rows_are_looked_at(tmp_path):
    path = tmp_path / "rows.parquet"
    parquet.write_table(pyarrow.Table.from_pylist([MCQ] * 30), path)
    found = probe(str(path), limit=10)
    assert (found.count, found.looked, found.kinds) == (30, 10, ("mcq",))


def test_packed_parquet_has_columns_and_no_kind(tmp_path):
    path = tmp_path / "rows.parquet"
    parquet.write_table(pyarrow.Table.from_pylist([{"input_ids": [1], "loss_mask": [0]}]), path)
    found = probe(str(path))
    assert (found.kinds, found.columns) == ((), ("input_ids", "loss_mask"))


def test_a_file_that_is_not_parquet_is_broken(tmp_path):
    path = tmp_path / "rows.parquet"
    path.write_bytes(b"text")
    found = probe(str(path))
    assert found.count is None
    assert found.broken[0].startswith("rows.parquet: not Parquet: ")
