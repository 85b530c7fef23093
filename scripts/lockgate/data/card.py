"""The data card."""

from __future__ import annotations

from typing import Any


def card(manifest: dict[str, Any]) -> str:
    """The data card, as Markdown."""
    rows = "\n".join(f"| {name} | {count} |" for name, count in manifest["rows"].items())
    versions = ", ".join(f"{name} {version}" for name, version in manifest["versions"].items())
    return f"""# Data card: {manifest["experiment"]}

- Made by: {manifest["tool"]} ({versions})
- Design: {manifest["item"]}
- Records: {manifest["records"]}, seed {manifest["seed"]}, {manifest["shards"]} shard(s)
- Rows with the prompt of an earlier row: {manifest["duplicates"]} (kept; none is both trained on
  and held out)
- Rows with nearly the same prompt as another: {manifest["near_duplicates"]["rows"]}, in
  {manifest["near_duplicates"]["groups"]} group(s) (kept, in the same way)
- SHA-256 of all rows: {manifest["digest"]}

| split | rows |
|---|---|
{rows}

Columns: {", ".join(manifest["columns"])}
"""
