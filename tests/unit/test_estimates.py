"""Estimates, against numbers worked out by hand."""

import pytest

from lockgate import estimates
from lockgate.data import splits

RESOURCES = {
    "resources": [
        {"kind": "model", "name": "tiny", "parameters": 1_000_000},
        {"kind": "file", "name": "addition.jsonl", "rows": 300, "characters": 12_000},
    ],
    "machine": {"cpu_gflops": 10, "partitions": []},
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
    assert splits.split_sizes(records, shares) == expected


def test_without_prior_runs_the_models_size_decides(project):
    rows = estimates.analytical(project.read(), RESOURCES, [])
    # 300 rows of 12000 / 4 / 300 = 10 tokens; 210 to train on, 4 epochs: 8400 tokens;
    # 8400 x 6 FLOP x 1e6 parameters at 5e9 a second, and 8 s to load
    (low, expected, high), basis = seconds(rows, "tiny_epochs-4", "train")
    assert (low, expected, high) == (10.0, 18.1, 58.4)
    assert basis.startswith("preliminary: 8 s to load, 8400 tokens in 108 steps x 6 x 1M")
    # 2 tasks of 60 rows of 10 + 4 tokens; 1680 x 2 FLOP x 1e6 parameters at 5e9 a second
    assert seconds(rows, "tiny_epochs-4", "eval")[0] == (8.1, 8.7, 11.4)
    assert seconds(rows, "tiny_control", "eval")[0] == (8.1, 8.7, 11.4)
    assert [row["phase"] for row in rows if row["run"] == "tiny_control"] == ["eval"]


def test_memory_and_disk_are_estimated_from_the_models_size(project):
    (row,) = [
        row
        for row in estimates.analytical(project.read(), RESOURCES, [])
        if (row["run"], row["phase"]) == ("tiny_epochs-4", "train")
    ]
    # 600 + weights 4 + trained 12 MB; nothing is known of what a token takes
    assert row["memory_mb"] == 616
    assert row["gpu_memory_mb"] is None
    assert row["disk_mb"] == 16  # four epochs of 4 MB
    assert row["gpu_hours"] == 0


def prior(**changes):
    """A finished run of another experiment, as the CSV file gives it."""
    values = {
        "kind": "fine-tuned",
        "model": "tiny",
        "family": "llama",
        "parameters": "1000000",
        "method": "full",
        "tool": "trl",
        "precision": "float32",
        "batch_size": "8",
        "max_length": "32",
        "gpus": "0",
        "threads": "1",
        "tokens": "500",
        "seconds_per_token": "0.001",
        "overhead_seconds": "9",
        "memory_mb": "700",
        "checkpoint_mb": "5",
        "eval_gpus": "0",
        "eval_seconds_per_sample": "0.1",
        "eval_max_tokens": "4",
        "eval_overhead_seconds": "10",
        "eval_memory_mb": "650",
    }
    return {**values, **changes}


def test_prior_runs_of_the_same_model_and_method_decide(project):
    found = [
        prior(),
        prior(seconds_per_token="0.003", memory_mb="800"),
        prior(method="lora", seconds_per_token="9"),
        prior(model="other", parameters="5000000", seconds_per_token="9"),
        prior(threads="8", seconds_per_token="9"),
        prior(gpus="1", seconds_per_token="9"),
        prior(tool="torchtune", seconds_per_token="9"),
        prior(precision="bfloat16", seconds_per_token="9"),
    ]
    rows = estimates.analytical(project.read(), RESOURCES, found)
    (low, expected, high), basis = seconds(rows, "tiny_epochs-4", "train")
    # 9 + 8400 x 0.001 and 9 + 8400 x 0.003
    assert (low, expected, high) == (13.9, 25.8, 42.8)
    assert basis == "2 prior runs of this model; about 8400 tokens in 108 steps"
    (row,) = [r for r in rows if (r["run"], r["phase"]) == ("tiny_epochs-4", "train")]
    assert (row["memory_mb"], row["disk_mb"]) == (750, 20)


def test_prior_evaluations_decide_for_runs_of_their_kind(project):
    found = [prior(), prior(kind="control", tokens="", eval_seconds_per_sample="0.5")]
    rows = estimates.analytical(project.read(), RESOURCES, found)
    # 120 samples: 10 + 12 s for trained weights, 10 + 60 s for untouched ones
    assert seconds(rows, "tiny_epochs-1", "eval")[0] == (11.0, 22.0, 44.0)
    (low, expected, high), basis = seconds(rows, "tiny_control", "eval")
    assert (low, expected, high) == (35.0, 70.0, 140.0)
    assert basis == "1 prior run of this model; 120 samples"


def test_prior_memory_counts_where_batches_are_as_large(project):
    rows = estimates.analytical(project.read(), RESOURCES, [prior(batch_size="1")])
    (row,) = [r for r in rows if (r["run"], r["phase"]) == ("tiny_epochs-4", "train")]
    assert row["memory_mb"] is None and row["disk_mb"] == 20


def test_longer_answers_than_those_of_prior_runs_take_longer(project):
    tasks = [{"name": "exact", "scorer": "exact", "max_tokens": 40}]
    found = [prior(), prior(kind="control", tokens="", eval_seconds_per_sample="0.5")]
    rows = estimates.analytical(project.read(evaluation__tasks=tasks), RESOURCES, found)
    # 60 samples, up to ten times as long; a tuned model may end them as early as before
    assert seconds(rows, "tiny_control", "eval")[0][1] == 310.0
    assert seconds(rows, "tiny_epochs-1", "eval")[0] == (8.0, 16.0, 320.0)


def test_a_model_of_the_same_family_is_scaled_by_its_parameters(project):
    model = {**RESOURCES["resources"][0], "architecture": "llama"}
    resources = {**RESOURCES, "resources": [model, RESOURCES["resources"][1]]}
    found = [prior(model="half", parameters="500000"), prior(model="x", family="gpt2")]
    rows = estimates.analytical(project.read(), resources, found)
    (low, expected, high), basis = seconds(rows, "tiny_epochs-4", "train")
    assert expected == 25.8  # 9 + 8400 x 2 x 0.001
    assert basis.startswith("1 prior run of models of this family, scaled by their parameters;")
    (row,) = [r for r in rows if (r["run"], r["phase"]) == ("tiny_epochs-4", "train")]
    assert (row["memory_mb"], row["disk_mb"]) == (1400, 40)


def test_gpu_hours_count_every_gpu(project):
    asked = {"resources__gpus": 2, "resources__nodes": 3}
    rows = estimates.analytical(project.read(**asked), RESOURCES, [])
    found = {r["phase"]: r for r in rows if r["run"] == "tiny_epochs-4"}
    assert found["train"]["gpu_hours"] == pytest.approx(18.08 * 6 / 3600, abs=1e-4)
    assert found["train"]["gpu_memory_mb"] == 616
    seconds = found["eval"]["seconds"]["expected"]
    assert found["eval"]["gpu_hours"] == pytest.approx(seconds / 3600, abs=1e-4)


def test_a_prior_run_on_as_many_gpus_is_comparable(project):
    found = [prior(gpus="6", eval_gpus="1"), prior(gpus="2", eval_gpus="2")]
    asked = {"resources__gpus": 2, "resources__nodes": 3}
    rows = estimates.analytical(project.read(**asked), RESOURCES, found)
    assert {r["basis"][:11] for r in rows if r["run"] == "tiny_epochs-4"} == {"1 prior run"}


def test_long_rows_count_up_to_the_longest_sequence(project):
    files = {**RESOURCES["resources"][1], "characters": 1_200_000}
    resources = {**RESOURCES, "resources": [RESOURCES["resources"][0], files]}
    rows = estimates.analytical(project.read(), resources, [])
    assert "26880 tokens" in seconds(rows, "tiny_epochs-4", "train")[1]  # 840 x 32


def test_of_a_model_that_is_not_here_nothing_is_known(project):
    resources = {**RESOURCES, "resources": [{"kind": "model", "name": "tiny"}]}
    resources["resources"].append(RESOURCES["resources"][1])
    rows = estimates.analytical(project.read(), resources, [])
    assert [row["phase"] for row in rows] == ["generate"]


def test_steps_are_a_ceiling_in_each_epoch():
    work = {"tool": "trl", "batch_size": 4, "gradient_accumulation": 2, "epochs": 3}
    assert [estimates.steps(work, rows) for rows in (1, 8, 9)] == [3, 3, 6]


def test_a_trainer_may_round_in_its_own_way(monkeypatch):
    class Floor:
        def steps(self, rows, parameters):
            return rows // parameters["batch_size"] * parameters["epochs"]

    monkeypatch.setattr(estimates.tools, "get", lambda kind, name, where: Floor())
    assert estimates.steps({"tool": "any", "batch_size": 4, "epochs": 3}, 11) == 6


def test_totals_add_up_all_but_memory():
    rows = [
        estimates.row("a", "train", 1, 2, 4, "", gpus=1, memory_mb=500, disk_mb=7.5),
        estimates.row("b", "train", 10, 3598, 4000, "", gpus=2, memory_mb=400),
    ]
    assert estimates.totals(rows) == {
        "seconds": {"low": 11, "expected": 3600, "high": 4004},
        "gpu_hours": pytest.approx(1.9995, abs=1e-4),
        "disk_mb": 7.5,
        "memory_mb": 500,
    }
    assert estimates.total_hours(rows) == 1


def test_a_job_that_needs_too_much_memory_gets_a_smaller_batch_proposed(project):
    matrix = project.read(resources__memory_mb=1000)
    rows = [estimates.row("tiny_epochs-4", "train", 1, 1, 1, "", memory_mb=1400)]
    ((job, told, fix),) = estimates.memory_warnings(matrix, RESOURCES, rows)
    assert (job, told) == ("train tiny_epochs-4", "1400 MB expected, a job has 1000 MB")
    # 616 of 1400 MB are fixed: 616 + 784 x 2 / 8 = 812, with 4 rows it is 1008
    assert fix.startswith("batch_size: 2 with gradient_accumulation: 4, which keeps the effective")
    assert estimates.memory_warnings(project.read(), RESOURCES, rows) == []


def test_a_table_as_csv_has_the_fields_asked_for():
    rows = [{"run": "a", "tokens": 1, "other": 2}, {"run": "b, c", "tokens": None}]
    assert estimates.to_csv(rows, ["run", "tokens"]) == 'run,tokens\na,1\n"b, c",\n'
