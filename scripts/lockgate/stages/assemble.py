"""From the planner's links to stages: names, inputs, outputs, and what each configuration sets."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from lockgate.catalog.model import InputNote, Step
from lockgate.config.stages import StageItem
from lockgate.errors import LockgateError
from lockgate.files import digest
from lockgate.stages import configs, nested
from lockgate.stages.checks.context import needed_gpus, trains
from lockgate.stages.goals import is_own
from lockgate.stages.model import PREFIXES, RESULTS, Source, Stage
from lockgate.stages.planner import Link
from lockgate.stages.wishes import Wish

STAGE = "@stage@"
"""Stands for a stage's own directory in its settings, until that is known."""

_WEAKEST = ("default", "need")

Advised = dict[str, list[tuple[str, dict[str, Any]]]]
"""For each stage's name who sets what (`default`, `need`, then `advice`), the weakest first."""


def stages(
    links: list[Link],
    wishes: list[Wish],
    steps: dict[str, Step],
    nodes: int,
    gpus: int,
    advise: Callable[[list[Stage]], Advised],
    source: str = "",
) -> list[Stage]:
    """The stages of a chain, in order.

    Args:
        links: from the planner.
        wishes: what they are for; `Link.action` counts into it.
        steps: all steps by id.
        nodes, gpus: what a job may have, where the item says nothing.
        advise: what needs and followed advice set, from the stages as they are without it.
        source: the configuration, for messages.

    Raises:
        LockgateError: if an item names a stage for an input that it cannot take from it.
    """
    if not links:
        return []
    _refuse_names(links, wishes, steps, source)
    names = _names(links, wishes, steps)
    planned = [
        _plan(links, number, names, wishes[_serves(links, number)], steps, nodes, gpus)
        for number in range(len(links))
    ]
    first = _wire(planned, links, wishes, {})
    return _wire(planned, links, wishes, advise(first))


def _serves(links: list[Link], number: int) -> int:
    """The action that a link is, or was inserted for."""
    following = [link.action for link in links[number:] if link.action is not None]
    return following[0]


def _names(links: list[Link], wishes: list[Wish], steps: dict[str, Step]) -> list[str]:
    """One name a stage: the user's, or the step's id, with a number where it comes again."""
    names: list[str] = []
    for link in links:
        own = wishes[link.action].item.name if link.action is not None else None
        base = own or link.step.split(":")[-1].replace("/", "-").replace("_", "-").lower()
        name, number = base, 1
        while name in names:
            number += 1
            name = f"{base}-{number}"
        names.append(name)
    return names


def _refuse_names(
    links: list[Link], wishes: list[Wish], steps: dict[str, Step], source: str
) -> None:
    """Stop where an input is to come from a stage that does not make it, or that comes later."""
    for index, wish in enumerate(wishes):
        taken = [
            use.type
            for number, link in enumerate(links)
            if _serves(links, number) == index
            for use in link.inputs
            if use.producer is not None
        ]
        for kind, value in wish.item.inputs.items():
            if kind in wish.given:
                continue
            before = [
                steps[link.step]
                for link in links
                if link.action is not None
                and link.action < index
                and wishes[link.action].item.name == value
            ]
            made = [port.type for step in before for port in step.produces]
            if kind in made and kind in taken:
                continue
            what = f"no earlier stage is named '{value}'"
            if before:
                what = f"stage '{value}' makes {', '.join(made) or 'nothing'}"
                what += "" if kind not in made else f", but {kind} is not taken from a stage here"
            raise LockgateError(
                what,
                where=f"{source}: stages[{index}].inputs.{kind}",
                hint="name an earlier stage that makes it, or give a path",
            )


def _plan(
    links: list[Link],
    number: int,
    names: list[str],
    wish: Wish,
    steps: dict[str, Step],
    nodes: int,
    gpus: int,
) -> Stage:
    """One stage without its inputs and outputs."""
    link, item = links[number], wish.item
    step = steps[link.step]
    asked = link.action is not None
    methods = list(step.notes.methods)
    method = (item.method or methods[0]) if asked and methods else ""
    nodes, gpus = _share(step, item, nodes, gpus)
    why = wish.chosen if asked else ""
    if link.needed_for:
        consumer, kind = link.needed_for
        why = f"inserted: {consumer} consumes {kind}, and this step makes it"
    return Stage(
        name=names[number],
        step=step,
        goal=(item.goal or "") if asked else "",
        why=why,
        inserted=not asked,
        model=wish.model,
        method=method,
        nodes=nodes,
        gpus=gpus,
        profile=item.profile or "",
        endpoint=asked and item.endpoint is not None,
        explorer=is_own(step),
    )


