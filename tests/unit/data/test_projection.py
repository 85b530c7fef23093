"""From records to rows, and from rows to splits."""

import json
from pathlib import Path

import pytest

from lockgate import matrix, resolve, tools
from lockgate.config.data import Data
from lockgate.data import assembly, card, existing, projection, splits
from lockgate.data.records import SPLIT
from lockgate.errors import LockgateError
from lockgate.files import file_digest, read_json, read_jsonl, write_json, write_yaml

TEMPLATES = {"prompt": "{{ a }} + {{ b }} =", "completion": "{{ sum }}"}
SHARES = {"train": 0.7, "validation": 0.1, "test": 0.2}
RECORDS = [{"a": 1, "b": 2, "sum": 3}, {"a": 4, "b": 5, "sum": 9}]


def refused(records, **templates):
    with pytest.raises(LockgateError) as error:
        projection.project(records, {**TEMPLATES, **templates}, "my.jsonl")
    assert error.value.hint
    return error.value


def rows(*prompts):
    return [{"id": f"{n:06d}", "prompt": prompt} for n, prompt in enumerate(prompts)]


def hundred():
    return rows(*(f"question {number}" for number in range(100)))


def test_a_row_is_made_of_each_record():
    assert projection.project(RECORDS, TEMPLATES, "my.jsonl") == [
        {"id": "000000", "prompt": "1 + 2 =", "completion": "3", "fields": RECORDS[0]},
        {"id": "000001", "prompt": "4 + 5 =", "completion": "9", "fields": RECORDS[1]},
    ]


def test_space_around_a_text_is_taken_off():
    templates = {"prompt": "\n {{ a }}\n", "completion": " {{ b }} "}
    (row,) = projection.project(RECORDS[:1], templates, "my.jsonl")
    assert (row["prompt"], row["completion"]) == ("1", "2")


def test_a_missing_field_is_named_with_its_record_and_the_fields_there_are():
    error = refused([RECORDS[0], {"a": 1, "sum": 2}])
    assert error.where == "my.jsonl"
    assert error.what == "record 2 cannot become a row: 'b' is undefined (data.rows.prompt)"
    assert error.hint == "its fields are: a, sum"


@pytest.mark.parametrize("empty", ["", "  \n"])
def test_an_empty_completion_is_refused(empty):
    error = refused([RECORDS[0], {**RECORDS[1], "sum": empty}])
    assert error.what == "record 2 gives an empty completion (data.rows.completion)"
    assert error.where == "my.jsonl"


@pytest.mark.parametrize("template", ["{{ a", "{% if %}", "{{ a | no_such_filter }}"])
def test_a_template_that_is_none_is_refused(template):
    error = refused(RECORDS, prompt=template)
    assert error.where == "data.rows.prompt"
    assert error.what.startswith("not a Jinja2 template: ")


def test_no_record_is_refused():
    assert refused([]).what == "there is no record"


def test_splits_have_the_sizes_asked_for_and_every_row_once():
    made = splits.split(hundred(), SHARES, seed=1)
    assert {name: len(part) for name, part in made.items()} == {
        "train": 70,
        "validation": 10,
        "test": 20,
    }
    assert sorted(row["id"] for part in made.values() for row in part) == [
        row["id"] for row in hundred()
    ]


def test_splits_depend_on_the_seed_alone():
    made = splits.split(hundred(), SHARES, seed=1)
    assert made == splits.split(hundred(), SHARES, seed=1)
    assert made != splits.split(hundred(), SHARES, seed=2)
    turned = splits.split(hundred()[::-1], SHARES, seed=1)
    assert {row["id"] for row in turned["test"]} == {row["id"] for row in made["test"]}


