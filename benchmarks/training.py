"""How fast is our training on one GPU, against a bare TRL script with the same settings?

    PYTHONPATH=scripts python benchmarks/training.py [--tiny] [--only lora|full] [--keep DIR]

Trains a randomly initialised Llama-shaped model of 1.2B parameters in bfloat16, all its weights
and an adapter, on rows of one length that are made on the spot; no network is used. Each training
is a process of its own, ours and the bare one in turn. Tells tokens a second, the peak memory,
the model FLOPs utilisation, and whether the estimates of memory and time come true. `--tiny` does
the same with a model of 0.1M parameters on a CPU in float32, in about a minute: it shows that this
script works, and no figure of it says anything about a GPU. Exit status 1: the bar is missed.

Model FLOPs a token, for N parameters (the embeddings, tied, multiply once), A of an adapter, L
layers, hidden size h and rows of s tokens: attention a = 2 L h s in a forward pass (causal: half
of all pairs); all weights 3 (2 N + a); an adapter 4 N + 6 A + 3 a. Utilisation: that times tokens
a second, over the GPU's dense bfloat16 speed in workflow/catalog/hardware.toml.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from lockgate import memory, process  # noqa: E402
from lockgate.errors import LockgateError  # noqa: E402
from lockgate.files import digest, read_json, write_json, write_jsonl, write_yaml  # noqa: E402
from lockgate.stages import hardware  # noqa: E402

BAR = 0.98
"""Least share of the bare script's speed."""
NOT_MEASURED = "not measured"

LARGE: dict[str, Any] = {
    "shape": {
        "vocab_size": 128256,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 8192,
    },
    "parameters": {"batch_size": 8, "max_length": 1024, "precision": "bfloat16"},
    "steps": 40,
    "warm_up": 10,
    "repeats": 2,
}
TINY: dict[str, Any] = {
    "shape": {
        "vocab_size": 512,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
    },
    "parameters": {"batch_size": 4, "max_length": 64, "precision": "float32"},
    "steps": 40,
    "warm_up": 10,
    "repeats": 1,
}


# ------------------------------------------------------------------ what the child processes do


