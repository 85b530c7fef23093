"""What the items of the configuration stand for: the user's models, data and other inputs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from lockgate import models
from lockgate.catalog import Catalogs
from lockgate.config import ChainConfig
from lockgate.config.stages import StageItem
from lockgate.errors import LockgateError
from lockgate.files import digest, file_digest, read_json
from lockgate.stages import nested, rows
from lockgate.stages.checks.configuration import is_secret
from lockgate.stages.checks.context import absent
from lockgate.stages.model import Source
from lockgate.stages.rows import Probe

DATA, MODEL = "raw_jsonl", "checkpoint_hf"
"""What a file of rows, and a model on the Hub, are where nothing tells more."""

UNKNOWN = "???"
"""The path of what the user has still to name."""

_LARGE = 200_000_000  # bytes; larger files count by name and size


@dataclass(frozen=True)
class Wish:
    """One item of the configuration, with what its words stand for.

    Attributes:
        item: as configured.
        model: Hub id or path of the base model (of this item, or of the last one that named one).
        identity: digest of that model's files; of its name where it is on the Hub.
        given: what the user brings, by artifact type.
        files: digests of the user's files among them.
        chosen: why its step was taken.
    """

    item: StageItem
    model: str
    identity: str
    given: dict[str, Source]
    files: dict[str, str]
    chosen: str = ""


def read(
    config: ChainConfig,
    source: str,
    root: Path,
    catalogs: Catalogs,
    probes: dict[str, Probe | None],
) -> list[Wish]:
    """What the user brings to each item; a model stays the base until another is named."""
    found: list[Wish] = []
    model, identity = "", ""
    names = [item.name for item in config.stages if item.name]
    for index, item in enumerate(config.stages):
        where = f"{source}: stages[{index}]"
        _refuse_secrets(item, where)
        given: dict[str, Source] = {}
        files: dict[str, str] = {}
        if item.model is not None:
            if item.model not in config.models:
                raise LockgateError(
                    f"there is no model '{item.model}'",
                    where=f"{where}.model",
                    hint=f"models has: {', '.join(config.models) or 'nothing'}",
                )
            entry = config.models[item.model]
            path = models.locate(item.model, entry, source)
            model = entry.hub or str(_relative(path, root))
            identity = models.identity(item.model, {item.model: entry}, source)
            kind = _checkpoint(path)
            given[kind] = Source(type=kind, path=model, model=item.model)
        if item.data is not None:
            probes[item.data] = rows.probe(str(root / item.data))
            kind = item.data_type or _data_type(item.data, probes[item.data])
            _known(kind, catalogs, f"{where}.data_type")
            given[kind] = Source(type=kind, path=item.data)
            files |= digests(item.data, root)
        for kind, value in item.inputs.items():
            _known(kind, catalogs, f"{where}.inputs.{kind}")
            if value in names:
                # its product is there once the chain is; see `assemble`
                given.pop(kind, None)
                continue
            if re.fullmatch(r"[\w-]+", value) and absent(value, root):
                raise LockgateError(
                    f"no stage is named '{value}', and there is no such file",
                    where=f"{where}.inputs.{kind}",
                    hint=f"stages with a name: {', '.join(names) or 'none'}",
                )
            given[kind] = Source(type=kind, path=value)
            files |= digests(value, root)
            probes[value] = rows.probe(str(root / value))
        found.append(Wish(item, model, identity, given, files))
    return found


def _refuse_secrets(item: StageItem, where: str) -> None:
    """Stop before a secret gets into a plan, a configuration or a log."""
    url = {"endpoint.url": item.endpoint.url} if item.endpoint else {}
    values = {f"with.{key}": value for key, value in nested.flatten(item.with_).items()} | url
    for key, value in values.items():
        if is_secret(key, value):
            raise LockgateError(
                "it holds what looks like a secret (not shown)",
                where=f"{where}.{key}",
                hint="name the environment variable that holds it, like ${oc.env:NAME}; replace "
                "the secret if anybody else could read this file",
            )


def _relative(path: Path | None, root: Path) -> Path | None:
    """A path that stays the same when the whole project is moved."""
    base = root.resolve()
    return path.relative_to(base) if path and path.is_relative_to(base) else path


def _checkpoint(path: Path | None) -> str:
    """Artifact type of a model's directory; a Hub id is in Hugging Face format."""
    if path and (path / "adapter_config.json").exists():
        return "checkpoint_lora"
    if path and ("iter_" in path.name or any(path.glob("latest_checkpointed_iteration.txt"))):
        return "checkpoint_megatron"
    return MODEL


def _data_type(path: str, probe: Probe | None) -> str:
    """The most specific type that a user's own file surely has."""
    if probe and "mcq" in probe.kinds:
        return "benchmark_parquet"
    packed = probe is not None and "input_ids" in probe.columns
    return "packed_parquet" if packed and path.endswith(".parquet") else DATA


def _known(kind: str, catalogs: Catalogs, where: str) -> None:
    if kind not in catalogs.types:
        raise LockgateError(
            f"there is no artifact type '{kind}'",
            where=where,
            hint=f"there are: {', '.join(sorted(catalogs.types))}",
        )


def digests(path: str, root: Path) -> dict[str, str]:
    """SHA-256 of the user's files, by the path as configured; of a large one, its size."""
    full = root / path
    files = [full] if full.is_file() else sorted(full.rglob("*")) if full.is_dir() else []
    if not files and any(letter in path for letter in "*?["):
        files = sorted(root.glob(path))
    told = [
        [file.name, file.stat().st_size]
        + ([file_digest(file)] if file.stat().st_size < _LARGE else [])
        for file in files
        if file.is_file()
    ]
    if not told:
        return {}
    return {path: file_digest(files[0]) if full.is_file() and len(told[0]) > 2 else digest(told)}


def architecture(model: str) -> str | None:
    """Class name of a model's architecture, where its config.json is here."""
    path = Path(model) / "config.json"
    if not model or not path.is_file():
        return None
    named = read_json(path).get("architectures") or []
    return str(named[0]) if named else None
