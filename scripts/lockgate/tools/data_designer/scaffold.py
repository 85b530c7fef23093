"""Generation without Lockgate: the tool's own command, and the provider that it asks."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

from lockgate.handover import Handover, Job
from lockgate.tools.data_designer import design, providers, script, seeds
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
    known = providers.endpoint(endpoint) if endpoint.get("provider") else None
    url = known.url if known else endpoint.get("url")
    provider = {
        "name": design.PROVIDER,
        "endpoint": url or _NOWHERE,
        "provider_type": known.protocol if known else "openai",
    }
    if key := known.api_key_env if known else endpoint.get("api_key_env"):
        provider["api_key"] = key  # the variable's name: the tool reads it
    settings = _HEADER + yaml.safe_dump({"providers": [provider]}, sort_keys=False)
    lines = [
        'export DATA_DESIGNER_HOME="$PWD/data/tool" NEMO_TELEMETRY_ENABLED=false PYTHONHASHSEED=0',
        f"export LOCKGATE_SEED={seed(data['seed'], 0, 0)}",
        f"data-designer create data/{name} --num-records {data['records']} \\",
        "  --dataset-name dataset --artifact-path data/made --output-format jsonl --no-tui",
    ]
    if endpoint and not url:
        lines.insert(0, "# first name the server's address in data/tool/model_providers.yaml")
    if data.get("script"):
        text, own, notes = _of_script(data, name, root)
    else:
        text, own, notes = _of_design(data, root)
    files = {f"data/{name}": text, "data/tool/model_providers.yaml": settings}
    inputs = (f"data/{name}", *own)
    job = Job("\n".join(lines), "data/made/dataset/dataset.jsonl", inputs)
    return Handover(files, {"data": job}, own=own, notes=notes)


def _of_script(
    data: dict[str, Any], name: str, root: Path
) -> tuple[str, dict[str, Path], tuple[str, ...]]:
    """The user's script, and the files of the project that it imports or names."""
    found = design.inputs(data, root)[1:]
    own = {inside: path for path in found if (inside := script.inside(path, root))}
    note = (
        f"data/{name} is a program of its author's: of the files that it reads, those that it "
        "names in full, within the project, are here."
    )
    return design.render(data, root), own, (note,)


def _of_design(data: dict[str, Any], root: Path) -> tuple[str, dict[str, Path], tuple[str, ...]]:
    """The design, which reads its seeds at their place in the folder, and those seeds."""
    moved = copy.deepcopy(data)
    source = seeds.source(moved["design"])
    if source is None:
        return design.render(data, root), {}, ()
    found = design.inputs(data, root)
    inside = script.inside(root / source["path"], root)
    source["path"] = inside or f"data/seeds/{Path(source['path']).name}"
    own = {script.inside(path, root): path for path in found} if inside else {}
    note = f"{source['path']} is not here: its file is outside the project. Bring it."
    return design.render(moved, Path()), own, () if inside else (note,)
