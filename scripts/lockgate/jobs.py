"""The jobs that spend something: each checks its approval, locks its directory, writes last."""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lockgate import attempts, cluster, launch, process, tools
from lockgate.data import projection
from lockgate.documents import RECIPE_VERSION
from lockgate.errors import LockgateError
from lockgate.files import (
    digest,
    file_digest,
    read_json,
    read_jsonl,
    read_yaml,
    write_json,
    write_jsonl,
)
from lockgate.gates import require

ROOT = Path(".")


def arguments(description: str | None, *names: str) -> dict[str, Any]:
    """Command line of a job: `--name PATH` for each name, the number of threads, which attempt it
    is, and the `--world` of a training that may be spread.

    Also asks to die with the parent and limits the threads, before anything heavy is imported.
    """
    parser = argparse.ArgumentParser(description=description)
    for name in names:
        kind: Any = int if name in ("records", "shard", "threads") else Path
        kind = str if name == "smoke" else kind
        parser.add_argument(
            f"--{name}",
            type=kind,
            required=True,
            nargs="*" if name in ("models", "weights") else None,
        )
    parser.add_argument("--attempt", type=int, default=1)
    parser.add_argument("--world", type=int, nargs=2, metavar=("NODES", "GPUS"), default=(1, 0))
    parsed = vars(parser.parse_args())
    process.granted.nodes, process.granted.gpus = parsed.pop("world")
    process.granted.attempt = parsed.pop("attempt")
    number = cluster.job_id()
    if number and (job := cluster.given(number)) and job.alone:
        process.granted.job = number
        process.granted.memory_mb, process.granted.minutes = job.memory_mb, job.minutes
    process.die_with_parent()
    process.limit_threads(parsed.get("threads", 1))
    process.watch_memory()
    return parsed


def read_spec(path: Path) -> dict[str, Any]:
    """A built document.

    Raises:
        LockgateError: if this version of Lockgate does not run it, or a file that it was built
            from (a dataset, the user's own task) has changed since.
    """
    spec: dict[str, Any] = read_yaml(path)
    if spec.get("recipe_version") != RECIPE_VERSION:
        raise LockgateError(
            f"recipe_version is {spec.get('recipe_version')}, this Lockgate runs {RECIPE_VERSION}",
            where=str(path),
            hint="delete the file and run the pipeline again",
        )
    for file, known in spec.get("input_files", {}).items():
        if file_digest(file) != known:
            raise LockgateError(
                f"{file} changed after this was built from it",
                where=str(path),
                hint="run the pipeline again",
            )
    return spec


def read_manifests(paths: list[Path]) -> dict[str, dict[str, Any]]:
    """Model manifests by the model's name."""
    return {manifest["name"]: manifest for manifest in map(read_json, paths)}


def item(path: Path, spec: dict[str, Any]) -> str:
    """What an approval must cover before this built document is run: name and digest."""
    return f"{path.parent.name}/{path.stem}:{digest(spec)}"


def check_design(spec: dict[str, Any], design: Path) -> None:
    """The design file must be the one that was approved with its document."""
    if digest(design.read_text(encoding="utf-8")) != spec["design_sha256"]:
        raise LockgateError(
            "the design was edited after it was built",
            where=str(design),
            hint="edit the configuration (data.design or data.script) instead, delete this file "
            "and run again",
        )


def validate_config(spec: Path, out: Path) -> None:
    """Check one built configuration with its tool."""
    document = read_spec(spec)
    if spec.parent.name == "eval":
        tools.get("evaluation", document["tool"], str(spec)).validate(document["config"], ROOT)
    else:
        tools.get("training", document["tool"], str(spec)).validate(document["config"])
    write_json(out, {"item": item(spec, document), "status": "ok"})


