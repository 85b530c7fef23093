"""Do tokenizer, chat template and sequence length agree between preparation and training."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from lockgate.stages.checks.context import ROLLING, Context, generates, goals, on_hub, trains
from lockgate.stages.checks.values import Unresolved, resolve
from lockgate.stages.model import RESULTS, Check, Stage
from lockgate.stages.nested import get
from lockgate.stages.rows import Probe

_PASSES = 10  # over the rows; more than that learns them by heart
_USUAL = 3


def _named(context: Context, stage: Stage, role: str) -> dict[str, str]:
    """Names that a role's keys hold, by key; what an earlier stage made is not a name."""
    found = {}
    for key in stage.step.notes.roles.get(role, ()):
        try:
            value = resolve(stage.config, key, context.environ)
        except Unresolved:
            continue
        if isinstance(value, str) and value.strip() and not value.startswith(RESULTS):
            found[key] = value
    return found


def _tokenizers(context: Context, stage: Stage) -> dict[str, str]:
    return _named(context, stage, "tokenizer") or _named(context, stage, "base_model")


def tokenizer(context: Context) -> Iterator[Check]:
    """`tokenizer.match`: what tokenizes and what is trained use one tokenizer, by content."""
    for stage in context.stages:
        own = _tokenizers(context, stage)
        own |= _named(context, stage, "base_model") if own else {}
        pairs = list(own.items())
        for key, value in pairs[1:]:
            yield _same_tokenizer(context, stage, pairs[0], (key, value), stage)
        if any(note.base_of_adapter for note in stage.step.notes.inputs.values()):
            continue  # which model it works on is what `lora.base` compares
        for before in context.ancestors(stage, past_training=False):
            theirs = list(_tokenizers(context, before).items())
            if pairs and theirs:
                yield _same_tokenizer(context, before, theirs[0], pairs[0], stage)


def _same_tokenizer(
    context: Context, before: Stage, first: tuple[str, str], second: tuple[str, str], stage: Stage
) -> Check:
    code = "tokenizer.match"
    (one_key, one), (other_key, other) = first, second
    told = f"{before.name}: {one_key} = {one}; {stage.name}: {other_key} = {other}"
    if one == other:
        return Check(code, stage.name, "ok", f"{told}: the same id")
    here = [name for name in (one, other) if name in context.model_files]
    hashes = [context.model_files[name].get("tokenizer_sha256") for name in here]
    if len(here) == 2 and all(hashes):
        digests = " and ".join(f"{str(value)[:12]}" for value in hashes)
        if hashes[0] == hashes[1]:
            return Check(code, stage.name, "ok", f"{told}: the same content ({digests[:12]})")
        return Check(
            code,
            stage.name,
            "warning",
            f"{told}: different content ({digests})",
            f"prepare the data with the tokenizer of the model that is trained: set {one_key} "
            f"to {other} in {before.name}",
        )
    if len(here) == 2:
        lacking = here[0] if not hashes[0] else here[1]
        why = f"{lacking} has no tokenizer that could be read"
        return Check(code, stage.name, "not checked", told, why, severity="warning")
    if len(here) == 1:
        far = other if here[0] == one else one
        why = f"{far} is not here, so its tokenizer cannot be compared by content: fetch it, "
        why += f"or name {here[0]} in both"
        return Check(code, stage.name, "not checked", told, why, severity="warning")
    return Check(
        code,
        stage.name,
        "warning",
        f"{told}: different names, not known to be equal",
        f"set {one_key} to {other} in {before.name}; variants of one family often share a "
        "tokenizer: with both as local models the content is compared",
        severity="warning",
    )


def template(context: Context) -> Iterator[Check]:
    """`template.match`: preparation and training put a chat into the same text."""
    for stage in context.stages:
        named = _named(context, stage, "chat_template")
        for before in context.ancestors(stage, past_training=False):
            theirs = _named(context, before, "chat_template")
            check = _same_template(context, before, theirs, stage, named)
            if check:
                yield check


def _same_template(
    context: Context,
    before: Stage,
    theirs: Mapping[str, str],
    stage: Stage,
    named: Mapping[str, str],
) -> Check | None:
    code = "template.match"
    if theirs and named:
        (one_key, one), (other_key, other) = next(iter(theirs.items())), next(iter(named.items()))
        told = f"{before.name}: {one_key} = {one}; {stage.name}: {other_key} = {other}"
        if one == other:
            return Check(code, stage.name, "ok", f"{told}: the same")
        return Check(
            code,
            stage.name,
            "warning",
            f"{told}: different templates",
            f"set {one_key} to {other} in {before.name}, or {other_key} to {one}",
        )
    if theirs or named:
        if not trains(stage) or not _tokenizers(context, stage):
            return None
        owner, far = (before, stage) if theirs else (stage, before)
        key, value = next(iter((theirs or named).items()))
        if not _tokenizers(context, far):
            return None
        return Check(
            code,
            stage.name,
            "not checked",
            f"{owner.name}: {key} = {value}; {far.name} uses the template of its model",
            "a template's name cannot be compared with a model's own: look at one prepared row "
            "before the training starts",
            severity="note",
        )
    hashes = [_own_template(context, one) for one in (before, stage)]
    if not all(hashes):
        return None
    told = f"{before.name}: {hashes[0][:12]}; {stage.name}: {hashes[1][:12]}"
    if hashes[0] == hashes[1]:
        return Check(code, stage.name, "ok", f"{told}: the models' templates are equal")
    return Check(
        code,
        stage.name,
        "warning",
        f"{told}: the models' templates differ",
        f"prepare the data with the model that {stage.name} works on",
    )


