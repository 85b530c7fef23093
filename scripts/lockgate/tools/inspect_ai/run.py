"""One run's evaluation: the model loaded once, each task's log, scores and answers."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from inspect_ai import eval_set
from inspect_ai.log import list_eval_logs, read_eval_log
from inspect_ai.model import GenerateConfig, ModelInfo, get_model, set_model_info
from peft import PeftModel
from transformers import AutoTokenizer, GenerationConfig, set_seed
from transformers.utils import logging as transformers_logging

from lockgate import measures
from lockgate.errors import LockgateError
from lockgate.files import digest, file_digest
from lockgate.prompts import PLAIN_TEMPLATE, read_rows
from lockgate.scoring import check_targets
from lockgate.tools.inspect_ai import builtin, cause, task_file

_GRADES = {**builtin.GRADES, "N": 0.0}
_KEPT = ("probabilities", "value", "option")
"""What a built-in scorer says of a sample beside its score."""


def evaluate(
    config: dict[str, Any],
    weights: Path,
    base: Path,
    rows: dict[str, Path],
    logs: Path,
    root: Path,
) -> list[dict[str, Any]]:
    """See `Evaluator.evaluate`; the paths `weights` and `base` are absolute."""
    transformers_logging.disable_progress_bar()
    # It warns that one attempt is one attempt: a rerun is the second.
    logging.getLogger("inspect_ai._eval.evalset").setLevel(logging.ERROR)
    splits = {name: read_rows(rows[name]) for name in {task["split"] for task in config["tasks"]}}
    check_targets(config["tasks"], splits)
    tokenizer = AutoTokenizer.from_pretrained(str(base))
    loaded: list[Any] = []

    def model() -> Any:
        # Loaded once, and not at all where the logs already hold every answer.
        if not loaded:
            loaded.append(_model(config, weights, base, tokenizer))
        return loaded[0]

    with _recovery(logs.absolute()):
        return [
            _run(config, number, rows, splits, logs.absolute(), root, model, tokenizer)
            for number in range(len(config["tasks"]))
        ]


@contextmanager
def _recovery(logs: Path) -> Iterator[None]:
    """Keep what a killed evaluation left to recover from beside its logs, not in the home."""
    before = os.environ.get("XDG_DATA_HOME")
    os.environ["XDG_DATA_HOME"] = str(logs / ".recovery")
    try:
        yield
    finally:
        if before is None:
            del os.environ["XDG_DATA_HOME"]
        else:
            os.environ["XDG_DATA_HOME"] = before


def _model(config: dict[str, Any], weights: Path, base: Path, tokenizer: Any) -> Any:
    adapter = (weights / "adapter_config.json").is_file()
    plain = tokenizer.chat_template is None
    name = (base if adapter else weights).name
    for known in (name, f"hf/{name}"):
        # Unknown names are looked up by loading the model of that name from the Hub.
        set_model_info(known, ModelInfo())
    model = get_model(
        f"hf/{name}",
        config=GenerateConfig(seed=config["seed"]),
        memoize=False,
        model_path=str(base if adapter else weights),
        tokenizer_path=str(base),
        device="cuda:0" if torch.cuda.is_available() else "cpu",
        dtype=config["precision"],
        do_sample=config["temperature"] > 0,
        # The text that training showed; a template brings its own special tokens.
        chat_template=PLAIN_TEMPLATE if plain else tokenizer.get_chat_template(),
        tokenizer_call_args={"add_special_tokens": plain},
    )
    api: Any = model.api
    if adapter:
        api.model = PeftModel.from_pretrained(api.model, str(weights))
    api.model.eval()
    # Greedy means greedy: a base model may ship penalties and the like. It stops at its own end
    # tokens and at the one that training taught.
    ends = api.model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    api.model.generation_config = GenerationConfig(
        eos_token_id=sorted({end for end in [*ends, tokenizer.eos_token_id] if end is not None}),
        pad_token_id=tokenizer.eos_token_id,
        # drawn answers are drawn from all tokens
        **({"top_k": 0} if config["temperature"] > 0 else {}),
    )
    return model


def _run(
    config: dict[str, Any],
    number: int,
    files: dict[str, Path],
    rows: dict[str, list[dict[str, Any]]],
    logs: Path,
    root: Path,
    model: Callable[[], Any],
    tokenizer: Any,
) -> dict[str, Any]:
    """Evaluate one task, or read its finished log."""
    task, key = config["tasks"][number], f"evaluation.tasks[{number}]"
    data = files[task["split"]].absolute()
    total = len(rows[task["split"]])
    identity = {**config, "tasks": task, "data": file_digest(data)}
    target: Any = None
    arguments: dict[str, Any] = {}
    if task["task"] is not None:
        file, name = task_file(task["task"], root, number)
        identity["file"] = file_digest(file)
        target, arguments = f"{file}@{name}", {"dataset": str(data), **task["args"]}
    # Samples are kept by what was asked: other rows or another prompt start a new directory.
    directory = logs / task["name"] / digest(identity)
    log = _complete(directory)
    if log is None:
        if target is None:
            target = builtin.build(config, number, rows[task["split"]], data, model, tokenizer)
        set_seed(config["seed"])
        try:
            _, headers = eval_set(
                target,
                log_dir=str(directory),
                log_dir_allow_dirty=True,  # the unfinished log of a directory since moved
                model=model(),
                task_args=arguments,
                limit=task["limit"],
                max_tokens=task["max_tokens"],
                # Also the size of a batch, which waits two seconds for more when it is not full.
                max_connections=min(config["batch_size"], total, task["limit"] or total),
                temperature=config["temperature"] or None,
                system_message=task.get("system_prompt") or config["system_prompt"],
                retry_attempts=0,
                display="none",
                log_level="error",
                ctl_server=False,
                acp_server=False,
            )
        except Exception as error:
            raise LockgateError(
                f"the task '{task['name']}' failed: {cause(error)}", where=key
            ) from error
        log = _checked(headers, task["name"], key)
    return _result(log, task, key, tokenizer)


def _complete(directory: Path) -> Any | None:
    """The finished log in a directory, or None; a log that cannot be read is put aside."""
    if not directory.is_dir():
        return None
    for info in list_eval_logs(str(directory)):
        try:
            header = read_eval_log(info, header_only=True)
        except ValueError as error:  # as a rule killed while it wrote over the log
            path = Path(info.name.removeprefix("file://"))
            path.rename(f"{path}.bad")
            print(f"{path.name}.bad cannot be read ({cause(error)}): its samples are asked again")
            continue
        done = header.results
        if header.status == "success" and done and done.completed_samples == done.total_samples:
            return read_eval_log(info)
    return None


def _checked(headers: list[Any], name: str, key: str) -> Any:
    """The whole log; the tool reports success by status and counts, not by its exit."""
    if not headers:
        raise LockgateError(f"the task '{name}' wrote no log", where=key)
    log = read_eval_log(headers[0].location)
    results = log.results
    done = results.completed_samples if results else 0
    total = results.total_samples if results else log.eval.dataset.samples
    if log.status == "success" and results and done == total and done > 0:
        return log
    errors = [sample.error.message for sample in log.samples or [] if sample.error]
    reason = log.error.message if log.error else (errors or ["no reason given"])[0]
    raise LockgateError(
        f"the task '{name}' ended as '{log.status}' with {done} of {total} samples: {reason}",
        where=key,
        hint=f"inspect view --log-dir {Path(str(log.location)).parent}",
    )


def _result(log: Any, task: dict[str, Any], key: str, tokenizer: Any) -> dict[str, Any]:
    metric, tokens = "", 0
    scored: dict[Any, dict[str, Any]] = {}
    for sample in log.samples:
        if not sample.scores:
            raise LockgateError(
                f"the task '{task['name']}' gave sample {sample.id} no score",
                where=key,
                hint="give the task a scorer",
            )
        metric, score = next(iter(sample.scores.items()))
        value = score.value
        if isinstance(value, dict):
            part, value = next(iter(value.items()))
            metric = f"{metric}.{part}"
        number = _GRADES.get(value) if isinstance(value, str) else value
        if not isinstance(number, bool | int | float) or not 0 <= number <= 1:
            raise LockgateError(
                f"the task '{task['name']}' scored sample {sample.id} {value!r}: not from 0 to 1",
                where=key,
                hint="its first scorer must give a number from 0 to 1, true or false, or a grade",
            )
        # An answer's own tokens: the usage that a batch reports counts its padding too.
        asked = sample.input if isinstance(sample.input, list) else []
        said = [message.text for message in sample.messages if message.role == "assistant"]
        said = said[sum(message.role == "assistant" for message in asked) :]
        # Tokens that made no valid text come back as more of them, hence the limit.
        counts = (len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in said)
        tokens += sum(min(count, task["max_tokens"]) for count in counts)
        answer = score.answer if score.answer is not None else sample.output.completion
        entry = scored.setdefault(
            sample.id, {"id": sample.id, "scores": [], "answer": answer, "target": sample.target}
        )
        if task["task"] is None:
            entry |= {key: score.metadata[key] for key in _KEPT if key in (score.metadata or {})}
        entry["scores"].append(float(number))  # several, where a task repeats its samples
    for entry in scored.values():
        numbers = entry.pop("scores")
        entry["score"] = sum(numbers) / len(numbers)
    began = min(datetime.fromisoformat(sample.started_at) for sample in log.samples)
    ended = sorted(datetime.fromisoformat(sample.completed_at) for sample in log.samples)
    return {
        "task": task["name"],
        "metric": metric,
        "seconds": (ended[-1] - began).total_seconds(),
        "answered": [round((one - began).total_seconds(), 3) for one in ended],
        "output_tokens": tokens,
        "log": str(log.location).removeprefix("file://"),
        "metrics": measures.of(task["scorer"], list(scored.values())),
        "samples": list(scored.values()),
    }
