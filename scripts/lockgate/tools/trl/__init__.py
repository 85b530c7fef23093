"""Training with TRL's SFTTrainer: supervised fine-tuning, all weights or a LoRA adapter."""

from __future__ import annotations

import dataclasses
import difflib
import tempfile
import typing
from pathlib import Path
from typing import Any

from lockgate.errors import LockgateError
from lockgate.handover import Handover, PlainRun
from lockgate.launch import ALONE, World
from lockgate.tools import installed

_PACKAGES = ("trl", "peft", "transformers", "torch", "accelerate", "datasets")
_KEY = "training.parameters"

# SFTConfig's names of what has a name of its own in the configuration.
_NAMED = {
    "learning_rate": "learning_rate",
    "num_train_epochs": "epochs",
    "per_device_train_batch_size": "batch_size",
    "per_device_eval_batch_size": "batch_size",
    "gradient_accumulation_steps": "gradient_accumulation",
    "max_length": "max_length",
    "lr_scheduler_type": "lr_scheduler",
    "warmup_steps": "warmup_steps",
    "weight_decay": "weight_decay",
    "bf16": "precision",
    "fp16": "precision",
    "save_steps": "checkpoint_steps",
    "seed": "the training section's `seeds`",
    "data_seed": "the training section's `seeds`",
}
# Options that would break resuming, counting, logging or the match with evaluation.
# fmt: off
_REFUSED = {
    "output_dir", "overwrite_output_dir", "resume_from_checkpoint", "max_steps", "do_train",
    "do_eval", "do_predict", "load_best_model_at_end", "enable_jit_checkpoint",
    "ignore_data_skip", "auto_find_batch_size", "dataloader_drop_last", "remove_unused_columns",
    "disable_tqdm", "report_to", "run_name", "use_cpu", "no_cuda",
    "restore_callback_states_from_checkpoint", "trust_remote_code", "model_init_kwargs",
    "dataset_kwargs", "dataset_text_field", "chat_template_path", "eos_token", "pad_token",
    "completion_only_loss", "assistant_only_loss", "truncation_mode", "group_by_length",
    "use_liger_kernel", "padding_free", "ddp_backend", "fsdp", "fsdp_config", "deepspeed",
    "parallelism_config", "accelerator_config", "average_tokens_across_devices", "local_rank",
}
# fmt: on
_REFUSED_PREFIXES = ("save_", "eval_", "logging_", "hub_", "push_to_hub", "metric_for_", "greater_")


class _Trl:
    kind = "training"

    def versions(self) -> dict[str, str]:
        return installed(_PACKAGES, "training.tool", "pip install trl peft")

    def render(self, run: dict[str, Any]) -> dict[str, Any]:
        parameters = run["parameters"]
        extra = parameters.get("extra") or {}
        for key in extra:
            if key in _NAMED:
                raise LockgateError(
                    f"'{key}' has a name of its own",
                    where=f"{_KEY}.extra.{key}",
                    hint=f"use {_NAMED[key]}",
                )
            if key in _REFUSED or key.startswith(_REFUSED_PREFIXES):
                raise LockgateError(
                    f"'{key}' is set by the pipeline",
                    where=f"{_KEY}.extra.{key}",
                    hint="remove it",
                )
        scheduler = parameters["lr_scheduler"]
        if scheduler == "constant" and parameters["warmup_steps"]:
            scheduler = "constant_with_warmup"  # "constant" ignores the warm-up
        sft = {
            "learning_rate": parameters["learning_rate"],
            "num_train_epochs": parameters["epochs"],
            "per_device_train_batch_size": parameters["batch_size"],
            "per_device_eval_batch_size": parameters["batch_size"],
            "gradient_accumulation_steps": parameters["gradient_accumulation"],
            "max_length": parameters["max_length"],
            "lr_scheduler_type": scheduler,
            "warmup_steps": parameters["warmup_steps"],
            "weight_decay": parameters["weight_decay"],
            "seed": run["seed"],
            "data_seed": run["seed"],
            # The weights themselves have the configured precision: no mixed precision on top.
            "bf16": False,
            "fp16": False,
            "gradient_checkpointing": False,
            "save_strategy": "steps",
            "save_steps": parameters["checkpoint_steps"],
            "save_total_limit": 2,
            "logging_strategy": "steps",
            "logging_steps": 1,
            "logging_nan_inf_filter": False,
            "report_to": "none",
            "disable_tqdm": True,
            **extra,
        }
        lora = None
        if parameters["method"] == "lora":
            lora = {
                "task_type": "CAUSAL_LM",
                "r": parameters["lora_rank"],
                "lora_alpha": parameters["lora_alpha"],
                "lora_dropout": parameters["lora_dropout"],
                "target_modules": parameters["lora_targets"],
            }
        return {
            "system_prompt": run["system_prompt"],
            "precision": parameters["precision"],
            "lora": lora,
            "sft": sft,
        }

    def validate(self, config: dict[str, Any]) -> None:
        import pydantic
        from peft import LoraConfig
        from trl import SFTConfig

        from lockgate.tools.trl import run

        known = {field.name for field in dataclasses.fields(SFTConfig)}
        types = typing.get_type_hints(SFTConfig)
        for key, value in config["sft"].items():
            where = f"{_KEY}.extra.{key}"
            if key not in known:
                near = difflib.get_close_matches(key, known, 1)
                raise LockgateError(
                    f"SFTConfig has no option '{key}'",
                    where=where,
                    hint=f"did you mean '{near[0]}'?" if near else "see TRL's SFTConfig",
                )
            try:
                # The dataclass accepts anything, and fails with it an hour later.
                settings = pydantic.ConfigDict(strict=key not in _NAMED)
                pydantic.TypeAdapter(types[key], config=settings).validate_python(value)
            except pydantic.ValidationError as error:
                raise LockgateError(
                    f"{value!r} does not fit '{key}': {error.errors()[0]['msg']}",
                    where=where,
                    hint="YAML reads 1e-4 as text: write 1.0e-4",
                ) from error
            except pydantic.PydanticUserError:
                continue  # a type that pydantic has no schema for: left to the class itself
        try:
            with tempfile.TemporaryDirectory() as directory:
                run.arguments(config, Path(directory))
            if config["lora"] is not None:
                LoraConfig(**config["lora"])
        except (TypeError, ValueError, KeyError) as error:
            raise LockgateError(str(error), where=_KEY, hint="see TRL's SFTConfig") from error

    def train(
        self,
        config: dict[str, Any],
        model: Path,
        train: Path,
        validation: Path | None,
        out: Path,
        world: World = ALONE,
    ) -> dict[str, Any]:
        paths = model.absolute(), train.absolute(), validation and validation.absolute()
        if world.size > 1:
            from lockgate.tools.trl import worker

            return worker.train(config, *paths, out.absolute(), world)
        from lockgate.tools.trl import run

        return run.train(config, *paths, out.absolute(), world)

    def progress(self, out: Path) -> dict[str, Any] | None:
        from lockgate.tools.trl import kept

        return kept.progress(out)

    def scaffold(self, runs: list[PlainRun], root: Path) -> Handover:
        from lockgate.tools.trl import scaffold

        return scaffold.scaffold(runs)


ADAPTER = _Trl()