def _own_template(context: Context, stage: Stage) -> str:
    for name in _tokenizers(context, stage).values():
        found = context.model_files.get(name, {}).get("chat_template_sha256")
        if found:
            return str(found)
    return ""


def length(context: Context) -> Iterator[Check]:
    """`length.match`: one sequence length in a stage's keys, and from preparation to training."""
    code = "length.match"
    for stage in context.stages:
        values, unknown = _lengths(context, stage)
        for key, why in unknown.items():
            fix = f"set {key} to a number"
            yield Check(code, stage.name, "not checked", f"{key} = {why}", fix, "warning")
        before = context.ancestors(stage, past_training=False) if trains(stage) else []
        groups = {stage.name: values} | {
            one.name: _lengths(context, one)[0] for one in before if not trains(one)
        }
        filled = {name: group for name, group in groups.items() if group}
        if not values or sum(map(len, filled.values())) < 2:
            continue
        told = "; ".join(
            f"{name}: {', '.join(f'{key} = {value}' for key, value in group.items())}"
            for name, group in sorted(filled.items(), key=lambda item: _at(context, item[0]))
        )
        lengths = sorted({value for group in filled.values() for value in group.values()})
        if len(lengths) == 1:
            yield Check(code, stage.name, "ok", told)
        else:
            common = next(iter(values.values()))
            yield Check(code, stage.name, "warning", told, f"set all of them to {common}")


def _at(context: Context, name: str) -> int:
    return [stage.name for stage in context.stages].index(name)


def _lengths(context: Context, stage: Stage) -> tuple[dict[str, int], dict[str, str]]:
    """Sequence lengths by key, and keys whose value is no number with what it is."""
    found: dict[str, int] = {}
    unknown: dict[str, str] = {}
    for key in stage.step.notes.roles.get("sequence_length", ()):
        try:
            value: Any = resolve(stage.config, key, context.environ)
        except Unresolved as error:
            unknown[key] = f"{get(stage.config, key)} ({error} is not set)"
            continue
        if isinstance(value, int) and not isinstance(value, bool):
            if value > 0:  # 0 switches packing off
                found[key] = value
        elif value is not None:
            unknown[key] = str(value)
    return found, unknown


def context_length(context: Context) -> Iterator[Check]:
    """`length.context`: no sequence is longer than the model can take."""
    code = "length.context"
    for stage in context.stages:
        values, _ = _lengths(context, stage)
        if not values or not stage.model or not trains(stage):
            continue
        key, longest = max(values.items(), key=lambda item: item[1])
        limit = context.model_files.get(stage.model, {}).get("context_length")
        if not isinstance(limit, int):
            why = "is not here" if on_hub(stage.model) else "does not tell its context length"
            yield Check(
                code,
                stage.name,
                "not checked",
                f"{key} = {longest}",
                f"{stage.model} {why}: compare with max_position_embeddings of its config.json",
                severity="note",
            )
            continue
        told = f"{key} = {longest}; {stage.model} takes {limit}"
        if longest <= limit:
            yield Check(code, stage.name, "ok", told)
        else:
            fix = f"set {key} to {limit} or less"
            yield Check(code, stage.name, "warning", told, fix)


def passes(context: Context) -> Iterator[Check]:
    """`data.passes`: steps times batch goes over the rows as often as a training should."""
    code = "data.passes"
    for stage in context.stages:
        roles = stage.step.notes.roles
        keys = [key for role in ("steps", "global_batch") for key in roles.get(role, ())[:1]]
        counted = [probe.count for probe in _rows(context, stage) if probe.count]
        # reinforcement makes new answers to the same prompts
        if not trains(stage) or len(keys) < 2 or not counted or goals(stage) & ROLLING:
            continue
        try:
            steps, batch = (resolve(stage.config, key, context.environ) for key in keys)
        except Unresolved:
            continue  # `config.unresolved` tells it
        if not all(isinstance(value, int) and value > 0 for value in (steps, batch)):
            continue  # the step goes by epochs
        rows = sum(counted)
        times = steps * batch / rows
        said = f"{times:,.{1 if times < 100 else 0}f}"
        told = f"{keys[0]} {steps} x {keys[1]} {batch} = {steps * batch} sequences; {rows} rows: "
        told += f"{said} passes over them (more where several rows share a sequence)"
        if times <= _PASSES:
            yield Check(code, stage.name, "ok", told)
        else:
            few = max(1, math.ceil(_USUAL * rows / batch))
            fix = f"set {keys[0]} to about {few} for {_USUAL} passes, or bring more rows"
            fix += f"; lower {keys[1]}: one batch is more than all rows" if batch > rows else ""
            yield Check(code, stage.name, "warning", told, fix, severity="warning")


def _rows(context: Context, stage: Stage) -> Iterator[Probe]:
    """What is known of the user's rows that reach a stage, through preparation alone."""
    for one in [stage, *context.ancestors(stage, past_training=False)]:
        if one is not stage and (trains(one) or generates(one)):
            continue
        for source in one.inputs.values():
            probe = context.probes.get(source.path) if source.stage is None else None
            if probe:
                yield probe
