"""What the preview measures: the arithmetic, and real measurements with a tiny model."""

import itertools
import json
from pathlib import Path

import pytest

from lockgate import preview
from lockgate.files import digest, read_json, write_json, write_jsonl, write_yaml
from tiny_model import make_tiny_model


def test_a_batch_is_padded_to_its_longest_row():
    # of all nine pairs of 10, 20 and 30 the mean of the longer one
    pairs = [max(pair) for pair in itertools.product((10, 20, 30), repeat=2)]
    assert preview.padded([30, 10, 20], 2, 100) == pytest.approx(2 * sum(pairs) / 9)
    assert preview.padded([30, 10, 20], 1, 100) == pytest.approx(20)


def test_long_rows_are_cut_before_they_are_padded():
    assert preview.padded([10, 500], 4, 40) == pytest.approx(4 * (10 / 16 + 40 * 15 / 16))


def test_rows_are_repeated_with_ids_of_their_own():
    rows = preview.filled([{"id": "a", "prompt": "x"}, {"id": "b", "prompt": "y"}], 3)
    assert [row["prompt"] for row in rows] == ["x", "y", "x"]
    assert len({row["id"] for row in rows}) == 3


def test_the_first_batch_pays_for_what_is_done_once():
    # the first of two batches of 4 takes 7 s, the other 3 s
    answered = [6.9, 7, 7, 7, 9, 10, 10, 10]
    assert preview.rate(answered, 8, 4, first=True) == (0.75, 4)
    assert preview.rate(answered, 8, 4, first=False) == (1.25, 0)


def test_a_slower_second_batch_is_no_negative_start():
    assert preview.rate([1, 1, 4, 4], 4, 2, first=True) == (1, 0)


def test_a_row_that_is_asked_several_times_counts_once():
    answered = [5, 5, 5, 5, 7, 7, 7, 7]  # two answers a row, two rows a batch
    assert preview.rate(answered, 4, 2, first=True) == (1, 3)


@pytest.fixture
def approved(project):
    """The built documents of an experiment with a tiny model, approved; its model's manifest."""
    make_tiny_model(Path("models/tiny"), chat_template=True)
    matrix = project.read(training__variables={"epochs": [1]}, evaluation__batch_size=4)
    items = []
    for name, document in matrix.documents.items():
        write_yaml(Path(f"build/{name}.yaml"), document)
        items.append(f"{name}:{digest(document)}")
    Path("ledger.jsonl").write_text(json.dumps({"gate": "plan", "items": items}) + "\n")
    manifest = {"name": "tiny", "path": str(Path("models/tiny").resolve()), "adapter": None}
    write_json("model.json", {**manifest, "digest": "0"})
    return matrix


@pytest.mark.slow
def test_a_shape_and_a_model_are_measured(approved):
    (shape,) = approved.shapes
    rows = [
        {"id": str(n), "prompt": f"{n} + {n} =", "completion": str(2 * n)} for n in range(5, 11)
    ]
    write_jsonl("rows.jsonl", [{**row, "fields": {}} for row in rows])
    common = (Path("model.json"), Path("rows.jsonl"))
    preview.preview_train(
        Path(f"build/smoke/{shape}.yaml"), *common, Path("ledger.jsonl"), 1, Path("train/s.json")
    )
    smoke = read_json("train/s.json")
    assert smoke["steps"] == preview.TIMED_STEPS - 1
    assert 0 < smoke["seconds_per_step"] < smoke["start_seconds"]
    assert smoke["validation_seconds"] > 0 and smoke["save_seconds"] > 0
    assert smoke["tokens_per_step"] <= 8 * 32 and smoke["longest"] == 32
    # a tiny model's 0.2 million weights of 4 bytes, and its tokenizer
    assert 0.3 < smoke["checkpoint_mb"] < 3 and smoke["adapter"] is False

    preview.preview_eval(
        Path("build/eval/tiny_float32.yaml"), *common, [Path("train/s.json")],
        Path("ledger.jsonl"), 1, Path("eval/e.json"),
    )  # fmt: skip
    answered = read_json("eval/e.json")
    assert answered["rows"] == preview.BATCHES * 4
    assert set(answered["trained"]) == {shape}
    for part in (answered["untouched"], answered["trained"][shape]):
        assert set(part["tasks"]) == {"closeness", "exact"}
        assert all(task["seconds_per_row"] > 0 for task in part["tasks"].values())
    # an untrained model goes on to the limit; a tuned one is measured at the completions' length
    assert answered["untouched"]["tasks"]["exact"]["max_tokens"] == 4
    assert answered["trained"][shape]["tasks"]["exact"]["max_tokens"] == 3
    assert answered["untouched"]["peak_memory_mb"] <= answered["trained"][shape]["peak_memory_mb"]
