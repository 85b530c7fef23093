"""Estimates, against numbers worked out by hand."""

import pytest

from lockgate import data, estimates
from lockgate.files import write_json

RESOURCES = {
    "resources": [
        {"kind": "model", "name": "tiny", "parameters": 1_000_000},
        {"kind": "file", "name": "addition.jsonl", "rows": 300, "characters": 12_000},
    ],
    "machine": {"cpu_gflops": 10},
}


def seconds(rows, run, phase):
    (row,) = [row for row in rows if (row["run"], row["phase"]) == (run, phase)]
    return tuple(row["seconds"].values()), row["basis"]


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        (100, {"train": 75, "validation": 15, "test": 10}),
        (1, {"train": 1, "validation": 0, "test": 0}),
        (7, {"train": 5, "validation": 1, "test": 1}),
    ],
)
def test_split_sizes_leave_the_rest_to_training(records, expected):
    shares = {"train": 0.75, "validation": 0.15, "test": 0.1}
    assert data.split_sizes(records, shares) == expected


def test_without_prior_runs_the_models_size_decides(project):
    rows = estimates.analytical(project.read(), RESOURCES, [])
    # 300 rows of 12000 / 4 / 300 = 10 tokens; 210 to train on, 4 epochs: 8400 tokens;
    # 8400 x 6 FLOP x 1e6 parameters at 5e9 a second
    (low, expected, high), basis = seconds(rows, "tiny_epochs-4", "train")
    assert (low, expected, high) == (2.0, 10.1, 50.4)
    assert basis.startswith("preliminary: 8400 tokens x 6 x 1M parameters")
    # 2 tasks of 60 rows of 10 + 4 tokens; 1680 x 2 FLOP x 1e6 parameters at 5e9 a second
    assert seconds(rows, "tiny_epochs-4", "eval")[0] == (0.1, 0.7, 3.4)
    assert seconds(rows, "tiny_control", "eval")[0] == (0.1, 0.7, 3.4)
    assert [row["phase"] for row in rows if row["run"] == "tiny_control"] == ["eval"]


def test_prior_runs_of_the_same_model_and_method_decide(project):
    same = {"model": "tiny", "method": "full"}
    prior = [
        {**same, "seconds_per_token": "0.001"},
        {**same, "seconds_per_token": "0.003"},
        {**same, "method": "lora", "seconds_per_token": "9"},
        {**same, "model": "other", "seconds_per_token": "9"},
    ]
    rows = estimates.analytical(project.read(), RESOURCES, prior)
    (low, expected, high), basis = seconds(rows, "tiny_epochs-4", "train")
    assert (low, expected, high) == (6.7, 16.8, 31.5)
    assert basis == "2 prior runs of this model; about 8400 tokens"


def test_long_rows_count_up_to_the_longest_sequence(project):
    files = {**RESOURCES["resources"][1], "characters": 1_200_000}
    resources = {**RESOURCES, "resources": [RESOURCES["resources"][0], files]}
    rows = estimates.analytical(project.read(), resources, [])
    assert "preliminary: 26880 tokens" in seconds(rows, "tiny_epochs-4", "train")[1]  # 840 x 32


def test_of_a_model_that_is_not_here_nothing_is_known(project):
    resources = {**RESOURCES, "resources": [{"kind": "model", "name": "tiny"}]}
    resources["resources"].append(RESOURCES["resources"][1])
    rows = estimates.analytical(project.read(), resources, [])
    assert [row["phase"] for row in rows] == ["generate"]


SMOKE = {
    "model": "tiny",
    "load_seconds": 5.0,
    "step_overhead": 0.1,
    "seconds_per_token": 0.001,
    "seconds_per_token_longest": 0.002,
    "peak_memory_mb": 1000,
    "checkpoint_mb": 7.0,
}
ANSWERED = {
    "max_tokens": 32,
    "seconds_per_sample": 0.5,
    "load_seconds": 3.0,
    "samples": 8,
    "peak_memory_mb": 900,
}
DATA = {
    "records": 8,
    "records_planned": 100,
    "seconds_per_record": {"low": 0.5, "high": 2.0},
    "start_seconds": 10.0,
}
COMMON = {
    "model": "tiny",
    "evaluated_epochs": 1,
    "splits": {"train": 0.75, "validation": 0.15, "test": 0.1},
}
TUNED = {
    **COMMON,
    "run": "tuned",
    "kind": "fine-tuned",
    "shape": "shape",
    "tasks": [{"split": "test", "limit": None, "max_tokens": 16}],
    "epochs": 2,
    "method": "lora",
    "max_length": 40,
    "batch_size": 4,
    "gradient_accumulation": 2,
}
CONTROL = {
    **COMMON,
    "run": "control",
    "kind": "control",
    "shape": None,
    "tasks": [{"split": "test", "limit": 8, "max_tokens": 16}],
}


