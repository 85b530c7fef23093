"""Calls of torchtune's command `tune`, with configurations rendered from a template."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import jinja2

from lockgate import environments, process
from lockgate.errors import LockgateError, OutOfGpuMemory, Stopped
from lockgate.files import file_digest, write_text
from lockgate.launch import World, meeting, micro_batches, srun, stop_signals, wait
from lockgate.tools.torchtune import ENVIRONMENT, architectures, options

_PACKAGE = Path(__file__).parent
_COMPONENT = _PACKAGE / "component"

_CONTINUES = "run it again: it continues after its last complete epoch"

# Read through a constant's name, which the recipe's text does not show.
_ALSO = {"profiler"}


def validate(config: dict[str, Any]) -> None:
    """Check a rendered configuration: the recipe reads each option, each component takes its own.

    Raises:
        LockgateError: naming the option, or with what `tune validate` says.
    """
    check_files(config)
    name = config["recipe"]["name"]
    source = _source(name)
    names = options.options_of(_builtin(options.RECIPES[config["method"]][0])) | _ALSO
    names |= options.options_of(source) if source else set()
    if config["recipe"]["processes"]:
        names |= options.options_of(_builtin(options.RECIPES[config["method"]][1]))
    options.refuse_unknown(config["settings"], names, name)
    # Any model's dimensions do: the signatures are what is checked.
    entry = next(iter(architectures.known().values()))
    model = {
        "_component_": entry["lora" if config["method"] == "lora" else "builder"],
        **dict.fromkeys(entry["arguments"], 64),
    }
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        about = {"model": model, "checkpoint": {"model_type": entry["type"], "permute": True}}
        file = render(config, work, about, work, ["model.safetensors"], "cpu", work, None, 0, 1)
        done = process.run([str(_tune()), "validate", str(file)], work / "log", _variables(name))
    if done.returncode != 0:
        raise LockgateError(
            f"`tune validate` says: {reason(done.stdout)}",
            where=f"{options.KEY}.extra",
            hint="see the component's arguments in torchtune's documentation",
        )


def render(
    config: dict[str, Any],
    work: Path,
    about: dict[str, Any],
    base: Path,
    weights: list[str],
    device: str,
    rows: Path,
    resume: Path | None,
    done: int,
    steps: int | None,
    pad_id: int = 0,
    size: int | None = None,
) -> Path:
    """Write the recipe's configuration, `config.yaml` in `work`.

    Args:
        config: what the adapter's `render` gave.
        work: directory of the run; tokens and metrics lie there, epochs are written there.
        about: what `architectures.builder` says of the model.
        base: directory of the base model.
        weights: names of its weight files.
        device: `cpu` or `cuda`.
        rows: the rows as given.
        resume: directory of the epoch to continue from.
        done: optimizer steps in the epochs before.
        steps: optimizer steps in an epoch; None: as many as the user's own dataset fills.
        pad_id: token that pads.
        size: rows of an optimizer step, which the user's own dataset is cut to a multiple of;
            None: it is taken as it is.
    """
    settings = dict(config["settings"])
    tokens = work / "tokens.jsonl"
    own = {
        "_component_": "lockgate_torchtune.Rows",
        "path": str(tokens),
        "seed": settings["seed"],
    }
    if "dataset" in settings and size is not None:
        cut = {
            "component": settings["dataset"]["_component_"],
            "size": size,
            "most": config.get("most_steps"),
        }
        settings["dataset"] = {
            **settings["dataset"],
            "_component_": "lockgate_torchtune.Whole",
            "lockgate": cut,
        }
    loader = jinja2.FileSystemLoader(_PACKAGE)
    template = jinja2.Environment(
        loader=loader, undefined=jinja2.StrictUndefined, trim_blocks=True
    ).get_template("config.yaml.j2")
    text = template.render(
        recipe=config["recipe"]["name"],
        rows=str(rows),
        tokens=str(tokens),
        out=str(work),
        device=device,
        model={**about["model"], **settings.pop("model", {})},
        tokenizer=settings.pop(
            "tokenizer", {"_component_": "lockgate_torchtune.Padding", "pad_id": pad_id}
        ),
        dataset=settings.pop("dataset", own),
        base=str(base),
        weights=weights,
        resume=str(resume) if resume else None,
        checkpoint=about["checkpoint"],
        metrics=str(work / "metrics.jsonl"),
        done=done,
        steps=steps,
        lr_scheduler=settings.pop("lr_scheduler"),
        settings=settings,
    )
    write_text(work / "config.yaml", text)
    return work / "config.yaml"


def launch(config: dict[str, Any], file: Path, log: Path, world: World) -> None:
    """Run the recipe with the configuration `file`; everything it prints goes to `log`.

    Raises:
        Stopped: if it was told to stop; it saves at the end of an epoch only, so it ends at once.
        OutOfGpuMemory: if a smaller micro-batch may fit.
        LockgateError: with the last thing it said, if it fails.
    """
    recipe = config["recipe"]
    command = [str(_tune()), "run"]
    if world.nodes > 1:  # one launcher a node, which meet each other
        command = [*srun(world.nodes, 1), *command]
    if recipe["processes"]:
        command += meeting(world)
    # By its path a recipe would be run as a module, whose name may be a builtin recipe's.
    name = "lockgate_recipe" if options.by_path(recipe["name"]) else recipe["name"]
    command += [name, "--config", str(file)]
    said_before = log.stat().st_size if log.exists() else 0
    with stop_signals() as stopping:
        status = wait(command, stopping, _variables(recipe["name"]), log, saves=False)
    if status == 0:
        return
    said = log.read_bytes()[said_before:].decode("utf-8", "replace")
    if stopping.is_set():
        raise Stopped("`tune run` was stopped", where=str(log), hint=_CONTINUES)
    if "is not a finite number" in said:
        found = re.search(r"the loss at step \d+ is not a finite number", said)
        raise LockgateError(
            found[0] if found else "the loss is not a finite number",
            where=str(log),
            hint="lower training.parameters.learning_rate, or use precision: float32",
        )
    if "OutOfMemoryError" in said:
        rows = config["settings"]["batch_size"]
        what = f"{rows} rows of up to {config['max_length']} tokens do not fit the GPU"
        if rows > 1:
            hint = "the next attempt takes half of them and twice the accumulation"
            raise OutOfGpuMemory(what, where=f"{options.KEY}.batch_size", hint=hint)
        hint = "lower max_length, use method lora, set extra.enable_activation_checkpointing, or "
        hint += "take a GPU with more memory"
        raise LockgateError(what, where=f"{options.KEY}.max_length", hint=hint)
    raise LockgateError(
        f"`tune run` ended with status {status}: {reason(said)}",
        where=str(log),
        hint=_CONTINUES,
    )


def shared(config: dict[str, Any], world: World) -> tuple[dict[str, Any], World]:
    """The configuration of each process of a world, and the world that is really started.

    `batch_size` beside its settings is the run's own: the validation's batches are of that size.
    The user's own `nproc_per_node` keeps its meaning: each process takes a whole batch.

    Raises:
        LockgateError: if the recipe does not run in so many processes.
    """
    recipe, settings = config["recipe"], config["settings"]
    own = recipe["processes"]
    if own:
        if world.size > 1 and (world.nodes, world.processes) != (1, own):
            raise LockgateError(
                f"nproc_per_node is {own}, and the job has {world.nodes} nodes x "
                f"{world.processes} GPUs",
                where=f"{options.KEY}.extra.nproc_per_node",
                hint="remove it: there is a process for each GPU of resources",
            )
        rows, times = micro_batches(
            settings["batch_size"],
            settings["gradient_accumulation_steps"],
            World(divide=world.divide),
        )
        world = World(1, own, world.divide)
    else:
        rows, times = micro_batches(
            settings["batch_size"], settings["gradient_accumulation_steps"], world
        )
        if world.size > 1:
            single, distributed = options.RECIPES[config["method"]]
            name = distributed if recipe["name"] == single else recipe["name"]
            source = _source(name)
            if source and "distributed" not in source.read_text(encoding="utf-8"):
                raise LockgateError(
                    f"the recipe {name} runs in one process, and the job has {world.size} GPUs",
                    where=f"{options.KEY}.extra.recipe",
                    hint="set resources.nodes and resources.gpus to 1, or use torch.distributed in "
                    "it",
                )
            recipe = {**recipe, "name": name, "processes": world.processes}
    whole = settings["batch_size"]
    settings = {**settings, "batch_size": rows, "gradient_accumulation_steps": times}
    return {**config, "recipe": recipe, "settings": settings, "batch_size": whole}, world


def cuda() -> bool:
    """Whether torchtune's own torch sees a GPU."""
    program = "import torch; print(torch.cuda.is_available())"
    python = environments.python(ENVIRONMENT, "training.tool")
    done = subprocess.run([str(python), "-c", program], capture_output=True, text=True, check=False)
    return done.stdout.strip().endswith("True")


