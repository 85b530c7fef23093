"""Which strategies of a manifest, and which patterns, hold for a stage.

A test is a mapping of conditions, all of which must hold; where a condition takes a list, any
of its entries will do. Globs and words do not mind upper case.

- `model`, `model_not`: globs over the base model's id or path.
- `method`, `goal`: the stage's own; `goals_any`: a goal anywhere in the chain.
- `gpus_min`, `gpus_max`: GPUs of all nodes; `gpu_memory_min`, `gpu_memory_max`: GB of one.
- `rows_min`, `rows_max`: how many rows the data has; `rows`: what kind they are.
- `sequence_length_min`, `sequence_length_max`: in tokens.
- `upstream`, `downstream`: globs over the ids of the steps that feed it, and that it feeds.
- `input`: artifact types among its inputs.
- `endpoint`: whether a running endpoint stands in place of a checkpoint.
- `value`: dotted keys of the effective configuration and what they must be.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lockgate.catalog.model import Advice, Pattern, Problem, Step
from lockgate.errors import LockgateError
from lockgate.stages import hardware, nested


@dataclass(frozen=True)
class Facts:
    """What a stage is judged by; None: not known (empty: known to be none).

    Attributes:
        model: Hub id or path of the base model.
        method: `full` or `lora`.
        goal: the stage's goal.
        gpus: GPUs of all nodes.
        gpu: name of the GPU, as in the hardware table.
        rows: number of rows of the stage's data.
        kinds: kinds of those rows.
        sequence_length: in tokens.
        upstream, downstream: ids of the steps that feed it and that it feeds, also indirectly.
        inputs: artifact types of its inputs.
        config: its effective configuration, nested.
        goals: all goals of the chain.
        endpoint: it works on a running endpoint.
    """

    model: str | None = None
    method: str | None = None
    goal: str | None = None
    gpus: int | None = None
    gpu: str | None = None
    rows: int | None = None
    kinds: Sequence[str] | None = None
    sequence_length: int | None = None
    upstream: Sequence[str] | None = None
    downstream: Sequence[str] | None = None
    inputs: Sequence[str] | None = None
    config: Mapping[str, Any] | None = None
    goals: Sequence[str] | None = None
    endpoint: bool | None = None


_LIMITS = {
    "gpus": "the number of GPUs",
    "gpu_memory": "the memory of a GPU",
    "rows": "the number of rows",
    "sequence_length": "the sequence length",
}
_WORDS = {
    "model": "the model",
    "model_not": "the model",
    "method": "the method",
    "goal": "the goal",
    "rows": "the kind of rows",
    "upstream": "the steps that feed it",
    "downstream": "the steps that it feeds",
    "input": "the inputs",
    "goals_any": "the goals of the chain",
}
CONDITIONS = (
    *_WORDS,
    *(f"{name}_{end}" for name in _LIMITS for end in ("min", "max")),
    "endpoint",
    "value",
)


def judge(test: Mapping[str, Any], facts: Facts) -> bool | None:
    """Whether a test holds; None: a fact that would decide it is not known."""
    verdicts = [verdict for _, verdict in _verdicts(test, facts)]
    if False in verdicts:
        return False
    return None if None in verdicts else True


def matched(step: Step, facts: Facts) -> list[dict[str, Any]]:
    """Every strategy of a manifest with what becomes of it.

    Returns:
        For each `when`, `then`, `skill`, `status` and `set` (configuration keys, where it is
        followed). The status is `followed`, `applies` (there is nothing to set), `does not
        apply`, `not known: <facts>`, or `for the reader`.
    """
    found = []
    for strategy in step.strategies:
        status, settings = _status(strategy.when, step.notes.advice, facts)
        if status == "applies" and settings:
            status = "followed"
        found.append(
            {
                "when": strategy.when,
                "then": strategy.then,
                "skill": strategy.skill,
                "status": status,
                "set": settings,
            }
        )
    return found


def patterns(candidates: Iterable[Pattern], facts: Facts) -> list[dict[str, Any]]:
    """The patterns that hold, or may hold, for a stage.

    Args:
        candidates: those that are about the stage's step.
        facts: of the stage.

    Returns:
        For each `id`, `title`, `confidence`, `status` (`applies`, `not known: <facts>` or `for
        the reader`), its triggers as `matched`, `not_known` and `reader`, and what the matched
        ones `set`. A pattern whose every trigger is known not to hold is left out.
    """
    found = []
    for pattern in candidates:
        judged = [(text, *_status(text, pattern.advice, facts)) for text in pattern.triggers]
        holding = [text for text, status, _ in judged if status == "applies"]
        unknown = {text: status for text, status, _ in judged if status.startswith("not known")}
        reader = [text for text, status, _ in judged if status == "for the reader"]
        if not (holding or unknown or reader):
            continue
        settings: dict[str, Any] = {}
        for _, _, values in judged:
            settings |= values
        undecided = next(iter(unknown.values()), "for the reader")
        found.append(
            {
                "id": pattern.id,
                "title": pattern.title,
                "confidence": pattern.confidence,
                "status": "applies" if holding else undecided,
                "matched": holding,
                "not_known": list(unknown),
                "reader": reader,
                "set": settings,
            }
        )
    return found


def problems(steps: Iterable[Step], candidates: Iterable[Pattern] = ()) -> list[Problem]:
    """Tests in notes that cannot be evaluated: a key that is no condition, a value of no use."""
    found = []
    for step in steps:
        notes = step.notes
        named = [
            *(("advice", entry.test) for entry in notes.advice),
            *(("needs", entry.test) for entry in notes.needs),
            *(("questions", entry.test) for entry in notes.questions),
        ]
        for part, test in named:
            found += [Problem(where=f"{step.id}: lockgate.{part}", **one) for one in _faults(test)]
    for pattern in candidates:
        for entry in pattern.advice:
            found += [Problem(where=f"{pattern.id}: advice", **one) for one in _faults(entry.test)]
    return found


def _status(text: str, advice: Sequence[Advice], facts: Facts) -> tuple[str, dict[str, Any]]:
    """What becomes of a text; of several tests for it the first that holds counts."""
    tests = [entry for entry in advice if entry.when == text]
    if not tests:
        return "for the reader", {}
    verdicts = [judge(entry.test, facts) for entry in tests]
    if True in verdicts:
        return "applies", dict(tests[verdicts.index(True)].set)
    if None not in verdicts:
        return "does not apply", {}
    undecided = tests[verdicts.index(None)].test
    lacking = [name for name, verdict in _verdicts(undecided, facts) if verdict is None]
    return f"not known: {', '.join(dict.fromkeys(lacking))}", {}


def _faults(test: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    for key, wanted in test.items():
        hint = f"there are: {', '.join(CONDITIONS)}"
        if key not in CONDITIONS:
            yield {"what": f"a test has no condition '{key}'", "hint": hint}
        elif not _usable(key, wanted):
            kinds = {"endpoint": "true or false", "value": "a table of keys"}
            wants = kinds.get(key, "a text or a list of texts" if key in _WORDS else "a number")
            yield {"what": f"'{key}' of a test is {wanted!r}", "hint": f"give it {wants}"}


def _usable(key: str, wanted: Any) -> bool:
    if key == "endpoint":
        return isinstance(wanted, bool)
    if key == "value":
        return isinstance(wanted, Mapping)
    if key in _WORDS:
        return all(isinstance(one, str) for one in _listed(wanted))
    return isinstance(wanted, int | float) and not isinstance(wanted, bool)


def _verdicts(test: Mapping[str, Any], facts: Facts) -> Iterator[tuple[str, bool | None]]:
    """Each condition's verdict, with the fact that it is about."""
    for key, wanted in test.items():
        if key not in CONDITIONS or not _usable(key, wanted):
            yield f"the condition '{key}'", None
        elif key == "value":
            for name, values in wanted.items():
                yield f"the value of {name}", _has(facts.config, name, values)
        elif key == "endpoint":
            known = facts.endpoint
            yield "whether there is an endpoint", None if known is None else known == wanted
        elif key in _WORDS:
            yield _WORDS[key], _holds(key, [one.lower() for one in _listed(wanted)], facts)
        else:
            name, end = key.rsplit("_", 1)
            yield _LIMITS[name], _within(_number(name, facts), wanted, end)


