"""Train one run.

    python train.py configs/train/RUN.yaml --model DIR --data data --out results/RUN/train

The rows are DATA/train.jsonl; the loss after each epoch is taken on DATA/validation.jsonl. The
model of each epoch is OUT/epoch-N; the losses are in OUT/result.json, which is written last. A
training that was stopped continues from its last complete checkpoint, and one that is finished,
with the same configuration, model and rows, is not begun again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lockgate.errors import entry
from lockgate.files import read_yaml
from lockgate.tools.trl.run import train


@entry
def main() -> None:
    """Read the command line, train, and print the losses."""
    parser = argparse.ArgumentParser()
    parser.add_argument("config", type=Path)
    parser.add_argument("--model", type=Path, required=True, help="directory of the base model")
    parser.add_argument("--data", type=Path, required=True, help="directory of the rows")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    held_out = options.data / "validation.jsonl"
    result = train(
        read_yaml(options.config),
        options.model.absolute(),
        options.data / "train.jsonl",
        held_out if held_out.exists() else None,
        options.out.absolute(),
    )
    for step in result["losses"]:
        held = "" if step["validation"] is None else f"  validation {step['validation']}"
        print(f"step {step['step']}  loss {step['loss']}{held}")
    print(f"{result['steps']} steps, {result['tokens']} tokens, {result['seconds']['train']:.1f} s")


if __name__ == "__main__":
    main()
