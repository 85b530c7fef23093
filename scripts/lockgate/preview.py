"""The preview's measurements: what time and memory training and evaluation are going to take."""

from __future__ import annotations

import gc
import math
import shutil
from pathlib import Path
from typing import Any

from lockgate import attempts, process, prompts, tools
from lockgate.data import projection
from lockgate.files import digest, read_json, read_jsonl, write_json, write_jsonl
from lockgate.gates import require
from lockgate.jobs import ROOT, item, read_spec, world

TIMED_STEPS = 5
"""Steps of the timed training; the first also pays for allocation, and does not count."""
LONGEST_STEPS = 2
"""Steps at the longest sequence, for the memory."""
MOST_TOKENS = 64
"""Longer answers are not waited for: their time is carried on from there."""
BATCHES = 2
"""Full batches that are answered; the first also pays for what is only done once."""


def preview_train(
    spec: Path, model: Path, rows: Path, ledger: Path, threads: int, out: Path
) -> None:
    """Measure a shape: some steps on the sample rows, then some at the longest sequence."""
    document = read_spec(spec)
    require(ledger, "plan", item(spec, document))
    manifest = read_json(model)
    adapter = tools.get("training", document["tool"], str(spec))
    samples = read_jsonl(rows)
    lengths = [row for row, _ in token_counts(samples, manifest["path"], None)]
    # rows not seen yet may be longer, the more so the fewer were seen
    longest = math.ceil(max(lengths) * (1 + 1 / math.sqrt(len(lengths))))
    longest = min(longest, document["max_length"])
    batch = document["batch_size"]
    processes = getattr(adapter, "processes", lambda config: 1)(document["config"])
    capped = getattr(adapter, "capped", lambda config, steps: config)
    whole = batch * document["gradient_accumulation"] * processes
    work = out.parent / document["shape"] / digest([document, manifest["digest"]])

    def train(name: str, steps: int, given: list[dict[str, Any]], validate: bool) -> dict[str, Any]:
        # measured afresh: a kept result would make it look quick
        shutil.rmtree(work / name, ignore_errors=True)
        paths = work / f"{name}.jsonl", work / f"{name}-validation.jsonl"
        write_jsonl(paths[0], filled(given, whole * steps))
        write_jsonl(paths[1], filled(given, batch))
        directory = Path(manifest["path"])
        held_out = paths[1] if validate else None
        config = capped(document["config"], steps)
        inputs = directory, paths[0], held_out
        made = adapter.train(config, *inputs, work / name, world(earlier, named))
        gc.collect()
        result: dict[str, Any] = made
        return result

    named = item(spec, document)
    with attempts.attempt(out, named, "this shape is being measured") as earlier:
        usual = train("usual", TIMED_STEPS, samples, True)
        seconds = process.seconds()
        most = train("longest", LONGEST_STEPS, [_as_long(samples, lengths, longest)], False)
    timed = usual["step_seconds"][1:] or usual["step_seconds"]
    last = usual["checkpoints"][-1]
    spent = usual["seconds"]
    told = spent.get("save", 0.0), spent.get("validation")
    write_json(
        out,
        {
            "item": item(spec, document),
            "shape": document["shape"],
            "model": document["model"]["name"],
            "steps": len(timed),
            "start_seconds": seconds - sum(usual["step_seconds"]) - told[0] - (told[1] or 0.0),
            "seconds_per_step": sum(timed) / len(timed),
            "tokens_per_step": padded(lengths, batch, document["max_length"])
            * document["gradient_accumulation"],
            "seconds_per_step_longest": min(most["step_seconds"]),
            "longest": longest,
            "save_seconds": told[0],
            "validation_seconds": told[1],
            "peak_memory_mb": round(process.peak_memory_mb()),
            "gpu_memory_mb": most.get("gpu_memory_mb"),
            "checkpoint_mb": round(process.disk_mb(work / "usual" / last["path"]), 2),
            "checkpoint": str(work / "usual" / last["path"]),
            "adapter": last["adapter"],
            "losses": usual["losses"],
        },
    )


