"""The log of every verification and calculation behind a plan."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from lockgate.files import read_jsonl, write_jsonl


class Journal:
    """Entries of one phase: time, action, command, input, result, explanation."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []

    def add(
        self, action: str, *, command: str = "", input: Any = "", result: Any = "", why: str = ""
    ) -> None:
        self.entries.append(
            {
                "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                "action": action,
                "command": command,
                "input": input,
                "result": result,
                "explanation": why,
            }
        )

    def write(self, path: Path | str) -> None:
        write_jsonl(path, self.entries)


def render(paths: list[Path | str]) -> str:
    """The entries of several phases as one readable text, in the order given."""
    blocks = []
    for path in paths:
        for entry in read_jsonl(path):
            lines = [f"[{entry['time']}] {entry['action']}"]
            for key in ("command", "input", "result", "explanation"):
                value = entry[key]
                if value not in ("", None):
                    text = value if isinstance(value, str) else json.dumps(value)
                    lines.append(f"  {key}: {text}")
            blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"
