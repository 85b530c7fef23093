"""One training run: what is trained on, kept on the way, continued from and reported."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
import torch
from datasets import Dataset
from huggingface_hub import constants
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from transformers.utils import logging
from trl import SFTConfig, SFTTrainer

from lockgate.errors import LockgateError
from lockgate.files import digest, file_digest, read_json, write_json
from lockgate.prompts import read_rows, tokenize
from lockgate.weights import weights_digest

_RESULT = "result.json"
_INPUTS = "inputs.json"


def train(
    config: dict[str, Any], base: Path, train: Path, validation: Path | None, out: Path
) -> dict[str, Any]:
    """See `Trainer.train`; the paths `base` and `out` are absolute."""
    if validation is not None and validation.stat().st_size == 0:
        validation = None
    if _continues(config, base, train, validation, out):
        result = _finished(out)
        if result is not None:
            return result
    with _stop_signal() as stopping:
        result = _train(config, base, train, validation, out, stopping)
    write_json(out / _RESULT, result)
    # The optimizer's state served to resume; it is twice as large as what was trained.
    for checkpoint in _checkpoints(out):
        shutil.rmtree(checkpoint)
    return result


def arguments(config: dict[str, Any], out: Path) -> SFTConfig:
    """The trainer's arguments on this machine."""
    cuda = torch.cuda.is_available()
    settings = {"dataloader_pin_memory": cuda, **config["sft"]}
    return SFTConfig(output_dir=str(out), use_cpu=not cuda, **settings)