def _holds(key: str, wanted: list[str], facts: Facts) -> bool | None:
    """A condition of words or globs."""
    known: dict[str, str | Sequence[str] | None] = {
        "model": facts.model,
        "model_not": facts.model,
        "method": facts.method,
        "goal": facts.goal,
        "rows": facts.kinds,
        "upstream": facts.upstream,
        "downstream": facts.downstream,
        "input": facts.inputs,
        "goals_any": facts.goals,
    }
    values = known[key]
    if values is None:
        return None
    words = [word.lower() for word in _listed(values) if word]
    found = any(fnmatch.fnmatchcase(word, glob) for word in words for glob in wanted)
    return bool(words) and not found if key.endswith("_not") else found


def _number(name: str, facts: Facts) -> float | None:
    if name != "gpu_memory":
        return {"gpus": facts.gpus, "rows": facts.rows, "sequence_length": facts.sequence_length}[
            name
        ]
    try:
        return hardware.gpu(facts.gpu).memory_gb if facts.gpu else None
    except LockgateError:  # the plan's checks tell the user that the table has no such GPU
        return None


def _within(known: float | None, limit: float, end: str) -> bool | None:
    if known is None:
        return None
    return known >= limit if end == "min" else known <= limit


def _has(config: Mapping[str, Any] | None, key: str, wanted: Any) -> bool | None:
    """Whether a key of the configuration has one of the values; an absent one is null."""
    if config is None:
        return None
    value = nested.get(config, key)
    options = wanted if isinstance(wanted, list) else [wanted]
    # in Python 1 == True
    if any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in options):
        return True
    open_ended = isinstance(value, str) and (value == "???" or "${" in value)
    return None if open_ended else False


def _listed(value: Any) -> list[Any]:
    return [value] if isinstance(value, str) or not isinstance(value, Sequence) else list(value)
