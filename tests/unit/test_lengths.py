"""Tokens of rows against the longest sequence, with a real tokenizer."""

import json
from pathlib import Path

import pytest

from lockgate import lengths
from tiny_model import make_tiny_model


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    from transformers import AutoTokenizer

    path = tmp_path_factory.mktemp("model")
    make_tiny_model(path, chat_template=False)
    return AutoTokenizer.from_pretrained(path)


def test_rows_are_counted_and_those_that_are_cut_are_told(project, tokenizer):
    rows = [{"a": n, "b": n, "sum": 2 * n} for n in range(30)]
    rows += [{"a": "9 " * 40, "b": 1, "sum": 1}] * 2
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    matrix = project.read(data__files="rows.jsonl")
    ((name, good, told, fix),) = lengths.checks(matrix, "tiny", tokenizer)
    assert (name, good) == ("rows of tiny fit", False)
    assert told.startswith("32 rows of rows.jsonl: ") and told.endswith("max_length 32 cuts 2")
    longest = int(told.split(" to ")[1].split()[0])
    assert fix.startswith(f"raise training.parameters.max_length to {longest},")
    matrix = project.read(data__files="rows.jsonl", training__parameters__max_length=longest)
    ((_, good, told, _),) = lengths.checks(matrix, "tiny", tokenizer)
    assert good and told.endswith(f"max_length {longest} cuts 0")


def test_each_form_of_the_rows_is_counted_by_itself(project, tokenizer):
    variables = {"data.rows.prompt": ["{{ prompt }}", "{{ prompt }} " + "please " * 30]}
    short, long = lengths.checks(project.read(training__variables=variables), "tiny", tokenizer)
    assert short[:2] == ("rows of tiny, 1 of 2 fit", True)
    assert long[:2] == ("rows of tiny, 2 of 2 fit", False)
    Path("more.jsonl").write_text('{"a": 1, "b": 2, "sum": 3}\n')
    variables = {"data.train_files": ["more.jsonl"]}
    ((_, _, told, _),) = lengths.checks(
        project.read(training__variables=variables), "tiny", tokenizer
    )
    assert told.startswith("1 rows of more.jsonl")


def test_without_records_nothing_is_said(project, tokenizer):
    matrix = project.read()
    section = matrix.config.data.model_copy(update={"files": None})
    config = matrix.config.model_copy(update={"data": section})
    designed = type(matrix)(**{**vars(matrix), "config": config})
    assert lengths.checks(designed, "tiny", tokenizer) == []
