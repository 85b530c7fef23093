"""The configuration's JSON Schema with the data tool's own in it, for editors to complete."""

from __future__ import annotations

import json
from typing import Any

from lockgate.config import reference

_REFERENCE = '"#/$defs/'


def schema(design: dict[str, Any] | None) -> dict[str, Any]:
    """The schema of the whole configuration.

    Args:
        design: JSON Schema of `data.design`, as the installed data tool takes it; None: it has
            no designs.
    """
    whole: dict[str, Any] = json.loads(reference.schema())
    if design is None:
        return whole
    # definitions of both may have one name: those of the design get a name of their own
    moved = json.loads(json.dumps(design).replace(_REFERENCE, f"{_REFERENCE}design."))
    definitions = whole["$defs"]
    definitions |= {f"design.{name}": one for name, one in moved.pop("$defs", {}).items()}
    definitions["design"] = moved
    asked = definitions["Data"]["properties"]["design"]
    asked["anyOf"] = [{"$ref": "#/$defs/design"}, {"type": "null"}]
    return whole
