"""Do artifacts fit: their types along the chain, and the rows of the user's own files."""

from __future__ import annotations

from collections.abc import Iterator

from lockgate.stages.checks.context import (
    TRANSLATING,
    Context,
    generates,
    goals,
    is_checkpoint,
    on_hub,
    ports,
    trains,
)
from lockgate.stages.kinds import FIELDS
from lockgate.stages.model import Check, Source, Stage
from lockgate.stages.rows import Probe


def chain(context: Context) -> Iterator[Check]:
    """`artifacts.chain`: each port is fed, by an earlier stage, with a type that fits."""
    code = "artifacts.chain"
    for at, stage in enumerate(context.stages):
        earlier = {one.name: one for one in context.stages[:at]}
        for port, required in ports(stage):
            source = stage.inputs.get(port.type)
            if source is None:
                if required:
                    yield Check(
                        code,
                        stage.name,
                        "warning",
                        f"{stage.step.id} needs {port.type}; nothing feeds it",
                        f"give a path or an earlier stage's name under inputs.{port.type}"
                        + _makers(context, port.type),
                    )
                else:
                    yield Check(
                        code,
                        stage.name,
                        "ok",
                        f"{port.type} is optional and not fed",
                        severity="note",
                    )
                continue
            told = f"{source.type} from {source.stage or source.path}"
            maker = earlier.get(source.stage or "")
            if source.stage and maker is None:
                fix = "put the stage that makes it before this one"
                later = context.stage(source.stage)
                what = "comes later" if later else "is no stage of this chain"
                yield Check(code, stage.name, "warning", f"{told}: {source.stage} {what}", fix)
            elif maker and source.type not in maker.outputs:
                made = ", ".join(maker.outputs) or "nothing"
                fix = f"take one of what {maker.name} makes, or another stage's {port.type}"
                yield Check(code, stage.name, "warning", f"{told}: {maker.name} makes {made}", fix)
            elif _unused(stage, port.type, source):
                fix = "take a step that reads it, or what this step does read: "
                fix += " or ".join(kind for kind in stage.step.notes.inputs if kind != port.type)
                told += f": no configuration key of {stage.step.id} takes it"
                yield Check(code, stage.name, "warning", told, fix)
            elif context.catalogs.is_a(source.type, port.type):
                fits = "is" if source.type == port.type else "is a kind of"
                yield Check(code, stage.name, "ok", f"{told} {fits} {port.type}")
            else:
                yield Check(
                    code,
                    stage.name,
                    "warning",
                    f"{told} is no {port.type}, which {stage.step.id} consumes",
                    _conversion(context, source.type, port.type),
                )


def _unused(stage: Stage, kind: str, source: Source) -> bool:
    """Whether the notes know the port, and no key takes what an earlier stage makes for it."""
    note = stage.step.notes.inputs.get(kind)
    keyed = any(one.key for one in stage.step.notes.inputs.values())
    return bool(source.stage and note and not note.key and keyed)


def _makers(context: Context, kind: str) -> str:
    known = [*(stage.step for stage in context.stages), *context.alternatives]
    makers = sorted(
        {
            step.id
            for step in known
            if any(context.catalogs.is_a(port.type, kind) for port in step.produces)
        }
    )
    return f", or add a stage that makes it ({', '.join(makers)})" if makers else ""


def _conversion(context: Context, have: str, want: str) -> str:
    entry = context.catalogs.types.get(have)
    for target, step in sorted(entry.convert_to.items() if entry else ()):
        if context.catalogs.is_a(target, want):
            return f"add a stage with {step} before it: it converts {have} into {target}"
    return f"give it {want}, or take a step that consumes {have}"


def rows(context: Context) -> Iterator[Check]:
    """`artifacts.rows`: the rows of the user's file are of a kind that the step reads."""
    code = "artifacts.rows"
    for stage in context.stages:
        for kind, source in stage.inputs.items():
            note = stage.step.notes.inputs.get(kind)
            if note is None or not note.rows:
                continue
            wanted = " or ".join(note.rows)
            origin, maker = _origin(context, source)
            probe = context.probes.get(origin)
            if maker and not (probe and set(probe.kinds) & set(note.rows)):
                yield Check(
                    code,
                    stage.name,
                    "not checked",
                    f"{stage.step.id} reads rows of {wanted}",
                    f"they are made by stage {maker.name}: checked after it ran",
                    severity="note",
                )
                continue
            yield _fits(stage, origin, probe, note.rows)


