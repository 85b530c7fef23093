"""What tests of chains share: a project with a small catalog of its own, rows and models."""

import json
from pathlib import Path

import pytest

from lockgate.stages import chain

TYPES = """
[raw_jsonl]
description = "Rows as they came."
is_a = "training_jsonl"
[training_jsonl]
description = "Rows to learn from."
[packed_parquet]
description = "Token ids of one length."
[benchmark_parquet]
description = "Questions to measure on."
[checkpoint_hf]
description = "A whole model."
convert_to = { checkpoint_sharded = "convert/shard" }
[checkpoint_sharded]
description = "A model in pieces."
convert_to = { checkpoint_hf = { step = "convert/join" } }
[checkpoint_lora]
description = "An adapter."
[marks]
description = "What a model reached."
"""

STEPS = {
    "data_prep/pack": (
        """
[step]
id = "data_prep/pack"
name = "Pack"
category = "data_prep"
description = "Turns rows into token ids."
[[consumes]]
type = "training_jsonl"
[[produces]]
type = "packed_parquet"
[[parameters]]
name = "length"
default = 512
[[strategies]]
when = "The rows are many."
then = "Use more shards."
[lockgate]
gpus = 0
roles = { tokenizer = "tokenizer", sequence_length = "length" }
smoke = { rows = 4 }
[lockgate.inputs.training_jsonl]
key = "data.path"
rows = ["messages", "prompt_completion"]
form = "blend"
[lockgate.outputs.packed_parquet]
key = "out"
verify = "*.parquet"
""",
        "data:\n  path: ???\nout: ???\ntokenizer: ???\nlength: 512\nrows: null\n",
    ),
    "sft/whole": (
        """
[step]
id = "sft/whole"
name = "Train on one machine"
category = "sft"
description = "Trains any causal model."
[[consumes]]
type = "training_jsonl"
[[consumes]]
type = "checkpoint_hf"
[[produces]]
type = "checkpoint_hf"
[[models]]
name = "org/example"
[[parameters]]
name = "rate"
default = 0.001
[[strategies]]
when = "There are few rows."
then = "Train longer."
[[strategies]]
when = "The moon is full."
then = "Wait."
[lockgate]
goals = ["sft"]
open_models = true
architectures = ["*ForCausalLM"]
gpus = 1
stack = "one"
roles = { base_model = "model", sequence_length = "length", gpus_per_node = "devices" }
methods = { full = { "adapter.on" = false }, lora = { "adapter.on" = true } }
smoke = { steps = 2 }
[lockgate.inputs.training_jsonl]
key = "data"
rows = ["messages", "prompt_completion"]
[lockgate.inputs.checkpoint_hf]
key = "model"
[lockgate.outputs.checkpoint_hf]
key = "out"
path = "model"
verify = "config.json"
[[lockgate.needs]]
why = "The default is for another family."
test = { model = "*small*" }
set = { rate = 0.01, warmup = 3, decay = 7 }
[[lockgate.advice]]
when = "There are few rows."
test = { rows_max = 100 }
set = { epochs = 9, warmup = 5 }
""",
        "data: ???\nmodel: ???\nout: ???\nlength: 256\nsteps: 1000\nepochs: 1\nrate: 0.001\n"
        "warmup: 1\ndecay: 1\ndevices: 1\nadapter: {on: false}\n",
    ),
    "sft/sharded": (
        """
[step]
id = "sft/sharded"
name = "Train on many machines"
category = "sft"
description = "Trains the models that it lists."
[[consumes]]
type = "packed_parquet"
[[consumes]]
type = "checkpoint_sharded"
[[produces]]
type = "checkpoint_sharded"
[[models]]
name = "org/large"
min_gpus = 8
[lockgate]
goals = ["sft"]
gpus = 8
stack = "many"
methods = { full = {} }
smoke = { steps = 2 }
[lockgate.roles]
sequence_length = ["length", "data.length"]
gpus_per_node = "devices"
[lockgate.inputs.packed_parquet]
key = "data.path"
glob = "*.parquet"
[lockgate.inputs.checkpoint_sharded]
key = "start"
[lockgate.outputs.checkpoint_sharded]
key = "out"
iterations = "iter_*"
""",
        "data:\n  path: ???\n  length: 1024\nstart: ???\nout: ???\nlength: 1024\nsteps: 1000\n"
        "devices: 8\n",
    ),
    "convert/shard": (
        """
[step]
id = "convert/shard"
category = "convert"
[[consumes]]
type = "checkpoint_hf"
[[produces]]
type = "checkpoint_sharded"
[lockgate]
gpus = 0
inputs = { checkpoint_hf = { key = "model" } }
outputs = { checkpoint_sharded = { key = "out", iterations = "iter_*" } }
""",
        "model: ???\nout: ???\n",
    ),
    "convert/join": (
        """
[step]
id = "convert/join"
category = "convert"
[[consumes]]
type = "checkpoint_sharded"
[[produces]]
type = "checkpoint_hf"
[lockgate]
gpus = 0
inputs = { checkpoint_sharded = { key = "pieces" } }
outputs = { checkpoint_hf = { key = "out" } }
""",
        "pieces: ???\nout: ???\n",
    ),
    "rl/pairs": (
        """
[step]
id = "rl/pairs"
category = "rl"
[[consumes]]
type = "training_jsonl"
[[consumes]]
type = "checkpoint_hf"
[[produces]]
type = "checkpoint_hf"
[lockgate]
goals = ["dpo"]
open_models = true
gpus = 1
roles = { base_model = "model" }
inputs.training_jsonl = { key = "data", rows = "preference" }
inputs.checkpoint_hf = { key = "model" }
outputs.checkpoint_hf = { key = "out" }
smoke = { steps = 1 }
""",
        "data: ???\nmodel: ???\nout: ???\nsteps: 100\n",
    ),
    "eval/measure": (
        """
[step]
id = "eval/measure"
category = "eval"
[[consumes]]
type = "checkpoint_hf"
required = false
[[produces]]
type = "marks"
[[parameters]]
name = "judge"
choices = ["strict", "kind"]
[lockgate]
goals = ["evaluate"]
gpus = 0
task_entry = "name"
smoke = { samples = 3 }
inputs.checkpoint_hf = { key = "model" }
outputs.marks = { key = "out", verify = "marks.json" }
[lockgate.roles]
tasks = "tasks"
endpoint_url = "served.url"
endpoint_model = "served.name"
secret_name = "served.key_name"
""",
        "model: null\nout: ???\njudge: strict\nsamples: 100\ntasks: []\n"
        "served: {url: null, name: null, key_name: null}\n",
    ),
}

