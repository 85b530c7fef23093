"""Which steps would do what the user asks for, best first, and why the others would not."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, replace
from typing import Any

from lockgate.catalog import Catalogs
from lockgate.catalog.model import Step
from lockgate.config.stages import StageItem

PREPARING = ("convert", "data_prep", "curate")
"""Categories of steps that may be inserted: they change the form of a thing, not the thing."""

CHECKPOINTS = ("checkpoint_hf", "checkpoint_megatron", "checkpoint_lora")


@dataclass(frozen=True)
class Candidate:
    """A step that was considered for a goal.

    Attributes:
        verdict: why it fits, or why it is out.
        rank: lower is better; None: it is out.
    """

    step: Step
    verdict: str
    rank: tuple[int, ...] | None


def consider(
    item: StageItem,
    model: str,
    architecture: str | None,
    data_type: str | None,
    gpus: int,
    catalogs: Catalogs,
) -> list[Candidate]:
    """Every step that does the item's goal, best first, those that are out at the end.

    Args:
        item: what the user asks for.
        model: Hub id or path of the base model, also where an earlier item brought it; empty:
            none.
        architecture: of the model, where its files are here.
        data_type: artifact type of the item's data; None: it has none.
        gpus: GPUs in all that a job may have.
        catalogs: all catalogs.
    """
    reached = reach(data_type, catalogs) if data_type else None
    found = [
        _judge(step, item, model, architecture, data_type, reached, gpus, catalogs)
        for step in catalogs.with_goal(str(item.goal))
    ]
    order = {candidate.step.id: number for number, candidate in enumerate(found)}
    # a step made like another one comes last: until it is written it only passes its input on
    found = [
        replace(one, rank=(int(is_own(one.step)), *one.rank)) if one.rank is not None else one
        for one in found
    ]
    return sorted(
        found,
        key=lambda one: (one.rank is None, one.rank or (), order[one.step.id]),
    )


def tiers(candidates: list[Candidate]) -> list[list[str]]:
    """Ids of the steps that fit, in groups that are equally good but for the chain they need."""
    groups: dict[Any, list[str]] = {}
    for candidate in candidates:
        if candidate.rank is not None:
            groups.setdefault(candidate.rank, []).append(candidate.step.id)
    return [groups[rank] for rank in sorted(groups)]


def _judge(
    step: Step,
    item: StageItem,
    model: str,
    architecture: str | None,
    data_type: str | None,
    reached: set[str] | None,
    gpus: int,
    catalogs: Catalogs,
) -> Candidate:
    notes = step.notes
    if not has_method(step, item.method):
        return Candidate(step, f"it has no method {item.method}", None)
    if reached is not None and not takes(step, reached, catalogs):
        return Candidate(step, f"nothing turns {data_type} into what it consumes", None)
    if item.tasks and "tasks" not in notes.roles:
        return Candidate(step, "its configuration names no tasks", None)
    if item.endpoint and "endpoint_url" not in notes.roles:
        return Candidate(step, "it evaluates no running endpoint", None)
    # a dedicated step first: one that does nothing but the method asked for
    dedicated = 0 if not item.method or list(notes.methods) == [item.method] else 1
    if not model or item.endpoint:
        return Candidate(step, "it does what is asked", (0, 0, dedicated))
    listed = next((entry for entry in step.models if entry.name.lower() == model.lower()), None)
    if listed:
        least = listed.min_gpus
        if least is not None and least > gpus:
            return Candidate(
                step, f"it lists the model, from {least} GPUs ({gpus} here)", (0, 1, dedicated)
            )
        said = f", from {least} GPUs" if least is not None else ""
        return Candidate(step, f"it lists the model{said}", (0, 0, dedicated))
    if step.models and not notes.open_models:
        names = ", ".join(entry.name for entry in step.models)
        return Candidate(step, f"it does not list {model} (it lists {names})", None)
    if architecture and notes.architectures:
        if not any(fnmatch.fnmatch(architecture, glob) for glob in notes.architectures):
            wanted = ", ".join(notes.architectures)
            return Candidate(step, f"{architecture} is none of {wanted}", None)
        return Candidate(step, f"it takes {architecture}", (1, _short(step, gpus), dedicated))
    if notes.architectures:
        kinds = ", ".join(notes.architectures)
        # a step for one family is a guess where the family is not known
        rank = (1 if notes.open_models else 2, _short(step, gpus), dedicated)
        return Candidate(step, f"it takes {kinds}; what {model} is, is not known here", rank)
    return Candidate(step, "it takes models of any name", (1, _short(step, gpus), dedicated))


def is_own(step: Step) -> bool:
    """Whether a step is the user's own, made like another one."""
    return "like" in step.reference


def has_method(step: Step, method: str | None) -> bool:
    """Whether a step trains in that way; one that names no methods trains all weights."""
    return method is None or method in (step.notes.methods or ("full",))


def _short(step: Step, gpus: int) -> int:
    """1 where the step asks for more GPUs a node than there are."""
    return int((step.notes.gpus or 0) > gpus)


def takes(step: Step, kinds: set[str], catalogs: Catalogs) -> bool:
    """Whether a step consumes one of the types."""
    return any(catalogs.is_a(kind, port.type) for port in step.ports for kind in kinds)


def reach(data_type: str, catalogs: Catalogs) -> set[str]:
    """Types that preparation can make of one type; itself among them."""
    found, grown = {data_type}, True
    while grown:
        grown = False
        for step in catalogs.steps.values():
            takes = [port.type for port in step.consumes if port.required]
            if step.category not in PREPARING or len(takes) != 1:
                continue
            if not any(catalogs.is_a(kind, takes[0]) for kind in found):
                continue
            new = {port.type for port in step.produces} - found
            found, grown = found | new, grown or bool(new)
    return found