def train_run(
    spec: Path,
    model: Path,
    train: Path,
    validation: Path,
    test: Path,
    ledger: Path,
    smoke: str,
    threads: int,
    out: Path,
) -> None:
    """Train one run in a directory keyed by everything that shapes it; continue if it began.

    The rows of `test` are only compared with those to train on.
    """
    document = read_spec(spec)
    require(ledger, "plan", item(spec, document))
    require(ledger, "preview", smoke)
    manifest = read_json(model)
    adapter = tools.get("training", document["tool"], str(spec))
    versions = adapter.versions()
    key = digest([document, manifest["digest"], file_digest(train), file_digest(validation)])
    work = out.parent / key
    name = item(spec, document)
    with attempts.attempt(out, name, f"run {document['run']} is being trained") as earlier:
        train, validation = _own_rows(document, train, validation, test, work)
        base, given = Path(manifest["path"]), world(earlier, name)
        result = adapter.train(document["config"], base, train, validation, work, given)
        checkpoints = [
            {**checkpoint, "path": f"{key}/{checkpoint['path']}"}
            for checkpoint in result["checkpoints"]
        ]
        kept = [out.parent / checkpoint["path"] for checkpoint in checkpoints]
        seconds = {**result["seconds"], "total": process.seconds()}
        write_json(
            out,
            {
                "run": document["run"],
                "kind": "fine-tuned",
                "item": name,
                "digest": key,
                "model": {name: manifest[name] for name in ("name", "digest", "path")},
                "tool": document["tool"],
                "method": "lora" if checkpoints[-1]["adapter"] else "full",
                "versions": versions,
                **result,
                "checkpoints": checkpoints,
                "seconds": {name: round(value, 2) for name, value in seconds.items()},
                "peak_memory_mb": round(process.peak_memory_mb()),
                "disk_mb": round(sum(map(process.disk_mb, kept)), 1),
                **_machine(threads),
                "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            },
        )


def world(earlier: list[attempts.Attempt], name: str) -> launch.World:
    """The processes of a training: micro-batches are smaller where they did not fit before."""
    small = attempts.trailing(earlier, name, attempts.OUT_OF_GPU_MEMORY)
    return launch.World(process.granted.nodes, max(1, process.granted.gpus), 2**small)


def _machine(threads: int) -> dict[str, Any]:
    """What a job ran on: its time says something about jobs on the same."""
    return {
        "threads": threads,
        "gpus": process.gpus(),
        "granted": asdict(process.granted),
    }


def _own_rows(
    document: dict[str, Any], train: Path, validation: Path, test: Path, work: Path
) -> tuple[Path, Path]:
    """The files to train on: the data's own, or those in `work` with what is the run's own."""
    if not document["rows"] and document["train_rows"] is document["train_files"] is None:
        return train, validation
    given = {"train": train, "validation": validation, "test": test}
    parts = {name: read_jsonl(path) for name, path in given.items()}
    made = projection.own_rows(document, parts, document["run"])
    for name in ("train", "validation"):
        write_jsonl(work / f"{name}.jsonl", made[name])
    return work / "train.jsonl", work / "validation.jsonl"


def eval_run(
    spec: Path, trained: Path, test: Path, validation: Path, ledger: Path, threads: int, out: Path
) -> None:
    """Evaluate all cells of one run; logs are keyed by weights, rows and settings."""
    from lockgate import weights

    document = read_spec(spec)
    require(ledger, "plan", item(spec, document))
    manifest = read_json(trained)
    adapter = tools.get("evaluation", document["tool"], str(spec))
    rows = {"test": test, "validation": validation}
    used = {task["split"] for task in document["config"]["tasks"]}
    content = {name: file_digest(path) for name, path in rows.items() if name in used}
    base = Path(manifest["model"]["path"])
    alone = Path(manifest["model"].get("adapter") or base)
    by_epoch = {checkpoint["epoch"]: checkpoint for checkpoint in manifest["checkpoints"]}
    name = item(spec, document)
    with attempts.attempt(out, name, f"run {document['run']} is being evaluated"):
        cells = []
        for part in document["epochs"]:
            epoch, names = part["epoch"], part["tasks"]
            path = alone if epoch is None else trained.parent / by_epoch[epoch]["path"]
            own = manifest["model"]["digest"]
            own = own if epoch is None else [own, weights.weights_digest(path)]
            # the tool keys each task's log by its settings: another task keeps those of the rest
            logs = out.parent / digest([document["tool"], document["rows"], own, content])
            config = document["config"]
            config = {**config, "tasks": [one for one in config["tasks"] if one["name"] in names]}
            asked = dict(rows)
            for split in used if document["rows"] else []:
                made = projection.revise(
                    read_jsonl(rows[split]), document["rows"], str(rows[split])
                )
                asked[split] = logs / f"{split}.jsonl"
                write_jsonl(asked[split], made)
            results = adapter.evaluate(config, path, base, asked, logs, ROOT)
            for result in results:
                scores = [sample["score"] for sample in result["samples"]]
                if not scores:
                    raise LockgateError("no sample was scored", where=result["log"])
                cells.append(
                    {
                        "task": result["task"],
                        "epoch": epoch,
                        "n": len(scores),
                        "score": sum(scores) / len(scores),
                        **result,
                    }
                )
        write_json(
            out,
            {
                "run": document["run"],
                "kind": manifest["kind"],
                "item": name,
                "cells": cells,
                "seconds": {"total": round(process.seconds(), 2)},
                "peak_memory_mb": round(process.peak_memory_mb()),
                **_machine(threads),
                "versions": adapter.versions(),
                "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            },
        )


def untrained_manifest(model: Path, run: str, kind: str, out: Path) -> None:
    """A model that is evaluated as it is: a control, or a checkpoint that was there before."""
    manifest = read_json(model)
    write_json(
        out,
        {
            "run": run,
            "kind": kind,
            "digest": manifest["digest"],
            "model": {name: manifest[name] for name in ("name", "digest", "path", "adapter")},
            "checkpoints": [],
            "losses": [],
            "versions": {},
            "seconds": {"total": 0.0},
        },
    )
