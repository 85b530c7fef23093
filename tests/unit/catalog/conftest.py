"""A small catalog of the tests' own."""

from pathlib import Path

import pytest

TYPES = """
[raw]
description = "Lines."
is_a = "rows"
[rows]
description = "Rows."
[packed]
[model]
convert_to = { packed_model = "convert/pack" }
[packed_model]
convert_to = { step = "convert/unpack", type = "model" }
"""

TRAIN = """
[step]
id = "sft/train"
name = "Train"
category = "sft"
description = "Trains.\\n"
tags = ["a", "b"]
news = "a key that nobody knows"
[[consumes]]
type = "rows"
description = "What it reads."
[[consumes]]
type = "model"
required = false
[[produces]]
type = "model"
[[models]]
name = "org/big"
min_gpus = 8
[[parameters]]
name = "optim.rate"
default = 0.5
choices = [0.5, 1.0]
[[strategies]]
when = "few rows"
then = "fewer steps"
[[errors]]
name = "oom"
recovery = "less"
[reference]
docs = "https://example.org"
[lockgate]
goals = ["sft"]
[lockgate.inputs.rows]
key = "data.path"
[lockgate.inputs.model]
required = true
[lockgate.outputs.log]
required = false
"""

PROGRAM = """#!/usr/bin/env python3
# /// script
# [tool.runspec]
# name = "steps/sft/train"
# image = "registry/image:1"
#
# [tool.runspec.run]
# launch = "torchrun"
#
# [tool.runspec.config]
# dir = "./config"
# default = "tiny"
#
# [tool.runspec.resources]
# nodes = 2
# gpus_per_node = 8
# ///
raise SystemExit("a catalog is never imported")
"""

PATTERN = """---
id: {id}
title: A title
triggers:
  - "It is late."
steps: {steps}
confidence: high
---

Do this.

---
And that.
"""


class Files:
    """Writes the files of a catalog."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def step(self, identity: str, consumes=(), produces=(), more="") -> Path:
        text = f'[step]\nid = "{identity}"\n'
        text += "".join(f'[[consumes]]\ntype = "{kind}"\n' for kind in consumes)
        text += "".join(f'[[produces]]\ntype = "{kind}"\n' for kind in produces)
        return self.write(f"{identity}/step.toml", text + more)

    def pattern(self, name: str, steps: str) -> Path:
        return self.write(f"patterns/{name}.md", PATTERN.format(id=name, steps=steps))


@pytest.fixture
def files(tmp_path):
    """A catalog directory with types, but no steps."""
    made = Files(tmp_path / "own")
    made.write("types.toml", TYPES + "[log]\n")
    return made


@pytest.fixture
def whole(files):
    """A catalog with steps, a program, configurations and patterns; nothing in it is wrong."""
    files.write("sft/train/step.toml", TRAIN)
    files.write("sft/train/step.py", PROGRAM)
    files.write("sft/train/config/default.yaml", "data: {path: null}\n")
    files.write("sft/train/config/tiny.yaml", "defaults: default.yaml\n")
    files.step("convert/pack", ["model"], ["packed_model"])
    files.step("convert/unpack", ["packed_model"], ["model"])
    files.step("rl/deep/dpo", ["rows", "model"], ["model"])
    files.pattern("late", "[sft/train]")
    files.pattern("deep", "[rl/deep]")
    files.pattern("any", "[]")
    return files
