# /// script
# [tool.runspec]
# schema = "1"
# name = "steps/convert/merge_lora_peft"
#
# [tool.runspec.run]
# launch = "python"
#
# [tool.runspec.config]
# dir = "./config"
# default = "default"
#
# [tool.runspec.resources]
# nodes = 1
# gpus_per_node = 0
# ///
"""Merge a low-rank adapter into its base model with PEFT, on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from lockgate import files
from lockgate.config.section import Section
from lockgate.errors import LockgateError
from lockgate.stages import builtin
from lockgate.stages.builtin_settings import output, read


class MergeSettings(Section):
    """Adapter and base model."""

    output: str
    adapter: str
    model: str | None = None
    precision: Literal["float32", "bfloat16"] | None = None


def merge(config: Path, step: Path) -> None:
    """Write the merged model and its tokenizer to `model`, and what it is made of beside it."""
    settings = read(config, step, MergeSettings)
    out = output(settings.output, [settings.adapter, settings.model], config)
    adapter = Path(settings.adapter).expanduser()
    base = builtin.adapter_base(adapter, settings.model, f"{config}: model")

    import torch
    from peft import PeftModel
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    # Sums of small numbers lose their last digits in the weights' own precision.
    model = AutoModelForCausalLM.from_pretrained(str(base), dtype=torch.float32)
    try:
        merged = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    except (RuntimeError, ValueError, KeyError) as error:  # other shapes, modules or weights
        raise LockgateError(
            f"the adapter does not fit its base model {base}: {error}",
            where=str(adapter),
            hint="was the base model changed after the adapter was trained?",
        ) from error
    own = AutoConfig.from_pretrained(str(base)).dtype or torch.float32
    precision = getattr(torch, settings.precision) if settings.precision else own
    source = adapter if (adapter / "tokenizer_config.json").is_file() else base
    out.mkdir(parents=True, exist_ok=True)
    with (
        files.locked(out / ".lock", f"{out} is being written", "wait for it"),
        builtin.replacing(out / "model") as new,
    ):
        merged.to(precision).save_pretrained(new)
        AutoTokenizer.from_pretrained(str(source)).save_pretrained(new)
    made_of = {"adapter": settings.adapter, "base": str(base)}
    files.write_json(out / "merge.json", {**made_of, "precision": str(precision)[6:]})
    print(f"{out / 'model'}: {settings.adapter} merged into {base}", flush=True)


if __name__ == "__main__":
    builtin.main(__file__, merge)
