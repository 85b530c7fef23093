"""Phase resolve: each tool, model, file and device as found, or as a numbered prerequisite."""

from __future__ import annotations

import dataclasses
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lockgate import cluster, models, offers, tools, weights
from lockgate.config import Common
from lockgate.data import endpoints, existing, fields, hub, projection, systems
from lockgate.data import records as reading
from lockgate.documents import named, own_rows
from lockgate.errors import LockgateError
from lockgate.files import digest, file_digest, locked, read_json, write_json
from lockgate.groups import check_fields
from lockgate.journal import Journal
from lockgate.launch import World, micro_batches
from lockgate.matrix import Matrix
from lockgate.prompts import asked_text
from lockgate.runs import Run
from lockgate.stages.chain import Chain
from lockgate.stages.checks.context import absent
from lockgate.stages.wishes import architecture

COMMANDS = ("snakemake", "sbatch", "nvidia-smi")


def resolve_tools(matrix: Matrix, journal: Journal) -> dict[str, Any]:
    """Every adapter in use with its versions, and every command with its path and version."""
    config = matrix.config
    used = {
        "data": config.data.tool,
        "training": config.training.tool,
        "evaluation": config.evaluation.tool,
    }
    if config.data.endpoint and config.data.endpoint.server:
        used["server"] = config.data.endpoint.server
    found: dict[str, Any] = {"adapters": {}}
    for kind, name in used.items():
        try:
            adapter = tools.get(kind, name, "config")
            record = {"tool": name, "status": "found", "versions": adapter.versions()}
            if hasattr(adapter, "program"):
                record["program"] = adapter.program(config.data.model_dump())
            found["adapters"][kind] = record
        except LockgateError as error:
            found["adapters"][kind] = {
                "tool": name,
                "status": "missing",
                "detail": error.what,
                "fix": error.hint,
            }
        journal.add("resolve a tool", input=f"{kind}: {name}", result=found["adapters"][kind])
    found["commands"] = commands(journal)
    return found


def commands(journal: Journal) -> dict[str, Any]:
    """Path and version of each command that any experiment may need; None where it is not."""
    found: dict[str, Any] = {}
    for name in COMMANDS:
        path = shutil.which(name)
        record = {"path": path, "version": _version(path) if path else None}
        found[name] = record
        journal.add("resolve a command", command=f"{name} --version", result=record)
    return found


def _version(path: str) -> str | None:
    try:
        done = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = (done.stdout or done.stderr).strip().splitlines()
    return lines[0] if lines and done.returncode == 0 else None


def resolve_resources(matrix: Matrix, found: dict[str, Any], journal: Journal) -> dict[str, Any]:
    """What the experiment needs, each with a status, and the missing ones numbered."""
    config = matrix.config
    records = [
        {"kind": f"{kind} tool", "name": record["tool"], **_status(record)}
        for kind, record in found["adapters"].items()
    ]
    records += [_model(name, matrix) for name in config.models]
    records += _data(matrix)
    if found["adapters"]["data"]["status"] == "found":
        _check_columns(matrix)
    records += _tasks(matrix)
    if config.data.endpoint and not config.data.endpoint.server:
        records.append(_running(matrix))
    machine = measure(config)
    records += _cluster(config, machine, offers.asked(config.resources))
    records += _shared(matrix)
    if config.resources.gpus and not machine["gpus"] and not found["commands"]["sbatch"]["path"]:
        records.append(
            {
                "kind": "device",
                "name": f"{config.resources.gpus} GPUs a job",
                "status": "missing",
                "detail": "no GPU is visible here, and there is no SLURM",
                "fix": "set resources.gpus: 0, or run where there are GPUs",
            }
        )
    return _numbered(records, machine, journal)


