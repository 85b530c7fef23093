"""From what the user wants to the steps that do it: candidates, then the shortest chain."""

from __future__ import annotations

import dataclasses

from lockgate.catalog import Catalogs
from lockgate.config import ChainConfig
from lockgate.stages import goals, planner
from lockgate.stages.wishes import Wish, architecture


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
            return [], considered, _unsupported(wish, found), wishes
    at = [0] * len(groups)
    insertable = [name for name, step in catalogs.steps.items() if step.category in goals.PREPARING]
    while True:
        actions = [
            planner.Action(
                name=str(wish.item.goal or wish.item.step),
                candidates=tuple(groups[number][at[number]]),
                given=tuple(wish.given),
                use=_used(wish, groups[number][at[number]], catalogs),
                independent=_independent(wish, groups[number][at[number]], catalogs),
            )
            for number, wish in enumerate(wishes)
        ]
        steps = {name: step for name, step in catalogs.steps.items()} | {
            name: catalogs.step(name) for action in actions for name in action.candidates
        }
        try:
            links = planner.chain(steps, catalogs.is_a, actions, insertable)
        except planner.NoChain as error:
            if at[error.action] + 1 < len(groups[error.action]):
                at[error.action] += 1
                continue
            return [], considered, str(error), wishes
        return links, considered, "", _explain(links, wishes, considered)


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
    ports = [port.type for name in candidates for port in catalogs.step(name).consumes]
    wants_data = any(kind not in goals.CHECKPOINTS for kind in ports)
    return wish.item.model is not None and (wish.item.data is not None or not wants_data)


def _unsupported(wish: Wish, found: list[goals.Candidate]) -> str:
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
    return f"{told} is not supported by any catalog.{verdicts or ' No step has this goal.'}"
