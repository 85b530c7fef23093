"""The rule that decides on the hypothesis: what it compares, and when it holds.

It is stated in the configuration, so the plan's approval covers it. Runs and cells are those of
plan.json. Nothing here needs the scores.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lockgate.errors import LockgateError

Record = Mapping[str, Any]
Group = tuple[list[str], list[str]]


@dataclass(frozen=True)
class Contrast:
    """What a rule compares.

    Attributes:
        task: the task's name.
        groups: names of runs, and of those they are held against. Within a group both sides
            are averaged, then the groups are, so that none counts for more than another.
    """

    task: str
    groups: list[Group]


def check_decision(
    rules: Sequence[Record], runs: Sequence[Record], cells: Sequence[Record]
) -> None:
    """Refuse a rule that could not be decided, whatever the scores.

    Args:
        rules: `experiment.decision`.
        runs: with `name`, `kind`, `model`, `varied`, `parameters`, maybe `system_prompt`,
            `rows` (own templates of rows) and `base` (the model whose control is its own).
        cells: with `run` and `task`.

    Raises:
        LockgateError: naming the rule's key.
    """
    for number, rule in enumerate(rules):
        contrast(rule, runs, cells, f"experiment.decision[{number}]")


def contrast(
    rule: Record,
    runs: Sequence[Record],
    cells: Sequence[Record],
    where: str = "experiment.decision",
) -> Contrast:
    """The runs that a rule compares.

    Against their controls every combination of what varies is a group of its own, with one run a
    seed. Against other runs a group is one combination of what the rule does not name.

    Raises:
        LockgateError: if it names no task, no run, or sides that cannot be compared.
    """
    task = _task(rule, cells, where)
    measured = {cell["run"] for cell in cells if cell["task"] == task}
    table = [run for run in runs if run["name"] in measured]
    tuned = [run for run in table if run["kind"] == "fine-tuned"]
    chosen = _chosen(tuned, rule["runs"], f"{where}.runs")
    if rule["against"] == "control":
        return Contrast(task, _with_controls(chosen, table, f"{where}.against"))
    others = _chosen(tuned, rule["against"], f"{where}.against")
    both = [run["name"] for run in chosen if run in others]
    if both:
        raise LockgateError(
            f"run '{both[0]}' is on both sides of the comparison",
            where=f"{where}.against",
            hint="say in `runs` and in `against` what tells the two sides apart",
        )
    named = {*rule["runs"], *rule["against"]}
    left, right = _grouped(chosen, named), _grouped(others, named)
    sides = [*left.items(), *right.items()]
    alone = [names[0] for key, names in sides if key not in left or key not in right]
    if alone:
        raise LockgateError(
            f"run '{alone[0]}' has no counterpart: the sides differ in more than the rule names",
            where=f"{where}.against",
            hint="name in `runs` and `against` everything in which the two sides differ",
        )
    return Contrast(task, [(left[key], right[key]) for key in left])


def control_of(run: Record, runs: Sequence[Record]) -> Record | None:
    """The control that is asked like a run: its base model, with its precision and prompts."""

    def asked(one: Record) -> tuple[Any, ...]:
        prompts = one.get("system_prompt"), one.get("rows") or {}
        return one.get("base", one["model"]), one["parameters"].get("precision"), *prompts

    controls = [one for one in runs if one["kind"] == "control"]
    return next((one for one in controls if asked(one) == asked(run)), None)


def settings(run: Record) -> dict[str, Any]:
    """Everything that is set in a run but its seed."""
    general = {"model": run["model"], "system_prompt": run.get("system_prompt")}
    found = {**general, **run["parameters"], **run["varied"]}
    return {key: value for key, value in found.items() if key != "seed"}


def verdict(rule: Record, low: float | None, high: float | None) -> str:
    """`supported`, `contradicted` or `inconclusive`, from the interval of the difference.

    Supported: all of the interval is as expected. Contradicted: none of it is. At `at_least: 0`
    an interval that touches 0 is neither.
    """
    if low is None or high is None:
        return "inconclusive"
    if rule["expect"] == "worse":
        low, high = -high, -low
    # means of many floats: 0.05 may come out as 0.04999999999999999
    low, high, least = round(low, 9), round(high, 9), rule["at_least"]
    if rule["expect"] == "equal":
        good, bad = -least < low and high < least, low >= least or high <= -least
    else:
        good, bad = low >= least and low > 0, high < least
    return "supported" if good else "contradicted" if bad else "inconclusive"


def overall(verdicts: Sequence[str]) -> str:
    """Of several rules all have to be supported; one contradicted contradicts the hypothesis."""
    if "contradicted" in verdicts:
        return "contradicted"
    return "supported" if set(verdicts) == {"supported"} else "inconclusive"


def statement(rule: Record, task: str | None = None) -> str:
    """The rule in words; `task` where the rule leaves it out."""
    runs, others = "the fine-tuned runs", "their controls"
    if rule["runs"]:
        runs = f"the runs with {told(rule['runs'])}"
    if rule["against"] != "control":
        others = f"the runs with {told(rule['against'])}"
    task, least = rule["task"] or task, f"{rule['at_least']:g}"
    how = f"{rule['expect']} than {others}"
    if rule["expect"] == "equal":
        how = f"within {least} of {others}"
    elif rule["at_least"]:
        how += f", by at least {least}"
    return f"{f'on {task}, ' if task else ''}{runs} score on average {how}"


def told(values: Record) -> str:
    """Keys with their values, for people."""
    texts = [
        f"{key} {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for key, value in values.items()
    ]
    return " and ".join(texts)


def _task(rule: Record, cells: Sequence[Record], where: str) -> str:
    names = list(dict.fromkeys(cell["task"] for cell in cells))
    if rule["task"] in names:
        return str(rule["task"])
    if rule["task"] is None and len(names) == 1:
        return str(names[0])
    raise LockgateError(
        "there are several tasks, and the rule names none"
        if rule["task"] is None
        else f"there is no task '{rule['task']}'",
        where=f"{where}.task",
        hint=f"name one of {', '.join(names)}",
    )


def _chosen(tuned: list[Record], wanted: Record, where: str) -> list[Record]:
    """Tuned runs that have all the values.

    Raises:
        LockgateError: if a key does not vary, or no run has the values.
    """
    found = tuned
    for key, value in wanted.items():
        values = {_text(settings(run).get(key)): settings(run).get(key) for run in tuned}
        if len(values) < 2:
            raise LockgateError(
                f"'{key}' does not vary between the runs of this task",
                where=f"{where}.{key}",
                hint=f"what varies: {', '.join(_varying(tuned)) or 'nothing'}",
            )
        choices = [value] if value in values.values() or not isinstance(value, list) else value
        for choice in choices:
            if choice not in values.values():
                raise LockgateError(
                    f"no run has {told({key: choice})}",
                    where=f"{where}.{key}",
                    hint=f"runs have: {', '.join(values)}",
                )
        found = [run for run in found if settings(run).get(key) in choices]
    if not found:
        raise LockgateError(
            f"no run has {told(wanted)}" if wanted else "no fine-tuned run takes the rule's task",
            where=where,
            hint="runs.csv of the plan lists the runs, cells.csv their tasks",
        )
    return found


def _varying(runs: Sequence[Record]) -> list[str]:
    """Keys that have several values."""
    values: dict[str, set[str]] = {}
    for run in runs:
        for key, value in settings(run).items():
            values.setdefault(key, set()).add(_text(value))
    return sorted(key for key, found in values.items() if len(found) > 1)


def _with_controls(chosen: list[Record], table: list[Record], where: str) -> list[Group]:
    groups = []
    for names in _grouped(chosen, set()).values():
        run = next(run for run in chosen if run["name"] == names[0])
        control = control_of(run, table)
        if control is None:
            raise LockgateError(
                f"run '{run['name']}' has no control on this task",
                where=where,
                hint="set training.controls to true, or name the runs to compare with",
            )
        groups.append((names, [str(control["name"])]))
    return groups


def _grouped(runs: Sequence[Record], named: set[str]) -> dict[str, list[str]]:
    """Names of runs that agree in everything but the seed and the named keys."""
    groups: dict[str, list[str]] = {}
    for run in runs:
        rest = {key: value for key, value in settings(run).items() if key not in named}
        groups.setdefault(_text(rest), []).append(run["name"])
    return groups


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
