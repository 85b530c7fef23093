"""Is there enough: GPUs of the model and of the step, memory, and sizes that divide."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterator

from lockgate.errors import LockgateError
from lockgate.stages import hardware
from lockgate.stages.checks.context import (
    Context,
    architecture,
    goals,
    needed_gpus,
    on_hub,
    supported,
    trains,
    works_on_model,
)
from lockgate.stages.checks.proposals import counted, proposals, size_of
from lockgate.stages.checks.values import Unresolved, resolve
from lockgate.stages.model import Check, Stage

_MODEL = "gpus.model-minimum"
_EXPERTS = ("expert_parallel", "expert_tensor_parallel")
_SIZES = ("tensor_parallel", "pipeline_parallel", "context_parallel")


def minimum(context: Context) -> Iterator[Check]:
    """`gpus.none`, `gpus.step-minimum`, `gpus.model-minimum`: as many as step and model need."""
    for stage in context.stages:
        needs = None if stage.endpoint else needed_gpus(stage.step)
        entry = supported(stage.step, stage.model) if works_on_model(stage) else None
        least = entry.min_gpus if entry and entry.min_gpus else 0
        total = stage.nodes * stage.gpus
        if not stage.gpus and (needs or least):
            said = f"{counted(needs)} a node" if needs else counted(least)
            nodes = f" on {math.ceil(least / needs)} nodes" if needs and least > needs else ""
            yield Check(
                "gpus.none",
                stage.name,
                "warning",
                f"{stage.step.id} needs {said}{nodes}; the stage has 0",
                f"set resources.gpus (or the stage's gpus) to {needs or least}"
                + (f" and nodes to {math.ceil(least / needs)}" if nodes and needs else ""),
            )
            continue
        if needs and stage.gpus:
            told = f"{stage.step.id} asks for {counted(needs)} a node; the stage has {stage.gpus}"
            if stage.gpus >= needs:
                yield Check("gpus.step-minimum", stage.name, "ok", told)
            else:
                # what the step itself declares is a default that a configuration may lower
                hard = "error" if stage.step.notes.gpus is not None else "warning"
                fix = f"see {_MODEL}"
                if total >= least:
                    fix = proposals(context, stage, needs * stage.nodes)
                yield Check("gpus.step-minimum", stage.name, "warning", told, fix, hard)
        if entry and least:
            told = f"{entry.name} with {stage.step.id} needs {counted(least)}; "
            told += f"the stage has {stage.nodes} x {stage.gpus} = {total}"
            if total >= least:
                yield Check(_MODEL, stage.name, "ok", told)
            else:
                fix = proposals(context, stage, least)
                yield Check(_MODEL, stage.name, "warning", told, fix)


def memory(context: Context) -> Iterator[Check]:
    """`gpus.memory`: weights, gradients and optimizer fit into all GPUs together.

    Without a GPU into the job's host memory: `memory.host`. To answer takes the weights alone.
    """
    for stage in context.stages:
        measures = "evaluate" in goals(stage) and not stage.endpoint
        if not stage.model or not (trains(stage) or measures and works_on_model(stage)):
            continue
        code = "gpus.memory" if stage.gpus else "memory.host"
        size = size_of(context, stage.step, stage.model)
        method = (stage.method or "full") if trains(stage) else "inference"
        if size is None:
            yield Check(
                code,
                stage.name,
                "not checked",
                f"{stage.model}, {method}: {stage.nodes} x {stage.gpus} GPUs",
                "neither its name nor its files tell how many parameters it has",
                severity="note",
            )
            continue
        need = hardware.memory_needed_gb(size.total, method)
        told = f"{size.total / 1e9:.4g}B parameters ({size.source}), {method}, "
        told += f"{hardware.assumptions(method)}: {need:.4g} GB"
        if not stage.gpus:
            yield _host(context, stage, need, told)
            continue
        if context.gpu is None:
            fix = "set resources.gpu to the GPU's name, like H100"
            yield Check(code, stage.name, "not checked", told, fix, severity="note")
            continue
        try:
            device = hardware.gpu(context.gpu)
        except LockgateError as error:
            fix = f"resources.gpu: {error.what}; {error.hint}"
            yield Check(code, stage.name, "not checked", told, fix, severity="warning")
            continue
        total = stage.nodes * stage.gpus
        have = total * device.memory_gb
        told += f"; {total} x {device.name} have {have:.4g} GB"
        if need <= have:
            yield Check(code, stage.name, "ok", told)
        else:
            needed = hardware.gpus_needed(size.total, method, device)
            entry = supported(stage.step, stage.model)
            if not trains(stage):
                fix = f"give it {counted(needed)}, and spread the model in its configuration"
            elif entry and (entry.min_gpus or 0) > total:
                fix = f"see {_MODEL}"
            else:
                fix = proposals(context, stage, needed)
            yield Check(code, stage.name, "warning", told, fix)


def _host(context: Context, stage: Stage, need: float, told: str) -> Check:
    code = "memory.host"
    if context.memory_mb is None:
        fix = "set resources.memory_mb"
        return Check(code, stage.name, "not checked", told, fix, severity="note")
    have = context.memory_mb / 1000
    told += f"; no GPU, and the job has {have:.4g} GB (resources.memory_mb)"
    if need <= have:
        return Check(code, stage.name, "ok", told)
    fix = f"set resources.memory_mb to {math.ceil(need * 1000)}, or give the stage a GPU"
    return Check(code, stage.name, "warning", told, fix)


def model(context: Context) -> Iterator[Check]:
    """`model.supported`: the step was made for this model, or takes models of its kind."""
    code = "model.supported"
    for stage in context.stages:
        step = stage.step
        if not works_on_model(stage) or not (step.models or step.notes.architectures):
            continue
        entry = supported(step, stage.model)
        names = ", ".join(one.name for one in step.models)
        if entry:
            yield Check(code, stage.name, "ok", f"{step.id} lists {entry.name}")
            continue
        if not step.notes.open_models and step.models:
            yield Check(
                code,
                stage.name,
                "warning",
                f"{step.id} does not list {stage.model}; it lists {names}",
                f"take one of these models, or a step that takes {stage.model}",
            )
            continue
        globs = ", ".join(step.notes.architectures)
        found = architecture(context, stage.model)
        if not globs:
            told = f"{step.id} takes any model; its list ({names}) is of examples"
            yield Check(code, stage.name, "ok", told)
        elif not found:
            why = "is not here" if on_hub(stage.model) else "does not tell its architecture"
            yield Check(
                code,
                stage.name,
                "not checked",
                f"{step.id} takes {globs}",
                f"{stage.model} {why}: compare with `architectures` in its config.json",
                severity="note",
            )
        elif any(fnmatch.fnmatchcase(found, one) for one in step.notes.architectures):
            told = f"{step.id} takes {globs}; {stage.model} is {found}"
            yield Check(code, stage.name, "ok", told)
        else:
            told = f"{step.id} takes {globs}; {stage.model} is {found}"
            fix = f"take a model that is {globs}, or a step that takes {found}"
            yield Check(code, stage.name, "warning", told, fix)


def divides(context: Context) -> Iterator[Check]:
    """`parallel.divides` and `batch.divides`: ranks and batches come out whole."""
    for stage in context.stages:
        roles = stage.step.notes.roles
        total = max(1, stage.nodes * stage.gpus)
        unknown: list[str] = []
        sizes = {
            role: _number(context, stage, role, unknown)
            for role in (*_SIZES, *_EXPERTS, "global_batch", "micro_batch")
            if role in roles
        }
        for text in unknown:
            yield Check(
                "batch.divides" if "batch" in text else "parallel.divides",
                stage.name,
                "not checked",
                text,
                "give it one number",
                severity="warning",
            )
        known = {role: size for role, size in sizes.items() if size is not None}
        # a key without a value is 1; one that cannot be told makes the product unknown
        blind = any("parallel" in text for text in unknown)
        ranks = math.prod(known.get(role, 1) for role in _SIZES)
        if not blind and stage.gpus and any(role in roles for role in (*_SIZES, *_EXPERTS)):
            yield _ranks(stage, known, ranks, total)
        if not blind and total % ranks == 0 and "global_batch" in known:
            yield _batch(stage, known, total // ranks, total)


def _ranks(stage: Stage, sizes: dict[str, int], ranks: int, total: int) -> Check:
    code = "parallel.divides"
    parts = [f"{role.replace('_', ' ')} {sizes[role]}" for role in _SIZES if role in sizes]
    told = f"{' x '.join(parts)} = {ranks}" if parts else "model parallel 1"
    told += f"; {stage.nodes} x {stage.gpus} = {total} GPUs"
    if total % ranks:
        fits, left = [], total
        for role in _SIZES:
            if role in sizes:
                size = math.gcd(sizes[role], left)
                left //= size
                fits.append(f"{_key(stage, role)} = {size}")
        more = math.ceil(total / ranks) * ranks
        fix = f"set {', '.join(fits)}; or take a multiple of {ranks} GPUs, like {more}"
        return Check(code, stage.name, "warning", f"{told}, which it does not divide", fix)
    told += f": data parallel {total // ranks}"
    tensors = sizes.get("expert_tensor_parallel", 1)
    experts = sizes.get("expert_parallel", 1) * tensors
    room = total // sizes.get("pipeline_parallel", 1)
    if room % experts:
        size = math.gcd(experts // tensors, max(1, room // tensors))
        fix = f"set {_key(stage, 'expert_parallel')} = {size}"
        told += f"; expert parallel {experts} does not divide {room} GPUs of a pipeline stage"
        return Check(code, stage.name, "warning", told, fix)
    if "expert_parallel" in sizes:
        told += f"; expert parallel {experts} divides {room}"
    return Check(code, stage.name, "ok", told)


def _batch(stage: Stage, sizes: dict[str, int], data: int, total: int) -> Check:
    code, batch, micro = "batch.divides", sizes["global_batch"], sizes.get("micro_batch", 1)
    unit = micro * data
    told = f"global batch {batch}; micro batch {micro} x data parallel {data} = {unit} ({total} "
    told += "ranks)" if stage.gpus else "rank)"
    if batch % unit == 0:
        told += f": {batch // unit} micro batches a step"
        return Check(code, stage.name, "ok", told)
    low, high = batch // unit * unit, math.ceil(batch / unit) * unit
    near = f"{low} or {high}" if low else f"{high}"
    fix = f"set {_key(stage, 'global_batch')} to {near}"
    return Check(code, stage.name, "warning", f"{told}, which does not divide it", fix)


def _key(stage: Stage, role: str) -> str:
    """The key of the step's own configuration that means a role."""
    return next(iter(stage.step.notes.roles[role]))


def _number(context: Context, stage: Stage, role: str, unknown: list[str]) -> int | None:
    """The one positive number that a role's keys hold; else why not, in `unknown`."""
    found: dict[str, int] = {}
    for key in stage.step.notes.roles[role]:
        try:
            value = resolve(stage.config, key, context.environ)
        except Unresolved as error:
            unknown.append(f"{role}: {key} refers to {error}")
            continue
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            found[key] = value
        elif value is not None and str(value).lower() != "none":
            unknown.append(f"{role}: {key} = {value}")
    if len(set(found.values())) > 1:
        told = ", ".join(f"{key} = {value}" for key, value in found.items())
        unknown.append(f"{role}: {told}")
        return None
    return next(iter(found.values()), None)
