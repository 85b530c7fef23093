"""Training in several processes: what the leader does, and what each worker does.

A worker is `python -m lockgate.tools.trl.worker JOB.json`, with the paths and settings of a run.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

from lockgate import launch
from lockgate.files import read_json, write_json
from lockgate.launch import World
from lockgate.tools.trl import kept

_JOB = ".job.json"
_MADE = ".made.json"


def train(
    config: dict[str, Any],
    base: Path,
    train: Path,
    validation: Path | None,
    out: Path,
    world: World,
) -> dict[str, Any]:
    """See `Trainer.train`; all paths are absolute. Nothing is trained in this process."""
    sft = config["sft"]
    launch.micro_batches(
        sft["per_device_train_batch_size"], sft["gradient_accumulation_steps"], world
    )
    if validation is not None and validation.stat().st_size == 0:
        validation = None
    if kept.continues(config, base, train, validation, out):
        result = kept.finished(out)
        if result is not None:
            return result
    job = {
        "config": config,
        "base": str(base),
        "train": str(train),
        "validation": str(validation) if validation else None,
        "out": str(out),
        "world": dataclasses.asdict(world),
    }
    write_json(out / _JOB, job)
    (out / _MADE).unlink(missing_ok=True)
    launch.run(__name__, [str(out / _JOB)], world, out)
    result = read_json(out / _MADE)
    kept.finish(out, result)
    for name in (_JOB, _MADE):
        (out / name).unlink()
    return result


def main(job: Path) -> None:
    """Train in this process, as one of several."""
    with launch.worker() as stopping:
        from torch import distributed

        from lockgate.tools.trl import run, trainer

        told = read_json(job)
        base, rows = Path(told["base"]), Path(told["train"])
        held_out = Path(told["validation"]) if told["validation"] else None
        out, world = Path(told["out"]), World(**told["world"])
        try:
            result = run.work(told["config"], base, rows, held_out, out, world, stopping)
            if trainer.main_process():
                write_json(out / _MADE, result)
        finally:
            # one that ended by itself would leave the others waiting
            if distributed.is_initialized():
                distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
