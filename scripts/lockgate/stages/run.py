"""The job that runs one stage: its command, and what it left behind."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from lockgate import attempts, catalog, jobs, process, tools
from lockgate.catalog import Catalogs
from lockgate.catalog.model import Step
from lockgate.errors import LockgateError, Stopped
from lockgate.files import digest, read_yaml, write_json, write_yaml
from lockgate.gates import require
from lockgate.launch import World, stop_signals, wait
from lockgate.stages import nested, outputs
from lockgate.stages.checks.context import absent
from lockgate.stages.model import RESULTS
from lockgate.stages.wishes import digests

ROOTS = "LOCKGATE_ROOTS"
"""Variable in which the pipeline tells its jobs where the catalogs are (`name=path`, by `:`)."""


def run_stage(spec: Path, config: Path, ledger: Path, smoke: str, threads: int, out: Path) -> None:
    """Run a stage in its own directory, and write its manifest once its outputs are there.

    Args:
        spec: the built document.
        config: the step's configuration that was built with it.
        ledger: the approvals.
        smoke: the item of the reduced run that the user has seen; empty: this is that run.
        threads: CPU threads of the job.
        out: the manifest.

    Raises:
        Stopped: if it was told to stop: its command was told by SIGTERM, and may have saved.
        LockgateError: if it is not approved, if its command fails, or if the command succeeds
            and the outputs are not there all the same.
    """
    document = jobs.read_spec(spec)
    for path, known in document["data_files"].items():
        if digests(path, Path()).get(path) != known:
            raise LockgateError(
                f"{path} changed after this was built from it",
                where=str(spec),
                hint="run the pipeline again",
            )
    for source in document["inputs"].values():
        if source["stage"] is None and absent(source["path"]):
            raise LockgateError(
                f"{source['path']} is not here",
                where=str(spec),
                hint=f"put the {source['type']} of stage {document['stage']} there",
            )
    item = f"{spec.parent.name}/{spec.stem}:{digest(document)}"
    require(ledger, "plan", item)
    if smoke:
        require(ledger, "preview", smoke)
    results = spec.parents[2].resolve()
    found = _catalog(document["catalog"], str(spec))
    step = found.step(document["step"], str(spec))
    if step.digest != document["step_digest"]:
        raise LockgateError(
            f"the step {step.id} changed after this was built",
            where=str(step.directory),
            hint="run the pipeline again",
        )
    runner = tools.get("catalog", found.catalogs[0].runner, str(spec))
    if lacking := runner.available(step):
        raise LockgateError(f"{step.id} cannot run here: {lacking}", where=str(spec))
    work = local(document["directory"], results)
    with attempts.attempt(out, item, f"stage {document['stage']} is running"):
        final = work / "config.yaml"
        write_yaml(final, settle(document, config, results), f"Made from {config} at the start")
        command = _command(runner, step, final, document)
        started = time.time()
        with stop_signals() as stopping:
            variables = {"OMP_NUM_THREADS": str(threads)}
            place = runner.directory(step, Path.cwd())
            status = wait(command, stopping, variables, cwd=place, saves=False)
        seconds = round(time.time() - started, 2)
        if stopping.is_set():  # whatever its status: it may have ended with half of the work
            raise Stopped(
                f"{step.id} was stopped",
                where=str(final),
                hint="run the pipeline again: the stage continues in its directory",
            )
        if status:
            raise LockgateError(
                f"{step.id} ended with status {status}; its own words are above",
                where=str(final),
                hint="mend it and run the pipeline again: the stage continues in its directory",
            )
        made = {kind: local(path, results) for kind, path in document["outputs"].items()}
        records = outputs.verify(step, made)
        faults = [f"{record['type']}: {text}" for record in records for text in record["problems"]]
        if faults:
            raise LockgateError(
                f"{step.id} ended with status 0, but {'; '.join(faults)}",
                where=str(work),
                hint="look into the step's log; a status alone is not trusted",
            )
        write_json(
            out,
            {
                "stage": document["stage"],
                "step": step.id,
                "item": item,
                "command": command,
                "directory": str(work),
                "inputs": document["inputs"],
                "outputs": records,
                "seconds": seconds,
                "peak_memory_mb": round(process.peak_memory_mb()),
                "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            },
        )


def _command(runner: Any, step: Step, final: Path, document: dict[str, Any]) -> list[str]:
    """The step's command; where its runner starts too few processes, one that starts them all."""
    world = World(document["nodes"], max(1, document["gpus"]))
    limit, profile = runner.local_processes, document["profile"]
    enough = limit is None or profile or world.size <= limit
    unknown = "" if enough else runner.alone(step, world)
    if unknown:  # the plan said so, too
        told = f"{limit} process for {world.nodes} nodes x {world.processes} GPUs: {unknown}"
        print(f"WARNING: {step.id} starts {told}", flush=True)
    if enough or unknown:
        command: list[str] = runner.command(step, final, profile, False)
        return command
    # its own program knows no `defaults`
    write_yaml(final, nested.load(final), "The whole configuration, made at the start")
    spread: list[str] = runner.spread(step, final, world)
    return spread


def local(path: str, results: Path) -> Path:
    """A planned path on this machine."""
    return Path(path.replace(RESULTS, str(results)))


def _catalog(name: str, where: str) -> Catalogs:
    """The catalog of that name, from where the pipeline that started this job found it."""
    roots = dict(pair.split("=", 1) for pair in os.environ.get(ROOTS, "").split(":") if pair)
    if name not in roots:
        raise LockgateError(
            f"where the catalog '{name}' is, is not known here",
            where=where,
            hint=f"the pipeline sets {ROOTS}; by hand: {ROOTS}={name}=/path/to/it",
        )
    return catalog.merge([catalog.load_catalog(Path(roots[name]), name)])


def settle(document: dict[str, Any], config: Path, results: Path) -> dict[str, Any]:
    """The built configuration with what is only known once the earlier stages are done.

    Also writes the list of data sets for a step that wants one in place of a path.

    Raises:
        LockgateError: if an input that an earlier stage makes is not there.
    """
    settled = outputs.resolve(read_yaml(config), document["inputs"], results)
    for kind, blend in document["blends"].items():
        here = Path(blend["path"])
        path = str(here.resolve()) if here.exists() else blend["path"]
        source = {kind: document["inputs"][kind]}
        entry = outputs.resolve(outputs.placed({"path": path}, results), source, results)
        write_json(
            local(blend["file"], results), {"datasets": [{"name": kind, **entry, "weight": 1.0}]}
        )
    return settled
