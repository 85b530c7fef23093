"""The `evaluation` section: what every run is measured on."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from annotated_types import Len
from pydantic import Field, model_validator

from lockgate.config.section import FileSafe, Prompt, Section


class Task(Section):
    """One task: held-out rows with a built-in scorer, or your own task file."""

    name: FileSafe = Field(description="Name of the task, unique and file-safe.")
    scorer: Literal["exact", "match", "includes", "f1"] | None = Field(
        default=None,
        description="Built-in scorer of the answer against the row's completion, ignoring case: "
        "`exact` (equal), `match` (equal at its beginning), `includes` (contained), "
        "`f1` (overlap of words).",
    )
    task: str | None = Field(
        default=None,
        description="Your own task, `file.py@name`, instead of `scorer`. Its arguments are "
        "`dataset` (the split's file) and those in `args`.",
    )
    args: dict[str, Any] = Field(default={}, description="Further arguments of your own task.")
    split: Literal["test", "validation"] = Field(
        default="test", description="The rows it is measured on."
    )
    max_tokens: int = Field(default=64, ge=1, description="Longest answer in tokens.")
    limit: int | None = Field(default=None, ge=1, description="Measure on the first rows only.")
    system_prompt: Prompt | None = Field(
        default=None, description="System prompt of this task (none: `evaluation.system_prompt`)."
    )
    only: dict[str, Any] = Field(
        default={},
        description="Measure only runs with these values (one, or a list, of what varies, "
        "`model` or `seed`); a control only has to agree where it has such a value.",
    )

    @model_validator(mode="after")
    def _has_one_kind(self) -> Task:
        if (self.scorer is None) == (self.task is None):
            raise ValueError("give either scorer or task (file.py@name)")
        if self.task is not None and "@" not in self.task:
            raise ValueError(f"'{self.task}' is not file.py@name")
        if self.args and self.task is None:
            raise ValueError("args belongs to task")
        return self


class Evaluation(Section):
    """What every run is measured on."""

    tool: str = Field(description="Name of the evaluation tool.")
    tasks: list[Task] = Field(
        min_length=1, description="The tasks; each run takes all that `only` does not keep from it."
    )
    epochs: Literal["last"] | Annotated[list[Annotated[int, Field(ge=0)]], Len(1)] = Field(
        default="last",
        description="Epochs whose checkpoints are evaluated, counted from 0, or `last`. "
        "Controls have none.",
    )
    system_prompt: Prompt | None = Field(
        default=None, description="System prompt (none: the one used in training)."
    )
    batch_size: int = Field(default=8, ge=1, description="Samples generated at once.")
    seed: int = Field(default=0, ge=0, description="Seed of whatever the task draws.")
