"""The `experiment` section: what is asked, and what it is called."""

from __future__ import annotations

import datetime
import re
from typing import Literal

from pydantic import Field, field_validator

from lockgate.config.section import Section

NAME = re.compile(r"^[a-z0-9][a-z0-9-]*_[a-z0-9][a-z0-9-]*_(\d{4}-\d{2}-\d{2})$")


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
