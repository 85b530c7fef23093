"""Estimates beside what happened."""

import csv
import io

from lockgate import actuals, estimates


def row(run, phase, expected, **more):
    return estimates.row(run, phase, expected / 2, expected, expected * 2, "", **more)


RUNS = [
    {"name": "control", "kind": "control"},
    {"name": "tuned", "kind": "fine-tuned"},
]
PLAN = {"runs": RUNS, "estimates": [row("tuned", "train", 30, memory_mb=500)]}
REVIEW = {
    "estimates": [
        row(None, "generate", 8, memory_mb=450),
        row("control", "eval", 10),
        row("tuned", "train", 15, memory_mb=900, disk_mb=11.0),
        row("tuned", "eval", 5),
    ]
}
DATA = {"seconds": 10.0, "peak_memory_mb": 500}
TRAINED = {"seconds": {"train": 17.0, "total": 20.0}, "peak_memory_mb": 1000, "disk_mb": 10.0}
SCORES = {"cells": [{"seconds": 3.0}], "seconds": {"total": 4.0}, "peak_memory_mb": 800}


def jobs(trained=TRAINED, scores=SCORES):
    found = actuals.jobs(PLAN, REVIEW, DATA, {"tuned": trained}, {"tuned": scores})
    return {(job["phase"], job["run"]): job for job in found}


def test_every_heavy_job_has_a_row_also_one_that_did_not_end():
    found = jobs()
    assert list(found) == [
        ("generate", None), ("train", "tuned"), ("eval", "control"), ("eval", "tuned"),
    ]  # fmt: skip
    assert found["eval", "control"]["actual"]["seconds"] is None
    assert found["eval", "control"]["error"] == {"planned": {}, "revised": {}}


def test_errors_are_relative_to_what_happened():
    error = jobs()["train", "tuned"]["error"]
    assert error["planned"] == {"seconds": 0.5, "memory_mb": -0.5}
    assert {key: round(value, 3) for key, value in error["revised"].items()} == {
        "seconds": -0.25,
        "memory_mb": -0.1,
        "disk_mb": 0.1,
    }


def test_work_of_an_earlier_attempt_is_not_held_against_the_estimate():
    for change in ({"resumed_from_step": 7}, {"seconds": {"train": 50, "total": 20}}):
        job = jobs(trained={**TRAINED, **change})["train", "tuned"]
        assert job["part"] and "seconds" not in job["error"]["revised"]
        assert "disk_mb" in job["error"]["revised"]


def test_the_table_has_estimates_actuals_and_errors():
    found = list(csv.DictReader(io.StringIO(actuals.table(list(jobs().values())))))
    assert list(found[0]) == actuals.FIELDS
    trained = found[1]
    assert (trained["phase"], trained["run"]) == ("train", "tuned")
    told = [trained[f"{name}_seconds"] for name in ("planned", "revised", "actual")]
    assert told == ["30", "15", "20.0"]
    assert (trained["revised_seconds_error"], trained["revised_disk_mb_error"]) == ("-0.25", "0.1")
    assert (trained["revised_low"], trained["revised_high"]) == ("7.5", "30")
    missing = found[2]
    assert (missing["run"], missing["actual_seconds"]) == ("control", "")


def test_how_much_was_used_of_what_slurm_gave():
    given = {"job": "7", "granted": {"memory_mb": 2000, "minutes": 10, "nodes": 1, "gpus": 0}}
    job = jobs(trained={**TRAINED, **given})["train", "tuned"]
    assert job["slurm"] == {
        "job": "7", "memory_mb": 2000, "minutes": 10, "memory": 0.5, "walltime": 0.033,
    }  # fmt: skip
    unknown = {**given, "granted": {**given["granted"], "memory_mb": None, "minutes": None}}
    job = jobs(trained={**TRAINED, **unknown})["train", "tuned"]
    assert (job["slurm"]["memory"], job["slurm"]["walltime"]) == (None, None)
    assert jobs()["train", "tuned"]["slurm"] is None
    line = next(csv.DictReader(io.StringIO(actuals.table([job]))))
    assert (line["slurm_job"], line["used_memory"]) == ("7", "")
