"""What to do where GPUs are too few, cheapest first, each with its numbers."""

from __future__ import annotations

import fnmatch
import math
from dataclasses import dataclass

from lockgate.catalog.model import Step, SupportedModel
from lockgate.errors import LockgateError
from lockgate.stages import hardware
from lockgate.stages.checks.context import Context, architecture, needed_gpus, supported
from lockgate.stages.hardware import Gpu, Size
from lockgate.stages.model import Stage

_SHOWN = 3


@dataclass(frozen=True)
class _Room:
    """What a stage could be given: GPUs a node, GPUs in all, and of which kind."""

    node: int
    total: int
    device: Gpu | None


def proposals(context: Context, stage: Stage, needed: int) -> str:
    """Ways out, numbered: a smaller model, another stack, low-rank adapters, more GPUs.

    Args:
        context: its alternatives are what may be proposed.
        stage: the stage that has too few GPUs.
        needed: GPUs in all that it lacks room for now.
    """
    device = _device(context)
    room = _Room(
        max(stage.gpus, context.gpus),
        max(stage.nodes * stage.gpus, context.nodes * context.gpus),
        device,
    )
    node = max(room.node, needed_gpus(stage.step) or 0)
    ways = []
    most = stage.step.notes.most_gpus
    if most is None and room.total >= needed and room.node >= (needed_gpus(stage.step) or 0):
        there = f"{context.nodes} x {context.gpus}"
        ways.append(f"give the stage all that is there ({there} = {room.total} GPUs)")
    others = _others(context, stage)
    ways += _smaller(stage, others, room)
    ways += _stacks(context, stage, others, room)
    ways += _adapters(context, stage, others, room)
    full = _full(context, stage, needed, device)
    nodes = math.ceil(full / node) if node else 1
    shape = f" ({nodes} x {node})" if nodes > 1 or node > full else ""
    if most is not None and full > most:
        ways.append(f"another step: {stage.step.id} uses {counted(most)} at most")
    else:
        ways.append(f"{stage.method or 'the stage'} as planned needs {counted(full)}{shape}")
    return "; ".join(f"{at}) {way}" for at, way in enumerate(ways, 1))


def counted(gpus: int) -> str:
    """Number of GPUs in words."""
    return f"{gpus} GPU{'' if gpus == 1 else 's'}"


def size_of(context: Context, step: Step, model: str) -> Size | None:
    """Parameters of a model: from its files, the catalog or its name."""
    found = context.model_files.get(model, {}).get("parameters")
    if isinstance(found, int | float) and found > 0:
        return Size(float(found), float(found), "counted in its files")
    # another step may say more of the same model than this one
    known = [step, *(stage.step for stage in context.stages), *context.alternatives]
    entries = [supported(one, model) for one in known]
    sizes = [hardware.parameters_of("", entry.description) for entry in entries if entry]
    told = [size for size in sizes if size]
    return told[0] if told else hardware.parameters_of(model)


def _others(context: Context, stage: Stage) -> list[Step]:
    """Other steps for the same goal, by id."""
    mine = set(stage.step.notes.goals)
    found = {
        step.id: step
        for step in context.alternatives
        if step.id != stage.step.id and mine & set(step.notes.goals)
    }
    return [found[name] for name in sorted(found)]


def _smaller(stage: Stage, others: list[Step], room: _Room) -> list[str]:
    """Listed models that fit, the largest first."""
    found: dict[str, tuple[int, str]] = {}
    # a step that trains in the planned way before one that does not
    for step in sorted([stage.step, *others], key=lambda one: not _same_way(one, stage)):
        if (needed_gpus(step) or 0) > room.node:
            continue
        for entry in step.models:
            least = entry.min_gpus
            if least is None or not 0 < least <= room.total or _same(entry, stage.model):
                continue
            found.setdefault(entry.name, (least, step.id))
    best = sorted(found.items(), key=lambda item: (-item[1][0], item[0]))[:_SHOWN]
    if not best:
        return []
    named = ", ".join(f"{name} with {step} from {counted(least)}" for name, (least, step) in best)
    return [f"a smaller model: {named}"]


