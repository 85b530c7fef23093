"""One training run with torchtune: rows as tokens, the recipe, its epochs and its metrics."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

from lockgate.errors import LockgateError, Stopped
from lockgate.files import (
    digest,
    file_digest,
    read_json,
    write_json,
    write_jsonl,
)
from lockgate.launch import ALONE, World
from lockgate.prompts import read_rows, tokenize_row
from lockgate.tools.torchtune import architectures, command, options
from lockgate.weights import inspect_weights, weights_digest

_RESULT = "result.json"
_INPUTS = "inputs.json"
_STEPS = "steps.json"
_LAST = 20  # steps whose median stands for the next ones
# What an adapter's directory holds beside its weights; the model's own files stay with the base.
_NOT_OF_ADAPTERS = ("config.json", "generation_config.json", "README.md")


def train(
    config: dict[str, Any],
    base: Path,
    train: Path,
    validation: Path | None,
    out: Path,
    world: World = ALONE,
) -> dict[str, Any]:
    """See `Trainer.train`; the paths `base` and `out` are absolute."""
    given = config
    config, world = command.shared(config, world)
    if validation is not None and validation.stat().st_size == 0:
        validation = None
    command.check_files(config)
    work = out / "work"
    inputs: dict[str, Any] = {
        "config": digest(given),
        "model": weights_digest(base),
        "train": file_digest(train),
        "validation": file_digest(validation) if validation else None,
    }
    if not given["recipe"]["processes"] and world.size > 1:
        # a recipe for one process does not read the optimizer's state of one for several
        inputs["several"] = True
    if (out / _INPUTS).exists() and read_json(out / _INPUTS) == inputs:
        result = _finished(out)
        if result is not None:
            shutil.rmtree(work, ignore_errors=True)
            return result
    else:
        for old in (work, *out.glob("epoch-*")):
            shutil.rmtree(old, ignore_errors=True)
        (out / _RESULT).unlink(missing_ok=True)
        write_json(out / _INPUTS, inputs)
    try:
        result = _train(config, base, train, validation, out, work, world)
    except Stopped as error:
        told = f"training was stopped; {_epochs(work)} of {config['settings']['epochs']} epochs"
        raise Stopped(f"{told} are complete", where=error.where, hint=error.hint) from None
    for name in ("config.yaml", "tune.log"):  # what ran, and what it said
        if (work / name).exists():
            os.replace(work / name, out / name)
    write_json(out / _RESULT, result)
    shutil.rmtree(work)
    return result


def _finished(out: Path) -> dict[str, Any] | None:
    """The result of a run that has ended, if its models are still there."""
    if not (out / _RESULT).exists():
        return None
    result: dict[str, Any] = read_json(out / _RESULT)
    whole = all((out / checkpoint["path"]).is_dir() for checkpoint in result["checkpoints"])
    return result if whole else None


def _train(
    config: dict[str, Any],
    base: Path,
    train: Path,
    validation: Path | None,
    out: Path,
    work: Path,
    world: World,
) -> dict[str, Any]:
    started = time.time()
    settings, lora = config["settings"], config["method"] == "lora"
    about = architectures.builder(base, lora, config["max_length"])
    rows, truncated, pad_id = _tokens(train, base, config)
    write_jsonl(work / "tokens.jsonl", rows)
    own_data = "dataset" in settings
    size = settings["batch_size"] * settings["gradient_accumulation_steps"] * world.size
    steps = None if own_data else len(rows) // size
    if steps == 0:
        raise LockgateError(
            f"{len(rows)} rows do not fill one optimizer step of {size} (torchtune drops the rest)",
            where=str(train),
            hint="lower training.parameters.batch_size or gradient_accumulation, or add rows",
        )
    device = "cuda" if command.cuda() else "cpu"
    if device == "cpu" and config["recipe"]["name"] in options.DISTRIBUTED:
        raise LockgateError(
            f"the recipe {config['recipe']['name']} needs GPUs, and torchtune sees none here",
            where=f"{options.KEY}.extra",
            hint="remove nproc_per_node and recipe, ask for one GPU, or run where there are GPUs",
        )
    epochs = settings["epochs"]
    done = _epochs(work)
    entries = _metrics(work)
    resumed = read_json(work / f"epoch-{done - 1}" / "step.json")["step"] if done else 0
    # Of an epoch that a kill cut short nothing is kept.
    entries = [entry for entry in entries if entry["step"] <= resumed]
    began, saving = started, 0.0
    if done < epochs:
        write_jsonl(work / "metrics.jsonl", entries)
        write_json(work / _STEPS, steps and steps * epochs)
        weights = sorted(path.name for path in base.glob("*.safetensors"))
        resume = work / f"epoch-{done - 1}" if done else None
        file = command.render(
            config, work, about, base, weights, device, train, resume, resumed, steps, pad_id, size
        )
        command.launch(config, file, work / "tune.log", world)
        saving = sum(entry["saving"] for entry in _lines(work) if "saving" in entry)
        entries = _metrics(work)
        new = [entry for entry in entries if entry["step"] > resumed]
        began = new[0]["time"] - new[0]["seconds"] if new else started
    if _epochs(work) != epochs or len(entries) % epochs or not entries:
        raise LockgateError(
            f"training ended after {_epochs(work)} of {epochs} epochs and {len(entries)} steps",
            where=str(work / "tune.log"),
            hint="run it again: it continues after its last complete epoch",
        )
    per_epoch = len(entries) // epochs
    for epoch in range(epochs):
        _export(work / f"epoch-{epoch}", out / f"epoch-{epoch}", base, config)
    judged = time.time()
    held = _validation(config, base, validation, out, work) if validation else {}
    spent = {"save": saving, "validation": time.time() - judged}
    parameters = inspect_weights(base)["parameters"]
    trainable = parameters
    if lora:
        trainable = inspect_weights(out / f"epoch-{epochs - 1}")["parameters"]
    return {
        "checkpoints": [
            {
                "epoch": epoch,
                "step": (epoch + 1) * per_epoch,
                "path": f"epoch-{epoch}",
                "adapter": lora,
            }
            for epoch in range(epochs)
        ],
        "losses": [
            {
                "step": entry["step"],
                "epoch": entry["step"] / per_epoch,
                "loss": entry["loss"],
                "validation": held.get(entry["step"] // per_epoch - 1)
                if entry["step"] % per_epoch == 0
                else None,
            }
            for entry in entries
        ],
        "steps": len(entries),
        # the first process counts its own tokens
        "tokens": sum(entry["tokens"] for entry in entries) * world.size,
        "seconds": {
            "load": began - started,
            "train": sum(entry["seconds"] for entry in entries),
            **spent,
        },
        "step_seconds": [entry["seconds"] for entry in entries if entry["step"] > resumed],
        "trainable_parameters": trainable,
        "parameters": parameters,
        "truncated_rows": truncated,
        "gpu_memory_mb": max(entry["gpu_memory_mb"] for entry in entries) or None,
        "resumed_from_step": resumed,
    }


def _tokens(
    path: Path, base: Path, config: dict[str, Any]
) -> tuple[list[dict[str, list[int]]], int, int]:
    """Rows of `tokens` and `labels` (the prompt's are -100), how many were cut, and the token
    that pads.

    Raises:
        LockgateError: if no row has anything left to learn.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(base))
    limit, made, truncated = config["max_length"], [], 0
    for row in read_rows(path):
        ids, prompt = tokenize_row(tokenizer, row, config["system_prompt"])
        truncated += len(ids) > limit
        if prompt < limit:  # else nothing of the answer is left to learn
            labels = [-100] * prompt + ids[prompt:]
            made.append({"tokens": ids[:limit], "labels": labels[:limit]})
    if not made:
        raise LockgateError(
            f"in every row the prompt alone fills max_length ({limit} tokens)",
            where=str(path),
            hint="raise training.parameters.max_length",
        )
    pad = tokenizer.pad_token_id
    return made, truncated, tokenizer.eos_token_id if pad is None else pad


