"""What a folder handed over says: its models, what was measured, approved and installed."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Mapping
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

from lockgate import files, gates
from lockgate.matrix import Matrix
from lockgate.models import adapter_base
from lockgate.runs import Run
from lockgate.scaffold.flatten import imported


def variables(names: list[str], prefix: str = "MODEL_") -> dict[str, str]:
    """Variables of the shell that hold models' directories, each its own."""
    found: dict[str, str] = {}
    for name in names:
        variable = prefix + re.sub(r"\W", "_", name).upper()
        while variable in found.values():
            variable += "_2"
        found[name] = variable
    return found


def models(experiment: Matrix, runs: list[Run]) -> list[dict[str, Any]]:
    """Models that runs start from, and base models of adapters, without a place on this machine.

    Returns:
        For each `name`, `variable`, `origin` (a phrase), `hub`, `revision`, `base`, `convert` (it
        is a `.gguf` file), and of its prepared weights `digest` and `parameters`, None where not
        known.
    """
    config = experiment.config
    names = variables(list(config.models))
    used = {run.model for run in runs}
    used |= {str(adapter_base(config.models[name])) for name in used}
    return [
        {"name": name, "variable": names[name], **_model(experiment, name)}
        for name in config.models
        if name in used
    ]


def _model(experiment: Matrix, name: str) -> dict[str, Any]:
    model = experiment.config.models[name]
    prepared = experiment.config.results / "models" / f"{name}.json"
    told: dict[str, Any] = files.read_json(prepared) if prepared.exists() else {}
    if model.package:
        file = Path(told["source_file"]).name if told.get("source_file") else model.file
        origin = f"the file `{file}` of the Python package `{model.package.replace('_', '-')}`"
    elif model.hub:
        revision = f"revision `{model.revision}`" if model.revision else "its revision not pinned"
        origin = f"`{model.hub}` on the Hugging Face Hub, {revision}"
    else:
        origin = f"the authors' own `{Path(str(model.path)).name}`: ask them for it"
    return {
        "origin": origin,
        "hub": model.hub,
        "revision": model.revision,
        "base": model.base,
        "convert": bool(model.package or str(model.path).endswith(".gguf")),
        # an adapter's is of its base model, too: its files alone have another
        "digest": None if told.get("adapter") else told.get("digest"),
        "parameters": told.get("parameters"),
    }


def keys(value: Any) -> list[str]:
    """Names of the environment variables that hold keys, wherever a configuration names them."""
    if isinstance(value, list):
        return list(dict.fromkeys(name for one in value for name in keys(one)))
    if not isinstance(value, dict):
        return []
    own = [value["api_key_env"]] if value.get("api_key_env") else []
    return list(dict.fromkeys(own + keys(list(value.values()))))


def scores(experiment: Matrix, runs: list[Run]) -> list[dict[str, Any]]:
    """The cells that were measured before, as the experiment is built now, with the run's name."""
    found = []
    for run in runs:
        for cell in _made(experiment, "eval", run.name, "scores.json").get("cells", []):
            found.append({"run": run.name, **cell})
    return found


def losses(experiment: Matrix, runs: list[Run]) -> dict[str, float]:
    """The last training loss of each run that was trained before, as it is built now."""
    found = {}
    for run in runs:
        made = _made(experiment, "train", run.name, "manifest.json") if run.trained else {}
        if made.get("losses"):
            found[run.name] = made["losses"][-1]["loss"]
    return found


def _made(experiment: Matrix, phase: str, name: str, file: str) -> dict[str, Any]:
    """A result, if it came of the present configuration."""
    path = experiment.config.results / phase / name / file
    made: dict[str, Any] = files.read_json(path) if path.exists() else {}
    item = f"{phase}/{name}:{files.digest(experiment.documents[f'{phase}/{name}'])}"
    return made if made.get("item") == item else {}


def approvals(experiment: Matrix) -> list[dict[str, Any]]:
    """Entries of the ledger that cover some of the experiment as it is now, oldest first."""
    needed = {gate: set(items) for gate, items in experiment.items.items()}
    return [
        entry
        for entry in gates.read_ledger(experiment.config.approvals / "ledger.jsonl")
        if not needed.get(entry["gate"], set()).isdisjoint(entry["items"])
    ]


@functools.cache
def _distributions() -> Mapping[str, list[str]]:
    return packages_distributions()


def requirements(
    versions: dict[str, str], programs: dict[str, bytes], more: set[str]
) -> tuple[str, list[str]]:
    """Exact versions of the tools, and of whatever else the programs import.

    Args:
        versions: of the tools' packages.
        programs: content of each Python file, by its path in the folder.
        more: modules that are imported by name only.

    Returns:
        The text of requirements.txt, and the modules that no installed package gives.
    """
    wanted = dict(versions)
    own = {Path(part).stem for name in programs for part in Path(name).parts}
    known = _distributions()
    modules = {one for text in programs.values() for one in imported(text)} - own | more
    for module in sorted(modules & known.keys()):
        if not any(name in wanted for name in (module, *known[module])):
            wanted[known[module][0]] = version(known[module][0])
    lines = [f"# The versions that were installed, with Python {sys.version.split()[0]}."]
    for name, number in sorted(wanted.items(), key=lambda pair: pair[0].lower()):
        public, _, build = number.partition("+")
        lines.append(f"{name}=={public}" + (f"  # its build was {build}" if build else ""))
    return "\n".join(lines) + "\n", sorted(modules - known.keys())
