"""The built-in steps, each run by itself: one YAML file in, one tool's work, its outputs.

`workflow/catalog/<category>/<step>/step.py` says which function and which tool. All that a step
writes is below its `output` directory; run again, it continues where it was interrupted.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lockgate import files, models, process, tools, weights
from lockgate.config import Model, Parameters
from lockgate.data import endpoints, projection, splits
from lockgate.data.records import SPLIT
from lockgate.errors import LockgateError, entry
from lockgate.stages import conversations
from lockgate.stages.builtin_settings import (
    DataSettings,
    EvalSettings,
    TrainSettings,
    output,
    read,
)


def main(step: str, run: Callable[..., None], **fixed: str) -> None:
    """Command line of a step: `step.py --config FILE.yaml`.

    Args:
        step: the step's own file.
        run: called with the configuration's path, the step's directory and `fixed`.
        fixed: what the step itself decides, like its tool.
    """
    parser = argparse.ArgumentParser(description=f"Run the step {Path(step).parent.name}.")
    parser.add_argument("--config", type=Path, required=True, help="YAML file, see config/")
    config = parser.parse_args().config
    process.limit_threads(_threads())
    entry(run)(config, Path(step).resolve().parent, **fixed)


def make_data(config: Path, step: Path, tool: str) -> None:
    """Make or read records, and write them as rows: rows.jsonl, or one file a split."""
    settings = read(config, step, DataSettings)
    adapter = tools.get("data", tool, str(config))
    sources = [settings.files, settings.seed_rows, settings.script]
    out = output(settings.output, sources, config)
    work = out / "work"
    document = {**settings.model_dump(), "shards": 1, "preview_records": 1}
    manifests: dict[str, dict[str, Any]] = {}
    if settings.endpoint and settings.endpoint.server:
        name = Path(settings.endpoint.model).stem
        manifests[name] = {"source_file": settings.endpoint.model}
        document["endpoint"]["model"] = name
    if settings.seed_rows:
        document["design"] = document["design"] or {}
        source = {"seed_type": "local", "path": settings.seed_rows}
        document["design"].setdefault("seed_config", {"source": source})
    design = work / adapter.design_name
    started = time.time()
    with files.locked(out / ".lock", f"{out} is being written", "wait for it"):
        with _about(config):
            files.write_text(design, adapter.render(document, Path.cwd()))
            adapter.inputs(document, Path.cwd())
            serving = endpoints.serving(document, manifests, _threads(), work / "server.log")
            with serving as running:
                adapter.validate(design, document, running, work)
                records = adapter.generate(design, document, 0, running, work)
            records = _first(records, settings.limit)
            rows = _rows(records, settings, settings.files or str(config))
            parts, alike = {"rows": rows}, splits.labels(rows, settings.similarity)
            if settings.splits:
                shares, near = settings.splits.model_dump(), settings.similarity
                parts = splits.split(rows, shares, settings.seed, near, settings.group, alike)
        for name, part in parts.items():
            files.write_jsonl(out / f"{name}.jsonl", [row["row"] for row in part])
        made = {name: len(part) for name, part in parts.items()}
        report = {
            "tool": tool,
            "versions": adapter.versions(),
            "records": len(rows),
            "duplicates": splits.duplicates(rows),
            "near_duplicates": splits.near_duplicates(rows, alike),
        }
        seconds = round(time.time() - started, 2)
        files.write_json(out / "data.json", {**report, "rows": made, "seconds": seconds})
        shutil.rmtree(work)
    print(f"{out}: " + ", ".join(f"{count} {name}" for name, count in made.items()), flush=True)


def train(config: Path, step: Path, tool: str, method: str) -> None:
    """Train, and keep the last epoch: an adapter in `adapter`, a whole model in `model`."""
    settings = read(config, step, TrainSettings)
    adapter = tools.get("training", tool, str(config))
    sources = [settings.model, settings.train, settings.validation]
    out = output(settings.output, sources, config)
    work = out / "work"
    rows, system = conversations.read_turns(
        settings.train, f"{config}: train", settings.system_prompt, settings.limit
    )
    held_out: list[dict[str, Any]] = []
    if settings.validation:
        held_out, own = conversations.read_turns(
            settings.validation, f"{config}: validation", settings.system_prompt, settings.limit
        )
        if own != system:
            raise LockgateError(
                f"its system message is not that of {settings.train}", where=settings.validation
            )
    values = settings.model_dump()
    parameters = {key: values[key] for key in Parameters.model_fields} | {"method": method}
    spec = {"parameters": parameters, "seed": settings.seed, "system_prompt": system}
    with _about(config):
        versions, built = adapter.versions(), adapter.render(spec)
        adapter.validate(built)
    base = prepare(settings.model, f"{config}: model")
    target = out / ("adapter" if method == "lora" else "model")
    report = out / "training.json"
    key = files.digest([built, base["digest"], rows, held_out, versions])
    with files.locked(out / ".lock", f"{out} is being written", "wait for it"):
        if target.is_dir() and report.exists() and files.read_json(report)["digest"] == key:
            print(f"{target}: it is there already", flush=True)
            return
        report.unlink(missing_ok=True)
        for name, part in {"train": rows, "validation": held_out}.items():
            files.write_jsonl(work / f"{name}.jsonl", part)
        with _about(config):
            paths = (work / "train.jsonl", work / "validation.jsonl")
            result = adapter.train(built, Path(base["path"]), *paths, work / "run")
        with replacing(target) as new:
            last = work / "run" / result["checkpoints"][-1]["path"]
            shutil.copytree(last, new, copy_function=_link, dirs_exist_ok=True)
        kept = {name: value for name, value in result.items() if name != "checkpoints"}
        model = {"name": settings.model, "path": base["path"], "digest": base["digest"]}
        report_of = {"digest": key, "tool": tool, "method": method, "versions": versions}
        files.write_json(report, {**report_of, "model": model, "rows": len(rows), **kept})
        shutil.rmtree(work)
    losses = [entry["loss"] for entry in result["losses"]]
    print(f"{target}: {result['steps']} steps, loss {losses[0]:.3g} to {losses[-1]:.3g}")


def evaluate(config: Path, step: Path, tool: str) -> None:
    """Measure a model, or an adapter on its base, on held-out rows: scores.json and logs."""
    settings = read(config, step, EvalSettings)
    adapter = tools.get("evaluation", tool, str(config))
    out = output(settings.output, [settings.model, settings.base, settings.rows], config)
    rows, system = conversations.read_turns(
        settings.rows, f"{config}: rows", settings.system_prompt, settings.limit
    )
    trained = Path(settings.model).expanduser()
    if (trained / "adapter_config.json").is_file():
        base = adapter_base(trained, settings.base, f"{config}: base")
    else:
        trained = base = Path(prepare(settings.model, f"{config}: model")["path"])
    spec = {**settings.model_dump(), "system_prompt": system}
    with _about(config):
        versions, built = adapter.versions(), adapter.render(spec)
        adapter.inputs(spec, Path.cwd())
        adapter.validate(built, Path.cwd())
    with files.locked(out / ".lock", f"{out} is being written", "wait for it"):
        held_out = out / "rows.jsonl"
        files.write_jsonl(held_out, rows)
        logs = out / "logs" / files.digest([built, weights.weights_digest(trained), rows])
        with _about(config):
            splits = {"test": held_out, "validation": held_out}
            results = adapter.evaluate(built, trained, base, splits, logs, Path.cwd())
        scored = []
        for result in results:
            scores = [sample["score"] for sample in result["samples"]]
            if not scores:
                raise LockgateError("no sample was scored", where=result["log"])
            mean = {"n": len(scores), "score": sum(scores) / len(scores)}
            scored.append({**result, **mean, "log": os.path.relpath(result["log"], out)})
        about = {"model": settings.model, "base": str(base), "tool": tool, "versions": versions}
        files.write_json(out / "scores.json", {**about, "tasks": scored})
    for result in scored:
        print(f"{out}: {result['task']} {result['score']:.3f} of {result['n']} rows", flush=True)


def prepare(model: str, where: str) -> dict[str, Any]:
    """One local Hugging Face directory of a model: see `lockgate.models.prepare`.

    Args:
        model: a directory, a `.gguf` file, or a Hub id (`organization/name`).
        where: configuration file and key, for messages.
    """
    there = Path(model).expanduser().exists()
    hub = not there and re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", model) is not None
    cache = Path(os.environ.get("LOCKGATE_CACHE") or "~/.cache/lockgate").expanduser().resolve()
    name = re.sub(r"[^a-z0-9.-]", "-", Path(model).stem.lower())
    try:
        known = {name: Model(hub=model) if hub else Model(path=model)}
        return models.prepare(name, known, cache, "")
    except LockgateError as error:
        raise LockgateError(error.what, where=where, hint=error.hint) from None


def adapter_base(adapter: Path, base: str | None, where: str) -> Path:
    """Directory of the model that an adapter was trained from.

    Args:
        adapter: its directory.
        base: the model that is said to be it; None: the one that the adapter records.
        where: configuration file and key of `base`, for messages.

    Raises:
        LockgateError: if it is no adapter, records no base, or records another one.
    """
    note = adapter / "adapter_config.json"
    if not note.is_file():
        raise LockgateError(
            f"{adapter} is not an adapter: it has no {note.name}",
            where=where,
            hint="give the directory that a training of low-rank adapters wrote",
        )
    recorded = files.read_json(note).get("base_model_name_or_path")
    if not recorded:
        raise LockgateError(
            "it does not record the base model it was trained from",
            where=f"{note}: base_model_name_or_path",
            hint="write the base model's path there, if you know it for sure",
        )
    path = Path(prepare(base or recorded, where)["path"])
    if base not in (None, recorded) and path.resolve() != Path(recorded).expanduser().resolve():
        raise LockgateError(
            f"the adapter was trained from {recorded}, not from {base}",
            where=where,
            hint="name that model; if it has only moved, correct base_model_name_or_path in "
            f"{note}",
        )
    return path


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """An empty directory that takes the place of `target` when the block ends without error."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        shutil.rmtree(target, ignore_errors=True)
        os.replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _first(records: list[dict[str, Any]], limit: int | None) -> list[dict[str, Any]]:
    """The first records; the first of each split, where their file made splits."""
    parts: dict[Any, list[dict[str, Any]]] = {}
    for record in records:
        parts.setdefault(record.get(SPLIT), []).append(record)
    return [record for part in parts.values() for record in part[:limit]]