def _epochs(work: Path) -> int:
    """Number of complete epochs; the last one can be continued from unless it is the final."""
    count = 0
    while (work / f"epoch-{count}").is_dir():
        count += 1
    return count


def _metrics(work: Path) -> list[dict[str, Any]]:
    """What the recipe wrote of each step, in order."""
    return [entry for entry in _lines(work) if "step" in entry]


def _lines(work: Path) -> list[dict[str, Any]]:
    """Lines of the metrics; not one that a kill cut short."""
    file = work / "metrics.jsonl"
    lines = file.read_text(encoding="utf-8").split("\n")[:-1] if file.exists() else []
    return [json.loads(line) for line in lines]


def progress(out: Path) -> dict[str, Any] | None:
    """See `Trainer`; None: no step is done yet, or how many there will be is not known."""
    try:
        steps = json.loads((out / "work" / _STEPS).read_text(encoding="utf-8"))
        done = _metrics(out / "work")
    except (OSError, ValueError):
        return None
    if not done or not isinstance(steps, int):
        return None
    return {
        "step": done[-1]["step"],
        "steps": steps,
        "seconds_per_step": statistics.median(entry["seconds"] for entry in done[-_LAST:]),
        "loss": done[-1]["loss"],
        "updated": done[-1]["time"],
    }


