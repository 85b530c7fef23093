"""Where an experiment stands, from its files and SLURM alone: nothing is locked or written.

`collect` gives what `lockgate status --json` prints:

- `experiment`, `configuration` (path), `results` (path), `time` (unix)
- `snakemake`: process id of the one that runs it on this machine; null: none is seen here
- `slurm`: whether SLURM answered; null: it is not here
- `blocked`: why nothing can start; empty: something can
- `phases`: `phase`, `state` (`done`, `begun` or `waiting`), `done` and `all` (parts of it)
- `gates`: `gate`, `open`, `reason`, `review` (page), `approve` (command; null: nothing to approve)
- `runs`, in a chain its stages, each with
    - `name`, `kind` (`fine-tuned`, `control`, `eval-only` or `stage`)
    - `state`: `waiting`, `pending` (in SLURM's queue), `running` (training, or a stage's work),
      `trained`, `evaluating`, `done`, `stopped` (or cancelled: it continues when run again),
      `failed` or `blocked` (it cannot start)
    - `phase` that the state is of: `train`, `eval` or `stage`; `reason` of the state
    - `job` (SLURM's number), `node`, `pid` (of a local process that runs), `since` and `ended`
      (unix) of its last attempt, null where there is none or it is not known
    - `attempts`: how many there were in this phase
    - `progress`: null, or `step`, `steps`, `percent`, `seconds_per_step`, `seconds_left`, `loss`,
      `updated` (unix); the steps of a shard of the data are its accepted records
    - `cells`: `done` and `all`; null in a chain
    - `log` (path), `lines` (its last ones, of a failed one)
- `jobs`: the other jobs that spend something (samples, measurements, data): as `runs`, without
  `kind`, `phase` and `cells`
- `queue`: jobs in SLURM's queue of which it is not known what they are for: `job`, `state`,
  `reason`, `rule`
"""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

from lockgate import activity, files, gates, phases, pipeline, tools
from lockgate.activity import DONE, RUNNING, WAITING, Seen, Work
from lockgate.data import progress
from lockgate.errors import LockgateError
from lockgate.heavy import RULES
from lockgate.pipeline import ChainPipeline, MatrixPipeline, Pipeline

BLOCKED, TRAINED, EVALUATING = "blocked", "trained", "evaluating"


def read(source: Path) -> Pipeline:
    """The experiment that a configuration's file describes; ends with one message if it is wrong.

    Nothing is looked at but the configuration and the files that it points at.
    """
    return pipeline.read(files.read_yaml(source), str(source), main=False, dryrun=lambda: True)


def works(experiment: Pipeline) -> list[Work]:
    """The jobs that spend something, those of the preview first."""
    if isinstance(experiment, ChainPipeline):
        return _chain_works(experiment)
    assert isinstance(experiment, MatrixPipeline)
    return _matrix_works(experiment)


def _work(
    experiment: Pipeline, rule: str, name: str, after: list[Path], teller: Any = None
) -> Work:
    about, base = RULES[rule], Path(experiment.results)
    document = about.document.format(name)
    return Work(
        rule,
        name,
        experiment.item(document),
        base / "build" / f"{document}.yaml",
        base / about.result.format(name),
        base / about.log.format(name),
        tuple(after),
        teller,
    )


def _matrix_works(experiment: MatrixPipeline) -> list[Work]:
    data = Path(experiment.results, "data/manifest.json")
    tool, runs = experiment.config.training.tool, experiment.matrix.runs
    trainer = tools.get("training", tool, experiment.matrix.source)
    jobs = experiment.jobs
    rules = ("preview_data", "preview_train", "preview_eval")
    found = [_work(experiment, rule, name, []) for rule in rules for name in jobs[rule]]
    found += [_work(experiment, "generate", name, [], progress) for name in jobs["generate"]]
    for run in experiment.runs:
        if runs[run].trained:
            found.append(_work(experiment, "train", run, [data], trainer))
        trained = Path(experiment.results, RULES["train"].result.format(run))
        found.append(_work(experiment, "eval", run, [data, trained]))
    return found


def _chain_works(experiment: ChainPipeline) -> list[Work]:
    found = []
    for rule, names in experiment.jobs.items():
        folder = str(Path(RULES[rule].result).parents[1])
        for name in names:
            step = experiment.stages[name].step
            tool = step.tool if step.tool in tools.names("training") else None
            trainer = tools.get("training", tool, step.id) if tool else None
            after = list(map(Path, experiment.upstream(name, folder)))
            found.append(_work(experiment, rule, name, after, trainer))
    return found