def _same_way(step: Step, stage: Stage) -> bool:
    return not stage.method or not step.notes.methods or stage.method in step.notes.methods


def _same(entry: SupportedModel, model: str) -> bool:
    return entry.name.lower() == model.rstrip("/").lower()


def _stacks(context: Context, stage: Stage, others: list[Step], room: _Room) -> list[str]:
    """Steps of another training stack that take this very model here."""
    ways = []
    for step in others:
        own = step.notes.stack
        if not own or own == stage.step.notes.stack:
            continue
        if not _same_way(step, stage):
            continue
        method = stage.method or "full"
        number = _fits(context, step, stage.model, method, room)
        if number:
            told = _numbers(context, step, stage.model, method, room)
            ways.append(
                f"the {own} stack: {step.id} takes {stage.model} from {counted(number)}{told}"
            )
    return ways


def _adapters(context: Context, stage: Stage, others: list[Step], room: _Room) -> list[str]:
    """Steps that train low-rank adapters of this very model here."""
    ways = []
    own = [] if stage.method == "lora" else [stage.step]
    for step in [*own, *others]:
        if "lora" not in step.notes.methods:
            continue
        number = _fits(context, step, stage.model, "lora", room)
        if number:
            told = _numbers(context, step, stage.model, "lora", room)
            ways.append(f"LoRA: {step.id} with method lora from {counted(number)}{told}")
    return ways


def _numbers(context: Context, step: Step, model: str, method: str, room: _Room) -> str:
    """What a number of GPUs rests on: the memory, and what the step asks for such a size."""
    if supported(step, model):
        return ""
    size, told = size_of(context, step, model), []
    if size and room.device:
        need = hardware.memory_needed_gb(size.total, method)
        told.append(f"{need:.4g} GB of {room.device.memory_gb:.4g} GB each")
    for entry in step.models:
        listed = hardware.parameters_of(entry.name, entry.description)
        if size and listed and entry.min_gpus and 0.8 < listed.total / size.total < 1.25:
            told.append(f"it asks {counted(entry.min_gpus)} for {entry.name}")
            break
    return f" ({'; '.join(told)})" if told else ""


def _fits(context: Context, step: Step, model: str, method: str, room: _Room) -> int | None:
    """GPUs from which a step trains a model, if there are as many; None: not, or not known."""
    if not model or (needed_gpus(step) or 0) > room.node:
        return None
    entry = supported(step, model)
    found = architecture(context, model)
    if entry is None and not step.notes.open_models and step.models:
        return None
    globs = step.notes.architectures
    if entry is None and found and globs and not any(fnmatch.fnmatchcase(found, g) for g in globs):
        return None
    number = None
    # a listed minimum is about all weights where the step can train all of them
    listed = list(step.notes.methods) in ([method], []) or method == "full"
    if entry and entry.min_gpus and listed:
        number = entry.min_gpus
    else:
        size = size_of(context, step, model)
        if size and room.device:
            number = hardware.gpus_needed(size.total, method, room.device)
    if number is None or number > room.total:
        return None
    return max(number, needed_gpus(step) or 0)


def _full(context: Context, stage: Stage, needed: int, device: Gpu | None) -> int:
    """GPUs that the stage needs as it is planned: by the list, and by memory."""
    size = size_of(context, stage.step, stage.model) if stage.model else None
    method = stage.method or "full"
    by_memory = hardware.gpus_needed(size.total, method, device) if size and device else 0
    entry = supported(stage.step, stage.model) if stage.model else None
    return max(needed, by_memory, (entry.min_gpus or 0) if entry else 0)


def _device(context: Context) -> Gpu | None:
    try:
        return hardware.gpu(context.gpu) if context.gpu else None
    except LockgateError:
        return None  # the check of the memory says so