def _export(source: Path, target: Path, base: Path, config: dict[str, Any]) -> None:
    """An epoch's model as PEFT or transformers load it; it appears whole."""
    if target.is_dir():
        return
    temporary = target.with_name(f".{target.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    lora = config["method"] == "lora"
    left = shutil.ignore_patterns("*.pt", "step.json", *(_NOT_OF_ADAPTERS if lora else ()))
    shutil.copytree(source, temporary, ignore=left, copy_function=_link)
    if lora:
        note = read_json(temporary / "adapter_config.json")
        model = config["settings"]["model"]
        note |= {
            "base_model_name_or_path": str(base),
            "task_type": "CAUSAL_LM",
            "lora_dropout": model["lora_dropout"],
            "use_dora": bool(model.get("use_dora", False)),
        }
        (temporary / "adapter_config.json").unlink()  # perhaps a link
        write_json(temporary / "adapter_config.json", note)
    else:
        note = read_json(temporary / "config.json")
        note["dtype"] = config["precision"]
        note.pop("torch_dtype", None)
        (temporary / "config.json").unlink()
        write_json(temporary / "config.json", note)
    os.replace(temporary, target)


def _validation(
    config: dict[str, Any], base: Path, path: Path, out: Path, work: Path
) -> dict[int, float]:
    """Loss on held-out rows after each epoch, which torchtune's recipes do not measure."""
    import torch
    from peft import PeftModel
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        DataCollatorForSeq2Seq,
        Trainer,
        TrainingArguments,
    )
    from transformers.utils import logging

    logging.disable_progress_bar()
    rows, _, _ = _tokens(path, base, config)
    held = [{"input_ids": row["tokens"], "labels": row["labels"]} for row in rows]
    tokenizer: Any = AutoTokenizer.from_pretrained(str(base))
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    settings = TrainingArguments(
        output_dir=str(work / "validation"),
        per_device_eval_batch_size=config["batch_size"],
        use_cpu=not torch.cuda.is_available(),
        report_to="none",
        disable_tqdm=True,
    )
    if settings.n_gpu > 1:  # the batches, and with them the mean, would be larger
        settings._n_gpu = 1
    found = {}
    for epoch in range(config["settings"]["epochs"]):
        weights = out / f"epoch-{epoch}"
        source = base if config["method"] == "lora" else weights
        model: Any = AutoModelForCausalLM.from_pretrained(
            str(source), dtype=getattr(torch, config["precision"])
        )
        if config["method"] == "lora":
            model = PeftModel.from_pretrained(model, str(weights))
        judge = Trainer(model=model, args=settings, data_collator=DataCollatorForSeq2Seq(tokenizer))
        found[epoch] = float(judge.evaluate(held)["eval_loss"])  # type: ignore[arg-type]
    return found


def _link(source: str, target: str) -> None:
    """Share a file's content where the file system can: weights are large."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