def _fits(stage: Stage, path: str, probe: Probe | None, wanted: tuple[str, ...]) -> Check:
    code, reads = "artifacts.rows", f"{stage.step.id} reads {' or '.join(wanted)}"
    if probe is None:
        why = "it is on the Hub, or absent" if on_hub(path) else "it is not here, or not rows"
        fix = f"{why}: name a local copy of {path} to have its rows looked at"
        return Check(code, stage.name, "not checked", reads, fix, severity="note")
    if not probe.looked:
        return Check(code, stage.name, "warning", f"{path} has no rows; {reads}", "add rows to it")
    seen = f"{path}: {_count(probe)}"
    found = [kind for kind in probe.kinds if kind in wanted]
    if found:
        return Check(code, stage.name, "ok", f"{seen}, each with {FIELDS[found[0]]}; {reads}")
    if probe.majority in wanted:
        return Check(
            code,
            stage.name,
            "warning",
            f"{seen}; {probe.breaks} of {probe.looked} looked at are broken; {reads}",
            f"mend or remove them: {'; '.join(probe.broken)}",
        )
    have = " and ".join(probe.kinds) or f"of no known kind (fields: {', '.join(probe.columns)})"
    need = " or ".join(FIELDS.get(kind, kind) for kind in wanted)
    fix = f"write each row with {need}, or take a step that reads the rows as they are"
    return Check(code, stage.name, "warning", f"{seen}, {have}; {reads}", fix)


def _count(probe: Probe) -> str:
    if probe.count is None:
        return f"more rows than were counted, {probe.looked} looked at"
    return f"{probe.count} rows" + (
        f", {probe.looked} looked at" if probe.looked < probe.count else ""
    )


def _origin(context: Context, source: Source) -> tuple[str, Stage | None]:
    """The user's path that rows come from, and the first stage that may make others of them.

    A stage that says which rows it reads passes them on; one that reads any, by templates or
    into another form, may make new ones.
    """
    seen: set[str] = set()
    changed: Stage | None = None
    while source.stage and source.stage not in seen:
        seen.add(source.stage)
        maker = context.stage(source.stage)
        if maker is None:
            break
        passed = [] if generates(maker) else _passed(context, maker, source.type)
        if not passed:
            return "", changed or maker
        source, says = passed[0]
        changed = changed or (None if says else maker)
    return source.path, changed


def _passed(context: Context, maker: Stage, made: str) -> list[tuple[Source, bool]]:
    """Required inputs of the same kind as what a stage makes; whether it says which rows."""
    notes = maker.step.notes.inputs
    return [
        (maker.inputs[port.type], bool(port.type in notes and notes[port.type].rows))
        for port, required in ports(maker)
        if required and port.type in maker.inputs and context.alike(port.type, made)
    ]


def benchmark(context: Context) -> Iterator[Check]:
    """`benchmark.as-training`: what measures a model is neither trained on nor translated so."""
    code = "benchmark.as-training"
    for stage in context.stages:
        if not (trains(stage) or goals(stage) & TRANSLATING):
            continue
        found = []
        inputs = [
            (kind, source)
            for kind, source in stage.inputs.items()
            if not is_checkpoint(source.type) and not _is_benchmark(context, kind)
        ]
        for _, source in inputs:
            for one in _all_origins(context, source):
                probe = context.probes.get(one.path)
                if _is_benchmark(context, one.type):
                    found.append(f"{one.path} is {one.type}")
                elif probe and "mcq" in probe.kinds and "mcq" not in _reads(stage):
                    found.append(f"{one.path} has rows of multiple choice questions")
        told = "translates" if goals(stage) & TRANSLATING else "trains"
        if found:
            yield Check(
                code,
                stage.name,
                "warning",
                f"{stage.name} {told} on benchmark data: {'; '.join(dict.fromkeys(found))}",
                "give it training data, and keep the benchmark for a step made for benchmarks "
                "(one that consumes that type) or for the evaluation",
            )
        elif inputs:
            paths = ", ".join(source.stage or source.path for _, source in inputs)
            yield Check(
                code, stage.name, "ok", f"{stage.name} {told} on {paths}: no benchmark seen"
            )


def _reads(stage: Stage) -> set[str]:
    return {kind for note in stage.step.notes.inputs.values() for kind in note.rows}


def _all_origins(context: Context, source: Source) -> Iterator[Source]:
    """A source and, through stages that neither train nor generate, what it was made from."""
    seen: set[str] = set()
    waiting = [source]
    while waiting:
        one = waiting.pop()
        yield one
        maker = context.stage(one.stage)
        if maker is None or maker.name in seen:
            continue
        seen.add(maker.name)
        if not trains(maker) and not generates(maker):
            waiting += [each for each in maker.inputs.values() if not is_checkpoint(each.type)]


def _is_benchmark(context: Context, kind: str) -> bool:
    """A benchmark by its name, or by what it is a kind of."""
    return "benchmark" in kind or any(
        "benchmark" in name and context.catalogs.is_a(kind, name) for name in context.catalogs.types
    )
