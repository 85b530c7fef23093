"""Rows from records: projection, splits and the data card."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jinja2

from lockgate import tools
from lockgate.errors import LockgateError


def compile_rows(templates: dict[str, str]) -> dict[str, jinja2.Template]:
    """The row templates, compiled.

    Raises:
        LockgateError: if one is not a Jinja2 template.
    """
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    compiled = {}
    for key, text in templates.items():
        try:
            compiled[key] = environment.from_string(text)
        except jinja2.TemplateSyntaxError as error:
            raise LockgateError(
                f"not a Jinja2 template: {error.message}",
                where=f"data.rows.{key}",
                hint="fields are written {{ field }}",
            ) from None
    return compiled


def project(
    records: list[dict[str, Any]], templates: dict[str, str], where: str
) -> list[dict[str, Any]]:
    """Rows (`id`, `prompt`, `completion`, `fields`) from records.

    Args:
        records: what the data tool made or the file holds.
        templates: Jinja2 templates `prompt` and `completion` over a record's fields.
        where: the file or key that the records come from, for messages.

    Raises:
        LockgateError: if there is no record, a field is missing or a row comes out empty.
    """
    if not records:
        raise LockgateError("there is no record", where=where, hint="a row is made of each record")
    compiled = compile_rows(templates)
    rows = []
    for number, record in enumerate(records, 1):
        row: dict[str, Any] = {"id": f"{number - 1:06d}"}
        for key, template in compiled.items():
            try:
                text = template.render(record).strip()
            except Exception as error:  # a template may raise what any expression raises
                raise LockgateError(
                    f"record {number} cannot become a row: {error} (data.rows.{key})",
                    where=where,
                    hint=f"its fields are: {', '.join(map(str, record))}",
                ) from None
            if not text:
                raise LockgateError(
                    f"record {number} gives an empty {key} (data.rows.{key})",
                    where=where,
                    hint="take the record out, or mend the template",
                )
            row[key] = text
        rows.append({**row, "fields": record})
    return rows


def split_sizes(records: int, splits: dict[str, float]) -> dict[str, int]:
    """Rows in each split."""
    sizes = {name: round(records * splits[name]) for name in ("validation", "test")}
    return {"train": records - sum(sizes.values()), **sizes}


def split(
    rows: list[dict[str, Any]], shares: dict[str, float], seed: int
) -> dict[str, list[dict[str, Any]]]:
    """Deterministic splits in which rows with the same prompt stay together.

    Prompts are compared without case and spacing; a held-out prompt is never trained on.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(" ".join(row["prompt"].lower().split()), []).append(row)
    order = sorted(groups, key=lambda text: hashlib.sha256(f"{seed}:{text}".encode()).digest())
    sizes = split_sizes(len(rows), shares)
    result: dict[str, list[dict[str, Any]]] = {"test": [], "validation": [], "train": []}
    for text in order:
        name = next((n for n in ("test", "validation") if len(result[n]) < sizes[n]), "train")
        result[name] += groups[text]
    for name in ("train", "test"):
        if not result[name]:
            raise LockgateError(
                f"{len(rows)} records leave nothing for the {name} split",
                where="data.splits",
                hint="add records, or change the shares",
            )
    return result


def duplicates(rows: list[dict[str, Any]]) -> int:
    """Rows whose prompt an earlier row has already."""
    return len(rows) - len({" ".join(row["prompt"].lower().split()) for row in rows})


@contextmanager
def endpoint(
    spec: dict[str, Any], manifests: dict[str, dict[str, Any]], threads: int, log: Path
) -> Iterator[tools.Endpoint | None]:
    """The endpoint that a data design asks for; an embedded one runs as long as the block.

    Args:
        spec: the built data document.
        manifests: of the models, by name.
        threads: of the embedded server.
        log: its output.
    """
    asked = spec["endpoint"]
    if asked is None:
        yield None
    elif asked["url"]:
        yield tools.Endpoint(asked["url"], asked["model"], asked["api_key_env"])
    else:
        server = tools.get("server", asked["server"], "data.endpoint.server")
        source = Path(manifests[asked["model"]]["source_file"])
        with server.serve(source, asked["model"], threads, log) as running:
            yield running


def card(manifest: dict[str, Any]) -> str:
    """The data card, as Markdown."""
    rows = "\n".join(f"| {name} | {count} |" for name, count in manifest["rows"].items())
    versions = ", ".join(f"{name} {version}" for name, version in manifest["versions"].items())
    return f"""# Data card: {manifest["experiment"]}

- Made by: {manifest["tool"]} ({versions})
- Design: {manifest["item"]}
- Records: {manifest["records"]}, seed {manifest["seed"]}, {manifest["shards"]} shard(s)
- Rows with the prompt of an earlier row: {manifest["duplicates"]} (kept, in the same split)
- SHA-256 of all rows: {manifest["digest"]}

| split | rows |
|---|---|
{rows}

Columns: {", ".join(manifest["columns"])}
"""
