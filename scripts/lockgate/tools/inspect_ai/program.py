"""Evaluate one run: each task on each epoch's weights, greedily.

    python evaluate.py configs/eval/RUN.yaml --model DIR --data data --out results/RUN

The rows are DATA/test.jsonl and DATA/validation.jsonl; the weights are those that the configuration
names under `measured`, or the base model itself. OUT/scores.json, which is written last, has every
score and answer; the logs are in OUT/logs (`inspect view --log-dir OUT/logs`). Samples that are
finished are not asked again when an evaluation that was stopped is started again.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lockgate.errors import entry
from lockgate.files import read_yaml, write_json
from lockgate.tools.inspect_ai.run import evaluate
from lockgate.weights import weights_digest


@entry
def main() -> None:
    """Read the command line, evaluate, and print the scores."""
    parser = argparse.ArgumentParser()
    parser.add_argument("config", type=Path)
    parser.add_argument("--model", type=Path, required=True, help="directory of the base model")
    parser.add_argument("--adapter", type=Path, help="directory of an adapter to measure with it")
    parser.add_argument("--data", type=Path, required=True, help="directory of the rows")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    config, base = read_yaml(options.config), options.model.absolute()
    rows = {split: options.data / f"{split}.jsonl" for split in ("test", "validation")}
    cells: list[dict[str, Any]] = []
    for part in config.pop("measured"):
        weights = Path(part["weights"] or options.adapter or base).absolute()
        tasks = [task for task in config["tasks"] if task["name"] in part["tasks"]]
        # other weights, other logs: finished samples are kept by what answered them
        logs = options.out / "logs" / weights_digest(weights)[:12]
        for result in evaluate({**config, "tasks": tasks}, weights, base, rows, logs, Path(".")):
            scores = [sample["score"] for sample in result["samples"]]
            mean = sum(scores) / len(scores)
            result["log"] = str(Path(result["log"]).relative_to(Path.cwd()))
            cells.append({"epoch": part["epoch"], "n": len(scores), "score": mean, **result})
            print(f"{result['task']}  {result['metric']}  {mean:.4f}  of {len(scores)}")
    write_json(options.out / "scores.json", {"cells": cells})


if __name__ == "__main__":
    main()
