"""Components that torchtune's recipes are given; runs in torchtune's own environment.

A recipe is handed token ids that Lockgate made, so that every trainer learns from the same ones.
Nothing of the package `lockgate` is imported here: its dependencies are not installed there.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Dataset
from torchtune.config import instantiate
from torchtune.data import padded_collate_sft
from torchtune.training import FullModelHFCheckpointer
from torchtune.training.metric_logging import MetricLoggerInterface

if sys.platform == "linux":
    # The processes of a distributed recipe end with their launcher, however that ends.
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)

_since = {"moment": time.perf_counter(), "tokens": 0, "saving": 0.0, "step": 0}
"""When the step in progress began, the tokens it was given, all seconds spent on saving, and the
optimizer steps that are done."""


class Rows(Dataset):  # type: ignore[type-arg]
    """Rows of `tokens` and `labels`, in an order that the seed decides.

    The recipes' own sampler shuffles with one seed, always the same.
    """

    def __init__(self, tokenizer: Any, path: str, seed: int) -> None:
        self.rows = [json.loads(line) for line in Path(path).read_text("utf-8").splitlines()]
        random.Random(seed).shuffle(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        return dict(self.rows[index])


class Whole(Dataset):  # type: ignore[type-arg]
    """The user's own dataset, as far as it fills optimizer steps.

    Micro-batches that do not fill a step would leak into the next epoch, or get lost in a stop.

    Args:
        tokenizer: what the recipe gives a dataset.
        lockgate: `component`, the dotted path of the user's own; `size`, rows of an optimizer
            step; `most`, so many steps at most (None: all).
        arguments: the user's own.
    """

    def __init__(self, tokenizer: Any, lockgate: dict[str, Any], **arguments: Any) -> None:
        own = OmegaConf.create({"_component_": lockgate["component"], **arguments})
        self.rows: Any = instantiate(own, tokenizer)
        size, most = lockgate["size"], lockgate["most"]
        steps = len(self.rows) // size
        if not steps:
            said = f"{len(self.rows)} rows of the dataset do not fill one optimizer step of {size}"
            raise ValueError(said)
        self.count = size * (steps if most is None else min(steps, most))

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        return self.rows[index]


class Padding:
    """All that a recipe asks of a tokenizer when the rows are tokens already."""

    def __init__(self, pad_id: int) -> None:
        self.pad_id = pad_id


def collate(batch: list[dict[str, Any]], padding_idx: int, ignore_idx: int) -> Any:
    """The usual batch; its tokens are counted, padding left out."""
    _since["tokens"] += sum(len(row["tokens"]) for row in batch)
    return padded_collate_sft(batch, padding_idx=padding_idx, ignore_idx=ignore_idx)


def schedule(
    optimizer: Any,
    num_training_steps: int,
    last_epoch: int,
    name: str,
    warmup_steps: int,
    done: int,
) -> LambdaLR:
    """Learning rate: `constant`, `linear` or `cosine` after the warm-up.

    Args:
        optimizer: with the peak rate.
        num_training_steps: of all epochs.
        last_epoch: what the recipe believes; one of them always starts from 0.
        name: of the schedule.
        warmup_steps: optimizer steps.
        done: optimizer steps before this process.
    """

    def factor(step: int) -> float:
        if step < warmup_steps:
            return step / warmup_steps
        share = (step - warmup_steps) / max(1, num_training_steps - warmup_steps)
        if name == "linear":
            return max(0.0, 1 - share)
        if name == "cosine":
            return max(0.0, (1 + math.cos(math.pi * share)) / 2)
        return 1.0

    if done:
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
    _since["moment"] = time.perf_counter()  # what a recipe makes last: training begins
    return LambdaLR(optimizer, factor, last_epoch=done - 1)


class Metrics(MetricLoggerInterface):  # type: ignore[misc]
    """One line of JSON a step: `step`, `loss`, `seconds`, `tokens` and the like."""

    def __init__(self, path: str, done: int) -> None:
        self.step, self.file = done, open(path, "a", encoding="utf-8")  # noqa: SIM115
        _since["step"] = done

    def log_dict(self, payload: Any, step: int) -> None:
        now = time.perf_counter()
        self.step += 1
        loss = float(payload["loss"])
        self._write(
            {
                "step": self.step,
                "loss": loss,
                "learning_rate": float(payload["lr"]),
                "seconds": now - _since["moment"],
                "tokens": _since["tokens"],
                "time": time.time(),
                "gpu_memory_mb": round(torch.cuda.max_memory_reserved() / 1e6),
            }
        )
        _since.update(moment=now, tokens=0, step=self.step)
        if not math.isfinite(loss):
            sys.exit(f"the loss at step {self.step} is not a finite number")

    def log(self, name: str, data: Any, step: int) -> None:
        """A recipe's single values have no place in the run's record."""

    def log_config(self, config: Any) -> None:
        """The configuration lies beside the log already."""

    def close(self) -> None:
        if not self.file.closed:
            self._write({"saving": _since["saving"]})
            self.file.close()

    def _write(self, entry: dict[str, Any]) -> None:
        self.file.write(json.dumps(entry) + "\n")
        self.file.flush()


class Checkpointer(FullModelHFCheckpointer):  # type: ignore[misc]
    """Keeps each epoch in `epoch-N`, which is whole or not there, and continues from one.

    The recipe's own order mixes epochs when a kill comes between the weights and the state.

    Args:
        resume: directory of the epoch to continue from; None: begin.
        permute: whether the family's rotary embedding permutes the rows of `q_proj` and `k_proj`.
    """

    _output_dir: Path
    _config: dict[str, Any]

    def __init__(
        self,
        resume: str | None = None,
        permute: bool = True,
        should_load_recipe_state: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self._permute = permute
        if resume is None:
            return
        epoch = Path(resume)
        self._should_load_recipe_state = True
        self._recipe_checkpoint = epoch / "recipe_state.pt"
        if (epoch / "adapter_model.pt").exists():
            self._adapter_checkpoint = epoch / "adapter_model.pt"
        else:
            self._checkpoint_paths = sorted(epoch.glob("model*.safetensors"))

    def save_checkpoint(
        self,
        state_dict: dict[str, Any],
        epoch: int,
        intermediate_checkpoint: bool = False,
        adapter_only: bool = False,
    ) -> None:
        place = self._output_dir
        temporary, final = place / f".epoch-{epoch}.tmp", place / f"epoch-{epoch}"
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(final, ignore_errors=True)
        config = self._config
        if adapter_only and not self._permute:
            # Adapters are permuted for every family; heads of two rows come out as they were.
            width = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
            heads = ("num_attention_heads", "num_key_value_heads")
            pairs = {key: config[key] * width // 2 for key in heads}
            self._config = {**config, **pairs, "head_dim": 2}
        try:
            self._output_dir = temporary
            super().save_checkpoint(state_dict, epoch, intermediate_checkpoint, adapter_only)
        finally:
            self._output_dir, self._config = place, config
        made = temporary / f"epoch_{epoch}"
        if intermediate_checkpoint:
            os.replace(temporary / "recipe_state" / "recipe_state.pt", made / "recipe_state.pt")
        (made / "step.json").write_text(json.dumps({"step": _since["step"]}), encoding="utf-8")
        os.replace(made, final)
        shutil.rmtree(temporary)
        # the optimizer's state is large, and only the newest serves to continue
        (place / f"epoch-{epoch - 1}" / "recipe_state.pt").unlink(missing_ok=True)
        now = time.perf_counter()
        _since.update(moment=now, saving=_since["saving"] + now - _since["moment"])