def resolve_chain(chain: Chain, journal: Journal) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a chain of stages needs: the runner of each step, models, data, machine.

    Returns:
        The content of tools.json and of resources.json; the latter has `model_files`: by the
        model's path, what its files say.
    """
    found = {"adapters": {}, "commands": commands(journal)}
    records: list[dict[str, Any]] = []
    runners = {one.name: one.runner for one in chain.catalogs.catalogs}
    for step in {stage.step.id: stage.step for stage in chain.stages}.values():
        lacking = tools.get("catalog", runners[step.catalog], chain.source).available(step)
        record = {"kind": "step", "name": step.id, "status": "missing" if lacking else "found"}
        detail, _, fix = lacking.partition(": ")
        told = {"detail": detail, "fix": fix or "see its catalog"}
        records.append(record | (told if lacking else {}))
    files: dict[str, Any] = {}
    for name, entry in chain.config.models.items():
        record = _model(name, chain)
        records.append(record)
        if record.get("path"):
            used = {source.path for wish in chain.wishes for source in wish.given.values()}
            known = [path for path in used if Path(path).resolve() == Path(record["path"])]
            told = {**record, "architecture": architecture(record["path"])}
            files |= dict.fromkeys([*known, str(entry.path)], told)
    for path, probe in chain.probes.items():
        record = {"kind": "data file", "name": path, "status": "found"}
        if absent(path):
            told = {"status": "missing", "detail": "it is not here", "fix": "put it there"}
            records.append(record | told)
        elif probe is None:
            record["status"] = "not checked"
            records.append(record | {"detail": "it holds no rows, or is a Hub id"})
        else:
            records.append(record)
    for index, wish in enumerate(chain.wishes):
        if wish.item.endpoint:
            records.append(_endpoint(wish.item.endpoint, f"stages[{index}].endpoint.url"))
    machine = measure(chain.config)
    records += _cluster(chain.config, machine, offers.asked(chain.config.resources, chain.stages))
    found_here = _numbered(records, machine, journal)
    return found, {**found_here, "model_files": files}


def _numbered(
    records: list[dict[str, Any]], machine: dict[str, Any], journal: Journal
) -> dict[str, Any]:
    """Every record, with the missing ones numbered as prerequisites."""
    prerequisites = [record for record in records if record["status"] == "missing"]
    for number, record in enumerate(prerequisites, 1):
        record["number"] = number
    for record in records:
        journal.add("verify a resource", input=f"{record['kind']}: {record['name']}", result=record)
    journal.add("measure the machine", result=machine, why="the analytical estimates rest on it")
    return {"resources": records, "prerequisites": prerequisites, "machine": machine}


def _cluster(config: Common, machine: dict[str, Any], asks: dict[str, int]) -> list[dict[str, Any]]:
    """Partition, account and limits, where there is SLURM or the configuration wants it."""
    partitions = [cluster.Partition(**one) for one in machine["partitions"]]
    return offers.records(config.resources, partitions, len(machine["gpus"]), asks)


def _status(record: dict[str, Any]) -> dict[str, Any]:
    return {key: record[key] for key in ("status", "detail", "fix", "versions") if key in record}


def _model(name: str, experiment: Matrix | Chain) -> dict[str, Any]:
    record: dict[str, Any] = {"kind": "model", "name": name}
    entry = experiment.config.models[name]
    lacking = models.lacking(name, entry, experiment.source)
    if lacking:
        return {**record, "status": "missing", "detail": lacking.what, "fix": lacking.hint}
    path = models.locate(name, entry, experiment.source)
    if path is None:
        hub = entry.hub
        return {
            **record,
            "status": "not checked",
            "detail": f"{hub} is fetched from the hub by its own job",
        }
    facts = weights.inspect_weights(path)
    if facts["problems"]:
        return {
            **record,
            "status": "missing",
            "detail": "; ".join(facts["problems"]),
            "fix": f"complete {path}",
            **facts,
        }
    return {**record, "status": "found", "path": str(path), **facts}


def _data(matrix: Matrix) -> list[dict[str, Any]]:
    """Files that shape the records: the dataset, seed data, the user's own script."""
    adapter = tools.get("data", matrix.config.data.tool, matrix.source)
    found = {str(one): one for one in adapter.inputs(matrix.config.data.model_dump(), Path("."))}
    records: list[dict[str, Any]] = []
    files = matrix.config.data.files
    dataset = Path(files) if files else None
    if files and hub.is_hub(files):
        try:
            dataset = found[files] = hub.local(files)
        except LockgateError as error:
            lacking = {"status": "missing", "detail": error.what, "fix": error.hint}
            records.append({"kind": "data file", "name": files, **lacking})
    for name, path in found.items():
        record: dict[str, Any] = {"kind": "data file", "name": name, "status": "found"}
        record["bytes"] = path.stat().st_size
        if path == dataset:
            # every row now: an error at the last one would come after the expensive part
            runs = matrix.runs.values()
            prompts = {run.system_prompt for run in runs}
            section, source = matrix.config.data, matrix.source
            own = {digest(one): one for one in (own_rows(run, matrix.config) for run in runs)}
            tasks = [task.model_dump() for task in matrix.config.evaluation.tasks]
            record |= existing.inspect_file(section, path, prompts, source, own.values(), tasks)
            check_fields(matrix.config.evaluation.groups, record["fields"], source)
        records.append(record)
    used: dict[str, list[Run]] = {}
    for run in matrix.runs.values():
        if run.train_files is not None:
            used.setdefault(run.train_files, []).append(run)
    for name, alike in used.items():
        own, file = own_rows(alike[0], matrix.config), Path(name)
        prompts = {run.system_prompt for run in alike}
        systems.check_records(reading.read(file), own["projection"], file, prompts, matrix.source)
        # not `rows`: these are no part of the data that all runs share
        rows = projection.other_rows(own)
        characters = sum(len(asked_text(row) + row["completion"]) for row in rows)
        told: dict[str, Any] = {"rows_to_train_on": len(rows), "characters": characters}
        told["sha256"] = file_digest(file)
        records.append({"kind": "data file", "name": name, "status": "found", **told})
    return records


