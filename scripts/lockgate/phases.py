"""How far each phase of an experiment is, from its files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lockgate import activity, files
from lockgate.activity import DONE, WAITING, Seen, Work
from lockgate.errors import LockgateError
from lockgate.pipeline import ChainPipeline, MatrixPipeline, Pipeline


def look(
    experiment: MatrixPipeline | ChainPipeline,
    works: Iterable[Work],
    seen: dict[str, Seen],
    runs: list[dict[str, Any]],
) -> list[dict[str, Any]]:
    """The phases in order, with how much of each is there, made as the configuration is now.

    Args:
        experiment: the experiment.
        works: its jobs.
        seen: what was seen of them, by their names.
        runs: the runs, or the stages, with their `state` and `phase`.
    """
    base = Path(experiment.results)
    planned = _fingerprint(base / "plan/plan.json")
    current = planned in (None, experiment.fingerprint)
    names = _built(experiment)
    checked = {name: _checked(experiment, base, name) for name in names}
    built = [checked[name] or _is_built(experiment, base, name) for name in names]
    if isinstance(experiment, ChainPipeline):
        checked = {key: done for key, done in checked.items() if key.startswith("stages/")}
    preview = [one.state == DONE for key, one in seen.items() if key.startswith(("prev", "smoke"))]
    reviewed = base / "preview/review.json"
    parts = {
        "resolve": [current and (base / "resolve/resources.json").exists()],
        "learn": [current and (base / "learn/catalog.json").exists()],
        "plan": [planned == experiment.fingerprint],
        "build": built,
        "validate": list(checked.values()),
        "preview": [*preview, all(preview) and reviewed.exists()],
    }
    if isinstance(experiment, MatrixPipeline):
        shards = [one.state == DONE for key, one in seen.items() if key.startswith("generate/")]
        item = experiment.item("data/data")
        parts["generate"] = [*shards, activity.item_of(base / "data/manifest.json") == item]
        trained = [key.removeprefix("train/") for key in seen if key.startswith("train/")]
        past = {run["name"] for run in runs if run["phase"] == "eval"}
        parts["train"] = [name in past for name in trained]
    last = "stages" if isinstance(experiment, ChainPipeline) else "eval"
    parts[last] = [run["state"] == DONE for run in runs if run["phase"]]
    results = [work.out for work in works if work.rule in ("eval", "stage")]
    parts["report"] = [all(parts[last]) and _newer(base / "report/report.html", results)]
    return [
        {
            "phase": phase,
            "state": DONE if done and all(done) else "begun" if any(done) else WAITING,
            "done": sum(done),
            "all": len(done),
        }
        for phase, done in parts.items()
    ]


def _built(experiment: MatrixPipeline | ChainPipeline) -> list[str]:
    """Documents that are built: those of runs that can start."""
    if isinstance(experiment, ChainPipeline):
        return list(experiment.documents)
    names = ["data/data", *(f"smoke/{name}" for name in experiment.shapes)]
    names += [f"eval/{name}" for name in experiment.evaluations]
    names += [f"{kind}/{run}" for run in experiment.runs for kind in ("train", "eval")]
    return [name for name in names if name in experiment.documents]


def _checked(experiment: Pipeline, base: Path, name: str) -> bool:
    """A document's record of validation is there, and of the document as it is."""
    path = base / "validate" / f"{'data' if name == 'data/data' else name}.json"
    item = activity.item_of(path)
    if item == name:  # a stage's record has no digest
        spec = base / "build" / f"{name}.yaml"
        return _newer(path, [spec]) and _is_built(experiment, base, name)
    return item == experiment.item(name)


def _is_built(experiment: Pipeline, base: Path, name: str) -> bool:
    try:
        built = files.read_yaml(base / "build" / f"{name}.yaml")
    except LockgateError:
        return False
    return bool(built == experiment.documents[name])


def _newer(path: Path, others: Iterable[Path]) -> bool:
    try:
        made = path.stat().st_mtime
        return all(other.stat().st_mtime <= made for other in others)
    except OSError:
        return False


def _fingerprint(path: Path) -> str | None:
    """What the plan was written from; None: there is none that can be read."""
    try:
        plan = files.read_json(path)
    except LockgateError:
        return None
    return str(plan.get("fingerprint", "")) if isinstance(plan, dict) else None
