"""Does a stage start from the right model: reinforcement from a chat model, a merge from its base.

What decides is where a checkpoint comes from, back through conversions to a training stage or
to the model that the user brings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from lockgate.stages.checks.context import (
    REINFORCED,
    SUPERVISED,
    Context,
    goals,
    is_adapter,
    policy,
    ports,
    trains,
    weights,
)
from lockgate.stages.checks.values import Unresolved, resolve
from lockgate.stages.model import RESULTS, Check, Source, Stage
from lockgate.stages.nested import get

_TUNED = re.compile(r"(?<![a-z])(instruct|chat|it|sft|dpo|rlhf|aligned)(?![a-z])", re.IGNORECASE)
_FIX = "add an sft stage before it, or start from an instruct model"
_BASE = re.compile(r"(?<![a-z])(base|pretrained|pt)(?![a-z])", re.IGNORECASE)


def from_sft(context: Context) -> Iterator[Check]:
    """`rl.from-sft`: a reinforcement stage starts from a model that follows a chat already."""
    code = "rl.from-sft"
    for stage in context.stages:
        if not goals(stage) & REINFORCED:
            continue
        sources = policy(stage)
        trained = [one for one in _behind(context, sources) if trains(one)]
        tuned = [one for one in trained if goals(one) & (SUPERVISED | REINFORCED)]
        if tuned:
            told = f"{stage.name} starts from what {tuned[-1].name} ({tuned[-1].step.id}) trained"
            yield Check(code, stage.name, "ok", told)
        elif trained:
            told = f"{stage.name} starts from what {trained[-1].name} ({trained[-1].step.id}) "
            yield Check(code, stage.name, "warning", f"{told}trained, which is no sft", _FIX)
        else:
            yield _chats(context, stage, _root(context, sources[0]) if sources else stage.model)


def _chats(context: Context, stage: Stage, model: str) -> Check:
    code, fix = "rl.from-sft", _FIX
    if not model:
        told = f"{stage.name} names no model to start from"
        return Check(code, stage.name, "warning", told, fix)
    told = f"{stage.name} starts from {model}, with no sft stage before it"
    named = _TUNED.search(model.rstrip("/").split("/")[-1])
    if named:
        return Check(code, stage.name, "ok", f"{told}; its name says '{named[0]}'")
    files = context.model_files.get(model)
    if files is not None and files.get("chat_template_sha256"):
        return Check(code, stage.name, "ok", f"{told}; it has a chat template")
    if files is not None:
        return Check(code, stage.name, "warning", f"{told}; it has no chat template", fix)
    base = _BASE.search(model.rstrip("/").split("/")[-1])
    if base:
        return Check(code, stage.name, "warning", f"{told}; its name says '{base[0]}'", fix)
    why = "its name does not say whether it was tuned to follow a chat, and it is not here to "
    why += f"look for a chat template; if it was not, {fix}"
    return Check(code, stage.name, "not checked", told, why, severity="warning")


def _behind(context: Context, sources: list[Source]) -> list[Stage]:
    """Stages that checkpoints went through, in the chain's order; data is left out."""
    found: set[str] = set()
    waiting = list(sources)
    while waiting:
        maker = context.stage(waiting.pop().stage)
        if maker and maker.name not in found:
            found.add(maker.name)
            waiting += policy(maker) if goals(maker) & REINFORCED else weights(maker)
    return [stage for stage in context.stages if stage.name in found]


def lora_base(context: Context) -> Iterator[Check]:
    """`lora.base`: an adapter is put on exactly the model that it was trained on."""
    code = "lora.base"
    for stage in context.stages:
        notes = stage.step.notes.inputs
        bases = [kind for kind, note in notes.items() if note.base_of_adapter]
        adapters = [
            source
            for kind, source in stage.inputs.items()
            if kind not in bases and is_adapter(source.type)
        ]
        if not bases or not adapters:
            continue
        adapter = adapters[0]
        named = {kind: stage.inputs[kind] for kind in bases if kind in stage.inputs}
        used = [_root(context, source) for source in named.values()]
        used = used or _written(context, stage, bases)
        trainer = _trainer(context, adapter)
        if trainer:
            trained = _trained_on(context, trainer)
            whose = f"{trainer.name} trained it on {' and '.join(trained) or 'nothing named'}"
        else:
            recorded = context.model_files.get(adapter.path, {}).get("base_model")
            trained = [str(recorded)] if recorded else []
            whose = f"{adapter.path} records {recorded or 'no base that can be read'}"
        told = f"{whose}; {stage.name} puts it on {' and '.join(used) or 'nothing named'}"
        needed = any(required for port, required in ports(stage) if port.type in bases)
        if used and trained and set(used) <= set(trained):
            yield Check(code, stage.name, "ok", told)
        elif not used and not needed:
            told = f"{whose}; {stage.name} takes the base that the adapter records"
            yield Check(code, stage.name, "ok", told)
        elif not trained:
            yield Check(
                code,
                stage.name,
                "not checked",
                told,
                "compare with base_model_name_or_path in the adapter's adapter_config.json",
                severity="warning",
            )
        else:
            kind = next(iter(named), bases[0])
            yield Check(code, stage.name, "warning", told, f"take {trained[0]} for {kind}")


