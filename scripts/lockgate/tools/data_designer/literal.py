"""Plain values as readable Python."""

from __future__ import annotations

import json
import re
from typing import Any

WIDTH = 96


def literal(value: Any, depth: int = 0, used: int = 0) -> str:
    """A readable Python literal: what does not fit on a line is broken up, an item a line."""
    pad, end = "    " * (depth + 1), "    " * depth
    flat = _flat(value)
    if len(end) + used + len(flat) <= WIDTH or not value:
        return flat
    if isinstance(value, dict):
        items = []
        for name, item in value.items():
            start = f"{_flat(name)}: "
            items.append(f"{pad}{start}{literal(item, depth + 1, len(start) + 1)},\n")
        return "{\n" + "".join(items) + end + "}"
    if isinstance(value, list):
        items = [f"{pad}{literal(item, depth + 1, 1)},\n" for item in value]
        return "[\n" + "".join(items) + end + "]"
    if isinstance(value, str):
        room = max(WIDTH - len(pad) - 4, 20)
        parts = re.findall(rf"[^\n]{{0,{room}}}(?:\s|\Z)|[^\n]{{{room}}}", value)
        if "".join(parts) == value:
            lines = [f"{pad}{_flat(part)}\n" for part in parts if part]
            return "(\n" + "".join(lines) + end + ")"
    return flat


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_flat(k)}: {_flat(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flat, value)) + "]"
    # JSON's strings are Python's too, with the usual quotes
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
