"""GPUs and model sizes by name, and how many GPUs a training needs."""

import subprocess
import sys

import pytest

from lockgate.errors import LockgateError
from lockgate.stages import hardware


@pytest.mark.parametrize(
    ("name", "memory"),
    [
        ("H100", 80),
        ("h100", 80),
        ("NVIDIA H100 80GB HBM3", 80),
        ("H200", 141),
        ("A100-40GB", 40),
        ("NVIDIA A100-SXM4-80GB", 80),
        ("L40S", 48),
        ("B200", 180),
        ("NVIDIA GeForce RTX 4090", 24),
        ("Tesla V100-SXM2-32GB", 32),
    ],
)
def test_a_gpu_is_found_however_its_name_is_written(name, memory):
    assert hardware.gpu(name).memory_gb == memory


def test_a_gpu_without_bfloat16_says_so():
    assert hardware.gpu("V100-16GB").bf16_tflops == 0
    assert hardware.gpu("H100").bf16_tflops == pytest.approx(989, abs=1)


@pytest.mark.parametrize(
    ("name", "near"),
    [("H10O", "'H100'"), ("A100", "'A100-40GB' or 'A100-80GB'"), ("Voodoo", "there are: B200")],
)
def test_an_unknown_gpu_is_answered_with_the_nearest_names(name, near):
    with pytest.raises(LockgateError) as error:
        hardware.gpu(name, where="config.yaml: resources.gpu")
    assert near in error.value.hint
    assert error.value.where == "config.yaml: resources.gpu"


def test_every_name_in_the_table_stands_for_one_gpu():
    table = hardware._table(hardware.TABLE)["gpus"]
    names = [
        hardware._plain(n) for title, one in table.items() for n in (title, *one.get("also", ()))
    ]
    assert len(names) == len(set(names))
    assert all(one["memory_gb"] > 0 and one["bf16_tflops"] >= 0 for one in table.values())


def test_full_training_takes_sixteen_bytes_a_parameter_and_headroom():
    assert hardware.memory_needed_gb(8e9, "full") == pytest.approx(8 * 16 * 1.15)
    assert hardware.assumptions("full") == "16 bytes, and 15% headroom"


def test_adapters_take_the_frozen_weights_and_a_small_share():
    assert hardware.memory_needed_gb(8e9, "lora") == pytest.approx(8 * (2 + 0.16) * 1.15)
    assert hardware.assumptions("lora") == "2 + 1% x 16 bytes, and 15% headroom"


def test_an_unknown_method_is_answered_with_those_there_are():
    with pytest.raises(LockgateError) as error:
        hardware.memory_needed_gb(1e9, "dora")
    assert error.value.hint == "there are: full, inference, lora"


@pytest.mark.parametrize(
    ("parameters", "method", "name", "count"),
    [
        (8e9, "full", "H100", 2),
        (8e9, "lora", "H100", 1),
        (8e9, "full", "A100-40GB", 4),
        (31.6e9, "full", "H100", 8),
        (135e6, "full", "RTX 4090", 1),
    ],
)
def test_gpus_are_counted_by_their_memory(parameters, method, name, count):
    assert hardware.gpus_needed(parameters, method, hardware.gpu(name)) == count


@pytest.mark.parametrize(
    ("model", "total", "active"),
    [
        ("Qwen/Qwen3-30B-A3B", 30e9, 3e9),
        ("meta-llama/Llama-3.1-8B-Instruct", 8e9, 8e9),
        ("org/Qwen2.5-1.5B", 1.5e9, 1.5e9),
        ("org/Small2-135M-Instruct", 135e6, 135e6),
        ("nvidia/Nano-30B-A3B-Base-BF16", 30e9, 3e9),
        ("mistralai/Mixtral-8x7B-v0.1", 56e9, 56e9),
        ("models/70B/tiny-1B", 1e9, 1e9),
        ("models/70B/checkpoint", 70e9, 70e9),
        ("google/gemma-2-9b-it", 9e9, 9e9),
    ],
)
def test_a_model_s_name_tells_its_size(model, total, active):
    assert hardware.parameters_of(model) == (total, active, "from the name")


@pytest.mark.parametrize("model", ["org/phi-2", "models/mine", "org/model-4bit", "org/v2b3", ""])
def test_a_name_without_a_size_tells_none(model):
    assert hardware.parameters_of(model) is None


def test_a_description_is_more_exact_than_a_name():
    told = "Nano (31.6B total / 3.2B active hybrid). Starts at 8."
    assert hardware.parameters_of("org/Nano-30B-A3B", told) == (31.6e9, 3.2e9, "from the catalog")
    assert hardware.parameters_of("org/Nano-30B-A3B", "8B is smaller")[0] == 30e9


def test_a_broken_table_is_reported_with_its_file(tmp_path):
    table = tmp_path / "hardware.toml"
    table.write_text("[gpus")
    with pytest.raises(LockgateError) as error:
        hardware.gpu("H100", table=table)
    assert error.value.where == str(table)


def test_nothing_heavy_is_imported_for_a_plan():
    code = (
        "import sys, lockgate.stages.hardware, lockgate.stages.rows, lockgate.stages.checks\n"
        "heavy = {'torch', 'transformers', 'pandas', 'pyarrow', 'snakemake', 'numpy'}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    path = [entry for entry in sys.path if entry]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}\n{code}"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
