"""From parameters in the field's terms to what torchtune's recipes read, and what they refuse."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lockgate import imports
from lockgate.errors import LockgateError
from lockgate.files import file_digest, read_text

KEY = "training.parameters"

RECIPES = {
    "lora": ("lora_finetune_single_device", "lora_finetune_distributed"),
    "full": ("full_finetune_single_device", "full_finetune_distributed"),
}
"""By method: what is used where `recipe` names none, and its distributed sister."""

DISTRIBUTED = tuple(distributed for _, distributed in RECIPES.values())

# The recipes' names of what has a name of its own in the configuration.
_NAMED = {
    "epochs": "epochs",
    "batch_size": "batch_size",
    "gradient_accumulation_steps": "gradient_accumulation",
    "dtype": "precision",
    "seed": "the training section's `seeds`",
    "lr_scheduler": "lr_scheduler and warmup_steps",
    "optimizer.lr": "learning_rate",
    "optimizer.weight_decay": "weight_decay",
    "model.lora_rank": "lora_rank",
    "model.lora_alpha": "lora_alpha",
    "model.lora_dropout": "lora_dropout",
    "model.lora_attn_modules": "lora_targets",
    "model.apply_lora_to_mlp": "lora_targets",
    "model.apply_lora_to_output": "lora_targets",
}
# What the pipeline needs as it is: to continue, to count, to read the weights afterwards.
# fmt: off
_REFUSED = {
    "output_dir", "checkpointer", "resume_from_checkpoint", "save_adapter_weights_only",
    "metric_logger", "log_every_n_steps", "max_steps_per_epoch", "collate_fn", "device", "rows",
    "tokens", "enable_async_checkpointing", "model._component_", "dataset.packed",
}
# fmt: on
_ATTENTION = {"q_proj": "q_proj", "k_proj": "k_proj", "v_proj": "v_proj", "o_proj": "output_proj"}
_MLP = {"gate_proj", "up_proj", "down_proj"}


def settings(run: dict[str, Any]) -> dict[str, Any]:
    """The recipe's configuration for one run, without what its data, model and device decide.

    Raises:
        LockgateError: where an option has another name or is not the user's to set.
    """
    parameters = run["parameters"]
    extra = {
        key: value
        for key, value in (parameters.get("extra") or {}).items()
        if key not in ("recipe", "nproc_per_node")
    }
    flat = {*extra, *(f"{key}.{one}" for key in extra for one in _mapping(extra[key]))}
    for key in sorted(flat):
        where = f"{KEY}.extra.{key}"
        if key in _NAMED:
            what = f"'{key}' has a name of its own"
            raise LockgateError(what, where=where, hint=f"use {_NAMED[key]}")
        if key in _REFUSED:
            raise LockgateError(f"'{key}' is set by the pipeline", where=where, hint="remove it")
    own: dict[str, Any] = {
        "epochs": parameters["epochs"],
        "batch_size": parameters["batch_size"],
        "gradient_accumulation_steps": parameters["gradient_accumulation"],
        "seed": run["seed"],
        "shuffle": True,
        "dtype": {"float32": "fp32", "bfloat16": "bf16"}[parameters["precision"]],
        "optimizer": {
            "_component_": "torch.optim.AdamW",
            "lr": parameters["learning_rate"],
            "weight_decay": parameters["weight_decay"],
        },
        "lr_scheduler": {
            "_component_": "lockgate_torchtune.schedule",
            "name": parameters["lr_scheduler"],
            "warmup_steps": parameters["warmup_steps"],
        },
        "loss": {"_component_": "torchtune.modules.loss.CEWithChunkedOutputLoss"},
        # what the other trainers clip at, unless they are told
        "clip_grad_norm": 1.0,
        "compile": False,
        "enable_activation_checkpointing": False,
        "enable_activation_offloading": False,
    }
    if parameters["method"] == "lora":
        own["model"] = {
            "lora_rank": parameters["lora_rank"],
            "lora_alpha": parameters["lora_alpha"],
            "lora_dropout": parameters["lora_dropout"],
            **_targets(parameters["lora_targets"]),
        }
        # Whole weights are not saved: on a CPU their merge changes the model that trains on.
        own["save_adapter_weights_only"] = True
    else:
        own["optimizer_in_bwd"] = False
    return _merged(own, extra)


def recipe(parameters: dict[str, Any]) -> dict[str, Any]:
    """The recipe's `name`, its number of `processes` (None: no launcher) and the `files` of the
    user's own that it and the components come from, with their digests.

    Raises:
        LockgateError: if the recipe does not go with the method, or its file is not there.
    """
    extra = parameters.get("extra") or {}
    single, distributed = RECIPES[parameters["method"]]
    processes = extra.get("nproc_per_node")
    if processes is not None and (type(processes) is not int or processes < 1):
        raise LockgateError(
            f"{processes!r} is not a number of processes", where=f"{KEY}.extra.nproc_per_node"
        )
    name = extra.get("recipe", single if processes is None else distributed)
    where = f"{KEY}.extra.recipe"
    if not isinstance(name, str) or not name:
        raise LockgateError(f"{name!r} is no recipe", where=where)
    own: list[Path] = []
    roots = [Path()]
    if "." in name or "/" in name:
        path = own_file(name)
        if path is None and by_path(name):
            raise LockgateError(
                f"there is no file {name}", where=where, hint="paths start at the project"
            )
        if path and by_path(name):
            own, roots = [path], [path.parent, *roots]
        else:
            own = imports.of_name(name, roots)
    elif name not in (single, distributed):
        near = difflib.get_close_matches(name, (single, distributed), 1)
        raise LockgateError(
            f"'{name}' is no recipe for method {parameters['method']}",
            where=where,
            hint=f"use {near[0] if near else ' or '.join((single, distributed))}, or your own by "
            "its path or dotted path",
        )
    if name == distributed and processes is None:
        processes = 1
    if name == single and processes is not None:
        raise LockgateError(
            f"'{name}' runs in one process",
            where=f"{KEY}.extra.nproc_per_node",
            hint=f"use the recipe {distributed}",
        )
    for section in ("dataset", "tokenizer"):
        component = _mapping(extra.get(section)).get("_component_")
        if section in extra and not isinstance(component, str):
            raise LockgateError(
                "it names no component",
                where=f"{KEY}.extra.{section}._component_",
                hint="give the dotted path of a class or function",
            )
    for component in _components(extra):
        own += imports.of_name(component, roots)
    found = imports.with_imports(own, roots)
    return {
        "name": name,
        "processes": processes,
        "files": {str(path): file_digest(path) for path in sorted(found)},
    }


def _components(value: Any) -> Iterator[str]:
    """Each `_component_` anywhere in the user's options."""
    if isinstance(value, dict):
        named = value.get("_component_")
        if isinstance(named, str):
            yield named
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for one in inner:
        yield from _components(one)