def teacher(context: Context) -> Iterator[Check]:
    """`distill.teacher`: a model does not learn from itself."""
    code = "distill.teacher"
    for stage in context.stages:
        keys = stage.step.notes.roles.get("teacher", ())
        students = [_root(context, source) for source in weights(stage)]
        for key in keys:
            try:
                named = resolve(stage.config, key, context.environ)
            except Unresolved:
                continue  # `config.unresolved` tells it
            told = f"{key} = {named}; the student is {' and '.join(students) or 'not named'}"
            if named in students:
                fix = f"set {key} to the model to learn from, or prune the student before"
                yield Check(code, stage.name, "warning", told, fix)
            else:
                yield Check(code, stage.name, "ok", told)


def evaluations(context: Context) -> Iterator[Check]:
    """`evaluation.same`: scores that a reader will compare come of one step and the same tasks."""
    code = "evaluation.same"
    measured = [stage for stage in context.stages if "evaluate" in goals(stage)]
    for stage in measured[1:]:
        pair = (measured[0], stage)
        ways = [f"{one.name}: {one.step.id}" + _tasks(one) for one in pair]
        if measured[0].step.id == stage.step.id and _tasks(measured[0]) == _tasks(stage):
            yield Check(code, stage.name, "ok", "; ".join(ways))
        else:
            fix = f"name one step (`step: {stage.step.id}`) and the same tasks in both"
            yield Check(code, stage.name, "warning", "; ".join(ways), fix, severity="warning")


def control(context: Context) -> Iterator[Check]:
    """`evaluation.control`: what training changed shows only beside the untrained model."""
    code = "evaluation.control"
    measured = [stage for stage in context.stages if "evaluate" in goals(stage)]
    tuned = {one.name: next(filter(trains, context.ancestors(one)), None) for one in measured}
    bases = [name for name, first in tuned.items() if first is None]
    for name, first in tuned.items():
        if first is None:
            continue
        told = f"{name} measures what {first.name} trained"
        if bases:
            yield Check(code, name, "ok", f"{told}; {', '.join(bases)} what nothing trained")
            continue
        fix = "put `{goal: evaluate, model: ...}` with the same tasks before the training"
        told += "; nothing measures the model that it started from"
        yield Check(code, name, "warning", told, fix, severity="warning")


def _tasks(stage: Stage) -> str:
    found = [get(stage.config, key) for key in stage.step.notes.roles.get("tasks", ())]
    return f" on {found[0]}" if found else ""


def _trainer(context: Context, source: Source) -> Stage | None:
    """The stage that trained an adapter, back through stages that only rewrite it."""
    seen: set[str] = set()
    maker = context.stage(source.stage)
    while maker and not trains(maker) and maker.name not in seen:
        seen.add(maker.name)
        before = [one for one in weights(maker) if is_adapter(one.type)]
        maker = context.stage(before[0].stage) if before else None
    return maker if maker and trains(maker) else None


def _trained_on(context: Context, trainer: Stage) -> list[str]:
    roots = [_root(context, source) for source in weights(trainer)]
    return list(dict.fromkeys(roots)) or ([trainer.model] if trainer.model else [])


def _root(context: Context, source: Source) -> str:
    """What weights come from, back through conversions: the user's model, or a stage's work."""
    seen: set[str] = set()
    while source.stage and source.stage not in seen:
        seen.add(source.stage)
        maker = context.stage(source.stage)
        before = weights(maker) if maker else []
        # a stage that trains, or makes one of several, makes a model of its own
        if maker is None or trains(maker) or len(before) > 1:
            break
        if not before:
            return maker.model or source.path
        source = before[0]
    return f"what stage {source.stage} made" if source.stage else source.path


def _written(context: Context, stage: Stage, bases: list[str]) -> list[str]:
    """Bases that the user wrote into the configuration itself."""
    found = []
    for kind in bases:
        for key in stage.step.notes.inputs[kind].key:
            try:
                value = resolve(stage.config, key, context.environ)
            except Unresolved:
                continue
            if isinstance(value, str) and value and RESULTS not in value:
                found.append(value)
    return list(dict.fromkeys(found))