def make(settings: dict[str, Any], work: Path) -> dict[str, Any]:
    """Write the model, its tokenizer (each word is a token) and the rows."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    size, length = settings["shape"]["vocab_size"], settings["parameters"]["max_length"]
    special = ["<pad>", "<s>", "</s>", "<unk>"]
    words = [f"w{number}" for number in range(size - len(special))]
    vocabulary = {word: number for number, word in enumerate([*special, *words])}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )
    tokenizer.save_pretrained(work / "model")
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = LlamaForCausalLM(LlamaConfig(**settings["shape"], tie_word_embeddings=True, **ids))
    model.to(getattr(torch, settings["parameters"]["precision"])).save_pretrained(work / "model")
    chance = random.Random(0)
    half = length // 2
    rows = []
    for number in range(settings["steps"] * settings["parameters"]["batch_size"]):
        text = chance.choices(words, k=length - 1)  # the last token ends the row
        told = {"prompt": " ".join(text[:half]), "completion": " " + " ".join(text[half:])}
        rows.append({"id": f"{number:06d}", **told})
    write_jsonl(work / "rows.jsonl", rows)
    name = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return {"gpu": name, "parameters": model.num_parameters(), "torch": torch.__version__}


def ours(settings: dict[str, Any], work: Path) -> dict[str, Any]:
    """Train as a job of the pipeline does, with what the configuration was rendered to."""
    from lockgate.tools import get

    began = _clock()
    adapter = get("training", "trl", "")
    out = work / "run"
    result = adapter.train(_rendered(settings), work / "model", work / "rows.jsonl", None, out)
    told = {key: result[key] for key in ("tokens", "steps", "trainable_parameters")}
    return {**told, **_used(began, settings)}


def bare(settings: dict[str, Any], work: Path) -> dict[str, Any]:
    """Train as a script does that knows nothing of this package."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    began = _clock()
    given, lines = settings["parameters"], (work / "rows.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    cuda = torch.cuda.is_available()
    arguments = SFTConfig(
        output_dir=str(work / "run"),
        use_cpu=not cuda,
        bf16=False,  # the weights themselves are
        learning_rate=given["learning_rate"],
        num_train_epochs=given["epochs"],
        per_device_train_batch_size=given["batch_size"],
        gradient_accumulation_steps=given["gradient_accumulation"],
        max_length=given["max_length"],
        lr_scheduler_type=given["lr_scheduler"],
        warmup_steps=given["warmup_steps"],
        weight_decay=given["weight_decay"],
        completion_only_loss=True,
        gradient_checkpointing=False,
        dataloader_pin_memory=cuda,
        seed=1,
        data_seed=1,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    lora = None
    if given["method"] == "lora":
        lora = LoraConfig(
            task_type="CAUSAL_LM",
            r=given["lora_rank"],
            lora_alpha=given["lora_alpha"],
            lora_dropout=given["lora_dropout"],
            target_modules=given["lora_targets"],
        )
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(
            str(work / "model"), dtype=getattr(torch, given["precision"])
        ),
        args=arguments,
        train_dataset=Dataset.from_list(
            [{key: row[key] for key in ("prompt", "completion")} for row in rows]
        ),
        processing_class=AutoTokenizer.from_pretrained(str(work / "model")),
        peft_config=lora,
    )
    trainer.train()
    tokens = sum(len(row["input_ids"]) for row in trainer.train_dataset)
    trainable = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    told = {"tokens": tokens, "steps": trainer.state.global_step}
    return {**told, "trainable_parameters": trainable, **_used(began, settings)}


def preview(settings: dict[str, Any], work: Path) -> dict[str, Any]:
    """Measure a shape as the pipeline's preview does: what the review's estimates come from."""
    from lockgate import preview as previews
    from lockgate.documents import RECIPE_VERSION

    given = settings["parameters"]
    kept = ("batch_size", "gradient_accumulation", "max_length")
    document = {
        "recipe_version": RECIPE_VERSION,
        "shape": "shape",
        "model": {"name": "model"},
        "tool": "trl",
        "config": _rendered(settings),
        **{key: given[key] for key in kept},
    }
    spec, ledger, manifest = work / "smoke/shape.yaml", work / "ledger.jsonl", work / "model.json"
    write_yaml(spec, document)
    write_json(manifest, {"path": str(work / "model"), "digest": "0"})
    write_jsonl(ledger, [{"gate": "plan", "items": [f"smoke/shape:{digest(document)}"]}])
    rows, out = work / "rows.jsonl", work / "preview/shape.json"
    previews.preview_train(spec, manifest, rows, ledger, os.cpu_count() or 1, out)
    measured: dict[str, Any] = read_json(out)
    return measured


def _rendered(settings: dict[str, Any]) -> dict[str, Any]:
    """The trainer's configuration of a user's `training.parameters`."""
    from lockgate.tools import get

    run = {"parameters": settings["parameters"], "seed": 1, "system_prompt": None}
    config: dict[str, Any] = get("training", "trl", "").render(run)
    return config


def _clock() -> list[float]:
    """Times at which the steps begin, of whatever trainer this process makes; the GPU is idle.

    On a CPU it is this process's own time: others' work does not count.
    """
    import torch
    from transformers import TrainerCallback, trainer

    began: list[float] = []
    cuda = torch.cuda.is_available()
    now = time.perf_counter if cuda else time.process_time

    class Clock(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if cuda:
                torch.cuda.synchronize()
            began.append(now())

    trainer.DEFAULT_CALLBACKS.append(Clock)
    return began


def _used(began: list[float], settings: dict[str, Any]) -> dict[str, Any]:
    """Mean seconds of a step after the warm-up, and the most memory that was held."""
    import torch

    counted = began[settings["warm_up"] :]
    gpu = None
    if torch.cuda.is_available():
        gpu = round(torch.cuda.max_memory_reserved() / 1e6)
    seconds = (counted[-1] - counted[0]) / (len(counted) - 1)
    return {"seconds": seconds, "gpu_mb": gpu, "process_mb": round(process.peak_memory_mb())}


ROLES = {role.__name__: role for role in (make, ours, bare, preview)}


# ------------------------------------------------------------------------- what is made of them


def run(role: str, settings: dict[str, Any], work: Path) -> dict[str, Any]:
    """What a child process of that role tells; its words are in `ROLE.log`.

    Raises:
        LockgateError: with the end of its log, if it fails.
    """
    told, log = work / f"{role}.json", work / f"{role}.log"
    write_json(work / "settings.json", settings)
    told.unlink(missing_ok=True)
    for name in ("run", "preview"):
        shutil.rmtree(work / name, ignore_errors=True)
    command = [sys.executable, __file__, "--role", role, "--keep", str(work)]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": visible}
    with open(log, "w", encoding="utf-8") as output:
        done = subprocess.run(command, env=env, stdout=output, stderr=output, check=False)
    if done.returncode or not told.exists():
        end = log.read_text(encoding="utf-8")[-2000:]
        raise LockgateError(f"the {role} process ended with status {done.returncode}:\n{end}")
    result: dict[str, Any] = read_json(told)
    return result


def flops_per_token(settings: dict[str, Any], parameters: int, trained: int) -> float:
    """See above."""
    shape, length = settings["shape"], settings["parameters"]["max_length"]
    attention = 2 * shape["num_hidden_layers"] * shape["hidden_size"] * length
    if settings["parameters"]["method"] == "full":
        return float(3 * (2 * parameters + attention))
    return float(4 * parameters + 6 * trained + 3 * attention)


def compare(
    settings: dict[str, Any], made: dict[str, Any], work: Path, peak: float | None
) -> tuple[list[tuple[str, ...]], float]:
    """Lines of a table for one method, and our speed over the bare script's."""
    given, name = settings["parameters"], settings["parameters"]["method"]
    best: dict[str, dict[str, Any]] = {}
    for number in range(settings["repeats"]):
        for role in ("ours", "bare") if number % 2 == 0 else ("bare", "ours"):
            told = run(role, settings, work)
            print(f"{name}, {role}: {told['seconds']:.4g} s a step", flush=True)
            if role not in best or told["seconds"] < best[role]["seconds"]:
                best[role] = told
    each = given["batch_size"] * given["gradient_accumulation"] * given["max_length"]
    for role, told in best.items():
        if told["tokens"] != each * told["steps"]:
            raise LockgateError(f"{role}: {told['tokens']} tokens in {told['steps']} steps")
    first, second = best["ours"], best["bare"]
    speed = {role: each / told["seconds"] for role, told in best.items()}
    ratio = speed["ours"] / speed["bare"]
    lines = [(name, "tokens a second", *(f"{speed[r]:.0f}" for r in best), f"{ratio:.3f}")]
    for key, what in (("gpu_mb", "GPU memory, MB"), ("process_mb", "process memory, MB")):
        pair = first[key], second[key]
        texts = tuple(NOT_MEASURED if value is None else f"{value}" for value in pair)
        lines.append((name, what, *texts, "" if None in pair else f"{pair[0] / pair[1]:.3f}"))
    cost = flops_per_token(settings, made["parameters"], first["trainable_parameters"])
    used = [NOT_MEASURED if peak is None else f"{cost * speed[r] / peak:.1%}" for r in best]
    lines.append((name, "model FLOPs utilisation", *used, ""))

    lines.append(("", "estimate of", "expected", "actual", "error"))
    shape = settings["shape"]
    names = {"hidden": "hidden_size", "layers": "num_hidden_layers", "vocabulary": "vocab_size"}
    dimensions = {key: shape[other] for key, other in names.items()}
    need, _ = memory.training(given, {"parameters": made["parameters"], "dimensions": dimensions})
    held = first["gpu_mb"] or first["process_mb"]
    lines.append(_error(name, "memory by formula, MB", need, held))
    try:
        measured = run("preview", settings, work)
    except LockgateError as error:
        print(f"{name}: the preview cannot run here: {error}", file=sys.stderr)
        lines.append((name, "memory and time by preview", NOT_MEASURED, "", ""))
        return lines, ratio
    seen = measured["gpu_memory_mb"] or measured["peak_memory_mb"]
    lines.append(_error(name, "memory by preview, MB", seen, held))
    took = 1000 * first["seconds"]
    lines.append(_error(name, "a step by preview, ms", 1000 * measured["seconds_per_step"], took))
    return lines, ratio


def _error(name: str, what: str, expected: float, actual: float) -> tuple[str, ...]:
    return name, what, f"{expected:.4g}", f"{actual:.4g}", f"{expected / actual - 1:+.0%}"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="a tiny model on a CPU")
    parser.add_argument("--only", choices=["lora", "full"])
    parser.add_argument("--keep", type=Path, help="directory for models and logs; kept")
    parser.add_argument("--role", choices=list(ROLES), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.role:
        settings = read_json(arguments.keep / "settings.json")
        told = ROLES[arguments.role](settings, arguments.keep)
        write_json(arguments.keep / f"{arguments.role}.json", told)
        return 0

    from lockgate.config.training import Parameters

    chosen = TINY if arguments.tiny else LARGE
    if arguments.tiny:
        os.environ |= {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as scratch:
        work = (arguments.keep or Path(scratch)).resolve()
        work.mkdir(parents=True, exist_ok=True)
        try:
            made = run("make", chosen, work)
            if made["gpu"] is None and not arguments.tiny:
                print("there is no GPU: nothing is measured; --tiny shows that this script works")
                return 1
            print(f"{made['gpu'] or 'CPU'}, torch {made['torch']}, {chosen['parameters']}")
            print(f"{made['parameters'] / 1e6:.1f}M parameters; {chosen['steps']} steps", end="")
            print(f", {chosen['warm_up']} of them not counted; best of {chosen['repeats']}")
            peak = _peak(made["gpu"])
            table, missed = [("method", "measure", "ours", "bare", "ratio")], 0
            for method in [arguments.only] if arguments.only else ["lora", "full"]:
                # one learning rate: what is learned does not matter
                own = {"method": method, "learning_rate": 1e-4, "checkpoint_steps": 10**6}
                given = Parameters(**chosen["parameters"], **own).model_dump()
                lines, ratio = compare({**chosen, "parameters": given}, made, work, peak)
                table += lines
                missed += ratio < BAR
        except LockgateError as error:
            print(f"ERROR: {error}", file=sys.stderr)
            return 1
    for line in table:
        print(f"{line[0]:7} {line[1]:27} {line[2]:>13} {line[3]:>13} {line[4]:>7}")
    if made["gpu"] is None:
        print(f"speed on a GPU: {NOT_MEASURED}")
        return 0
    print(f"{missed} times below the bar of {BAR}" if missed else f"all are above the bar of {BAR}")
    return 1 if missed else 0


def _peak(gpu: str | None) -> float | None:
    """Dense bfloat16 FLOP/s of a GPU; None: there is none, or it is not in the table."""
    if gpu is None:
        return None
    try:
        found = hardware.gpu(gpu)
    except LockgateError as error:
        print(f"model FLOPs utilisation: {NOT_MEASURED}: {error}")
        return None
    print(f"peak assumed: {found.bf16_tflops} TFLOP/s dense bfloat16 ({found.name})")
    return found.bf16_tflops * 1e12


if __name__ == "__main__":
    sys.exit(main())
