"""Generation without Lockgate: the tool's own command, and the provider that it asks."""

from __future__ import annotations

import ast
import copy
import os
from pathlib import Path
from typing import Any

import yaml

from lockgate.imports import with_imports
from lockgate.tools import Handover, Job
from lockgate.tools.data_designer import design
from lockgate.tools.data_designer.command import seed

_HEADER = "# Where the language model answers that writes the records' text.\n"
_NOWHERE = "http://127.0.0.1:9/v1"


def scaffold(data: dict[str, Any], name: str, root: Path) -> Handover:
    """See `Handover`.

    Args:
        data: the built data document.
        name: file name of the design.
        root: the project; relative paths in the design start there.

    Raises:
        LockgateError: if the user's script is no Python, or a seed file is not there.
    """
    endpoint = data["endpoint"] or {}
    provider = {
        "name": design.PROVIDER,
        "endpoint": endpoint.get("url") or _NOWHERE,
        "provider_type": "openai",
    }
    if endpoint.get("api_key_env"):
        provider["api_key"] = endpoint["api_key_env"]  # the variable's name: the tool reads it
    providers = _HEADER + yaml.safe_dump({"providers": [provider]}, sort_keys=False)
    lines = [
        'export DATA_DESIGNER_HOME="$PWD/data/tool" NEMO_TELEMETRY_ENABLED=false PYTHONHASHSEED=0',
        f"export LOCKGATE_SEED={seed(data['seed'], 0, 0)}",
        f"data-designer create data/{name} --num-records {data['records']} \\",
        "  --dataset-name dataset --artifact-path data/made --output-format jsonl --no-tui",
    ]
    if endpoint and not endpoint.get("url"):
        lines.insert(0, "# first name the server's address in data/tool/model_providers.yaml")
    if data.get("script"):
        text, own, notes = _of_script(data, name, root)
    else:
        text, own, notes = _of_design(data, root)
    files = {f"data/{name}": text, "data/tool/model_providers.yaml": providers}
    inputs = (f"data/{name}", *own)
    job = Job("\n".join(lines), "data/made/dataset/dataset.jsonl", inputs)
    return Handover(files, {"data": job}, own=own, notes=notes)


def _of_script(
    data: dict[str, Any], name: str, root: Path
) -> tuple[str, dict[str, Path], tuple[str, ...]]:
    """The user's script, and the files of the project that it imports or names."""
    script = root / data["script"]
    modules = with_imports([script], [script.parent, root])
    named = [root / text for module in modules for text in _texts(module) if _is_file(root, text)]
    own = {inside: path for path in [*modules[1:], *named] if (inside := _inside(path, root)) != ""}
    note = (
        f"data/{name} is a program of its author's: of the files that it reads, those that it "
        "names in full, within the project, are here."
    )
    return design.render(data, root), own, (note,)


def _of_design(data: dict[str, Any], root: Path) -> tuple[str, dict[str, Path], tuple[str, ...]]:
    """The design, which reads its seeds at their place in the folder, and those seeds."""
    moved = copy.deepcopy(data)
    source = design.seed_source(moved["design"])
    if source is None:
        return design.render(data, root), {}, ()
    found = design.inputs(data, root)
    inside = _inside(root / source["path"], root)
    source["path"] = inside or f"data/seeds/{Path(source['path']).name}"
    own = {_inside(path, root): path for path in found} if inside else {}
    note = f"{source['path']} is not here: its file is outside the project. Bring it."
    return design.render(moved, Path()), own, () if inside else (note,)


def _inside(path: Path, root: Path) -> str:
    """A file's path below the project; empty: it is outside."""
    relative = os.path.relpath(path.absolute(), root.absolute())
    return "" if relative.startswith("..") else Path(relative).as_posix()


def _texts(file: Path) -> list[str]:
    """Each text that a Python file spells out."""
    nodes = ast.walk(ast.parse(file.read_bytes()))
    values = [node.value for node in nodes if isinstance(node, ast.Constant)]
    return [value for value in values if isinstance(value, str)]


def _is_file(root: Path, text: str) -> bool:
    """Whether a text is the path of a file, like `data/words.txt`."""
    try:
        return bool(text) and (root / text).is_file()
    except (OSError, ValueError):  # too long for a path, or with a zero byte
        return False