class _Keeper(TrainerCallback):
    """Keeps each epoch's model, times each step, and ends the training when asked to.

    The models are saved when a step ends, before the trainer's own checkpoint of that step: where
    there is a checkpoint, there are the models of all epochs before it, whenever a kill comes.
    """

    def __init__(self, out: Path, stopping: threading.Event, validate: bool) -> None:
        self.out, self.stopping, self.validate = out, stopping, validate
        self.seconds = self.began = self.mark = 0.0
        self.spent = {"save": 0.0, "validation": 0.0}

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.began = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.mark = time.monotonic()
        self.seconds = self.mark - self.began
        if state.global_step % (state.max_steps // state.num_train_epochs) == 0:
            self._save(state, kwargs["model"], kwargs["processing_class"])
            self._spend("save")
            control.should_evaluate = self.validate
            control.should_save = True
        if self.stopping.is_set() and state.global_step < state.max_steps:
            control.should_save = control.should_training_stop = True

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._spend("validation")

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._spend("save")

    def _spend(self, what: str) -> None:
        """Count the time since the last step's end, or since this was last called."""
        now = time.monotonic()
        self.spent[what] += now - self.mark
        self.mark = now

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        entry = state.log_history[-1]
        if "loss" not in entry:
            return
        entry["seconds"] = self.seconds
        if not math.isfinite(entry["loss"]):
            raise LockgateError(
                f"the loss at step {state.global_step} is not a finite number",
                where=str(self.out),
                hint="lower training.parameters.learning_rate, or use precision: float32",
            )

    def _save(self, state: Any, model: Any, tokenizer: Any) -> None:
        epoch = state.global_step * state.num_train_epochs // state.max_steps - 1
        temporary, final = self.out / f".epoch-{epoch}.tmp", self.out / f"epoch-{epoch}"
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(final, ignore_errors=True)
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        os.replace(temporary, final)


def _continues(
    config: dict[str, Any], base: Path, train: Path, validation: Path | None, out: Path
) -> bool:
    """Whether what lies in `out` came of the same inputs; if not, clear it."""
    inputs = {
        "config": digest(config),
        "model": weights_digest(base),
        "train": file_digest(train),
        "validation": file_digest(validation) if validation else None,
    }
    if (out / _INPUTS).exists() and read_json(out / _INPUTS) == inputs:
        return True
    for pattern in ("checkpoint-*", "epoch-*", ".epoch-*"):
        for directory in out.glob(pattern):
            shutil.rmtree(directory)
    (out / _RESULT).unlink(missing_ok=True)
    write_json(out / _INPUTS, inputs)
    return False


def _finished(out: Path) -> dict[str, Any] | None:
    """The result of a run that has ended, if its models are still there."""
    if not (out / _RESULT).exists():
        return None
    result: dict[str, Any] = read_json(out / _RESULT)
    whole = all((out / checkpoint["path"]).is_dir() for checkpoint in result["checkpoints"])
    return result if whole else None


def _checkpoints(out: Path) -> list[Path]:
    """Directories to resume from, newest first."""
    numbered = [path for path in out.glob("checkpoint-*") if path.name[11:].isdigit()]
    return sorted(numbered, key=lambda path: int(path.name[11:]), reverse=True)


def _last_complete(out: Path) -> Path | None:
    """The newest checkpoint whose save came to its end, with the models of the epochs before.

    The trainer writes trainer_state.json last: without it, a kill came in between.
    """
    for path in _checkpoints(out):
        try:
            state = json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
            step = int(state["global_step"])
            done = step * int(state["num_train_epochs"]) // int(state["max_steps"])
        except (OSError, ValueError, KeyError):
            continue
        parts = ("optimizer.pt", "scheduler.pt", "rng_state.pth")
        models = all((out / f"epoch-{epoch}").is_dir() for epoch in range(done))
        if models and path.name == f"checkpoint-{step}" and all((path / p).exists() for p in parts):
            return path
    return None


@contextmanager
def _stop_signal() -> Iterator[threading.Event]:
    """An event that SIGTERM sets: the step in progress ends and its checkpoint is saved.

    A second SIGTERM ends the process at once.
    """
    stopping = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopping
        return

    def handle(*_: Any) -> None:
        stopping.set()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield stopping
    finally:
        signal.signal(signal.SIGTERM, before)


def _dataset(
    path: Path, tokenizer: Any, system_prompt: str | None, max_length: int
) -> tuple[Any, int, int]:
    """Tokenized rows with the prompt masked, their tokens, and how many had to be cut."""
    rows, truncated = [], 0
    for row in read_rows(path):
        ids, prompt = tokenize(tokenizer, row["prompt"], row["completion"], system_prompt)
        truncated += len(ids) > max_length
        if prompt < max_length:  # else nothing of the answer is left to learn
            labels = [-100] * prompt + ids[prompt:]
            rows.append({"input_ids": ids[:max_length], "labels": labels[:max_length]})
    if not rows:
        raise LockgateError(
            f"in every row the prompt alone fills max_length ({max_length} tokens)",
            where=str(path),
            hint="raise training.parameters.max_length",
        )
    return Dataset.from_list(rows), sum(len(row["input_ids"]) for row in rows), truncated


def _train(
    config: dict[str, Any],
    base: Path,
    train: Path,
    validation: Path | None,
    out: Path,
    stopping: threading.Event,
) -> dict[str, Any]:
    started = time.monotonic()
    if "WORLD_SIZE" not in os.environ:
        # One process drives one device; a second visible one would be refused.
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0")
        os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[0]
    constants.HF_HUB_DISABLE_TELEMETRY = True  # the trainer reports each start otherwise
    datasets.disable_progress_bars()
    logging.disable_progress_bar()
    settings = arguments(config, out)
    tokenizer = AutoTokenizer.from_pretrained(str(base))
    limit = config["sft"]["max_length"]
    data, tokens, truncated = _dataset(train, tokenizer, config["system_prompt"], limit)
    held_out = None
    if validation is not None:
        held_out, _, _ = _dataset(validation, tokenizer, config["system_prompt"], limit)
    model = AutoModelForCausalLM.from_pretrained(
        str(base), dtype=getattr(torch, config["precision"])
    )
    parameters = model.num_parameters()
    cuda = torch.cuda.is_available()
    keeper = _Keeper(out, stopping, validate=held_out is not None)
    try:
        trainer = SFTTrainer(
            model=model,
            args=settings,
            train_dataset=data,
            eval_dataset=held_out,
            processing_class=tokenizer,
            peft_config=LoraConfig(**config["lora"]) if config["lora"] is not None else None,
            callbacks=[keeper],
        )
    except ValueError as error:  # modules that the model has not, options that clash
        raise LockgateError(
            str(error),
            where="training.parameters",
            hint="check lora_targets and extra against the model",
        ) from error
    trained: Any = trainer.model
    trainable = sum(p.numel() for p in trained.parameters() if p.requires_grad)
    resume = _last_complete(out)
    loaded = time.monotonic()
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)

    state, resumed = trainer.state, int(resume.name[11:]) if resume else 0
    if state.global_step != state.max_steps:
        raise LockgateError(
            f"training stopped at step {state.global_step} of {state.max_steps}",
            where=str(out),
            hint="run it again: it continues from its last checkpoint",
        )
    steps = [entry for entry in state.log_history if "loss" in entry]
    held = {e["step"]: e["eval_loss"] for e in state.log_history if "eval_loss" in e}
    epochs = int(settings.num_train_epochs)
    return {
        "checkpoints": [
            {
                "epoch": epoch,
                "step": (epoch + 1) * state.max_steps // epochs,
                "path": f"epoch-{epoch}",
                "adapter": config["lora"] is not None,
            }
            for epoch in range(epochs)
        ],
        "losses": [
            {
                "step": entry["step"],
                "epoch": entry["epoch"],
                "loss": entry["loss"],
                "validation": held.get(entry["step"]),
            }
            for entry in steps
        ],
        "steps": state.global_step,
        "tokens": tokens * epochs,
        "seconds": {
            "load": loaded - started,
            "train": sum(e["seconds"] for e in steps),
            **keeper.spent,
        },
        "step_seconds": [e["seconds"] for e in steps if e["step"] > resumed],
        "trainable_parameters": trainable,
        "parameters": parameters,
        "truncated_rows": truncated,
        "gpu_memory_mb": round(torch.cuda.max_memory_reserved() / 1e6) if cuda else None,
        "resumed_from_step": resumed,
    }