def own_file(name: str) -> Path | None:
    """File of the project that a path or a dotted module name means; None: not the project's."""
    path = Path(name) if by_path(name) else Path(*name.split("."))
    path = path.with_suffix(".py") if path.suffix != ".py" else path
    return path if path.is_file() else None


def by_path(name: str) -> bool:
    """Whether a recipe is named by its path, in place of a name or a dotted path."""
    return "/" in name or name.endswith(".py")


def options_of(source: Path) -> set[str]:
    """Names that a recipe reads from its configuration: `cfg.name`, `cfg.get("name")` and such.

    Raises:
        LockgateError: if the file is not Python.
    """
    try:
        tree = ast.parse(read_text(source))
    except SyntaxError as error:
        raise LockgateError(f"line {error.lineno}: {error.msg}", where=str(source)) from None
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _is_config(node.value):
            found.add(node.attr)
        elif isinstance(node, ast.Subscript) and _is_config(node.value):
            found |= _literal(node.slice)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.func, ast.Attribute):
            got = node.func.attr == "get" and _is_config(node.func.value)
            found |= _literal(node.args[0]) if got else set()
    return found - {"get"}


def refuse_unknown(settings: dict[str, Any], names: set[str], recipe: str) -> None:
    """Refuse a setting that the recipe does not read.

    Raises:
        LockgateError: with the nearest name.
    """
    for key in settings:
        if key not in names:
            near = difflib.get_close_matches(key, names, 1)
            raise LockgateError(
                f"the recipe {recipe} has no option '{key}'",
                where=f"{KEY}.extra.{key}",
                hint=f"did you mean '{near[0]}'?" if near else "see the recipe's configurations",
            )


def _is_config(node: ast.expr) -> bool:
    """Whether an expression is `cfg` or `self.cfg`, by any of the names that recipes use."""
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    return name in ("cfg", "_cfg")


def _literal(node: ast.expr) -> set[str]:
    known = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return {node.value} if known else set()  # type: ignore[attr-defined]


def _targets(names: str | list[str]) -> dict[str, Any]:
    """torchtune's switches for the modules that get adapters."""
    if names == "all-linear":
        names = [*_ATTENTION, *_MLP]
    where = f"{KEY}.lora_targets"
    known = {*_ATTENTION, *_MLP, "lm_head"}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise LockgateError(
            f"torchtune puts no adapter on '{unknown[0]}'",
            where=where,
            hint=f"use all-linear, or some of: {', '.join(sorted(known))}",
        )
    mlp = _MLP & set(names)
    if mlp and mlp != _MLP:
        raise LockgateError(
            f"torchtune puts adapters on all of {', '.join(sorted(_MLP))} or on none",
            where=where,
            hint="name all three, or none of them",
        )
    return {
        "lora_attn_modules": [_ATTENTION[name] for name in _ATTENTION if name in names],
        "apply_lora_to_mlp": bool(mlp),
        "apply_lora_to_output": "lm_head" in names,
    }


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """`above` over `below`, mappings key by key."""
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged
