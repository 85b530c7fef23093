"""Splits in which alike rows stay together."""

import pytest

from lockgate.data import splits
from lockgate.errors import LockgateError

SHARES = {"train": 0.7, "validation": 0.1, "test": 0.2}


def rows(*prompts):
    return [{"id": f"{n:06d}", "prompt": prompt} for n, prompt in enumerate(prompts)]


def hundred():
    return rows(*(f"question {number}" for number in range(100)))


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
    for similarity, found in [(0.8, {"rows": 6, "groups": 2}), (1, {"rows": 0, "groups": 0})]:
        alike = splits.labels(rows(*prompts), similarity)
        assert splits.near_duplicates(rows(*prompts), alike) == found
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


def grouped(*values, prompts=None):
    made = rows(*(prompts or [f"question {number}" for number in range(len(values))]))
    return [{**row, "fields": {"doc": value}} for row, value in zip(made, values, strict=True)]


def docs(parts):
    return {name: {row["fields"]["doc"] for row in part} for name, part in parts.items()}


@pytest.mark.parametrize("seed", range(5))
def test_rows_of_one_group_stay_together(seed):
    made = splits.split(grouped(*(n % 20 for n in range(100))), SHARES, seed, group="doc")
    assert {name: len(part) for name, part in made.items()} == {
        "train": 70,
        "validation": 10,
        "test": 20,
    }
    assert sum(map(len, docs(made).values())) == 20


def test_groups_and_near_duplicates_chain():
    # 0 and 1 share a group, 1 and 2 nearly a prompt, 2 and 3 a group again
    near = versions(0, 2)
    prompts = ["a", near[0], near[1], "b", *(f"question {n}" for n in range(16))]
    given = grouped(0, 0, 1, 1, *range(2, 18), prompts=prompts)
    for seed in range(8):
        made = splits.split(given, SHARES, seed, 0.8, "doc")
        assert sum({row["id"] for row in given[:4]} <= {r["id"] for r in p} for p in made.values())
    apart = [docs(splits.split(given, SHARES, seed, 1.0, "doc")) for seed in range(8)]
    assert any({0, 1} & found["train"] and {0, 1} & found["test"] for found in apart)


def test_rows_without_a_value_have_no_group():
    made = splits.split(grouped(*[None] * 100), SHARES, 0, group="doc")
    assert len(made["test"]) == 20


def test_a_group_may_be_a_field_within_a_field():
    given = [{**row, "fields": {"seed": {"doc": n % 4}}} for n, row in enumerate(hundred())]
    made = splits.split(given, SHARES, 0, group="seed.doc")
    found = [{row["fields"]["seed"]["doc"] for row in part} for part in made.values()]
    assert sum(map(len, found)) == 4


def test_a_missing_group_names_the_record_and_the_nearest_field():
    given = grouped(1, 2)
    given[1]["fields"] = {"docs": 2}
    for call in (
        lambda: splits.split(given, SHARES, 0, group="doc"),
        lambda: splits.check_group(given, "doc"),
    ):
        with pytest.raises(LockgateError, match="record 2 has no field 'doc'") as error:
            call()
        assert error.value.where == "data.group"
        assert error.value.hint == "did you mean 'docs'?"
    with pytest.raises(LockgateError, match="record 1 has no field 'doc.id'"):
        splits.check_group(given, "doc.id")


def test_too_few_groups_are_refused_with_their_reason():
    with pytest.raises(LockgateError, match="leave nothing for the test split") as error:
        splits.split(grouped(*[7] * 50), SHARES, 0, group="doc")
    assert "near-duplicates or have the same doc, 1 group(s) in all" in error.value.hint


def test_a_group_on_both_sides_of_the_splits_of_a_file_leaks():
    parts = [{**row, "fields": {"doc": n}} for n, row in enumerate(given(["a", "b"], ["c", "d"]))]
    splits.split(parts, SHARES, 0, group="doc")
    parts[3]["fields"] = {"doc": 1}
    with pytest.raises(LockgateError, match="or its doc: test row 2 as train row 2"):
        splits.split(parts, SHARES, 0, group="doc")


def test_rows_to_train_on_must_not_be_of_a_held_out_group():
    trained, held_out = grouped(1, 2), grouped(3, 2, prompts=["x", "y"])
    splits.check_apart(trained, held_out, 0.8, "my.yaml", "mend it")
    with pytest.raises(LockgateError, match="1 of 2 held-out rows .* or its doc, like row 000001"):
        splits.check_apart(trained, held_out, 0.8, "my.yaml", "mend it", "doc")


def test_sorted_rows_are_mixed_and_the_order_stays():
    prompts = [*(f"question {n}" for n in range(40)), *["the same question"] * 40]
    given = grouped(*range(40), *[99] * 40, prompts=prompts)
    made = splits.split(given, {"train": 0.8, "validation": 0.0, "test": 0.2}, 3)["train"]
    assert made == splits.split(given, {"train": 0.8, "validation": 0.0, "test": 0.2}, 3)["train"]
    repeated = [row["fields"]["doc"] == 99 for row in made]
    assert sum(repeated) == 40
    changes = sum(a != b for a, b in zip(repeated, repeated[1:], strict=False))
    assert changes > 15, "the rows with equal prompts are scattered"
    more = splits._shuffled([*given, *rows("another one")], 3)
    assert [row for row in more if "fields" in row] == splits._shuffled(given, 3)