def _rows(records: list[dict[str, Any]], settings: DataSettings, where: str) -> list[Any]:
    """For each record its `row`, a chat or a preference pair, and its `prompt` for the splits."""
    made = [{key: value for key, value in one.items() if key != SPLIT} for one in records]
    if settings.rows:
        rows = projection.project(made, settings.rows.model_dump(), where)
        made = [_kept(row) for row in rows]
    found = []
    for number, (row, record) in enumerate(zip(made, records, strict=True), 1):
        if "chosen" in row and settings.rows:
            prompt = row["prompt"]
        else:
            before = conversations.messages(row, f"{where}: record {number}")[:-1]
            prompt = "\n\n".join(one["content"] for one in before)
        split = {"split": record[SPLIT]} if SPLIT in record else {}
        fields = {key: value for key, value in record.items() if key != SPLIT}
        found.append({"row": row, "prompt": prompt, "fields": fields, **split})
    return found


def _kept(row: dict[str, Any]) -> dict[str, Any]:
    """What a step writes of a row: a preference pair, or a chat."""
    if "chosen" in row:
        return {key: row[key] for key in ("id", "prompt", "chosen", "rejected")}
    said = zip(("user", "assistant"), (row["prompt"], row["completion"]), strict=True)
    chat = [{"role": role, "content": text} for role, text in said]
    return {"id": row["id"], "messages": row.get("messages", chat)}


@contextmanager
def _about(config: Path) -> Iterator[None]:
    """Turn the keys of the pipeline's configuration in an adapter's message into the step's."""
    section = r"(training\.parameters|training|evaluation|data)"
    try:
        yield
    except LockgateError as error:
        key = re.fullmatch(rf"{section}(?:\.(.+))?", error.where)
        where = f"{config}: {key[2] or key[1]}" if key else error.where
        hint = re.sub(rf"(?<![\w/.-]){section}\.(?=[a-z])", "", error.hint)
        raise LockgateError(error.what, where=where, hint=hint) from None


def _link(source: str, target: str) -> None:
    """Share a file's content where the file system can: checkpoints are large."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _threads() -> int:
    """Threads that this process may use."""
    return int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
