"""What a preview measured, in round numbers: for tests of what follows from it."""

DATA = {
    "records_planned": 100,
    "records_to_make": 100,
    "splits": None,
    "shards": 2,
    "timed": 20,
    "start_seconds": 10.0,
    "seconds_per_record": 0.5,
    "at_most": False,
    "peak_memory_mb": 800,
}
SMOKE = {
    "start_seconds": 9.0,
    "seconds_per_step": 2.0,
    "tokens_per_step": 400.0,
    "seconds_per_step_longest": 3.0,
    "save_seconds": 0.5,
    "validation_seconds": 1.0,
    "peak_memory_mb": 1000,
    "gpu_memory_mb": None,
    "checkpoint_mb": 7.0,
}


def task(**changes):
    return {"max_tokens": 16, "seconds_per_row": 0.2, "tokens": 16.0, **changes}


ANSWERED = {
    "rows": 16,
    "batch_size": 8,
    "batch_wait": 2.0,
    "start_seconds": 12.0,
    "load_seconds": 3.0,
    "untouched": {"tasks": {"t": task()}, "peak_memory_mb": 900},
    "trained": {
        "shape": {
            "tasks": {"t": task(max_tokens=4, seconds_per_row=0.1, tokens=4.0)},
            "peak_memory_mb": 950,
            "warm_up_seconds": 0.5,
        }
    },
}
COMMON = {
    "model": "tiny",
    "untouched": "tiny_float32",
    "evaluated": [["t"]],
    "tasks": {"t": {"split": "test", "limit": None, "max_tokens": 16}},
    "splits": {"train": 0.75, "validation": 0.15, "test": 0.1},
    "train_rows": None,
    "train_files": None,
    "train_total": None,
    "gpus": {"generate": 0, "train": 0, "eval": 0},
    "precision": "float32",
    "lora_rank": 4,
    "tool": "trl",
}
TUNED = {
    **COMMON,
    "run": "tuned",
    "kind": "fine-tuned",
    "shape": "shape",
    "epochs": 2,
    "method": "lora",
    "max_length": 40,
    "batch_size": 4,
    "gradient_accumulation": 2,
    "checkpoint_steps": 8,
}
CONTROL = {**COMMON, "run": "control", "kind": "control", "shape": None}
