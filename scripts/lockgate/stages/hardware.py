"""GPUs by name, model sizes by name, and how many GPUs a model's training needs.

The numbers are data, with their sources: `workflow/catalog/hardware.toml`.
"""

from __future__ import annotations

import difflib
import functools
import math
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from lockgate.errors import LockgateError
from lockgate.files import read_text

TABLE = Path(__file__).parents[3] / "workflow" / "catalog" / "hardware.toml"

_MAKERS = re.compile(r"nvidia|geforce|tesla|amd|[^a-z0-9]")
_NAMED = re.compile(
    r"(?<![a-z0-9.])(?:(\d+)x)?(\d+(?:\.\d+)?)([bm])(?:-a(\d+(?:\.\d+)?)([bm]))?(?![a-z0-9])"
)
_TOLD = re.compile(r"(\d+(?:\.\d+)?)\s*([bm])\s+total(?:\W+(\d+(?:\.\d+)?)\s*([bm])\s+active)?")
_UNITS = {"b": 1e9, "m": 1e6}


@dataclass(frozen=True)
class Gpu:
    """One kind of GPU.

    Attributes:
        memory_gb: in 10^9 bytes.
        bf16_tflops: dense matrix speed in bfloat16; 0: it has none.
    """

    name: str
    memory_gb: float
    bf16_tflops: float


class Size(NamedTuple):
    """Parameters of a model: in all, and those that work on one token; and who says so."""

    total: float
    active: float
    source: str


def gpu(name: str, where: str = "", table: Path = TABLE) -> Gpu:
    """The GPU of that name, however its maker, spaces and dashes are written.

    Args:
        name: like `H100` or `NVIDIA A100-SXM4-80GB`.
        where: file and key, for the message.
        table: the hardware table.

    Raises:
        LockgateError: if the table has none, with the nearest names.
    """
    known: dict[str, Gpu] = {}
    for title, entry in _table(table)["gpus"].items():
        found = Gpu(title, float(entry["memory_gb"]), float(entry["bf16_tflops"]))
        known |= {_plain(text): found for text in (title, *entry.get("also", ()))}
    if _plain(name) in known:
        return known[_plain(name)]
    # a name without its memory, like A100, stands for several: all of them are near
    near = [text for text in known if _plain(name) and text.startswith(_plain(name))]
    near = near or difflib.get_close_matches(_plain(name), known, 3)
    titles = list(dict.fromkeys(known[text].name for text in near))[:3]
    all_titles = list(dict.fromkeys(entry.name for entry in known.values()))
    raise LockgateError(
        f"there is no GPU '{name}' in the hardware table",
        where=where,
        hint=f"did you mean {' or '.join(map(repr, titles))}?"
        if titles
        else f"there are: {', '.join(all_titles)}",
    )


def memory_needed_gb(parameters: float, method: str, table: Path = TABLE) -> float:
    """Memory in GB (10^9 bytes) that training takes over all its GPUs.

    Args:
        parameters: of the whole model, those that sleep for a token included.
        method: `full` or `lora`.
        table: holds what one parameter takes.

    Raises:
        LockgateError: if the table has no such method.
    """
    memory = _table(table)["memory"]
    if method not in memory or "bytes_per_parameter" not in memory[method]:
        known = [name for name, entry in memory.items() if "bytes_per_parameter" in entry]
        raise LockgateError(
            f"there is no training method '{method}'", hint=f"there are: {', '.join(known)}"
        )
    return parameters * _bytes(memory, method) / 1e9


def assumptions(method: str, table: Path = TABLE) -> str:
    """What `memory_needed_gb` multiplies the parameters with, in words."""
    memory = _table(table)["memory"]
    plain = memory[method]["bytes_per_parameter"]
    share = memory["headroom"]["share"]
    adapter = memory[method].get("adapter")
    told = f" + {adapter['share']:.0%} x {adapter['bytes_per_parameter']}" if adapter else ""
    return f"{plain}{told} bytes, and {share:.0%} headroom"


def gpus_needed(parameters: float, method: str, device: Gpu, table: Path = TABLE) -> int:
    """GPUs whose memory together holds the training; arguments as of `memory_needed_gb`."""
    return max(1, math.ceil(memory_needed_gb(parameters, method, table) / device.memory_gb))


def parameters_of(model: str, description: str = "") -> Size | None:
    """Size of a model, as its description (`31.6B total / 3.2B active`) or its name says.

    Args:
        model: Hub id or path, like `name-30B-A3B`, `name-135M` or `name-8x7B` (whose
            experts share parts, so that 56 billion is more than it has).
        description: what a catalog says of it.

    Returns:
        None where neither says it.
    """
    told = _TOLD.search(description.lower())
    if told:
        total = float(told[1]) * _UNITS[told[2]]
        active = float(told[3]) * _UNITS[told[4]] if told[3] else total
        return Size(total, active, "from the catalog")
    parts = [part for part in model.lower().split("/") if part]
    for part in reversed(parts):
        named = _NAMED.search(part)
        if named:
            total = int(named[1] or 1) * float(named[2]) * _UNITS[named[3]]
            active = float(named[4]) * _UNITS[named[5]] if named[4] else total
            return Size(total, active, "from the name")
    return None


def _bytes(memory: dict[str, Any], method: str) -> float:
    """Bytes a parameter, headroom included."""
    entry = memory[method]
    adapter = entry.get("adapter", {"share": 0, "bytes_per_parameter": 0})
    base = entry["bytes_per_parameter"] + adapter["share"] * adapter["bytes_per_parameter"]
    return float(base * (1 + memory["headroom"]["share"]))


def _plain(name: str) -> str:
    return _MAKERS.sub("", name.lower())


@functools.lru_cache
def _table(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise LockgateError(f"not valid TOML: {error}", where=str(path)) from error
