"""Evaluation with Inspect: its eval sets, logs and Hugging Face provider, greedy decoding."""

from __future__ import annotations

import importlib.util
import os
import sys
import traceback
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

from lockgate.errors import LockgateError
from lockgate.files import digest
from lockgate.handover import Handover, PlainRun
from lockgate.tools import installed

_PACKAGES = ("inspect_ai", "transformers", "torch", "peft")


class _Inspect:
    kind = "evaluation"
    batch_wait = 2.0

    def versions(self) -> dict[str, str]:
        return installed(_PACKAGES, "evaluation.tool", "pip install inspect-ai peft")

    def render(self, evaluation: dict[str, Any]) -> dict[str, Any]:
        return {
            "precision": evaluation["precision"],
            "system_prompt": evaluation["system_prompt"],
            "batch_size": evaluation["batch_size"],
            "seed": evaluation["seed"],
            "temperature": evaluation.get("temperature", 0.0),
            "tasks": [dict(task) for task in evaluation["tasks"]],
        }

    def inputs(self, evaluation: dict[str, Any], root: Path) -> list[Path]:
        files = []
        for number, task in enumerate(evaluation["tasks"]):
            if task["task"] is not None:
                file, _ = task_file(task["task"], root, number)
                if file not in files:
                    files.append(file)
        return files

    def validate(self, config: dict[str, Any], root: Path) -> None:
        for number, task in enumerate(config["tasks"]):
            if task["task"] is not None:
                file, name = task_file(task["task"], root, number)
                _check_task(file, name, task["args"], f"evaluation.tasks[{number}]")
            if task.get("judge"):
                judge_key(task["judge"], number)

    def evaluate(
        self,
        config: dict[str, Any],
        weights: Path,
        base: Path,
        rows: dict[str, Path],
        logs: Path,
        root: Path,
    ) -> list[dict[str, Any]]:
        from lockgate.tools.inspect_ai import run

        return run.evaluate(config, weights.absolute(), base.absolute(), rows, logs, root)

    def scaffold(self, runs: list[PlainRun], root: Path) -> Handover:
        from lockgate.tools.inspect_ai import scaffold

        return scaffold.scaffold(runs, root)


def task_file(spec: str, root: Path, number: int) -> tuple[Path, str]:
    """The file and the name of `file.py@name`, the number-th task of the configuration."""
    path, _, name = spec.rpartition("@")
    file = (root / path).absolute()
    if not file.is_file():
        raise LockgateError(
            f"the task file {path} does not exist",
            where=f"evaluation.tasks[{number}].task",
            hint=f"it is looked for in {root}; the form is file.py@name",
        )
    return file, name


def judge_key(judge: dict[str, Any], number: int) -> str:
    """The key of the judge of the number-th task; one that needs none gets a word.

    Raises:
        LockgateError: if its environment variable is not set.
    """
    name = judge["api_key_env"]
    if name is not None and not os.environ.get(name):
        raise LockgateError(
            f"the environment variable {name} is not set",
            where=f"evaluation.tasks[{number}].judge.api_key_env",
            hint=f"export {name}=... before the pipeline is started",
        )
    return os.environ[name] if name else "none"


def _check_task(file: Path, name: str, args: dict[str, Any], key: str) -> None:
    """Import the user's file, and see that its task takes the arguments it will get."""
    module_name = f"_lockgate_task_{digest(str(file))}"
    spec = importlib.util.spec_from_file_location(module_name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(file.parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise LockgateError(
            f"{file.name} does not import: {cause(error)}",
            where=f"{key}.task",
            hint=f"try: python {file}",
        ) from error
    finally:
        sys.path.remove(str(file.parent))
    tasks = [n for n, value in vars(module).items() if _is_task(value)]
    if name not in tasks:
        raise LockgateError(
            f"{file.name} has no task '{name}'",
            where=f"{key}.task",
            hint=f"its tasks (functions with @task): {', '.join(tasks) or 'none'}",
        )
    accepted = signature(getattr(module, name)).parameters
    if any(parameter.kind is Parameter.VAR_KEYWORD for parameter in accepted.values()):
        return
    if "dataset" not in accepted:
        raise LockgateError(
            f"the task '{name}' of {file.name} takes no argument 'dataset'",
            where=f"{key}.task",
            hint="it gets the path of the rows (JSON Lines of id, prompt, completion)",
        )
    for arg in args:
        if arg not in accepted:
            raise LockgateError(
                f"the task '{name}' of {file.name} takes no argument '{arg}'",
                where=f"{key}.args.{arg}",
                hint=f"it takes: {', '.join(accepted)}",
            )


def _is_task(value: Any) -> bool:
    info = getattr(value, "__registry_info__", None)
    return getattr(info, "type", None) == "task"


def cause(error: BaseException) -> str:
    """What was raised and where: this is the user's own code, so the line helps."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"


ADAPTER = _Inspect()