@pytest.mark.parametrize("seed", range(5))
def test_rows_with_the_same_prompt_stay_together(seed):
    prompts = [f"question {number % 30}" for number in range(100)]
    prompts[::7] = [f" {prompt.upper()}\n" for prompt in prompts[::7]]
    made = splits.split(rows(*prompts), SHARES, seed)
    seen = {name: {row["prompt"].strip().lower() for row in part} for name, part in made.items()}
    assert sum(map(len, made.values())) == 100
    assert not seen["train"] & seen["test"]
    assert not seen["train"] & seen["validation"]
    assert not seen["validation"] & seen["test"]


@pytest.mark.parametrize(
    ("prompts", "shares", "split"),
    [
        (["a"], SHARES, "test"),
        (["a", "a"], {"train": 0.5, "validation": 0.0, "test": 0.5}, "test"),
        (["a"], {"train": 0.1, "validation": 0.0, "test": 0.9}, "train"),
    ],
)
def test_a_split_without_a_row_is_refused(prompts, shares, split):
    with pytest.raises(LockgateError) as error:
        splits.split(rows(*prompts), shares, seed=0)
    assert error.value.what == f"{len(prompts)} records leave nothing for the {split} split"
    assert error.value.where == "data.splits"
    assert error.value.hint


def test_no_validation_split_may_be_asked_for():
    made = splits.split(hundred(), {"train": 0.8, "validation": 0.0, "test": 0.2}, seed=0)
    assert made["validation"] == []


@pytest.mark.parametrize(
    ("prompts", "count"),
    [(["a", "b"], 0), (["a", "A ", "a"], 2), (["a  b", "a b", "c", "C"], 2), ([], 0)],
)
def test_duplicates_are_rows_with_an_earlier_prompt(prompts, count):
    assert splits.duplicates(rows(*prompts)) == count


@pytest.mark.parametrize("template", ["{{ a + 1 }}", "{{ 1 / 0 }}"])
def test_whatever_a_template_raises_is_one_message(template):
    with pytest.raises(LockgateError, match="record 1 cannot become a row"):
        projection.project([{"a": "x"}], {"prompt": template, "completion": "y"}, "file")


def chat(number, system=None):
    told = [{"role": "system", "content": system}] if system else []
    asked = {"role": "user", "content": f"Question {number}?"}
    return {"messages": [*told, asked, {"role": "assistant", "content": f"Answer {number}."}]}


def test_records_that_are_rows_need_no_templates():
    records = [chat(0), {"prompt": "p", "completion": " c"}, {"input": "i", "output": "o", "n": 1}]
    made = projection.project(records, None, "my.jsonl")
    assert [(row["id"], row["prompt"], row["completion"]) for row in made] == [
        ("000000", "Question 0?", "Answer 0."),
        ("000001", "p", " c"),
        ("000002", "i", "o"),
    ]
    assert [row["fields"] for row in made] == records


@pytest.mark.parametrize(
    ("record", "what"),
    [
        ({"question": "a", "answer": "b"}, "neither 'messages' nor .*it has: question, answer"),
        ({"messages": chat(0)["messages"] * 2}, "it has 4 messages, not one question"),
        (chat(1, system="Be kind."), "its system message is not that of the other rows"),
        ({"input": "a", "output": 5}, "the assistant's message 2 is empty or not text"),
        ({"input": "a", "output": "b", "instruction": "Sum."}, "'input' has an 'instruction'"),
    ],
)
def test_a_record_that_is_no_row_is_named_where_there_are_no_templates(record, what):
    with pytest.raises(LockgateError, match=what) as error:
        projection.project([chat(0), record], None, "my.jsonl")
    assert error.value.where == "my.jsonl: record 2"
    assert error.value.hint.endswith("; of other fields, data.rows makes rows")


def test_the_split_that_a_file_made_is_no_field():
    records = [{**record, SPLIT: "test"} for record in RECORDS]
    made = projection.project(records, TEMPLATES, "my.json")
    assert [row["split"] for row in made] == ["test", "test"]
    assert [row["fields"] for row in made] == RECORDS


def words(start, count=30):
    return [f"word{number}" for number in range(start, start + count)]


