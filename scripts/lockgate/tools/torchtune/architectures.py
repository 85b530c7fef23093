"""The builder of torchtune that fits a model's config.json; architectures.toml lists them."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from lockgate.errors import LockgateError
from lockgate.files import read_json

# What Llama's stock builder takes for granted where it scales its rotary embedding.
_SCALING = {
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


@cache
def known() -> dict[str, Any]:
    """The table of architectures, by `model_type`."""
    return tomllib.loads((Path(__file__).parent / "architectures.toml").read_text("utf-8"))


def builder(base: Path, adapters: bool, max_length: int) -> dict[str, Any]:
    """The builder of a model directory and its checkpointer's settings.

    Args:
        base: Hugging Face directory.
        adapters: whether low-rank adapters are trained, in place of all weights.
        max_length: longest sequence in training, in tokens.

    Returns:
        `model` (`_component_` and its dimensions) and `checkpoint` (`model_type`, `permute`).

    Raises:
        LockgateError: if no builder of torchtune makes this model.
    """
    file = base / "config.json"
    config = read_json(file)
    kind = config.get("model_type")
    if kind not in known():
        raise LockgateError(
            f"torchtune has no builder for models of type '{kind}'",
            where=str(file),
            hint=f"it has them for: {', '.join(known())}; or use another training.tool",
        )
    entry = known()[kind]
    for key, wanted in entry["needs"].items():
        if config.get(key, wanted) != wanted:
            raise _unfit(file, f"{key} is {config[key]!r}, torchtune's builder has {wanted!r}")
    lacking = [key for key in entry["arguments"].values() if config.get(key) is None]
    if lacking:
        raise LockgateError(f"{lacking[0]} is missing", where=str(file))
    width = config["hidden_size"] // config["num_attention_heads"]
    if config.get("head_dim") not in (None, width):
        raise _unfit(file, f"head_dim is {config['head_dim']}, torchtune's builder has {width}")
    model = {name: config[key] for name, key in entry["arguments"].items()}
    model["max_seq_len"] = max(model["max_seq_len"], max_length)
    base_of, scale = _rope(config, file)
    model["rope_base"] = base_of
    if entry["scaled_rope"]:
        model["scale_factor"] = scale
    elif scale != 1:
        raise _unfit(file, "its rotary embedding is scaled, that of torchtune's builder is not")
    return {
        "model": {"_component_": entry["lora" if adapters else "builder"], **model},
        "checkpoint": {"model_type": entry["type"], "permute": entry["permute"]},
    }


def _rope(config: dict[str, Any], file: Path) -> tuple[int, float]:
    """Base and scale of the rotary embedding, in either form that config.json may have."""
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    base = rope.get("rope_theta") or config.get("rope_theta") or 10_000
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind == "default":
        return int(base), 1
    if kind != "llama3":
        raise _unfit(file, f"its rotary embedding is of type '{kind}'")
    for key, wanted in _SCALING.items():
        if rope.get(key, wanted) != wanted:
            raise _unfit(file, f"{key} is {rope[key]}, torchtune's builder has {wanted}")
    return int(base), rope["factor"]


def _unfit(file: Path, what: str) -> LockgateError:
    return LockgateError(
        what, where=str(file), hint="torchtune cannot train this model: use another training.tool"
    )
