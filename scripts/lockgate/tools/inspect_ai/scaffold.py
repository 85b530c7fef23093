"""Evaluation without Lockgate: the same evaluation as a program of its own, with own tasks."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import yaml

from lockgate.handover import Handover, Job, PlainRun
from lockgate.imports import with_imports
from lockgate.scaffold.flatten import flatten
from lockgate.tools.inspect_ai import task_file

_HEADER = "# Tasks and settings of the evaluation, for evaluate.py.\n"


def scaffold(runs: list[PlainRun], root: Path) -> Handover:
    """See `Handover`.

    Raises:
        LockgateError: if a task's file is not there, or no Python.
    """
    files = {"evaluate.py": flatten(Path(__file__).with_name("program.py"))}
    own: dict[str, Path] = {}
    folders: dict[Path, str] = {}
    jobs = {}
    for run in runs:
        tasks = [
            _placed(task, number, root, folders, own)
            for number, task in enumerate(run.config["tasks"])
        ]
        config = {
            **run.config,
            "tasks": tasks,
            "measured": [
                {"epoch": epoch, "weights": weights, "tasks": names}
                for epoch, weights, names in run.measured
            ],
        }
        files[run.path] = _HEADER + yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
        path, data, out = map(shlex.quote, (run.path, run.data, run.out))
        command = f'"$PYTHON" evaluate.py {path} --model "$MODEL" --data {data} --out {out}'
        splits = sorted({str(task["split"]) for task in tasks})
        used = {str(task["task"]).rpartition("@")[0] for task in tasks if task["task"]}
        jobs[run.name] = Job(
            command=command + (' --adapter "$ADAPTER"' if run.adapter else ""),
            result=f"{run.out}/scores.json",
            inputs=(run.path, *(f"{run.data}/{split}.jsonl" for split in splits), *sorted(used)),
        )
    judged = any(task.get("judge") for run in runs for task in run.config["tasks"])
    return Handover(files, jobs, imports=("openai",) if judged else (), own=own)


def _placed(
    task: dict[str, Any], number: int, root: Path, folders: dict[Path, str], own: dict[str, Path]
) -> dict[str, Any]:
    """The task with its file in the folder, where the user's own task has one."""
    if task["task"] is None:
        return task
    file, name = task_file(task["task"], root, number)
    folder = folders.setdefault(file.parent, f"tasks{len(folders) + 1}" if folders else "tasks")
    for source in with_imports([file], [file.parent]):
        if source.is_relative_to(file.parent):
            own[f"{folder}/{source.relative_to(file.parent).as_posix()}"] = source
    return {**task, "task": f"{folder}/{file.name}@{name}"}
