"""Training without Lockgate: the same trainer as a program of its own, and its configurations."""

from __future__ import annotations

import shlex
from pathlib import Path

import yaml

from lockgate.handover import Handover, Job, PlainRun
from lockgate.scaffold.flatten import flatten

_HEADER = "# Settings of the trainer (TRL's SFTConfig, PEFT's LoraConfig), for train.py.\n"


def scaffold(runs: list[PlainRun]) -> Handover:
    """See `Handover`."""
    files = {"train.py": flatten(Path(__file__).with_name("program.py"))}
    jobs = {}
    for run in runs:
        files[run.path] = _HEADER + yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True)
        path, data, out = map(shlex.quote, (run.path, run.data, f"{run.out}/train"))
        command = f'"$PYTHON" train.py {path} --model "$MODEL" --data {data} --out {out}'
        jobs[run.name] = Job(
            command=command,
            result=f"{run.out}/train/result.json",
            inputs=(run.path, f"{run.data}/train.jsonl", f"{run.data}/validation.jsonl"),
            checkpoints=tuple(
                f"{run.out}/train/epoch-{epoch}"
                for epoch in range(int(run.config["sft"]["num_train_epochs"]))
            ),
        )
    return Handover(files, jobs)