@pytest.fixture
def measured():
    tokens = {"tiny": {"row": 50.0, "completion": 3.0}}
    smoke, answered = {"shape": SMOKE}, {"shape": ANSWERED}
    return estimates.measured([CONTROL, TUNED], DATA, smoke, answered, tokens)


def test_generation_is_measured_a_record(measured):
    assert seconds(measured, None, "generate")[0] == (50.0, 60.0, 210.0)


def test_training_is_measured_a_step_and_a_token(measured):
    # 75 rows in batches of 8: 10 steps, twice; 20 x 8 x min(50, 40) = 6400 tokens
    (low, expected, high), basis = seconds(measured, "tuned", "train")
    assert expected == 13.4  # 5 + 20 x 0.1 + 6400 x 0.001
    assert low == 9.4  # 0.7 x 13.38
    assert high == 24.2  # 5 + 6400 x 0.002 x 1.5
    assert "20 steps of 8 rows" in basis
    (row,) = [row for row in measured if row["phase"] == "train"]
    assert (row["memory_mb"], row["disk_mb"]) == (1000, 14.0)


def test_a_tuned_model_stops_after_its_answer_and_a_control_does_not(measured):
    # tuned: 10 rows x 0.5 s x (3 + 1) / 32 tokens; control: 8 rows x 0.5 s x 16 / 32 tokens
    assert seconds(measured, "tuned", "eval")[0] == (3.6, 3.6, 12.0)
    assert seconds(measured, "control", "eval")[0] == (3.5, 5.0, 10.5)


def test_hours_are_the_expected_ones_of_all_jobs(measured):
    # 60 + 13.4 + 3.6 + 5 seconds
    assert estimates.total_hours(measured) == pytest.approx(82 / 3600)


def manifest(path, **changes):
    content = {
        "kind": "fine-tuned",
        "run": path.parent.name,
        "model": {"name": "tiny"},
        "method": "lora",
        "tokens": 1000,
        "seconds": {"train": 20.0},
        "resumed_from_step": 0,
    }
    write_json(path, {**content, **changes})


def test_prior_runs_are_those_of_other_experiments(tmp_path):
    manifest(tmp_path / "own" / "train" / "a" / "manifest.json")
    manifest(tmp_path / "other" / "train" / "b" / "manifest.json")
    assert estimates.prior_runs(tmp_path, tmp_path / "own") == [
        {
            "experiment": "other",
            "run": "b",
            "model": "tiny",
            "method": "lora",
            "tokens": 1000,
            "seconds": 20.0,
            "seconds_per_token": 0.02,
        }
    ]


def test_prior_runs_leave_out_what_cannot_be_compared(tmp_path):
    manifest(tmp_path / "x" / "train" / "control" / "manifest.json", kind="control")
    manifest(tmp_path / "x" / "train" / "resumed" / "manifest.json", resumed_from_step=3)
    manifest(tmp_path / "x" / "train" / "empty" / "manifest.json", tokens=0)
    manifest(tmp_path / "x" / "train" / "old" / "manifest.json", seconds=None)
    broken = tmp_path / "x" / "train" / "broken" / "manifest.json"
    broken.parent.mkdir()
    broken.write_text("{")
    manifest(tmp_path / "x" / "train" / "good" / "manifest.json")
    found = estimates.prior_runs(tmp_path, tmp_path / "own")
    assert [row["run"] for row in found] == ["good"]


def test_a_table_as_csv_has_the_fields_asked_for():
    rows = [{"run": "a", "tokens": 1, "other": 2}, {"run": "b, c", "tokens": None}]
    assert estimates.to_csv(rows, ["run", "tokens"]) == 'run,tokens\na,1\n"b, c",\n'
