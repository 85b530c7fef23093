"""The `evaluation` section: what every run is measured on."""

from __future__ import annotations

import string
from typing import Annotated, Any, Literal

import jinja2
from annotated_types import MinLen
from pydantic import Field, model_validator

from lockgate.config.section import FileSafe, Number, Prompt, Section, Url, Value
from lockgate.scoring import CHOICES, options_problem

Epochs = Literal["last", "all"] | Annotated[list[Annotated[int, Field(ge=0)]], MinLen(1)]


_RUBRIC = ("question", "criterion", "answer", "instructions")


class Judge(Section):
    """The language model that grades answers: any OpenAI-compatible endpoint."""

    url: Url = Field(description="Base URL of the endpoint, like `http://host:8000/v1`.")
    model: str = Field(description="The model's name there.")
    api_key_env: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="Name of the environment variable that holds the key (never the key itself).",
    )
    max_tokens: int = Field(
        default=1024, ge=1, description="Longest judgement in tokens, its reasons included."
    )


class Task(Section):
    """One task: held-out rows with a built-in scorer, or your own task file."""

    name: FileSafe = Field(description="Name of the task, unique and file-safe.")
    scorer: (
        Literal["exact", "match", "includes", "f1", "numeric", "choice", "probabilities", "graded"]
        | None
    ) = Field(
        default=None,
        description="Built-in scorer of the answer against the row's completion. Ignoring case: "
        "`exact` (equal), `match` (equal at its beginning), `includes` (contained), "
        "`f1` (overlap of words). `numeric`: its first number, within `tolerance`. `choice`: "
        "which of `options` it names. `probabilities`: the probability of each of `options` in "
        "place of an answer. `graded`: the `judge` says.",
    )
    options: Prompt | list[str] | None = Field(
        default=None,
        description="The possible answers (`choice`, `probabilities`): a list, or the name of the "
        "row's field that holds a list.",
    )
    tolerance: Number = Field(
        default=0,
        ge=0,
        description="Largest distance from the right number that still counts (`numeric`).",
    )
    judge: Judge | None = Field(default=None, description="Who grades (`graded`).")
    rubric: Prompt | None = Field(
        default=None,
        description="What the judge is asked (`graded`), with `{question}`, `{criterion}` (the "
        "row's completion), `{answer}` and `{instructions}` (how to write the grade: correct, "
        "partly correct, incorrect). None: the tool's own.",
    )
    prompt: Prompt | None = Field(
        default=None,
        description="The user's message of this task: a Jinja2 template over `prompt` (the row's) "
        "and the row's own fields. None: the row's prompt as it is.",
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
    epochs: Epochs | None = Field(
        default=None, description="Epochs of this task (none: `evaluation.epochs`)."
    )
    only: dict[str, Value] = Field(
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

    @model_validator(mode="after")
    def _has_what_its_scorer_needs(self) -> Task:
        scorers = {"options": CHOICES, "judge": ("graded",)}
        for key, needing in scorers.items():
            if self.scorer in needing and getattr(self, key) is None:
                raise ValueError(f"scorer {self.scorer} needs {key}")
        scorers |= {"tolerance": ("numeric",), "rubric": ("graded",)}
        for key, taking in scorers.items():
            if getattr(self, key) and self.scorer not in taking:
                raise ValueError(f"{key} belongs to scorer {' and '.join(taking)}")
        if isinstance(self.options, list) and (problem := options_problem(self.options)):
            raise ValueError(f"options {problem}")
        return self

    @model_validator(mode="after")
    def _has_templates_that_can_be_filled(self) -> Task:
        if self.prompt is not None:
            if self.task is not None:
                raise ValueError("prompt belongs to scorer; a task of your own makes its prompts")
            try:
                jinja2.Environment().parse(self.prompt)
            except jinja2.TemplateSyntaxError as error:
                raise ValueError(f"prompt is not a Jinja2 template: {error.message}") from None
        if self.rubric is not None:
            try:
                used = [name for _, name, _, _ in string.Formatter().parse(self.rubric)]
                self.rubric.format(**dict.fromkeys(_RUBRIC, ""))
            except (ValueError, LookupError, AttributeError) as error:
                raise ValueError(
                    f"rubric cannot be filled ({error}): it may use "
                    f"{', '.join(f'{{{name}}}' for name in _RUBRIC)}; write other braces doubled"
                ) from None
            for name in ("answer", "instructions"):
                if name not in used:
                    raise ValueError(f"rubric has no {{{name}}}")
        return self


class Evaluation(Section):
    """What every run is measured on."""

    tool: str = Field(description="Name of the evaluation tool.")
    tasks: list[Task] = Field(
        min_length=1, description="The tasks; each run takes all that `only` does not keep from it."
    )
    epochs: Epochs = Field(
        default="last",
        description="Epochs whose checkpoints are evaluated: a list, counted from 0, `last` or "
        "`all`. Models that are not trained have none.",
    )
    models: list[str] = Field(
        default=[],
        description="Models (names under `models`) that are evaluated as they are, beside the "
        "runs: checkpoints that exist already.",
    )
    system_prompt: Prompt | None = Field(
        default=None, description="System prompt (none: the one used in training)."
    )
    groups: list[str] = Field(
        default=[],
        description="Fields of the rows by which the report splits the results. Only the report "
        "changes with them.",
    )
    batch_size: int = Field(default=8, ge=1, description="Samples generated at once.")
    seed: int = Field(default=0, ge=0, description="Seed of whatever the task draws.")
    temperature: Number = Field(
        default=0,
        ge=0,
        description="0: answers are greedy. Above, each token is drawn at this temperature, from "
        "`seed`.",
    )
