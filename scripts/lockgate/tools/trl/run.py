"""One training run: what is trained on, kept on the way, continued from and reported."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import datasets
import torch
from datasets import Dataset
from huggingface_hub import constants
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging
from trl import SFTConfig

from lockgate.errors import LockgateError, OutOfGpuMemory, Stopped
from lockgate.launch import ALONE, World, micro_batches, stop_signals
from lockgate.prompts import read_rows, tokenize_row
from lockgate.tools.trl.kept import continues, finish, finished, last_complete
from lockgate.tools.trl.trainer import Keeper, Sharing, agreed, largest

_CONTINUES = "run it again: it continues from its last checkpoint"


def train(
    config: dict[str, Any],
    base: Path,
    train: Path,
    validation: Path | None,
    out: Path,
    world: World = ALONE,
) -> dict[str, Any]:
    """See `Trainer.train`, in one process; the paths `base` and `out` are absolute."""
    if validation is not None and validation.stat().st_size == 0:
        validation = None
    if continues(config, base, train, validation, out):
        result = finished(out)
        if result is not None:
            return result
    if "WORLD_SIZE" not in os.environ:
        # One process drives one device; a second visible one would be refused.
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0")
        os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[0]
    with stop_signals() as stopping:
        result = work(config, base, train, validation, out, world, stopping)
    finish(out, result)
    return result


def arguments(config: dict[str, Any], out: Path, world: World = ALONE) -> SFTConfig:
    """The trainer's arguments on this machine.

    Raises:
        LockgateError: if the processes cannot share an optimizer step equally.
    """
    cuda = torch.cuda.is_available()
    settings = {"dataloader_pin_memory": cuda, **config["sft"]}
    rows, times = micro_batches(
        settings["per_device_train_batch_size"], settings["gradient_accumulation_steps"], world
    )
    settings |= {"per_device_train_batch_size": rows, "gradient_accumulation_steps": times}
    if world.size > 1:
        settings["ddp_backend"] = "nccl" if cuda else "gloo"
    return SFTConfig(output_dir=str(out), use_cpu=not cuda, **settings)


def _dataset(
    path: Path, tokenizer: Any, system_prompt: str | None, max_length: int
) -> tuple[Any, int, int]:
    """Tokenized rows with the prompt masked, their tokens, and how many had to be cut."""
    rows, truncated = [], 0
    for row in read_rows(path):
        ids, prompt = tokenize_row(tokenizer, row, system_prompt)
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


def work(
    config: dict[str, Any],
    base: Path,
    train: Path,
    validation: Path | None,
    out: Path,
    world: World,
    stopping: threading.Event,
) -> dict[str, Any]:
    """What each process of a world does; the result is the same in all of them.

    Raises:
        Stopped: if `stopping` was set in one of them: what was done is in a checkpoint.
        OutOfGpuMemory: if a smaller micro-batch may fit.
    """
    started = time.monotonic()
    constants.HF_HUB_DISABLE_TELEMETRY = True  # the trainer reports each start otherwise
    datasets.disable_progress_bars()
    logging.disable_progress_bar()
    settings = arguments(config, out, world)
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
    keeper = Keeper(out, stopping, validate=held_out is not None)
    try:
        trainer = Sharing(
            rows=config["sft"]["per_device_train_batch_size"],
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
    except torch.OutOfMemoryError as error:
        raise LockgateError(
            f"the model alone does not fit the GPU: {str(error).partition('. ')[0]}",
            where="training.parameters.method",
            hint="use method lora, precision bfloat16, or a GPU with more memory",
        ) from error
    trained: Any = trainer.model
    trainable = sum(p.numel() for p in trained.parameters() if p.requires_grad)
    resume = last_complete(out)
    resumed = int(resume.name[11:]) if resume else 0
    if agreed(stopping.is_set()):
        told = f"training was stopped before it went on from step {resumed}"
        raise Stopped(told, where=str(out), hint=_CONTINUES)
    loaded = time.monotonic()
    try:
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    except torch.OutOfMemoryError as error:
        raise _too_large(config, settings, error) from error

    state = trainer.state
    if state.global_step != state.max_steps:
        told = f"training stopped at step {state.global_step} of {state.max_steps}"
        raise Stopped(told, where=str(out), hint=_CONTINUES)
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
        "gpu_memory_mb": round(largest(torch.cuda.max_memory_reserved() / 1e6)) if cuda else None,
        "resumed_from_step": resumed,
    }


def _too_large(config: dict[str, Any], settings: Any, error: Exception) -> LockgateError:
    """What to say, and whether half the micro-batch may fit."""
    rows, length = settings.per_device_train_batch_size, config["sft"]["max_length"]
    said = str(error).partition(". ")[0]
    if rows > 1:
        return OutOfGpuMemory(
            f"a micro-batch of {rows} rows of up to {length} tokens does not fit the GPU: {said}",
            where="training.parameters.batch_size",
            hint="the next attempt takes half of it and twice the accumulation",
        )
    return LockgateError(
        f"one row of up to {length} tokens does not fit the GPU: {said}",
        where="training.parameters.max_length",
        hint="lower max_length, use method lora, set extra.gradient_checkpointing, or take a GPU "
        "with more memory",
    )
