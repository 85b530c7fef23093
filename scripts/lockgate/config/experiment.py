"""The `experiment` section: what is asked, and what it is called."""

from __future__ import annotations

import datetime
import re
from typing import Annotated, Literal

from annotated_types import Len
from pydantic import Field, field_validator, model_validator

from lockgate.config.section import Number, Section, Value

NAME = re.compile(r"^[a-z0-9][a-z0-9-]*_[a-z0-9][a-z0-9-]*_(\d{4}-\d{2}-\d{2})$")


class Decision(Section):
    """One rule that decides on the hypothesis, by the mean over runs, never by the best one."""

    task: str | None = Field(
        default=None, description="Name of the task that decides (none: the only one)."
    )
    runs: dict[str, Value] = Field(
        default={},
        description="The fine-tuned runs with these values (one, or a list) of what varies; none "
        "given: all.",
    )
    against: Literal["control"] | Annotated[dict[str, Value], Len(1)] = Field(
        default="control",
        description="What they are compared with: the control of each, or the runs with these "
        "values.",
    )
    expect: Literal["better", "worse", "equal"] = Field(
        description="How their mean score is expected to compare."
    )
    at_least: Number = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Smallest difference of scores that counts: `better` and `worse` by no less, "
        "`equal` by less.",
    )

    @model_validator(mode="after")
    def _says_what_counts_as_equal(self) -> Decision:
        if self.expect == "equal" and not self.at_least:
            raise ValueError("`equal` needs at_least: the smallest difference that would count")
        return self


class Experiment(Section):
    """What is asked, and what it is called."""

    name: str = Field(
        description="Name of the experiment, `{task}_{factor}_{YYYY-MM-DD}`: lower case, digits "
        "and `-` in each part. The date is written here, never computed."
    )
    kind: Literal["experiment", "sanity_check"] = Field(
        default="experiment",
        description="`experiment` answers a question; `sanity_check` shows that the set-up works.",
    )
    question: str = Field(min_length=1, description="The scientific question, one sentence.")
    hypothesis: str = Field(
        min_length=1, description="What is expected, and why; written before the result is known."
    )
    decision: list[Decision] = Field(
        default=[],
        description="The rules that decide on the hypothesis: all must hold. None: the report "
        "gives no verdict.",
    )

    @field_validator("name")
    @classmethod
    def _follows_the_convention(cls, name: str) -> str:
        match = NAME.fullmatch(name)
        if not match:
            raise ValueError(
                f"'{name}' does not follow task_factor_YYYY-MM-DD "
                "(for example addition_method_2026-11-20)"
            )
        try:
            datetime.date.fromisoformat(match[1])
        except ValueError:
            raise ValueError(f"'{match[1]}' is not a date") from None
        return name