def _check_columns(matrix: Matrix) -> None:
    """Refuse names of fields that no record will have, where its tool knows that beforehand."""
    adapter = tools.get("data", matrix.config.data.tool, matrix.source)
    section = matrix.config.data.model_dump()
    if not hasattr(adapter, "fields"):
        return
    columns = named(matrix.source, "data", lambda: adapter.fields(section, Path(".")))
    if columns is not None:
        named(matrix.source, "data", lambda: fields.check(section, columns))
        names = [column.name for column in columns]
        check_fields(matrix.config.evaluation.groups, names, matrix.source)


def _tasks(matrix: Matrix) -> list[dict[str, Any]]:
    """Every task, asked of the tool itself: the user's own file imports and has the task."""
    config, records = matrix.config, []
    adapter = tools.get("evaluation", config.evaluation.tool, matrix.source)
    built = {
        task["name"]: {**document["config"], "tasks": [task]}
        for name, document in matrix.documents.items()
        if name.startswith("eval/")
        for task in document["config"]["tasks"]
    }
    for task in config.evaluation.tasks:
        record = {"kind": "task", "name": task.name, "status": "found"}
        try:
            adapter.validate(built[task.name], Path("."))
        except LockgateError as error:
            record |= {"status": "missing", "detail": error.what, "fix": error.hint}
        if task.judge and record["status"] == "found":
            number = config.evaluation.tasks.index(task)
            judge = _endpoint(task.judge, f"evaluation.tasks[{number}].judge.url")
            record |= {key: judge[key] for key in ("status", "detail", "fix") if key in judge}
        records.append(record)
    return records


def _shared(matrix: Matrix) -> list[dict[str, Any]]:
    """Runs whose optimizer steps the processes of a training cannot share equally."""
    asked = matrix.config.resources
    world = World(asked.nodes, max(1, asked.gpus))
    records = []
    for run in matrix.runs.values():
        if run.trained and world.size > 1:
            try:
                chosen = run.parameters
                micro_batches(chosen["batch_size"], chosen["gradient_accumulation"], world)
            except LockgateError as error:
                told = {"detail": error.what, "fix": error.hint}
                records.append({"kind": "batch", "name": run.name, "status": "missing", **told})
    return records


def _running(matrix: Matrix) -> dict[str, Any]:
    """The endpoint that writes the records, by its address or by a name that its tool knows."""
    asked = matrix.config.data.endpoint
    assert asked is not None
    if asked.url:
        return _endpoint(asked, "data.endpoint.url")
    try:
        found = endpoints.running(matrix.config.data.model_dump())
    except LockgateError as error:
        name = asked.provider or asked.gateway
        told = {"status": "missing", "detail": error.what, "fix": error.hint}
        return {"kind": "endpoint", "name": name, **told}
    return _endpoint(found, "data.endpoint")


def _endpoint(endpoint: Any, key: str) -> dict[str, Any]:
    record = {"kind": "endpoint", "name": endpoint.url}
    if endpoint.api_key_env and not os.environ.get(endpoint.api_key_env):
        return {
            **record,
            "status": "missing",
            "detail": f"the environment variable {endpoint.api_key_env} is not set",
            "fix": f"export {endpoint.api_key_env}=...",
        }
    parts = urlsplit(endpoint.url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), timeout=5).close()
    except OSError as error:
        return {
            **record,
            "status": "missing",
            "detail": f"no connection to {parts.hostname}:{port} ({error})",
            "fix": f"start the endpoint, or mend {key}",
        }
    return {**record, "status": "found", "detail": "accepts connections"}


def measure(config: Common) -> dict[str, Any]:
    """Cores, memory, free disk, GPUs and the measured matrix speed of this machine."""
    results = config.results
    results.mkdir(parents=True, exist_ok=True)
    gpus: list[str] = []
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
        done = subprocess.run(query, capture_output=True, text=True, check=False)
        gpus = done.stdout.strip().splitlines() if done.returncode == 0 else []
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "memory_mb": round(pages / 1e6),
        "free_disk_mb": round(shutil.disk_usage(results).free / 1e6),
        "gpus": gpus,
        "partitions": [dataclasses.asdict(one) for one in cluster.partitions()],
        "cpu_gflops": _gflops(config.cache),
    }


def _gflops(cache: Path) -> float:
    """Matrix multiplication speed in GFLOP/s (float32, best of five), measured once a host.

    Kept in the cache: a busy moment must not change an approved estimate.
    """
    import numpy

    path = cache / f"machine-{socket.gethostname()}-{len(os.sched_getaffinity(0))}.json"
    with locked(path.with_suffix(".lock")):
        if not path.exists():
            size, best = 1024, float("inf")
            matrix = numpy.random.default_rng(0).random((size, size), dtype=numpy.float32)
            for _ in range(5):
                start = time.perf_counter()
                matrix @ matrix
                best = min(best, time.perf_counter() - start)
            write_json(path, {"gflops": round(2 * size**3 / best / 1e9, 1)})
    return float(read_json(path)["gflops"])
