"""Datasets that exist: their own splits, and what is in them."""

import json

import pytest

from lockgate import matrix, resolve
from lockgate.config.data import Data
from lockgate.data import existing, splits
from lockgate.errors import LockgateError
from lockgate.files import file_digest

OWN = {
    "train": [{"input": f"question {n}", "output": "a"} for n in range(5)],
    "test": [{"input": f"query {n}", "output": "a"} for n in range(3)],
}


def section(**changes):
    return Data(**{"tool": "dataset", "files": "own.json", **changes})


def write(path, value):
    path.write_text(json.dumps(value))
    return path


def test_the_shares_are_those_of_a_file_with_its_own_splits(tmp_path):
    own = existing.own_splits(section(), write(tmp_path / "own.json", OWN).parent, "my.yaml")
    assert splits.split_sizes(8, own.splits.model_dump()) == {
        "train": 5,
        "validation": 0,
        "test": 3,
    }


def test_a_file_without_its_own_splits_changes_nothing(tmp_path):
    write(tmp_path / "list.json", OWN["train"])
    for file in ("list.json", "absent.json", "rows.jsonl"):
        given = section(records=2, files=file)
        assert existing.own_splits(given, tmp_path, "my.yaml") == given


@pytest.mark.parametrize(
    "change",
    [{"splits": {"train": 0.8, "validation": 0.1, "test": 0.1}}, {"records": 4}],
)
def test_a_file_with_its_own_splits_is_taken_whole(tmp_path, change):
    write(tmp_path / "own.json", OWN)
    with pytest.raises(LockgateError, match="has splits of its own") as error:
        existing.own_splits(section(**change), tmp_path, "my.yaml")
    assert error.value.where == f"my.yaml: data.{next(iter(change))}"
    assert error.value.hint


def test_what_a_file_holds_is_counted(tmp_path):
    path = write(tmp_path / "own.json", OWN)
    own = existing.own_splits(section(), tmp_path, "my.yaml")
    assert existing.inspect_file(own, path, {None}, "my.yaml") == {
        "rows": 8,
        "fields": ["input", "output"],
        "sha256": file_digest(path),
        "characters": 5 * 11 + 3 * 8,
        "splits": {"train": 5, "validation": 0, "test": 3},
        "duplicates": 0,
        "near_duplicates": {"rows": 0, "groups": 0},
    }


def chat(number, system=None):
    told = [{"role": "system", "content": system}] if system else []
    asked = {"role": "user", "content": f"Question {number}?"}
    return {"messages": [*told, asked, {"role": "assistant", "content": f"Answer {number}."}]}


def chats(path, system):
    path.write_text("".join(json.dumps(chat(n, system)) + "\n" for n in range(20)))
    return path


@pytest.mark.parametrize(
    ("system", "prompts"),
    [("Be kind.", {"Be kind."}), (None, {"Be kind."}), (None, {None, "Be kind."}), (None, {None})],
)
def test_a_system_message_is_that_of_the_runs(tmp_path, system, prompts):
    path = chats(tmp_path / "chats.jsonl", system)
    assert existing.inspect_file(section(), path, prompts, "my.yaml")["rows"] == 20


@pytest.mark.parametrize("prompts", [{None}, {"Be short."}, {"Be kind.", "Be short."}])
def test_another_system_message_than_that_of_the_runs_is_refused(tmp_path, prompts):
    path = chats(tmp_path / "chats.jsonl", "Be kind.")
    with pytest.raises(LockgateError, match="have the system message 'Be kind.'") as error:
        existing.inspect_file(section(), path, prompts, "my.yaml")
    assert error.value.where == "my.yaml: training.system_prompt"
    assert "take that out of the rows" in error.value.hint


def test_more_records_than_there_are_cannot_be_asked_for(tmp_path):
    path = chats(tmp_path / "chats.jsonl", None)
    with pytest.raises(LockgateError, match="has 20 records, 21 are wanted") as error:
        existing.inspect_file(section(records=21), path, {None}, "my.yaml")
    assert error.value.where == "my.yaml: data.records"
    counted = existing.inspect_file(section(records=10), path, {None}, "my.yaml")
    assert counted["splits"] == {"train": 8, "validation": 1, "test": 1}


def whole(project, content):
    """The experiment whose dataset has this content."""
    path = write(project.records.parent / "own.json", content)
    values = project.values(data={"tool": "dataset", "files": str(path)})
    values["evaluation"]["tasks"] = [{"name": "exact", "scorer": "exact"}]
    return matrix.read(values, project.source)


def test_a_leaking_test_split_is_refused_before_anything_is_planned(project):
    leaking = {**OWN, "test": [*OWN["test"], OWN["train"][4]]}
    made = whole(project, leaking)
    with pytest.raises(LockgateError, match="1 of 4 test rows have the prompt of a train row"):
        resolve._data(made)


def test_a_task_on_a_split_that_the_file_lacks_is_refused(project):
    path = write(project.records.parent / "own.json", OWN)
    values = project.values(data={"tool": "dataset", "files": str(path)})
    values["evaluation"]["tasks"] = [{"name": "a", "scorer": "exact", "split": "validation"}]
    with pytest.raises(LockgateError, match="validation split, which is empty"):
        matrix.read(values, project.source)


def test_chats_of_an_experiment_have_the_runs_system_prompt(project):
    chats(project.records.parent / "chats.jsonl", "Be kind.")
    section = {"tool": "dataset", "files": str(project.records.parent / "chats.jsonl")}
    with pytest.raises(LockgateError, match="and the runs have None") as error:
        resolve._data(project.read(data=section))
    assert error.value.where == f"{project.source}: training.system_prompt"
    fitting = project.read(data=section, training__system_prompt="Be kind.")
    assert resolve._data(fitting)[0]["rows"] == 20


def test_what_runs_have_of_their_own_is_checked_on_every_row(tmp_path):
    path = write(tmp_path / "own.json", OWN)
    whole = existing.own_splits(section(), tmp_path, "my.yaml")
    good = {"rows": {"prompt": "Say: {{ input }}"}, "train_rows": 5, "train_files": None}
    existing.inspect_file(whole, path, {None}, "my.yaml", [good])
    for changes, said in [
        ({"rows": {"prompt": "Say it."}}, "held-out rows have the prompt of a train row"),
        ({"rows": {"prompt": "{{ colour }}"}}, "'colour' is undefined"),
        ({"train_rows": 6}, "6 rows to train on are wanted, there are 5"),
    ]:
        with pytest.raises(LockgateError, match=said):
            existing.inspect_file(whole, path, {None}, "my.yaml", [good, good | changes])
