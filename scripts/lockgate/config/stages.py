"""The `stages` and `catalogs` sections: a chain of catalog steps, named or only aimed at."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from lockgate.config.section import FileSafe, Section, Url, exponent


class CatalogSource(Section):
    """A step catalog beside the built-in one."""

    name: FileSafe = Field(description="Name, for `name:category/step` where two have one id.")
    path: str = Field(
        min_length=1,
        description="A checkout that has steps, or a directory of `<category>/<step>/step.toml`.",
    )


class ServedModel(Section):
    """A running OpenAI-compatible endpoint that a stage evaluates or calls."""

    url: Url = Field(description="Base URL.")
    model: str = Field(min_length=1, description="The model's name there.")
    api_key_env: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="Name of the environment variable that holds the key (never the key itself).",
    )


class StageItem(Section):
    """One thing to do: a catalog step, or a goal for which the plan finds the step."""

    step: str | None = Field(default=None, description="Id of a catalog step.")
    goal: str | None = Field(
        default=None,
        pattern=r"^[a-z][a-z0-9_-]*$",
        description="What is to be done: `sft`, `dpo`, `rlvr`, `rlhf`, `pretrain`, `translate`, "
        "`curate`, `generate`, `evaluate`, `quantize` ..., or a step's category.",
    )
    name: FileSafe | None = Field(
        default=None, description="Name of the stage (none: made from the step's id)."
    )
    model: str | None = Field(
        default=None, description="The base model, a name under `models` (none: what came before)."
    )
    data: str | None = Field(
        default=None, min_length=1, description="The data: a file, directory, glob or Hub id."
    )
    data_type: str | None = Field(
        default=None, description="Artifact type of `data` (none: told from the file)."
    )
    inputs: dict[str, str] = Field(
        default={},
        description="Further inputs by artifact type: a path, or the name of an earlier stage.",
    )
    method: Literal["full", "lora"] | None = Field(
        default=None, description="How weights are trained (none: what the step does by default)."
    )
    tasks: list[str] = Field(default=[], description="What an evaluation measures.")
    endpoint: ServedModel | None = Field(
        default=None, description="A running endpoint, in place of a checkpoint."
    )
    with_: dict[str, Any] = Field(
        default={},
        alias="with",
        description="Keys of the step's own configuration, nested or dotted; they win.",
    )
    nodes: int | None = Field(default=None, ge=1, description="Nodes (none: `resources.nodes`).")
    gpus: int | None = Field(
        default=None,
        ge=0,
        description="GPUs a node (none: what its step can use of `resources.gpus`).",
    )
    profile: str | None = Field(
        default=None, description="Environment profile that the catalog's own runner is given."
    )

    @field_validator("with_")
    @classmethod
    def _has_numbers(cls, values: dict[str, Any]) -> dict[str, Any]:
        return {key: _numbers(value) for key, value in values.items()}

    @model_validator(mode="after")
    def _is_one_kind(self) -> StageItem:
        if (self.step is None) == (self.goal is None):
            raise ValueError("give either step (a catalog's id) or goal")
        return self


def _numbers(value: Any) -> Any:
    """The same with numbers in the form `5e-4` as numbers."""
    if isinstance(value, dict):
        return {key: _numbers(item) for key, item in value.items()}
    return [_numbers(item) for item in value] if isinstance(value, list) else exponent(value)
