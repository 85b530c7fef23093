"""Memory by formula, and what is proposed where there is too little of it."""

import pytest

from lockgate import memory
from lockgate.errors import LockgateError

MODEL = {
    "parameters": 10_000_000,
    "dimensions": {"hidden": 100, "layers": 10, "vocabulary": 1000},
}
FULL = {
    "precision": "float32",
    "method": "full",
    "batch_size": 8,
    "max_length": 50,
    "gradient_accumulation": 1,
    "lora_rank": 4,
}


def test_all_weights_have_gradients_and_an_optimizer():
    held = memory.sizes(FULL, MODEL)
    assert (held["weights"], held["trained"], held["checkpoint"]) == (40, 120, 40)
    # 17 x 100 x 10 x 4 bytes of activations, and 1000 x (4 + 8) of logits
    assert held["token"] == 0.08
    assert memory.training(FULL, MODEL) == (792, 760)  # and 8 x 50 tokens


def test_an_adapter_is_small():
    held = memory.sizes({**FULL, "method": "lora", "precision": "bfloat16"}, MODEL)
    assert held["weights"] == 20
    # 19 x 4 x 100 x 10 values of 4 bytes
    assert (held["checkpoint"], held["trained"]) == (0.304, 1.216)


def test_of_a_model_of_unknown_size_no_activations_are_counted():
    assert memory.training(FULL, {"parameters": 10_000_000}) == (760, 760)


@pytest.mark.parametrize(
    ("need", "fixed", "most", "batch", "rows"),
    [
        (1000, 200, 700, 8, 4),  # 200 + 800 / 2 = 600
        (1000, 200, 590, 8, 2),
        (1000, 200, 100, 8, None),
        (1000, 200, 900, 7, 1),  # 7 rows have no other part
        (1000, 200, 900, 1, None),
    ],
)
def test_a_micro_batch_divides_the_batch(need, fixed, most, batch, rows):
    assert memory.micro_batch(need, fixed, most, batch) == rows


def estimate(phase, **changes):
    return {"phase": phase, "memory_mb": None, "gpu_memory_mb": None, **changes}


def test_the_effective_batch_is_kept():
    told, fix = memory.advice(
        estimate("train", memory_mb=1160),
        {**FULL, "gradient_accumulation": 3},
        MODEL,
        {"memory_mb": 1000, "gpu_memory_mb": None},
    )
    assert told == "1160 MB expected, a job has 1000 MB"
    assert fix == (
        "batch_size: 4 with gradient_accumulation: 6, which keeps the effective batch of 24; "
        "or raise resources.memory_mb"
    )


def test_a_gpu_has_its_own_limit():
    limits = {"memory_mb": 9000, "gpu_memory_mb": 1000}
    told, fix = memory.advice(estimate("train", gpu_memory_mb=2000), FULL, MODEL, limits)
    assert told == "2000 MB expected, a GPU has 1000 MB"
    assert fix.startswith("batch_size: 1 with gradient_accumulation: 8,")
    assert fix.endswith("or a GPU with more memory")


def test_where_not_even_one_row_fits_the_sequences_have_to_be_shorter():
    limits = {"memory_mb": 500, "gpu_memory_mb": None}
    _, fix = memory.advice(estimate("train", memory_mb=900), FULL, MODEL, limits)
    assert "lower max_length" in fix and "raise resources.memory_mb" in fix


def test_an_evaluation_takes_smaller_batches():
    limits = {"memory_mb": 500, "gpu_memory_mb": None}
    _, fix = memory.advice(estimate("eval", memory_mb=900), {}, MODEL, limits)
    assert fix == "a smaller evaluation.batch_size or raise resources.memory_mb"


def test_what_fits_or_is_not_known_needs_no_advice():
    limits = {"memory_mb": 500, "gpu_memory_mb": None}
    assert memory.advice(estimate("train", memory_mb=500), FULL, MODEL, limits) is None
    assert memory.advice(estimate("train", gpu_memory_mb=900), FULL, MODEL, limits) is None
    assert memory.advice(estimate("train"), FULL, MODEL, limits) is None


def test_the_limit_of_a_gpu_is_known_by_its_name_or_by_the_machine():
    asked = {"memory_mb": 4000, "gpus": 1, "gpu": None}
    here = {"gpus": ["NVIDIA A, 1000 MiB", "NVIDIA B, 2000 MiB"]}
    assert memory.limit(asked, here)["gpu_memory_mb"] == 1000 * 2**20 / 1e6
    assert memory.limit({**asked, "gpu": "H100"}, here)["gpu_memory_mb"] == 80_000
    assert memory.limit(asked, None) == {"memory_mb": 4000, "gpu_memory_mb": None}
    assert memory.limit({**asked, "gpus": 0}, here)["gpu_memory_mb"] is None


def test_what_a_job_is_not_given_is_what_its_node_has():
    asked = {"memory_mb": None, "gpus": 0, "gpu": None}
    assert memory.limit(asked, None)["memory_mb"] is None
    assert memory.limit(asked, None, 16_000)["memory_mb"] == 16_000
    assert memory.limit({**asked, "memory_mb": 4000}, None, 16_000)["memory_mb"] == 4000


def test_a_gpu_that_no_table_knows_is_refused():
    with pytest.raises(LockgateError, match="no GPU 'Z9'"):
        memory.limit({"memory_mb": 1, "gpus": 1, "gpu": "Z9"}, None)
