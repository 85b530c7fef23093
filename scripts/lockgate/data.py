"""Rows from records: projection, splits and the data card."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jinja2

from lockgate import records as reading
from lockgate import similar, tools
from lockgate.config.data import Data, Splits
from lockgate.errors import LockgateError
from lockgate.stages import conversations


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
    records: list[dict[str, Any]], templates: dict[str, str] | None, where: str
) -> list[dict[str, Any]]:
    """Rows (`id`, `prompt`, `completion`, `fields`) from records.

    A record that its file put in a split gives a row with `split`.

    Args:
        records: what the data tool made or the file holds.
        templates: Jinja2 templates `prompt` and `completion` over a record's fields; None: the
            records are rows, of any kind that `lockgate.stages.conversations` knows.
        where: the file or key that the records come from, for messages.

    Raises:
        LockgateError: if there is no record, a field is missing, a row comes out empty, or a
            record that should be a row is not one question and its answer.
    """
    if not records:
        raise LockgateError("there is no record", where=where, hint="a row is made of each record")
    splits = [{"split": one[reading.SPLIT]} if reading.SPLIT in one else {} for one in records]
    fields = [{k: v for k, v in one.items() if k != reading.SPLIT} for one in records]
    rows = _templated(fields, templates, where) if templates else _turns(fields, where)[0]
    return [
        {**row, "fields": own, **split}
        for row, own, split in zip(rows, fields, splits, strict=True)
    ]


def _turns(fields: list[dict[str, Any]], where: str) -> tuple[list[dict[str, str]], str | None]:
    """Records that are rows, and the system message that they share."""
    try:
        given = [(f"{where}: record {number}", one) for number, one in enumerate(fields, 1)]
        return conversations.as_turns(given, None)
    except LockgateError as error:
        hint = f"{error.hint}; of other fields, data.rows makes rows"
        raise LockgateError(error.what, where=error.where, hint=hint) from None


def _templated(
    records: list[dict[str, Any]], templates: dict[str, str], where: str
) -> list[dict[str, Any]]:
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
        rows.append(row)
    return rows


def own_splits(section: Data, path: Path, source: str) -> Data:
    """The data section with the shares that the file itself made, where it made splits.

    Args:
        section: of the configuration.
        path: its file.
        source: the configuration's file, for messages.

    Raises:
        LockgateError: if the section asks for other splits, or for a part of the records.
    """
    if path.suffix.lower() != ".json" or not path.is_file():
        return section
    sizes = reading.own_splits(reading.read(path))
    if sizes is None:
        return section
    for key in ("splits", "records"):
        if key in section.model_fields_set and getattr(section, key) is not None:
            raise LockgateError(
                f"{path} has splits of its own, which are kept as they are",
                where=f"{source}: data.{key}",
                hint=f"leave data.{key} out, or make the file one list of records",
            )
    total = sum(sizes.values())
    shares = Splits(**{name: size / total for name, size in sizes.items()})
    return section.model_copy(update={"splits": shares})


def inspect_file(
    section: Data, path: Path, system_prompts: set[str | None], source: str
) -> dict[str, Any]:
    """Counts of a dataset, every row of which becomes a row and fits its split.

    Args:
        section: of the configuration.
        path: its file.
        system_prompts: with which the runs are trained and measured.
        source: the configuration's file, for messages.

    Returns:
        `rows`, `characters` (of prompts and completions), `splits` (rows of each), `duplicates`
        and `near_duplicates` (see the function of that name).

    Raises:
        LockgateError: whatever is wrong with the rows.
    """
    records = reading.read(path)
    templates = section.rows.model_dump() if section.rows else None
    wanted = section.records
    if wanted is not None and wanted > len(records):
        raise LockgateError(
            f"{path} has {len(records)} records, {wanted} are wanted",
            where=f"{source}: data.records",
            hint="lower data.records, or leave it out to use all",
        )
    rows = project(records, templates, f"data.files {path}")
    system = None if templates else _turns(records, str(path))[1]
    if system is not None and system_prompts != {system}:
        raise LockgateError(
            f"the rows of {path} have the system message {system!r:.200}, and the runs have "
            f"{', '.join(sorted(f'{one!r:.200}' for one in system_prompts))}",
            where=f"{source}: training.system_prompt",
            hint="set it to the rows' system message, or take that out of the rows",
        )
    used = rows[:wanted]
    splits = split(used, section.splits.model_dump(), section.seed, section.similarity)
    return {
        "rows": len(rows),
        "characters": sum(len(row["prompt"] + row["completion"]) for row in used),
        "splits": {name: len(splits[name]) for name in reading.NAMES},
        "duplicates": duplicates(used),
        "near_duplicates": near_duplicates(used, section.similarity),
    }


def split_sizes(records: int, splits: dict[str, float]) -> dict[str, int]:
    """Rows in each split."""
    sizes = {name: round(records * splits[name]) for name in ("validation", "test")}
    return {"train": records - sum(sizes.values()), **sizes}


def split(
    rows: list[dict[str, Any]], shares: dict[str, float], seed: int, similarity: float = 1.0
) -> dict[str, list[dict[str, Any]]]:
    """Deterministic splits in which rows with alike prompts stay together.

    A held-out prompt, or nearly the same one, is never trained on. No row is left out. Rows whose
    file put them in a split (`split`) stay there.

    Args:
        rows: with `prompt`.
        shares: of the rows, by split.
        seed: another one draws other splits.
        similarity: of prompts that are alike, see `lockgate.similar`; 1: equal ones alone.

    Raises:
        LockgateError: if train or test has no row, or a file's own splits leak.
    """
    labels = similar.groups([row["prompt"] for row in rows], similarity)
    if any("split" in row for row in rows):
        return _kept(rows, labels)
    groups: dict[int, list[dict[str, Any]]] = {}
    for row, label in zip(rows, labels, strict=True):
        groups.setdefault(label, []).append(row)

    def drawn(group: list[dict[str, Any]]) -> bytes:
        text = min(similar.normal(row["prompt"]) for row in group)
        return hashlib.sha256(f"{seed}:{text}".encode()).digest()

    sizes = split_sizes(len(rows), shares)
    parts: dict[str, list[list[dict[str, Any]]]] = {"test": [], "validation": [], "train": []}
    filled = dict.fromkeys(parts, 0)
    for group in sorted(groups.values(), key=drawn):
        fits = (n for n in ("test", "validation") if filled[n] + len(group) <= sizes[n])
        name = next(fits, "train")
        parts[name].append(group)
        filled[name] += len(group)
    for name in ("test", "validation"):
        # every group is larger than the split: it gets the smallest
        if sizes[name] and not parts[name] and len(parts["train"]) > 1:
            smallest = min(parts["train"], key=len)
            parts["train"].remove(smallest)
            parts[name].append(smallest)
    for name in ("train", "test"):
        if not parts[name]:
            alike = len(groups) < len(rows)
            raise LockgateError(
                f"{len(rows)} records leave nothing for the {name} split",
                where="data.splits",
                hint=f"their prompts are near-duplicates, {len(groups)} group(s) in all, and each "
                "group stays in one split: add records of another kind, or raise data.similarity "
                "if they only look alike (1: only equal prompts stay together)"
                if alike
                else "add records, or change the shares",
            )
    return {name: [row for group in part for row in group] for name, part in parts.items()}


def _kept(rows: list[dict[str, Any]], labels: list[int]) -> dict[str, list[dict[str, Any]]]:
    """The splits that the file made.

    Raises:
        LockgateError: if a held-out prompt, or nearly the same one, is trained on.
    """
    result: dict[str, list[dict[str, Any]]] = {"test": [], "validation": [], "train": []}
    trained: dict[int, int] = {}
    places = []
    for row, label in zip(rows, labels, strict=True):
        result[row["split"]].append(row)
        places.append(len(result[row["split"]]))
        if row["split"] == "train":
            trained.setdefault(label, places[-1])
    for name in ("test", "validation"):
        leaks = [
            (place, trained[label])
            for row, label, place in zip(rows, labels, places, strict=True)
            if row["split"] == name and label in trained
        ]
        if leaks:
            shown = ", ".join(f"{name} row {own} as train row {other}" for own, other in leaks[:3])
            raise LockgateError(
                f"{len(leaks)} of {len(result[name])} {name} rows have the prompt of a train row, "
                f"or nearly the same: {shown}{', ...' if len(leaks) > 3 else ''}",
                where="data.files",
                hint="remove them from one of the two: what was trained on cannot be tested. If "
                "they only look alike, raise data.similarity (1: only equal prompts count)",
            )
    return result


def duplicates(rows: list[dict[str, Any]]) -> int:
    """Rows whose prompt an earlier row has already."""
    return len(rows) - len({similar.normal(row["prompt"]) for row in rows})


def near_duplicates(rows: list[dict[str, Any]], similarity: float) -> dict[str, int]:
    """Number of `groups` of rows whose prompts are alike but not all equal, and their `rows`."""
    groups: dict[int, list[str]] = {}
    prompts = [row["prompt"] for row in rows]
    for prompt, label in zip(prompts, similar.groups(prompts, similarity), strict=True):
        groups.setdefault(label, []).append(similar.normal(prompt))
    found = [len(group) for group in groups.values() if len(set(group)) > 1]
    return {"rows": sum(found), "groups": len(found)}


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
