"""Rows of all kinds as a prompt and its answer, and the rows that cannot be expressed so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lockgate.errors import LockgateError
from lockgate.stages import conversations

WORDS = ("billing", "shipping", "account", "technical")
SYSTEM = "Answer with one word."


def chat(number: int, system: str | None = SYSTEM) -> dict[str, Any]:
    told = [{"role": "system", "content": system}] if system else []
    asked = {"role": "user", "content": f"Which team answers ticket {number}?"}
    return {"messages": [*told, asked, {"role": "assistant", "content": WORDS[number % 4]}]}


def write(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_both_kinds_of_rows_become_the_same_single_turn(tmp_path):
    plain = {"id": 7, "prompt": "Which team answers ticket 0?", "completion": "billing"}
    path = write(tmp_path / "both.jsonl", [chat(0, system=None), plain])
    rows, system = conversations.read_turns(path, "train", None, None)
    assert system is None
    assert [(row["prompt"], row["completion"]) for row in rows] == [
        (plain["prompt"], plain["completion"])
    ] * 2
    assert [row["id"] for row in rows] == ["000000", "7"]


def test_a_shared_system_message_becomes_the_system_prompt(tmp_path):
    path = write(tmp_path / "rows.jsonl", [chat(0), chat(1)])
    assert conversations.read_turns(path, "train", None, None)[1] == SYSTEM
    assert conversations.read_turns(path, "train", SYSTEM, None)[1] == SYSTEM
    none = write(tmp_path / "none.jsonl", [chat(0, system=None)])
    assert conversations.read_turns(none, "train", "Be kind.", None)[1] == "Be kind."


def test_rows_whose_ids_are_not_their_own_are_numbered(tmp_path):
    path = write(tmp_path / "rows.jsonl", [{"id": "a", **chat(n)} for n in range(3)])
    rows, _ = conversations.read_turns(path, "train", None, limit=2)
    assert [row["id"] for row in rows] == ["000000", "000001"]


def test_a_glob_takes_all_its_files_in_order(tmp_path):
    for name, number in (("b", 1), ("a", 0)):
        write(tmp_path / f"{name}.jsonl", [chat(number)])
    rows, _ = conversations.read_turns(str(tmp_path / "*.jsonl"), "train", None, None)
    assert [row["completion"] for row in rows] == ["billing", "shipping"]
    with pytest.raises(LockgateError, match="no file matches") as error:
        conversations.read(str(tmp_path / "*.csv"), "own.yaml: train")
    assert error.value.where == "own.yaml: train"


ASKED = {"role": "user", "content": "Which team?"}
ANSWER = {"role": "assistant", "content": "billing"}


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ({"text": "a", "source": "b"}, "neither 'messages' nor .*it has: text, source"),
        ({"messages": "hello"}, "'messages' is not a list"),
        ({"messages": [ASKED, ANSWER, ASKED]}, "does not end with an answer"),
        ({"messages": [ANSWER]}, "does not end with an answer"),
        ({"messages": [{"role": "tool", "content": "a"}, ANSWER]}, "message 1 has the role 'tool'"),
        ({"messages": [ASKED, {**ANSWER, "content": None}]}, "the assistant's message 2 is empty"),
        ({"prompt": "a", "completion": " "}, "the assistant's message 2 is empty"),
        ({"messages": [ASKED, ASKED, ANSWER]}, "message 2 is not the assistant's: the user and"),
        ({"messages": [*chat(1)["messages"], ANSWER]}, "message 4 is not the user's: the user"),
        ({"input": "a", "output": "b", "instruction": "c"}, "'input' has an 'instruction'"),
        ({"input": "a", "output": 1}, "the assistant's message 2 is empty or not text"),
        (chat(1, system="Sing."), "its system message is not that of the other rows"),
        (chat(1, system=None), "its system message is not that of the other rows"),
    ],
)
def test_a_row_that_cannot_be_expressed_is_named_by_file_and_line(tmp_path, row, what):
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{json.dumps(chat(0))}\n\n{json.dumps(row)}\n")  # an empty line counts
    with pytest.raises(LockgateError, match=what) as error:
        conversations.read_turns(str(path), "train", None, None)
    assert error.value.where == f"{path}: line 3"


def test_what_was_said_before_the_last_question_is_its_history(tmp_path):
    talk = [*chat(0)["messages"], ASKED, ANSWER]
    path = write(tmp_path / "rows.jsonl", [chat(0), {"messages": talk}])
    (one, several), system = conversations.read_turns(path, "train", None, None)
    assert system == SYSTEM and "history" not in one
    assert (several["prompt"], several["completion"]) == ("Which team?", "billing")
    assert several["history"] == chat(0)["messages"][1:]


def test_a_system_message_other_than_the_configured_one_is_refused(tmp_path):
    path = write(tmp_path / "rows.jsonl", [chat(0)])
    with pytest.raises(LockgateError, match="not the configured system_prompt"):
        conversations.read_turns(path, "train", "Be kind.", None)


def test_an_input_and_its_output_are_a_row(tmp_path):
    path = write(tmp_path / "rows.jsonl", [{"input": "a", "output": "b", "instruction": ""}])
    (row,), system = conversations.read_turns(path, "train", None, None)
    assert (row["prompt"], row["completion"], system) == ("a", "b", None)


def test_rows_read_already_are_named_by_their_place():
    given = [("a.csv: record 1", chat(0)), ("a.csv: record 2", {"text": "b"})]
    with pytest.raises(LockgateError, match="neither 'messages'") as error:
        conversations.as_turns(given, None)
    assert error.value.where == "a.csv: record 2"
    rows, system = conversations.as_turns(given[:1], None)
    assert (rows[0]["completion"], system) == (WORDS[0], SYSTEM)
