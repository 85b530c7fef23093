"""What every section of the configuration has in common."""

from __future__ import annotations

import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, StringConstraints

_EXPONENT = re.compile(r"^[+-]?\d+(\.\d*)?[eE][+-]?\d+$")


class Section(BaseModel):
    """A section of the configuration: unknown keys are refused, values are never coerced."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def exponent(value: Any) -> Any:
    """A number where YAML 1.1 has read `5e-4`, without a dot, as text."""
    return float(value) if isinstance(value, str) and _EXPONENT.match(value) else value


def _address(value: str) -> str:
    try:
        parts = urlsplit(value)
        good = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1)
    except ValueError:
        good = False
    if not good:
        raise ValueError("an address begins with http:// or https://, a host, and maybe a port")
    if parts.username is not None or parts.password is not None:
        raise ValueError("an address has no user or key in it: name its variable in api_key_env")
    if "?" in value or "#" in value:  # a key may be there, and addresses are written to files
        raise ValueError("an address ends with its path: name a key's variable in api_key_env")
    return value


Url = Annotated[str, AfterValidator(_address)]
"""Address of a service."""


def _value(value: Any) -> Any:
    return [exponent(item) for item in value] if isinstance(value, list) else exponent(value)


Value = Annotated[Any, BeforeValidator(_value)]
"""A value of what varies, or a list of such values."""

Number = Annotated[float, BeforeValidator(exponent)]
"""A number, also in the form `5e-4`."""

Prompt = Annotated[str, StringConstraints(min_length=1, pattern=r"\S")]
"""A text that is not blank."""

FileSafe = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
"""A name that may be part of a file name: lower case, digits, `.` and `-`."""