def _share(step: Step, item: StageItem, nodes: int, gpus: int) -> tuple[int, int]:
    """Nodes, and GPUs a node, of a stage: the user's word, else what its step can use."""
    most = step.notes.most_gpus
    none = needed_gpus(step) == 0 and most is None or item.endpoint is not None
    if none or most is not None:
        nodes, gpus = 1, 0 if none else min(gpus, most or 0)
    return item.nodes or nodes, gpus if item.gpus is None else item.gpus


def _wire(
    planned: list[Stage],
    links: list[Link],
    wishes: list[Wish],
    advice: Advised,
) -> list[Stage]:
    """Give each stage its inputs, its outputs and its settings; advice wins over defaults."""
    lengths = _lengths(planned, links, wishes)
    done: list[Stage] = []
    for number, (stage, link) in enumerate(zip(planned, links, strict=True)):
        wish = wishes[_serves(links, number)]
        inputs = {}
        for use in link.inputs:
            if use.producer is not None:
                note = stage.step.notes.inputs.get(use.port)
                named = wish.item.inputs.get(use.type)
                before = next((one for one in done if one.name == named), done[use.producer])
                made = _made_by(before, use.type)
                # where the step itself finds the newest checkpoint, it is given the parent
                inputs[use.port] = (
                    dataclasses.replace(made, iterations="") if note and note.parent else made
                )
            else:
                own = wishes[use.action if use.action is not None else 0]
                inputs[use.port] = own.given[use.type]
        settings, origin = _settings(stage, inputs, wish, link, lengths.get(number), advice)
        key = digest(
            [stage.step.digest, settings, [dataclasses.asdict(i) for i in inputs.values()]]
            + _content(wishes, inputs, settings)
        )
        outputs, writes = _outputs(stage, key)
        base = f"{RESULTS}/stages/{stage.name}/{key}"
        settings = {
            name: value.replace(STAGE, base) if isinstance(value, str) else value
            for name, value in settings.items()
        }
        for name, place in writes.items():
            settings.setdefault(name, place)
            origin.setdefault(name, "output")
        done.append(
            dataclasses.replace(
                stage,
                key=key,
                inputs=inputs,
                outputs=outputs,
                settings=settings,
                origin=origin,
                config=configs.effective(stage.step, settings),
            )
        )
    return done


def _content(
    wishes: list[Wish], inputs: dict[str, Source], settings: dict[str, Any]
) -> list[dict[str, str]]:
    """Digests of the models and of the user's files that a stage works on, and of no others."""
    paths = {source.path for source in inputs.values()}
    models = paths | {value for value in settings.values() if isinstance(value, str)}
    return [
        {wish.model: wish.identity for wish in wishes if wish.model in models},
        {path: sha for wish in wishes for path, sha in wish.files.items() if path in paths},
    ]


def _made_by(stage: Stage, kind: str) -> Source:
    note = stage.step.notes.outputs.get(kind)
    return Source(
        type=kind,
        path=stage.outputs[kind],
        stage=stage.name,
        iterations=note.iterations if note else "",
    )


