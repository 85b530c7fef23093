"""Steps and patterns as JSON and as text."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from lockgate.catalog.model import Pattern, Port, Step

_WIDTH = 60


def print_step(step: Step) -> None:
    """Everything about a step, for a person."""
    print(f"{step.id}: {step.name}\n\n{step.description}\n")
    print_table(
        ["", ""],
        [
            ["catalog", f"{step.catalog}, {step.path}"],
            ["category", step.category],
            ["tags", ", ".join(step.tags) or "none"],
            *([f"runspec {key}", json.dumps(value)] for key, value in (step.runspec or {}).items()),
        ],
    )
    print_group("Consumes", [f"{_port(port)}: {port.description}" for port in step.consumes])
    print_group("Produces", [f"{_port(port)}: {port.description}" for port in step.produces])
    print_group(
        "Parameters",
        [
            f"{one.name} = {json.dumps(one.default, default=str)}"
            + (f" of {json.dumps(one.choices, default=str)}" if one.choices else "")
            + f": {one.description}"
            for one in step.parameters
        ],
    )
    print_group(
        "Models",
        [
            f"{one.name}"
            + (f", from {one.min_gpus} GPUs" if one.min_gpus is not None else "")
            + (" (default)" if one.default else "")
            + f": {one.description}"
            for one in step.models
        ],
    )
    print_group("Strategies", [f"{one.when}: {one.then}" for one in step.strategies])
    print_group("Errors", [f"{one.name}: {one.recovery}" for one in step.errors])
    print_group("Reference", [f"{key}: {value}" for key, value in step.reference.items()])


def step_json(step: Step, everything: bool = False) -> dict[str, Any]:
    """A step as its manifest states it; `everything`: also the runspec and our notes."""
    values = step.model_dump(mode="json")
    for group in ("consumes", "produces"):
        values[group] = [
            {"type": port["type"], "required": port["stated"], "description": port["description"]}
            for port in values[group]
            if port["stated"] is not None
        ]
    keys = (
        "id name category description tags path consumes produces parameters models strategies "
        "errors reference catalog"
    )
    found = {key: values[key] for key in keys.split()}
    if everything:
        notes = step.notes.model_dump(mode="json", exclude_defaults=True)
        found |= {"runspec": step.runspec, "lockgate": notes}
    return found


def pattern_json(pattern: Pattern) -> dict[str, Any]:
    """A pattern as its file states it."""
    return pattern.model_dump(mode="json", exclude={"advice", "digest"})


def brief(ports: list[Port]) -> str:
    """The types of ports in one line; `?`: optional."""
    return ", ".join(port.type if port.required else f"{port.type}?" for port in ports) or "-"


def _port(port: Port) -> str:
    told = "required" if port.required else "optional"
    if port.stated is None:
        return f"{port.type} ({told}; not in the manifest)"
    if port.stated != port.required:
        return f"{port.type} ({told}; the manifest says otherwise)"
    return f"{port.type} ({told})"


def short(step: Step) -> str:
    """The beginning of a step's description, in one line."""
    text = " ".join((step.description or step.name).split())
    return text if len(text) <= _WIDTH else text[: _WIDTH - 4].rsplit(" ", 1)[0] + " ..."


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_group(title: str, lines: Iterable[str]) -> None:
    """Print lines below a title; nothing where there are none."""
    lines = list(lines)
    if lines:
        print(f"\n{title}")
        for line in lines:
            print("  " + " ".join(line.split()))


def print_table(head: list[str], rows: list[list[str]]) -> None:
    """Print aligned columns, without spaces at the ends of lines."""
    table = ([head] if any(head) else []) + rows
    widths = [max(len(row[column]) for row in table) for column in range(len(head) - 1)]
    for row in table:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print("  ".join([*cells, row[-1]]).rstrip())