def check_files(config: dict[str, Any]) -> None:
    """The user's own recipe and components must be those that the configuration was built from.

    Raises:
        LockgateError: naming the file that changed or is gone.
    """
    for path, known in config["recipe"]["files"].items():
        if not Path(path).is_file() or file_digest(path) != known:
            raise LockgateError(
                f"{path} changed after the configuration was built from it",
                where=f"{options.KEY}.extra",
                hint="run the pipeline again",
            )


def reason(text: str) -> str:
    """The last thing that a program said, from its traceback or its usage."""
    plain = re.sub(r"^\[rank\d+\]:", "", text, flags=re.MULTILINE)
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    error = r"([\w.]+(Error|Exception)|tune \w+: error)\b"
    # a launcher only says that one of its processes failed
    errors = [line for line in lines if re.match(error, line) and "ChildFailedError" not in line]
    said = (errors or lines or ["nothing"])[-1]
    return re.sub(r"\s+", " ", said)[:400]


def _variables(recipe: str) -> dict[str, str]:
    """Variables of `tune` beside this process's own: where components are, and no network."""
    paths, more = [_COMPONENT, Path.cwd()], {}
    if options.by_path(recipe):
        own = Path(recipe).with_suffix(".py").absolute()
        paths, more = [own.parent, *paths], {"LOCKGATE_RECIPE": str(own)}
    return more | {
        "PYTHONPATH": ":".join(map(str, paths)),
        "PYTHONNOUSERSITE": "1",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def _tune() -> Path:
    return environments.python(ENVIRONMENT, "training.tool").with_name("tune")


def _builtin(name: str) -> Path:
    place = environments.python(ENVIRONMENT, "training.tool").parents[1]
    return next(place.glob(f"lib/python*/site-packages/recipes/{name}.py"))


def _source(name: str) -> Path | None:
    """Source of a recipe: the user's own, one of the tool's, or None for a package's."""
    if "." in name or "/" in name:
        return options.own_file(name)
    return _builtin(name)
