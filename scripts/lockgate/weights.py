"""Model weights on disk: convert them, read what they are without loading them, digest them."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import shutil
import struct
from pathlib import Path
from typing import Any

from lockgate.errors import LockgateError
from lockgate.files import file_digest

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt", "vocab.txt")
_MODEL_FILES = ("*.safetensors", "*.bin", "*.json", "*.jinja", "*.model", "*.txt")
# What a trainer leaves beside the weights and what says nothing about the model.
_NOT_MODEL_FILES = ("trainer_state.json", "training_args.bin")
_GGUF_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_GGUF_STRING, _GGUF_ARRAY = 8, 9


def convert_gguf(source: Path, out: Path) -> None:
    """Make a Hugging Face directory (bfloat16, tokenizer, chat template) of a `.gguf` file.

    `out` appears whole or not at all.

    Raises:
        LockgateError: if the file cannot be read as a model.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        try:
            model: Any = AutoModelForCausalLM.from_pretrained(
                str(source.parent),
                gguf_file=source.name,
                # Without dequantizing, the tensors stay packed and cannot be saved.
                quantization_config=GgufConfig(dequantize=True),
            )
            tokenizer = AutoTokenizer.from_pretrained(str(source.parent), gguf_file=source.name)
        except (OSError, ValueError, KeyError, RuntimeError, struct.error) as error:
            raise LockgateError(
                f"cannot convert the weights: {error}",
                where=str(source),
                hint="the file must be a whole .gguf of an architecture that transformers reads",
            ) from error
        model.to(torch.bfloat16).save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        if out.exists():
            shutil.rmtree(out)
        os.replace(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def inspect_weights(path: Path) -> dict[str, Any]:
    """What a model directory or a `.gguf` file holds, read from its headers in well under 1 s.

    Returns:
        `parameters`, `architecture`, `context_length`, `dimensions` (`hidden`, `layers`,
        `vocabulary`), `bytes` (of the weights),
        `tokenizer_sha256`, `chat_template_sha256` (each None where there is none),
        `adapter` (it is one, without a model or a tokenizer of its own) and `problems`: what is
        missing or broken, one sentence each.
    """
    report: dict[str, Any] = {
        "parameters": None,
        "architecture": None,
        "context_length": None,
        "dimensions": None,
        "bytes": 0,
        "tokenizer_sha256": None,
        "chat_template_sha256": None,
        "adapter": is_adapter(path),
        "problems": [],
    }
    try:
        if report["adapter"]:
            _inspect_adapter(path, report)
        elif path.is_dir():
            _inspect_directory(path, report)
        elif path.is_file():
            _inspect_gguf(path, report)
        else:
            report["problems"].append(f"{path} does not exist")
    except (ValueError, KeyError, TypeError, struct.error, OSError) as error:
        report["problems"].append(f"{path} is damaged or cut short ({error})")
    if report["tokenizer_sha256"] is None and not report["problems"] and not report["adapter"]:
        report["problems"].append(f"{path} has no tokenizer")
    return report


def is_adapter(path: Path) -> bool:
    """The directory holds an adapter (PEFT), and no model."""
    return (path / "adapter_config.json").is_file() and not (path / "config.json").is_file()


def weights_digest(path: Path) -> str:
    """SHA-256 of the files that define a model, an adapter or a `.gguf` file.

    It does not depend on where they lie: an adapter's note of its base model's path, and the
    accidental order of its module names, are left out.
    """
    if path.is_file():
        return file_digest(path)
    files = {file for pattern in _MODEL_FILES for file in path.glob(pattern) if file.is_file()}
    total = hashlib.sha256()
    for file in sorted(files, key=lambda file: file.name):
        if file.name in _NOT_MODEL_FILES:
            continue
        if file.name == "adapter_config.json":
            content = hashlib.sha256(_canonical_adapter(file).encode()).hexdigest()
        else:
            content = file_digest(file)
        total.update(f"{file.name} {content}\n".encode())
    return total.hexdigest()


def _canonical_adapter(file: Path) -> str:
    config = json.loads(file.read_text(encoding="utf-8"))
    config.pop("base_model_name_or_path", None)
    for key, value in config.items():
        if isinstance(value, list):
            config[key] = sorted(value, key=str)
    return json.dumps(config, sort_keys=True)


def _inspect_directory(path: Path, report: dict[str, Any]) -> None:
    problems = report["problems"]
    config = _json_object(path / "config.json")
    if config is None:
        problems.append(f"{path} has no config.json")
        config = {}
    text = config.get("text_config") or config
    report["architecture"] = config.get("model_type")
    report["context_length"] = text.get("max_position_embeddings") or text.get("n_positions")
    keys = ("hidden_size", "num_hidden_layers", "vocab_size")
    report["dimensions"] = _dimensions(*(text.get(key) for key in keys))

    weights = sorted(path.glob("*.safetensors"))
    index = _json_object(path / "model.safetensors.index.json")
    if index is not None:
        named = sorted(set(index["weight_map"].values()))
        weights = [path / name for name in named if (path / name).is_file()]
        missing = [name for name in named if not (path / name).is_file()]
        problems += [f"{path} lacks {name}, which its index names" for name in missing]
    report["bytes"] = sum(file.stat().st_size for file in weights)
    if weights:
        report["parameters"] = sum(_safetensors_parameters(file) for file in weights)
    elif index is None:
        problems.append(f"{path} has no .safetensors weights")

    tokenizer = [path / name for name in _TOKENIZER_FILES if (path / name).is_file()]
    if tokenizer:
        digests = "".join(f"{file.name} {file_digest(file)}\n" for file in tokenizer)
        report["tokenizer_sha256"] = hashlib.sha256(digests.encode()).hexdigest()
    else:
        problems.append(f"{path} has no tokenizer")
    template = _chat_template(path)
    if template is not None:
        report["chat_template_sha256"] = hashlib.sha256(template.encode()).hexdigest()


def _inspect_adapter(path: Path, report: dict[str, Any]) -> None:
    report["architecture"] = (_json_object(path / "adapter_config.json") or {}).get("peft_type")
    weights = path / "adapter_model.safetensors"
    if not weights.is_file():
        report["problems"].append(f"{path} has no {weights.name}")
        return
    report["bytes"] = weights.stat().st_size
    report["parameters"] = _safetensors_parameters(weights)


def _json_object(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    value = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise ValueError(f"{path.name} is not a JSON object")
    return value


def _chat_template(path: Path) -> str | None:
    if (path / "chat_template.jinja").is_file():
        return (path / "chat_template.jinja").read_text(encoding="utf-8")
    template = (_json_object(path / "tokenizer_config.json") or {}).get("chat_template")
    if isinstance(template, list):  # several, each with a name
        named = {entry["name"]: entry["template"] for entry in template}
        template = named.get("default")
    return template


def _safetensors_parameters(file: Path) -> int:
    """Sum of the tensors' elements, from the header; the file must be as long as it says."""
    with open(file, "rb") as handle:
        (length,) = struct.unpack("<Q", handle.read(8))
        if length > file.stat().st_size:
            raise ValueError(f"{file.name} ends within its header")
        header = json.loads(handle.read(length))
    header.pop("__metadata__", None)
    end = max((tensor["data_offsets"][1] for tensor in header.values()), default=0)
    if file.stat().st_size < 8 + length + end:
        raise ValueError(f"{file.name} ends before its last tensor")
    total = 0
    for tensor in header.values():
        elements = 1
        for size in tensor["shape"]:
            elements *= size
        total += elements
    return total


def _inspect_gguf(path: Path, report: dict[str, Any]) -> None:
    report["bytes"] = path.stat().st_size
    tokenizer = hashlib.sha256()
    with open(path, "rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[:4] != b"GGUF":
            raise ValueError("it is not a .gguf file")
        tensors, entries = struct.unpack_from("<QQ", data, 8)
        at = 24
        values: dict[str, Any] = {}
        for _ in range(entries):
            start = at
            key, at = _gguf_string(data, at)
            (kind,) = struct.unpack_from("<I", data, at)
            values[key], at = _gguf_value(data, at + 4, kind)
            if key.startswith("tokenizer.ggml."):
                tokenizer.update(data[start:at])
        report["parameters"] = _gguf_parameters(data, at, tensors)
    report["architecture"] = values.get("general.architecture")
    name = report["architecture"]
    report["context_length"] = values.get(f"{name}.context_length")
    keys = ("embedding_length", "block_count", "vocab_size")
    report["dimensions"] = _dimensions(*(values.get(f"{name}.{key}") for key in keys))
    if "tokenizer.ggml.tokens" in values:
        report["tokenizer_sha256"] = tokenizer.hexdigest()
    template = values.get("tokenizer.chat_template")
    if template is not None:
        report["chat_template_sha256"] = hashlib.sha256(template.encode()).hexdigest()


def _dimensions(hidden: Any, layers: Any, vocabulary: Any) -> dict[str, int] | None:
    sizes = {"hidden": hidden, "layers": layers, "vocabulary": vocabulary}
    return sizes if all(isinstance(size, int) for size in sizes.values()) else None


def _gguf_string(data: mmap.mmap, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<Q", data, at)
    end = at + 8 + length
    if end > len(data):
        raise ValueError("a string runs past the end of the file")
    return data[at + 8 : end].decode("utf-8", "replace"), end


def _gguf_value(data: mmap.mmap, at: int, kind: int) -> tuple[Any, int]:
    """A value and where it ends; of an array only that it is there (vocabularies are long)."""
    if kind == _GGUF_STRING:
        return _gguf_string(data, at)
    if kind == _GGUF_ARRAY:
        item, count = struct.unpack_from("<IQ", data, at)
        at += 12
        if item == _GGUF_STRING:
            length = struct.Struct("<Q")
            for _ in range(count):
                at += 8 + length.unpack_from(data, at)[0]
        elif item == _GGUF_ARRAY:
            for _ in range(count):
                _, at = _gguf_value(data, at, item)
        else:
            at += _GGUF_SIZES[item] * count
        return True, at
    if kind in (4, 5):
        return struct.unpack_from("<I" if kind == 4 else "<i", data, at)[0], at + 4
    if kind in (10, 11):
        return struct.unpack_from("<Q" if kind == 10 else "<q", data, at)[0], at + 8
    return None, at + _GGUF_SIZES[kind]


def _gguf_parameters(data: mmap.mmap, at: int, count: int) -> int:
    """Sum of the tensors' elements; the file must reach to the last one."""
    total = last = 0
    for _ in range(count):
        _, at = _gguf_string(data, at)
        (dimensions,) = struct.unpack_from("<I", data, at)
        elements = 1
        for size in struct.unpack_from(f"<{dimensions}Q", data, at + 4):
            elements *= size
        at += 4 + 8 * dimensions
        _, offset = struct.unpack_from("<IQ", data, at)
        at += 12
        total, last = total + elements, max(last, offset)
    if at + last >= len(data):
        raise ValueError("it ends before its last tensor")
    return total
