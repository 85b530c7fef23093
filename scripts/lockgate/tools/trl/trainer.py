"""The trainer in one of several processes or alone: who takes which rows, who saves, who stops."""

from __future__ import annotations

import math
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, concatenate_datasets
from torch import distributed
from torch.utils.data import Sampler
from transformers import TrainerCallback
from trl import SFTTrainer

from lockgate.errors import LockgateError
from lockgate.tools.trl.kept import Progress


def main_process() -> bool:
    """Whether this process is the one that writes."""
    return not distributed.is_initialized() or distributed.get_rank() == 0


def agreed(flag: bool) -> bool:
    """Whether a flag is set in any of the processes: all of them get the same answer."""
    return bool(_over_all(float(flag), distributed.ReduceOp.MAX))


def _over_all(value: float, how: Any) -> float:
    """One number of all processes' own."""
    if not distributed.is_initialized() or distributed.get_world_size() == 1:
        return value
    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    held = torch.tensor(value, dtype=torch.float64, device=device)
    distributed.all_reduce(held, how)
    return held.item()


def largest(value: float) -> float:
    """The largest of all processes' values."""
    return _over_all(value, distributed.ReduceOp.MAX)


class _Order(Sampler[int]):
    """Row numbers in the order that one process alone takes them, filled up for several.

    The libraries fill up the last batches of an epoch with its first rows, which would be learned
    twice; here a row with nothing to learn stands there.
    """

    def __init__(self, rows: int, multiple: int, seed: int) -> None:
        self.rows, self.seed, self.epoch = rows, seed, 0
        self.filling = -rows % multiple

    def __len__(self) -> int:
        return self.rows + self.filling

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        yield from torch.randperm(self.rows, generator=generator).tolist()
        yield from [self.rows] * self.filling

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch


class Sharing(SFTTrainer):
    """An SFTTrainer whose steps and losses are the same in several processes as in one."""

    def __init__(self, *, rows: int, **given: Any) -> None:
        """`rows` is the configuration's batch size: the validation's batches have so many."""
        super().__init__(**given)
        self._rows = rows
        self._several = self.args.world_size > 1
        if not self._several:
            return
        if self.args.train_sampling_strategy != "random":
            raise LockgateError(
                "several processes share the rows in random order only",
                where="training.parameters.extra.train_sampling_strategy",
                hint="remove it, or train in one process",
            )
        data: Any = self.train_dataset
        self._given = len(data)
        shortest = min(data, key=lambda row: len(row["input_ids"]))
        empty = {**shortest, "labels": [-100] * len(shortest["input_ids"])}
        filling = Dataset.from_list([empty], features=data.features)
        self.train_dataset = concatenate_datasets([data, filling])

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if not self._several:
            return super()._get_train_sampler(train_dataset)
        seed = self.args.data_seed if self.args.data_seed is not None else self.args.seed
        batch = self.args.per_device_train_batch_size * self.args.world_size
        return _Order(self._given, batch, seed)

    def evaluate(self, *given: Any, **named: Any) -> dict[str, float]:
        """The mean over rows of their batch's loss, as in one process whatever the micro-batch."""
        micro = self.args.per_device_train_batch_size
        settings: Any = self.args
        if (not self._several and micro == self._rows) or settings.loss_type != "nll":
            return super().evaluate(*given, **named)
        data: Any = self.eval_dataset
        model: Any = self.model
        model.eval()
        total = 0.0
        for first in range(self.args.process_index * self._rows, len(data), self._stride()):
            numbers = range(first, min(first + self._rows, len(data)))
            summed = tokens = 0.0
            for start in range(0, len(numbers), micro):
                part = [data[number] for number in numbers[start : start + micro]]
                inputs = self._prepare_inputs(self.data_collator(part))
                count = (inputs["labels"][..., 1:] != -100).sum().item()
                with torch.no_grad(), self.compute_loss_context_manager():
                    summed += model(**inputs).loss.item() * count if count else 0.0
                tokens += count
            total += summed / max(1.0, tokens) * len(numbers)
        metrics = {"eval_loss": _over_all(total, distributed.ReduceOp.SUM) / len(data)}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def _stride(self) -> int:
        return self._rows * self.args.world_size


class Keeper(TrainerCallback):
    """Keeps each epoch's model, times each step, and ends the training when asked to.

    The models are saved when a step ends, before the trainer's own checkpoint of that step: where
    there is a checkpoint, there are the models of all epochs before it, whenever a kill comes.
    """

    def __init__(self, out: Path, stopping: threading.Event, validate: bool) -> None:
        self.out, self.stopping, self.validate = out, stopping, validate
        self.seconds = self.began = self.mark = 0.0
        self.spent = {"save": 0.0, "validation": 0.0}
        self.progress = Progress(out) if main_process() else None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._tell(state, None)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._tell(state, None)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.began = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # a step has only been queued so far
        self.mark = time.monotonic()
        self.seconds = self.mark - self.began
        if state.global_step % (state.max_steps // state.num_train_epochs) == 0:
            if main_process():
                self._save(state, kwargs["model"], kwargs["processing_class"])
            self._spend("save")
            control.should_evaluate = self.validate
            control.should_save = True
        if state.global_step < state.max_steps and agreed(self.stopping.is_set()):
            control.should_save = control.should_training_stop = True

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._spend("validation")

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if agreed(self.stopping.is_set()):  # told while it saved or took the validation's loss
            control.should_training_stop = True
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
        self._tell(state, self.seconds)

    def _tell(self, state: Any, seconds: float | None) -> None:
        if self.progress:
            losses = (entry["loss"] for entry in reversed(state.log_history) if "loss" in entry)
            self.progress.tell(state.global_step, state.max_steps, next(losses, None), seconds)

    def _save(self, state: Any, model: Any, tokenizer: Any) -> None:
        epoch = state.global_step * state.num_train_epochs // state.max_steps - 1
        temporary, final = self.out / f".epoch-{epoch}.tmp", self.out / f"epoch-{epoch}"
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(final, ignore_errors=True)
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        os.replace(temporary, final)
