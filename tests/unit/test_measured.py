"""Estimates from what the preview measured, against numbers worked out by hand."""

import pytest

from lockgate import measured
from smoke_parts import ANSWERED, CONTROL, DATA, SMOKE, TUNED, task

MODELS = {"tiny": {"parameters": 10_000_000}}


def rows(*workloads, data=DATA, smoke=SMOKE, answered=ANSWERED, counts=((50, 3),)):
    tokens = {work["run"]: list(counts) for work in workloads}
    found = measured.rows(
        list(workloads), data, {"shape": smoke}, {"tiny_float32": answered}, tokens, MODELS
    )
    return {(row["phase"], row["run"]): row for row in found}


def expected(found, phase, run):
    return found[phase, run]["seconds"]["expected"]


def test_generation_pays_for_each_start_and_each_record():
    row = rows(CONTROL)["generate", None]
    assert row["seconds"] == {"low": 56.0, "expected": 70.0, "high": 105.0}  # 2 x 10 + 100 x 0.5
    assert row["memory_mb"] == 800


def test_a_bound_of_the_generation_is_told_as_one():
    row = rows(CONTROL, data={**DATA, "at_most": True})["generate", None]
    assert row["seconds"] == {"low": 16.0, "expected": 70.0, "high": 105.0}  # the starts alone
    assert "at most, as the tool's start is in" in row["basis"]
    assert "at most" not in rows(CONTROL)["generate", None]["basis"]


def test_training_is_its_start_steps_validation_and_saves():
    row = rows(TUNED)["train", "tuned"]
    # 75 rows in batches of 8: 10 steps, twice, of 2 x 4 x 40 tokens at 2 s for 400: 1.6 s;
    # 15 validation rows: 4 batches of 1 s, twice; 2 epochs and 20 // 8 checkpoints of 0.5 s
    assert row["seconds"]["expected"] == 9 + 20 * 1.6 + 8 + 4 * 0.5
    assert row["seconds"]["low"] == pytest.approx(0.8 * 51)
    assert row["seconds"]["high"] == 9 + 20 * 3 + 8 + 2  # every row as long as the longest
    # 600 MB of libraries and 40 of weights stay as they are; the rest grows by 27%
    assert (row["memory_mb"], row["disk_mb"]) == (pytest.approx(1097.2), 14)
    assert row["basis"] == "measured on shape shape: 20 steps of 1.6 s, 320 tokens with padding"


def test_a_trainer_says_when_it_saves_and_what_is_not_measured():
    row = rows({**TUNED, "tool": "torchtune"})["train", "tuned"]
    # 75 rows fill 9 steps of 8, and each epoch is saved once
    assert row["seconds"]["expected"] == pytest.approx(9 + 18 * 1.6 + 8 + 2 * 0.5)
    assert "not measured" not in row["basis"]
    own = {"dataset": {"_component_": "own.rows.Some"}}
    row = rows({**TUNED, "tool": "torchtune", "extra": own})["train", "tuned"]
    assert "extra.dataset's are not measured" in row["basis"]


def test_host_memory_of_a_job_with_a_gpu_does_not_grow():
    row = rows({**TUNED, "gpus": {"generate": 1, "train": 1, "eval": 1}})["train", "tuned"]
    assert row["memory_mb"] == 1000
    assert row["gpu_hours"] == pytest.approx(51 / 3600, abs=1e-4)


def test_validation_that_was_not_told_apart_is_the_forward_part_of_a_step():
    found = rows(TUNED, smoke={**SMOKE, "validation_seconds": None})
    # 4 x 40 tokens at 2 s for 400, half of it, 8 batches
    assert expected(found, "train", "tuned") == 9 + 32 + 8 * 0.4 + 2


def test_a_run_on_some_of_the_rows_takes_less_time():
    found = rows({**TUNED, "train_rows": 8})
    assert expected(found, "train", "tuned") == 9 + 2 * 1.6 + 8 + 2 * 0.5


def test_a_files_own_splits_count():
    sizes = {"train": 16, "validation": 0, "test": 5}
    found = rows(TUNED, CONTROL, data={**DATA, "splits": sizes})
    assert expected(found, "train", "tuned") == 9 + 4 * 1.6 + 2 * 0.5
    assert expected(found, "eval", "control") == 12 + 5 * 0.2


def test_an_untouched_model_answers_as_it_was_measured():
    row = rows(CONTROL)["eval", "control"]
    assert row["seconds"]["expected"] == 12 + 10 * 0.2 + 2  # the last batch is not full
    assert row["memory_mb"] == 900


def test_a_model_that_is_only_evaluated_needs_no_shape():
    found = rows({**CONTROL, "kind": "eval-only"})
    assert expected(found, "eval", "control") == 16


def test_a_tuned_model_answers_as_the_smoke_trained_one():
    row = rows(TUNED)["eval", "tuned"]
    assert row["seconds"]["expected"] == 12 + 0.5 + 10 * 0.1 + 2
    assert (
        row["seconds"]["high"] == 24.8
    )  # 1.5 x 16.5: it may answer at length, as the untouched one
    assert row["memory_mb"] == 950


def test_another_epoch_loads_its_own_weights():
    found = rows({**TUNED, "evaluated": [["t"], ["t"]]})
    assert expected(found, "eval", "tuned") == 12 + 3 + 2 * (0.5 + 10 * 0.1 + 2)


def test_few_samples_make_one_batch_that_does_not_wait():
    few = {"t": {"split": "test", "limit": 5, "max_tokens": 16}}
    assert expected(rows({**CONTROL, "tasks": few}), "eval", "control") == 13


def test_answers_that_were_stopped_early_go_on():
    long = {"t": {"split": "test", "limit": 8, "max_tokens": 48}}
    # half of what was allowed was used: half of the answers go on, to three times the length
    half = {**ANSWERED, "untouched": {"tasks": {"t": task(tokens=8.0)}, "peak_memory_mb": 1}}
    found = rows({**CONTROL, "tasks": long}, answered=half)
    assert expected(found, "eval", "control") == pytest.approx(12 + 8 * 0.2 * 2)
