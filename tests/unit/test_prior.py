"""What finished runs of other experiments tell the next plan."""

from lockgate import prior
from lockgate.files import write_json


def run(root, experiment="other", name="a", scores=True, **changes):
    """A finished run's files."""
    place = root / experiment
    write_json(place / "models" / "tiny.json", {"architecture": "llama", "parameters": 5})
    content = {
        "kind": "fine-tuned",
        "run": name,
        "model": {"name": "tiny"},
        "method": "lora",
        "tool": "trainer",
        "tokens": 1000,
        "seconds": {"train": 20.0, "total": 29.0},
        "resumed_from_step": 0,
        "gpus": [],
        "granted": {"nodes": 1},
        "threads": 2,
        "peak_memory_mb": 900,
        "disk_mb": 12.0,
        "checkpoints": [{}, {}],
    }
    write_json(place / "train" / name / "manifest.json", {**content, **changes})
    asked = {"precision": "float32", "batch_size": 4, "max_length": 64}
    names = [path.parent.name for path in place.glob("train/*/manifest.json")]
    plan = {"runs": [{"name": one, "parameters": asked} for one in names]}
    plan["tasks"] = [{"name": "a", "max_tokens": 4}, {"name": "b", "max_tokens": 8}]
    write_json(place / "plan" / "plan.json", plan)
    if scores:
        write_json(
            place / "eval" / name / "scores.json",
            {
                "cells": [
                    {"task": "a", "seconds": 6.0, "n": 20},
                    {"task": "b", "seconds": 4.0, "n": 20},
                ],
                "seconds": {"total": 18.0},
                "peak_memory_mb": 800,
                "gpus": [],
                "threads": 2,
            },
        )


TRAINED = {
    "experiment": "other",
    "run": "a",
    "kind": "fine-tuned",
    "model": "tiny",
    "family": "llama",
    "parameters": 5,
    "precision": "float32",
    "tool": "trainer",
    "batch_size": 4,
    "max_length": 64,
    "method": "lora",
    "gpus": 0,
    "threads": 2,
    "tokens": 1000,
    "seconds_per_token": 0.02,
    "overhead_seconds": 9.0,
    "memory_mb": 900,
    "checkpoint_mb": 6.0,
}
EVALUATED = {
    "eval_gpus": 0,
    "eval_seconds_per_sample": 0.25,
    "eval_max_tokens": 6.0,
    "eval_overhead_seconds": 8.0,
    "eval_memory_mb": 800,
}


def test_prior_runs_are_those_of_other_experiments(tmp_path):
    run(tmp_path, experiment="own")
    run(tmp_path)
    assert prior.runs(tmp_path, tmp_path / "own") == [{**TRAINED, **EVALUATED}]


def test_every_field_has_a_column(tmp_path):
    run(tmp_path)
    (found,) = prior.runs(tmp_path, tmp_path / "own")
    assert set(found) == set(prior.FIELDS)


def test_a_run_that_is_not_evaluated_yet_tells_of_its_training(tmp_path):
    run(tmp_path, scores=False)
    assert prior.runs(tmp_path, tmp_path / "own") == [TRAINED]


def test_a_control_tells_of_its_evaluation(tmp_path):
    run(tmp_path, name="c", kind="control", tokens=None, seconds={"total": 0.0})
    (found,) = prior.runs(tmp_path, tmp_path / "own")
    assert found["kind"] == "control" and "tokens" not in found
    assert found["eval_seconds_per_sample"] == 0.25


def test_prior_runs_leave_out_what_cannot_be_compared(tmp_path):
    run(tmp_path, name="control", kind="control", scores=False)
    run(tmp_path, name="resumed", resumed_from_step=3)
    run(tmp_path, name="empty", tokens=0)
    run(tmp_path, name="old", seconds=None)
    run(tmp_path, name="kept", seconds={"train": 20.0, "total": 8.0})
    run(tmp_path, name="continued")
    scores = tmp_path / "other" / "eval" / "continued" / "scores.json"
    write_json(
        scores,
        {"cells": [{"task": "a", "seconds": 60.0, "n": 9}], "seconds": {"total": 9.0}, "gpus": []},
    )
    broken = tmp_path / "other" / "train" / "broken" / "manifest.json"
    broken.parent.mkdir()
    broken.write_text("{")
    run(tmp_path, name="good")
    found = prior.runs(tmp_path, tmp_path / "own")
    assert [row["run"] for row in found] == ["good"]
