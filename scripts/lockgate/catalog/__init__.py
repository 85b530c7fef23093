"""Step catalogs: what each step consumes and produces, read from files and never imported."""

from __future__ import annotations

from typing import Any

from lockgate.catalog.discover import Catalogs, load, load_only, merge
from lockgate.catalog.load import load_catalog
from lockgate.catalog.model import Step

__all__ = [
    "Catalogs",
    "as_json",
    "load",
    "load_catalog",
    "load_only",
    "merge",
]


def as_json(step: Step) -> dict[str, Any]:
    """A step as JSON-able values, without where it is on this machine."""
    return step.model_dump(mode="json", exclude={"directory"})
