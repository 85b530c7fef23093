"""The `training` section: fixed parameters, and the variables that span the runs table."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from lockgate.config.section import Number, Prompt, Section


class Parameters(Section):
    """Training parameters in the field's terms; each tool's adapter translates them."""

    method: Literal["lora", "full"] = Field(
        default="lora", description="Low-rank adapters, or all weights."
    )
    learning_rate: Number = Field(default=2e-4, gt=0, description="Peak learning rate.")
    epochs: int = Field(default=1, ge=1, description="Passes over the training rows.")
    batch_size: int = Field(default=4, ge=1, description="Rows a GPU takes at once, at most.")
    gradient_accumulation: int = Field(
        default=1,
        ge=1,
        description="Times `batch_size`, it is the rows of an optimizer step, on all GPUs.",
    )
    max_length: int = Field(
        default=512, ge=8, description="Longest sequence in tokens; longer rows are truncated."
    )
    lr_scheduler: Literal["constant", "linear", "cosine"] = Field(
        default="linear", description="How the learning rate falls after the warm-up."
    )
    warmup_steps: int = Field(default=0, ge=0, description="Optimizer steps of warm-up.")
    weight_decay: Number = Field(default=0.0, ge=0, description="Decoupled weight decay.")
    lora_rank: int = Field(default=16, ge=1, description="Rank of the adapters.")
    lora_alpha: int = Field(default=32, ge=1, description="Scale of the adapters.")
    lora_dropout: Number = Field(default=0.0, ge=0, lt=1, description="Dropout in the adapters.")
    lora_targets: Literal["all-linear"] | list[str] = Field(
        default="all-linear", description="Modules that get adapters."
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="bfloat16",
        description="Precision of the weights in training and evaluation. A processor without "
        "bfloat16 instructions (`lscpu`: `avx512_bf16`, `amx_bf16`) is faster with float32.",
    )
    checkpoint_steps: int = Field(
        default=20, ge=1, description="Optimizer steps between checkpoints to resume from."
    )
    extra: dict[str, Any] = Field(
        default={}, description="The tool's own options by name; its adapter checks them."
    )


class Training(Section):
    """What is trained: fixed parameters, and the variables that span the runs table."""

    tool: str = Field(description="Name of the training tool.")
    model: str | None = Field(
        default=None,
        description="The model to train (a name under `models`); not needed when there is one.",
    )
    system_prompt: Prompt | None = Field(
        default=None, description="System prompt of every row (none: what the template does)."
    )
    parameters: Parameters = Field(
        default=Parameters(), description="Parameters that every run shares."
    )
    variables: dict[str, list[Any]] = Field(
        default={},
        description="What varies, each combination of values being a run: parameters, `model`, "
        "`system_prompt`, `data.train_rows`, `data.train_files`, `data.rows.prompt`, "
        "`data.rows.completion`.",
    )
    exclude: list[dict[str, Any]] = Field(
        default=[], description="Combinations of the variables' values that are left out."
    )
    runs: list[dict[str, Any]] = Field(
        default=[], description="The runs one by one, in place of `variables`."
    )
    max_runs: int = Field(
        default=100, ge=1, description="More runs than that are refused, controls included."
    )
    seeds: list[Annotated[int, Field(ge=0, lt=2**32)]] = Field(
        default=[0], min_length=1, description="One replicate a seed."
    )
    controls: bool = Field(
        default=True, description="Evaluate each base model, untouched, as a control."
    )

    @model_validator(mode="after")
    def _spans_or_lists(self) -> Training:
        if self.runs and (self.variables or self.exclude):
            raise ValueError("give either runs, or variables (and exclude)")
        return self
