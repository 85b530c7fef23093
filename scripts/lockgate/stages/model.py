"""A planned chain: its stages, and where each stage's inputs come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lockgate.catalog.model import Step

RESULTS = "@results@"
"""Stands for the experiment's results directory in planned paths: a plan knows no machine."""

PREFIXES = "@train-prefixes@"
"""Before a path: the list under `train` in the JSON file there, once the file is there."""


@dataclass(frozen=True)
class Source:
    """Where one input comes from: the user's own file or model, or an earlier stage.

    Attributes:
        type: its artifact type (which may differ from the port's: `is_a`).
        path: file, directory or glob, a Hub id, or `@results@/...` for an earlier stage.
        stage: name of the stage that makes it; None: the user brings it.
        model: name under `models` in the configuration, if it is one of those.
        iterations: pattern of concrete checkpoint directories below `path`; the newest complete
            one is taken when the stage starts.
    """

    type: str
    path: str
    stage: str | None = None
    model: str | None = None
    iterations: str = ""


@dataclass(frozen=True)
class Stage:
    """One step of the chain, with everything that shapes it.

    Attributes:
        name: unique and file-safe.
        step: the catalog step.
        key: digest of everything that shapes it; names its own directory.
        goal: what the user asked for, in a goal's word; empty where the planner inserted it.
        why: why it is there: named, chosen for a goal (and against what), or inserted for what.
        inserted: the user did not ask for it.
        inputs: by the type of the consumed port.
        outputs: by the type of the produced port, `@results@/...`.
        settings: dotted configuration keys that differ from the step's default.yaml: inputs and
            outputs, advice that was followed, then the user's own (which win).
        origin: for each key of `settings` who set it: `default` (of a question), `need`,
            `method`, `model`, `input`, `resources`, `advice`, `alignment`, `user` or `output`.
        config: the whole effective configuration, nested.
        model: Hub id or path of the base model that it works on; empty: none.
        method: `full` or `lora`; empty: not a training stage.
        nodes, gpus: what its job asks for: nodes, and GPUs a node.
        profile: environment profile of the step runner; empty: none.
        endpoint: it works on a running endpoint in place of a checkpoint.
        explorer: it is a user's own step that no other catalog has.
    """

    name: str
    step: Step
    key: str = ""
    goal: str = ""
    why: str = ""
    inserted: bool = False
    inputs: dict[str, Source] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    origin: dict[str, str] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    model: str = ""
    method: str = ""
    nodes: int = 1
    gpus: int = 0
    profile: str = ""
    endpoint: bool = False
    explorer: bool = False


@dataclass(frozen=True)
class Check:
    """One check with what it compared.

    Attributes:
        code: stable name, like `gpus.model-minimum`.
        stage: name of the stage; empty: the whole chain.
        status: `ok`, `warning` or `not checked`.
        severity: `error` (the run would fail), `warning`, or `note`.
        compared: the values, as a sentence.
        fix: what to do (with `not checked`: why it could not be, and what would let it).
    """

    code: str
    stage: str
    status: str
    compared: str
    fix: str = ""
    severity: str = "error"