def versions(start, count):
    """Long prompts of one kind, each with another word near its end."""
    return [" ".join([*words(start)[:-2], f"other{n}", "end?"]) for n in range(count)]


@pytest.mark.parametrize("seed", range(5))
def test_near_duplicates_stay_together_and_none_is_dropped(seed):
    prompts = sum((versions(100 * kind, 3) for kind in range(20)), [])
    made = splits.split(rows(*prompts), SHARES, seed, similarity=0.8)
    assert sum(map(len, made.values())) == 60
    kinds = {name: {row["prompt"].split()[0] for row in part} for name, part in made.items()}
    assert sum(map(len, kinds.values())) == 20
    assert {name: len(part) for name, part in made.items()} == {
        "train": 42,
        "validation": 6,
        "test": 12,
    }
    alone = splits.split(rows(*prompts), SHARES, seed, similarity=1)
    apart = {name: {row["prompt"].split()[0] for row in part} for name, part in alone.items()}
    assert apart["train"] & apart["test"]


def test_a_large_group_does_not_fill_a_small_split():
    prompts = [*versions(0, 60), *(f"question {number}" for number in range(40))]
    for seed in range(5):
        made = splits.split(rows(*prompts), SHARES, seed, similarity=0.8)
        assert len(made["test"]) == 20
        assert len(made["validation"]) == 10


def test_a_split_smaller_than_every_group_gets_the_smallest():
    prompts = ["a", "a", "a", "b", "b"]
    made = splits.split(rows(*prompts), {"train": 0.8, "validation": 0, "test": 0.2}, seed=0)
    assert [row["prompt"] for row in made["test"]] == ["b", "b"]
    assert [row["prompt"] for row in made["train"]] == ["a", "a", "a"]


def test_rows_all_alike_are_refused_with_their_reason():
    # of these, the first and the last words differ: they are no template's
    prompts = [f"{n} " + " ".join(words(0, 40)) + f" {n}" for n in range(100)]
    with pytest.raises(LockgateError) as error:
        splits.split(rows(*prompts), SHARES, seed=0, similarity=0.8)
    assert error.value.what == "100 records leave nothing for the test split"
    assert "near-duplicates, 1 group(s) in all" in error.value.hint
    assert "data.similarity" in error.value.hint
    made = splits.split(rows(*prompts), SHARES, seed=0, similarity=1)
    assert len(made["test"]) == 20


def test_near_duplicates_are_counted_beside_duplicates():
    prompts = [*versions(0, 3), *versions(100, 2), versions(100, 1)[0], "a", "a", "b"]
    assert splits.near_duplicates(rows(*prompts), 0.8) == {"rows": 6, "groups": 2}
    assert splits.near_duplicates(rows(*prompts), 1) == {"rows": 0, "groups": 0}
    assert splits.duplicates(rows(*prompts)) == 2


def given(train, test, validation=()):
    parts = {"train": train, "validation": validation, "test": test}
    return [{"prompt": prompt, "split": name} for name, part in parts.items() for prompt in part]


def test_the_splits_of_a_file_are_kept_as_they_are():
    made = splits.split(given(["a", "b", "b"], ["c"], ["c", "d"]), SHARES, 0, 0.8)
    assert {name: [row["prompt"] for row in part] for name, part in made.items()} == {
        "test": ["c"],
        "validation": ["c", "d"],
        "train": ["a", "b", "b"],
    }