def _settings(
    stage: Stage,
    inputs: dict[str, Source],
    wish: Wish,
    link: Link,
    length: Any,
    advice: Advised,
) -> tuple[dict[str, Any], dict[str, str]]:
    """What differs from the step's defaults, and who set it; the later wins."""
    notes, item = stage.step.notes, wish.item
    settings: dict[str, Any] = {}
    origin: dict[str, str] = {}

    def put(values: dict[str, Any], who: str) -> None:
        for key, value in configs.expand(stage.step, values).items():
            settings[key], origin[key] = value, who

    def role(name: str, value: Any, who: str) -> None:
        put(dict.fromkeys(notes.roles.get(name, ()), value), who)

    for who, values in advice.get(stage.name, []):
        if who in _WEAKEST:
            put(values, who)
    if stage.method:
        put(notes.methods.get(stage.method, {}), "method")
    if stage.model:
        role("base_model", stage.model, "model")
        role("tokenizer", stage.model, "model")
    for kind, source in inputs.items():
        note = notes.inputs.get(kind, InputNote())
        tail = f"/{note.glob}" if note.glob and source.stage else ""
        taken = source.path + tail
        if note.form == "blend":
            taken = f"{STAGE}/{kind}.blend.json"
        elif note.form == "prefixes":
            taken = f"{PREFIXES}{taken}"
        put(dict.fromkeys(note.key, taken) | note.set, "input")
    if stage.gpus:
        role("nodes", stage.nodes, "resources")
        role("gpus_per_node", stage.gpus, "resources")
        role("ranks_per_node", stage.gpus, "resources")
    for who, values in advice.get(stage.name, []):
        if who not in _WEAKEST:
            put(values, who)
    if length is not None:
        role("sequence_length", length, "alignment")
    if link.action is not None:
        if item.endpoint:
            role("endpoint_url", item.endpoint.url, "user")
            role("endpoint_model", item.endpoint.model, "user")
            if item.endpoint.api_key_env:
                role("secret_name", item.endpoint.api_key_env, "user")
        if item.tasks:
            entry = notes.task_entry
            role("tasks", [{entry: task} if entry else task for task in item.tasks], "user")
        put(nested.flatten(item.with_), "user")
    return settings, origin


def _lengths(planned: list[Stage], links: list[Link], wishes: list[Wish]) -> dict[int, Any]:
    """By link the one sequence length of a stage and of the preparation that feeds it.

    What the user set for the stage, else for its preparation, else what the stage's step has by
    default; the last only where there is a preparation to align.
    """
    found: dict[int, Any] = {}
    for number, stage in enumerate(planned):
        action = links[number].action
        if action is None or not _length_keys(stage):
            continue
        group = [number, *_preparing(planned, links, number)]
        own = [_own_length(planned[at], links[at], wishes) for at in group]
        defaults = configs.read_config(stage.step)
        usual = [nested.get(defaults, key) for key in _length_keys(stage)]
        chosen = [value for value in own if value is not None]
        chosen += [value for value in usual if value is not None] if len(group) > 1 else []
        if chosen:
            found |= dict.fromkeys(group, chosen[0])
    return found


def _length_keys(stage: Stage) -> tuple[str, ...]:
    return tuple(stage.step.notes.roles.get("sequence_length", ()))


def _own_length(stage: Stage, link: Link, wishes: list[Wish]) -> Any:
    """The sequence length that the user set for a stage; None: none."""
    if link.action is None:
        return None
    own = configs.expand(stage.step, nested.flatten(wishes[link.action].item.with_))
    return next((own[key] for key in _length_keys(stage) if key in own), None)


def _preparing(planned: list[Stage], links: list[Link], number: int) -> list[int]:
    """Links that a link rests on and that have a sequence length, back to what trains."""
    found, waiting = [], [number]
    while waiting:
        for use in links[waiting.pop()].inputs:
            at = use.producer
            if at is not None and at not in found and not trains(planned[at]):
                found.append(at)
                waiting.append(at)
    return [at for at in found if _length_keys(planned[at])]


def _outputs(stage: Stage, key: str) -> tuple[dict[str, str], dict[str, str]]:
    """Where each product will be, and the configuration keys that say so."""
    base = f"{RESULTS}/stages/{stage.name}/{key}"
    outputs: dict[str, str] = {}
    writes: dict[str, str] = {}
    by_key: dict[str, str] = {}
    for port in stage.step.produces:
        note = stage.step.notes.outputs.get(port.type)
        if not port.required and (note is None or note.required is not True):
            continue
        if note is None or not note.key:
            outputs[port.type] = base
            continue
        directory = by_key.setdefault(note.key[0], f"{base}/{port.type}")
        writes |= dict.fromkeys(note.key, directory)
        outputs[port.type] = f"{directory}/{note.path}".rstrip("/")
    return outputs, writes