def collect(experiment: Pipeline, source: Path) -> dict[str, Any]:
    """Everything about an experiment, as the module's own words describe it."""
    assert isinstance(experiment, MatrixPipeline | ChainPipeline)
    base, known = Path(experiment.results), {work.name: work for work in works(experiment)}
    name = experiment.config.experiment.name
    seen, others, answered = activity.look(known.values(), name, str(Path.cwd()))
    told = [_gate(experiment.gates, gate) for gate in gates.ORDER]
    closed = next((gate["gate"] for gate in told if not gate["open"]), None)
    if isinstance(experiment, MatrixPipeline):
        runs = _runs(experiment, known, seen, closed)
    else:
        runs = _stages(experiment, known, seen, closed)
    main = ("train", "eval", "stage")
    return {
        "experiment": name,
        "configuration": str(source),
        "results": str(base),
        "time": round(time.time(), 2),
        "snakemake": _snakemake(base / ".lock"),
        "slurm": answered,
        "blocked": experiment.gates.blocked,
        "phases": phases.look(experiment, known.values(), seen, runs),
        "gates": told,
        "runs": runs,
        "jobs": [
            {"name": key, **_facts(known[key], one)}
            for key, one in seen.items()
            if known[key].rule not in main
        ],
        "queue": [
            {
                "job": job.id,
                "state": job.state.lower(),
                "reason": job.reason,
                "rule": re.sub(r"^rule_|_wildcards_.*", "", job.comment),
            }
            for job in others
        ],
    }


def _facts(work: Work, seen: Seen) -> dict[str, Any]:
    """What all jobs have in common."""
    owner, job = seen.owner, seen.job
    return {
        "state": seen.state,
        "reason": seen.reason,
        "job": job.id if job else owner.job if owner else None,
        "node": (job.nodes if job else owner.host if owner else None) or None,
        "pid": owner.pid if owner and not owner.job and seen.live else None,
        "since": owner.began if owner else None,
        "ended": owner.ended if owner else None,
        "attempts": seen.attempts,
        "progress": seen.progress,
        "log": str(work.log),
        "lines": seen.lines,
    }


def _runs(
    experiment: MatrixPipeline, known: dict[str, Work], seen: dict[str, Seen], closed: str | None
) -> list[dict[str, Any]]:
    cells = Counter(cell.run for cell in experiment.matrix.cells)
    found = []
    for run in experiment.matrix.runs.values():
        about: dict[str, Any] = {"name": run.name, "kind": run.kind}
        total = {"done": 0, "all": cells[run.name]}
        if run.name in experiment.matrix.blocked:
            reason = experiment.matrix.blocked[run.name]
            work = Work("train", run.name, "", Path(), Path(), Path())
            facts = _facts(work, Seen(BLOCKED, reason)) | {"log": None}
            found.append({**about, "phase": None, **facts, "cells": total})
            continue
        train, evaluation = seen.get(f"train/{run.name}"), seen[f"eval/{run.name}"]
        trained = train is None or train.state == DONE
        if train is None or (trained and not train.live) or evaluation.live:
            phase, own = "eval", evaluation
        else:
            phase, own = "train", train
        facts = _facts(known[f"{phase}/{run.name}"], own)
        if phase == "eval" and own.state == RUNNING:
            facts["state"] = EVALUATING
        elif phase == "eval" and own.state == WAITING and train:
            facts["state"] = TRAINED
        elif own.state == DONE:
            total["done"] = total["all"]
        _waits(facts, closed)
        found.append({**about, "phase": phase, **facts, "cells": total})
    return found


def _stages(
    experiment: ChainPipeline, known: dict[str, Work], seen: dict[str, Seen], closed: str | None
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    stale: set[str] = set()
    for name, stage in experiment.stages.items():
        key = f"stage/{name}"
        facts = _facts(known[key], seen[key])
        before = [source.stage for source in stage.inputs.values() if source.stage]
        if facts["state"] == DONE and stale & set(before):
            facts |= {"state": WAITING, "reason": "a stage before it is to run again"}
        if facts["state"] != DONE:
            stale.add(name)
        if experiment.gates.blocked:
            facts |= {"state": BLOCKED, "reason": experiment.gates.blocked}
        _waits(facts, closed)
        found.append({"name": name, "kind": "stage", "phase": "stage", **facts, "cells": None})
    return found


def _waits(facts: dict[str, Any], closed: str | None) -> None:
    """Say what a run waits for, where nothing else is said."""
    if facts["state"] in (WAITING, TRAINED) and not facts["reason"] and closed:
        facts["reason"] = f"gate '{closed}'"


def _gate(store: gates.Gates, gate: str) -> dict[str, Any]:
    try:
        state = store.state(gate)
    except LockgateError as error:  # a document that is broken
        reason = f"{error.where}: {error.what}"
        return {"gate": gate, "open": False, "reason": reason, "review": None, "approve": None}
    page = store.results / gates.PAGES[gate]
    waits = not state.open and state.to_approve
    waits = waits and state.reason not in (gates.UNWRITTEN, gates.OUTDATED)
    command = f"mkdir -p {store.approvals} && touch {store.marker(gate)}"
    return {
        "gate": gate,
        "open": state.open,
        "reason": state.reason,
        "review": page.resolve().as_uri() if page.exists() else None,
        "approve": command if waits else None,
    }


def _snakemake(lock: Path) -> int | None:
    """The Snakemake that holds the experiment's lock on this machine.

    The lock is not tried: that would keep out one that starts just then.
    """
    try:
        process = psutil.Process(int(lock.read_text(encoding="utf-8")))
        told = process.create_time() <= lock.stat().st_mtime + 1
        named = any("snakemake" in word for word in process.cmdline())
        here = os.path.realpath(process.cwd()) == os.path.realpath(Path.cwd())
        return process.pid if told and named and here else None
    except (OSError, ValueError, psutil.Error):
        return None