@pytest.mark.parametrize("name", ["test", "validation"])
def test_a_held_out_split_that_leaks_is_refused(name):
    near, other = versions(0, 2)
    parts = {"test": ["c"], name: ["x", " B ", near, "b", "B"]}
    with pytest.raises(LockgateError) as error:
        splits.split(given(["a", "b", other], **parts), SHARES, 0, 0.8)
    assert error.value.what == (
        f"4 of 5 {name} rows have the prompt of a train row, or nearly the same: "
        f"{name} row 2 as train row 2, {name} row 3 as train row 3, {name} row 4 as train row 2, "
        "..."
    )
    assert error.value.where == "data.files"
    assert "remove them" in error.value.hint
    with pytest.raises(LockgateError, match=f"3 of 5 {name} rows"):
        splits.split(given(["a", "b", other], **parts), SHARES, 0, similarity=1)


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
    own = existing.own_splits(section(), write(tmp_path / "own.json", OWN), "my.yaml")
    assert splits.split_sizes(8, own.splits.model_dump()) == {
        "train": 5,
        "validation": 0,
        "test": 3,
    }


def test_a_file_without_its_own_splits_changes_nothing(tmp_path):
    path = write(tmp_path / "list.json", OWN["train"])
    for file in (path, tmp_path / "absent.json", tmp_path / "rows.jsonl"):
        assert existing.own_splits(section(records=2), file, "my.yaml") == section(records=2)


@pytest.mark.parametrize(
    "change",
    [{"splits": {"train": 0.8, "validation": 0.1, "test": 0.1}}, {"records": 4}],
)
def test_a_file_with_its_own_splits_is_taken_whole(tmp_path, change):
    path = write(tmp_path / "own.json", OWN)
    with pytest.raises(LockgateError, match="has splits of its own") as error:
        existing.own_splits(section(**change), path, "my.yaml")
    assert error.value.where == f"my.yaml: data.{next(iter(change))}"
    assert error.value.hint


def test_what_a_file_holds_is_counted(tmp_path):
    path = write(tmp_path / "own.json", OWN)
    own = existing.own_splits(section(), path, "my.yaml")
    assert existing.inspect_file(own, path, {None}, "my.yaml") == {
        "rows": 8,
        "fields": ["input", "output"],
        "sha256": file_digest(path),
        "characters": 5 * 11 + 3 * 8,
        "splits": {"train": 5, "validation": 0, "test": 3},
        "duplicates": 0,
        "near_duplicates": {"rows": 0, "groups": 0},
    }


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


def test_the_card_counts_what_repeats():
    manifest = {
        "experiment": "e",
        "tool": "t",
        "versions": {},
        "item": "data/data:1",
        "records": 3,
        "seed": 0,
        "shards": 1,
        "duplicates": 4,
        "near_duplicates": {"rows": 7, "groups": 2},
        "digest": "d",
        "rows": {"train": 3},
        "columns": ["a"],
    }
    text = card.card(manifest)
    assert "Rows with the prompt of an earlier row: 4 " in text
    assert "nearly the same prompt as another: 7, in\n  2 group(s)" in text


def whole(project, content):
    """The experiment whose dataset has this content, and its data document and design, built."""
    path = write(project.records.parent / "own.json", content)
    values = project.values(data={"tool": "dataset", "files": str(path)})
    values["evaluation"]["tasks"] = [{"name": "exact", "scorer": "exact"}]
    made = matrix.read(values, project.source)
    write_yaml("build/data.yaml", made.documents["data/data"])
    Path("build/design.yaml").write_text(made.design)
    return made


def test_a_file_with_its_own_splits_goes_through_the_experiment(project, tmp_path):
    made = whole(project, OWN)
    (record,) = resolve._data(made)
    assert record["splits"] == {"train": 5, "validation": 0, "test": 3}
    adapter = tools.get("data", "dataset", "test")
    document = made.documents["data/data"]
    records = adapter.generate(Path("build/design.yaml"), document, 0, None, tmp_path)
    write_json(
        "shard.json", {"records": records, "versions": {}, "seconds": 1.0, "peak_memory_mb": 1}
    )
    assembly.assemble(Path("build/data.yaml"), [Path("shard.json")], "e", Path("data"))
    manifest = read_json("data/manifest.json")
    assert manifest["rows"] == {"train": 5, "validation": 0, "test": 3}
    assert manifest["columns"] == ["input", "output"]
    assert manifest["near_duplicates"] == {"rows": 0, "groups": 0}
    rows = read_jsonl("data/test.jsonl")
    assert [(row["prompt"], row["fields"]) for row in rows] == [
        (one["input"], one) for one in OWN["test"]
    ]


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