def token_counts(
    rows: list[dict[str, Any]], model: Path | str, system_prompt: str | None
) -> list[tuple[int, int]]:
    """Of each row the tokens in training (template included), and those of its completion."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    counts = []
    for row in rows:
        ids, _ = prompts.tokenize_row(tokenizer, row, system_prompt)
        answer = tokenizer(row["completion"], add_special_tokens=False)["input_ids"]
        counts.append((len(ids), len(answer)))
    return counts


def padded(lengths: list[int], batch: int, longest: int) -> float:
    """Expected tokens of a batch of rows drawn at random, each padded to its longest.

    Args:
        lengths: tokens of rows that stand for all.
        batch: rows in a batch.
        longest: rows are cut there.
    """
    ordered = sorted(min(length, longest) for length in lengths)
    count = len(ordered)
    # the chance that the longest of the batch is the k-th of the ordered rows
    expected = sum(
        length * (((k + 1) / count) ** batch - (k / count) ** batch)
        for k, length in enumerate(ordered)
    )
    return batch * expected


def filled(rows: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """`count` rows, the given ones again and again, each with an id of its own."""
    return [{**rows[k % len(rows)], "id": f"{k:06d}"} for k in range(count)]


def _as_long(rows: list[dict[str, Any]], lengths: list[int], wanted: int) -> dict[str, Any]:
    """The shortest row, its completion drawn out to about that many tokens."""
    row, length = min(zip(rows, lengths, strict=True), key=lambda pair: pair[1])
    words = f"{row['prompt']} {row['completion']}".split()
    more = math.ceil(len(words) * max(0, wanted - length) / length)
    drawn = [words[k % len(words)] for k in range(more)]
    return {**row, "completion": " ".join([row["completion"], *drawn])}


def preview_eval(
    spec: Path,
    model: Path,
    rows: Path,
    weights: list[Path],
    ledger: Path,
    threads: int,
    out: Path,
) -> None:
    """Measure a model's evaluation: as it is, then with each shape's smoke-trained weights.

    The former answers as long as the tasks let it. The latter were hardly trained, so they may
    answer as long as the rows' completions: that is what training teaches.

    Args:
        spec: the built evaluation, with all tasks of the runs that it stands for.
        model: the model's manifest.
        rows: the sample rows.
        weights: measured smoke trainings of this model.
        ledger: the approvals.
        threads: of this job.
        out: the file to write.
    """
    document = read_spec(spec)
    require(ledger, "plan", item(spec, document))
    manifest = read_json(model)
    adapter = tools.get("evaluation", document["tool"], str(spec))
    config, base = document["config"], Path(manifest["path"])
    samples = projection.revise(read_jsonl(rows), document["rows"], str(rows))
    longest = 1 + max(answer for _, answer in token_counts(samples, base, None))
    work = out.parent / document["run"] / digest([document, manifest["digest"]])

    def evaluate(name: str, directory: Path, most: int) -> dict[str, Any]:
        tasks = [
            {**task, "limit": None, "max_tokens": min(task["max_tokens"], most)}
            for task in config["tasks"]
        ]
        before = process.seconds()
        # measured afresh: kept samples would make it look quick
        shutil.rmtree(work / name, ignore_errors=True)
        asked = {**config, "tasks": tasks}
        files = {split: work / "rows.jsonl" for split in ("test", "validation")}
        results = adapter.evaluate(asked, directory, base, files, work / name, ROOT)
        gc.collect()
        wall = process.seconds() - before
        return {
            "load_seconds": max(0.0, wall - sum(result["seconds"] for result in results)),
            "tasks": {
                result["task"]: {"max_tokens": task["max_tokens"], **result}
                for result, task in zip(results, tasks, strict=True)
            },
            "peak_memory_mb": round(process.peak_memory_mb()),
        }

    size = config["batch_size"]
    with attempts.attempt(out, item(spec, document), "this model is being measured"):
        write_jsonl(work / "rows.jsonl", filled(samples, BATCHES * size))
        started = process.seconds()
        alone = evaluate("untouched", Path(manifest.get("adapter") or base), MOST_TOKENS)
        trained = {
            smoke["shape"]: evaluate(
                smoke["shape"], Path(smoke["checkpoint"]), min(longest, MOST_TOKENS)
            )
            for smoke in map(read_json, weights)
        }
    for measured in (alone, *trained.values()):
        first = True
        for task in measured["tasks"].values():
            seconds, warm_up = rate(task["answered"], BATCHES * size, size, first)
            measured["warm_up_seconds"] = measured.get("warm_up_seconds", 0.0) + warm_up
            first = False
            tokens = task["output_tokens"] / len(task["answered"])
            task.update({"seconds_per_row": seconds, "tokens": round(tokens, 1)})
            for key in ("samples", "log", "answered"):
                task.pop(key)
    again = [measured["load_seconds"] for measured in trained.values()]
    write_json(
        out,
        {
            "item": item(spec, document),
            "model": manifest["name"],
            "rows": BATCHES * size,
            "batch_size": size,
            "batch_wait": getattr(adapter, "batch_wait", 0.0),
            "start_seconds": started + alone["load_seconds"] + alone["warm_up_seconds"],
            # what another epoch's weights pay: the tool itself is in memory by then
            "load_seconds": sum(again) / len(again) if again else alone["load_seconds"],
            "untouched": alone,
            "trained": trained,
        },
    )


def rate(answered: list[float], rows: int, batch: int, first: bool) -> tuple[float, float]:
    """Seconds a row at full speed, and what the first batch took beyond that.

    Args:
        answered: seconds at which each sample was done, ascending; a row may give several.
        rows: how many were asked.
        batch: rows in a batch.
        first: the first task of newly loaded weights, whose first batch also warms up.
    """
    end = answered[-1]
    if not first or rows <= batch:
        return end / rows, 0.0
    done = answered[len(answered) * batch // rows - 1]
    seconds = (end - done) / (rows - batch)
    # the slower first batch, never a quicker one
    seconds = min(seconds, end / rows) or end / rows
    return seconds, end - rows * seconds