PATTERN = """---
id: short-runs
title: Short runs first
triggers:
  - "A model is trained."
  - "You are in a hurry."
steps: [sft]
confidence: high
lockgate:
  advice:
    - when: "A model is trained."
      test: { goal: sft }
---
Try a short run.
"""


class Shop:
    """A project, entered, whose only catalog is its own: `catalog/`."""

    source = "chain.yaml"

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("catalog/types.toml", TYPES)
        self.write("catalog/patterns/short-runs.md", PATTERN)
        for name, (manifest, default) in STEPS.items():
            self.step(name, manifest, default)
        self.rows("chat.jsonl", [{"prompt": f"{n}?", "completion": f"{n}."} for n in range(20)])
        self.rows(
            "pairs.jsonl",
            [{"prompt": f"{n}?", "chosen": "yes", "rejected": "no"} for n in range(20)],
        )
        self.model("small", "SmallForCausalLM")

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def step(self, name: str, manifest: str, default: str = "", program: str = "") -> None:
        """Write a step of the catalog."""
        self.write(f"catalog/{name}/step.toml", manifest)
        self.write(f"catalog/{name}/step.py", program or "raise SystemExit('it is never run')\n")
        self.write(f"catalog/{name}/config/default.yaml", default)

    def checkout(self, *steps: str) -> list[dict]:
        """These steps also as a checkout of another kind; gives the `catalogs` of it alone.

        Its runner starts one process, and its configurations inherit.
        """
        base = self.root / "catalog"
        names = ["types.toml"]
        names += [f"{name}/{file}" for name in steps for file in ("step.toml", "step.py")]
        names += [f"{name}/config/default.yaml" for name in steps]
        for name in names:
            self.write(f"checkout/src/nemotron/steps/{name}", (base / name).read_text())
        self.write("checkout/pyproject.toml", "[project]\nname = 'nemotron'\n")
        return [{"name": "live", "path": "checkout"}]

    def edit(self, name: str, old: str, new: str) -> None:
        """Change a file's text."""
        text = (self.root / name).read_text()
        assert old in text
        (self.root / name).write_text(text.replace(old, new))

    def rows(self, name: str, rows: list) -> None:
        self.write(name, "".join(json.dumps(row) + "\n" for row in rows))

    def model(self, name: str, architecture: str) -> None:
        """A model's directory that has no weights: a plan looks at config.json only."""
        self.write(f"models/{name}/config.json", json.dumps({"architectures": [architecture]}))

    def values(self, *stages: dict, **more) -> dict:
        """A configuration with these stages."""
        return {
            "experiment": {
                "name": "shop_rows_2026-11-21",
                "question": "Does it plan?",
                "hypothesis": "It does.",
            },
            "models": {
                "small": {"path": "models/small"},
                "large": {"hub": "org/large"},
                "other": {"hub": "org/other"},
            },
            "stages": list(stages),
            "resources": {"gpus": 8, "gpu": "H100"},
            **more,
        }

    def read(self, *stages: dict, **more) -> chain.Chain:
        """The chain of a configuration with these stages."""
        return chain.read(self.values(*stages, **more), self.source, Path("."), Path("catalog"))


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """The project, entered: paths in the configuration start at its root."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOCKGATE_CATALOGS", raising=False)
    return Shop(tmp_path)