ROWS = [
    {"id": "a", "prompt": "one", "completion": "1", "fields": {"word": "one", "kind": "odd"}},
    {"id": "b", "prompt": "two", "completion": "2", "fields": {"word": "two", "kind": "even"}},
]


def test_rows_get_another_prompt_and_keep_the_rest():
    made = projection.revise(ROWS, {"prompt": "{{ kind }}: {{ prompt }}"}, "rows.jsonl")
    assert [row["prompt"] for row in made] == ["odd: one", "even: two"]
    assert [(row["id"], row["completion"]) for row in made] == [("a", "1"), ("b", "2")]
    assert projection.revise(ROWS, {}, "rows.jsonl") == ROWS
    with pytest.raises(LockgateError, match="'colour' is undefined .data.rows.prompt"):
        projection.revise(ROWS, {"prompt": "{{ colour }}"}, "rows.jsonl")


def own(**changes):
    """What a run has of its own."""
    return {"rows": {}, "train_rows": None, "train_files": None, **changes}


def test_templates_that_make_held_out_prompts_of_trained_ones_are_refused():
    parts = {"train": ROWS[:1], "validation": [], "test": ROWS[1:]}
    assert projection.own_rows(own(), parts, "my.yaml") == parts
    told = projection.own_rows(own(rows={"prompt": "Say {{ word }}"}), parts, "my.yaml")
    assert told["test"][0]["prompt"] == "Say two"
    with pytest.raises(LockgateError, match="1 of 1 held-out rows have the prompt of a train row"):
        projection.own_rows(own(rows={"prompt": "What is it?"}), parts, "my.yaml")


def test_a_run_may_be_trained_on_other_rows_but_not_on_held_out_ones(tmp_path):
    path = tmp_path / "more.json"
    write(path, [{"prompt": f"{word} more", "completion": "3"} for word in ("three", "four")])
    parts = {"train": ROWS[:1], "validation": [], "test": ROWS[1:]}
    other = own(train_files=str(path), projection=None, similarity=0.8)
    made = projection.own_rows({**other, "train_rows": 1}, parts, "my.yaml")
    assert [row["prompt"] for row in made["train"]] == ["three more"]
    assert made["test"] == ROWS[1:]
    write(path, [{"prompt": "three", "completion": "3"}, {"prompt": "Two", "completion": "2"}])
    with pytest.raises(LockgateError, match="data.train_files: 1 of 1 held-out rows have the"):
        projection.own_rows(other, parts, "my.yaml")


def test_what_runs_have_of_their_own_is_checked_on_every_row(tmp_path):
    path = write(tmp_path / "own.json", OWN)
    whole = existing.own_splits(section(), path, "my.yaml")
    good = own(rows={"prompt": "Say: {{ input }}"}, train_rows=5)
    existing.inspect_file(whole, path, {None}, "my.yaml", [good])
    for changes, said in [
        ({"rows": {"prompt": "Say it."}}, "held-out rows have the prompt of a train row"),
        ({"rows": {"prompt": "{{ colour }}"}}, "'colour' is undefined"),
        ({"train_rows": 6}, "6 rows to train on are wanted, there are 5"),
    ]:
        with pytest.raises(LockgateError, match=said):
            existing.inspect_file(whole, path, {None}, "my.yaml", [good, own(**changes)])


def test_other_rows_are_those_to_train_on_of_a_file_with_splits(tmp_path):
    path = write(tmp_path / "own.json", OWN)
    run = own(train_files=str(path), projection=None, similarity=0.8)
    assert [row["prompt"] for row in projection.other_rows(run)] == [
        f"question {n}" for n in range(5)
    ]
