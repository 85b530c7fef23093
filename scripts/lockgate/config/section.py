"""What every section of the configuration has in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints


class Section(BaseModel):
    """A section of the configuration: unknown keys are refused, values are never coerced."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


FileSafe = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
"""A name that may be part of a file name: lower case, digits, `.` and `-`."""
