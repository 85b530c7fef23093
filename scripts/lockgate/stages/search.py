"""From what the user wants to the steps that do it: candidates, then the shortest chain."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from lockgate.catalog import Catalogs
from lockgate.catalog.model import Step
from lockgate.config import ChainConfig
from lockgate.errors import LockgateError
from lockgate.stages import goals, planner
from lockgate.stages.model import Source
from lockgate.stages.wishes import DATA, MODEL, UNKNOWN, Wish, architecture


def find(
    config: ChainConfig, source: str, catalogs: Catalogs, wishes: list[Wish]
) -> tuple[list[planner.Link], list[dict[str, str]], str, list[Wish]]:
    """The shortest chain through the best steps for each item; worse ones where there is none."""
    resources = config.resources
    groups: list[list[list[str]]] = []
    considered: list[dict[str, str]] = []
    for index, wish in enumerate(wishes):
        item = wish.item
        if item.step:
            step = catalogs.step(item.step, f"{source}: stages[{index}].step")
            _refuse_method(step, str(item.method or ""), f"{source}: stages[{index}]", catalogs)
            groups.append([[item.step if item.step in catalogs.hidden else step.id]])
            continue
        gpus = (item.nodes or resources.nodes) * (
            resources.gpus if item.gpus is None else item.gpus
        )
        data = next((kind for kind in wish.given if kind not in goals.CHECKPOINTS), None)
        model = wish.model if item.model or index else ""
        found = goals.consider(item, model, architecture(wish.model), data, gpus, catalogs)
        considered += [
            {"item": str(item.goal), "step": one.step.id, "verdict": one.verdict} for one in found
        ]
        groups.append(goals.tiers(found))
        if not groups[-1]:
            return [], considered, _unsupported(wish, found, catalogs), wishes
    try:
        links = _links(wishes, groups, catalogs)
    except planner.NoChain as error:
        for guess in _unknown(wishes, error, catalogs):
            try:
                links, wishes = _links(guess, groups, catalogs), guess
                break
            except planner.NoChain:
                continue
        else:
            return [], considered, f"{error.what}; {error.hint}", wishes
    return links, considered, "", _explain(links, wishes, considered)


def _refuse_method(step: Step, method: str, where: str, catalogs: Catalogs) -> None:
    if goals.has_method(step, method or None):
        return
    others = {
        other.id
        for word in step.notes.goals
        for other in catalogs.with_goal(word)
        if method in other.notes.methods
    }
    raise LockgateError(
        f"{step.id} has no method {method}",
        where=f"{where}.method",
        hint=f"take {' or '.join(sorted(others))}" if others else "leave it out",
    )


def _links(
    wishes: list[Wish], groups: list[list[list[str]]], catalogs: Catalogs
) -> list[planner.Link]:
    """The shortest chain through the best group of each item for which there is one.

    Raises:
        NoChain: if there is none through any group.
    """
    at = [0] * len(groups)
    insertable = [name for name, step in catalogs.steps.items() if step.category in goals.PREPARING]
    while True:
        chosen = [groups[number][place] for number, place in enumerate(at)]
        actions = [
            planner.Action(
                name=str(wish.item.goal or wish.item.step),
                candidates=tuple(candidates),
                given=tuple(wish.given),
                use=_used(wish, candidates, catalogs),
                named=tuple(sorted(set(wish.item.inputs) - set(wish.given))),
                independent=_independent(wish, candidates, catalogs),
            )
            for wish, candidates in zip(wishes, chosen, strict=True)
        ]
        named = {name: catalogs.step(name) for names in chosen for name in names}
        try:
            return planner.chain(catalogs.steps | named, catalogs.is_a, actions, insertable)
        except planner.NoChain as error:
            if at[error.action] + 1 == len(groups[error.action]):
                raise
            at[error.action] += 1


def _unknown(
    wishes: list[Wish], error: planner.NoChain, catalogs: Catalogs
) -> Iterator[list[Wish]]:
    """The wishes with what an item lacks as something still to be named: it becomes a question.

    Not where another order of the items would do: then that is what is wrong.
    """
    number, wish = error.action, wishes[error.action]
    lacking = [] if wish.item.data else [DATA]
    lacking += [] if wish.model else [MODEL]
    choices = [[kind] for kind in lacking] + ([lacking] if len(lacking) > 1 else [])
    for kinds in choices if not error.order else []:
        if all(kind in catalogs.types for kind in kinds):
            asked = {kind: Source(type=kind, path=UNKNOWN) for kind in kinds}
            given = dataclasses.replace(wish, given={**wish.given, **asked})
            yield [*wishes[:number], given, *wishes[number + 1 :]]


def _used(wish: Wish, candidates: list[str], catalogs: Catalogs) -> tuple[str, ...]:
    """What of the user's own has to be taken; a model only where a port can take it.

    Some steps are told of the model by name alone.
    """
    steps = [catalogs.step(name) for name in candidates]
    return tuple(
        kind
        for kind, source in wish.given.items()
        if not source.model
        or any(goals.takes(step, goals.reach(kind, catalogs), catalogs) for step in steps)
    )


def _explain(
    links: list[planner.Link], wishes: list[Wish], considered: list[dict[str, str]]
) -> list[Wish]:
    """Say for each item why its step was taken."""
    said = {(one["item"], one["step"]): one["verdict"] for one in considered}
    chosen = {link.action: link.step for link in links if link.action is not None}
    return [
        dataclasses.replace(
            wish,
            chosen="named in the configuration"
            if wish.item.step
            else f"for the goal '{wish.item.goal}': {said[str(wish.item.goal), chosen[number]]}",
        )
        for number, wish in enumerate(wishes)
    ]


def _independent(wish: Wish, candidates: list[str], catalogs: Catalogs) -> bool:
    """Whether the item brings everything itself, rather than taking what came before."""
    if wish.item.endpoint:
        return True
    if set(wish.item.inputs) - set(wish.given):
        return False  # what an earlier stage makes, by its name
    ports = [port.type for name in candidates for port in catalogs.step(name).consumes]
    wants_data = any(kind not in goals.CHECKPOINTS for kind in ports)
    brings_model = wish.item.model is not None or bool(set(goals.CHECKPOINTS) & set(wish.given))
    return brings_model and (wish.item.data is not None or not wants_data)


def _unsupported(wish: Wish, found: list[goals.Candidate], catalogs: Catalogs) -> str:
    """A clear word on what no catalog can do."""
    item = wish.item
    told = " with ".join(
        text
        for text in (
            f"'{item.goal}'" + (f" of {wish.model}" if item.model else ""),
            f"method {item.method}" if item.method else "",
            f"the tasks {', '.join(item.tasks)}" if item.tasks else "",
        )
        if text
    )
    verdicts = "".join(f" {one.step.id}: {one.verdict}." for one in found)
    words = sorted({word for step in catalogs.steps.values() for word in step.notes.goals})
    none = f" No step has this goal; there are: {', '.join(words)}."
    return f"{told} is not supported by any catalog.{verdicts or none}"
