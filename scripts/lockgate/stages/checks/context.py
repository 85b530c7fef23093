"""What the checks look at, and how they find their way along a chain."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from lockgate.catalog.model import ArtifactType, Port, Step, SupportedModel
from lockgate.stages.model import Source, Stage
from lockgate.stages.rows import Probe

GENERATING = frozenset({"generate", "sdg"})
"""Goals of steps whose output is new, whatever rows they were shown."""

SUPERVISED = frozenset({"sft", "peft"})
"""Goals of steps that teach a model to follow a chat."""

REINFORCED = frozenset({"dpo", "rlvr", "rlhf"})
"""Goals of steps that need a model which already follows a chat."""

ROLLING = frozenset({"rlvr", "rlhf"})
"""Goals of steps that train on answers which the model itself makes."""

TRAINING = SUPERVISED | REINFORCED | {"pretrain", "distill"}
"""Goals of steps that change a model's weights by training."""

TRANSLATING = frozenset({"translate"})
"""Goals of steps that write rows in another language."""

_HUB = re.compile(r"[\w.-]+/[\w.-]+")
_FILES = (".jsonl", ".json", ".parquet", ".gguf", ".bin", ".yaml")


class Types(Protocol):
    """What the checks need of the catalogs."""

    @property
    def types(self) -> Mapping[str, ArtifactType]:
        """Artifact types by name."""
        ...

    def is_a(self, name: str, other: str, /) -> bool:
        """Whether one type may stand in the other's place."""
        ...


@dataclass(frozen=True)
class Context:
    """A chain and what is known about its surroundings.

    Attributes:
        stages: in order.
        catalogs: artifact types.
        gpu: name of the GPU in a node; None: not known.
        nodes, gpus: what there is: nodes, and GPUs a node.
        memory_mb: host memory of a job; None: not known.
        probes: of the user's data, by the path that a `Source` has.
        model_files: of local models, by what `Stage.model` (or a `Source`) says: keys
            `tokenizer_sha256`, `chat_template_sha256`, `architecture` (class name),
            `context_length`, `parameters`, and `base_model` of an adapter; each may be missing.
        alternatives: steps to propose; only those with a goal of the stage's step are taken.
        environ: environment variables, for `${oc.env:NAME}`.
    """

    stages: list[Stage]
    catalogs: Types
    gpu: str | None = None
    nodes: int = 1
    gpus: int = 0
    memory_mb: int | None = None
    probes: Mapping[str, Probe | None] = field(default_factory=dict)
    model_files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    alternatives: list[Step] = field(default_factory=list)
    environ: Mapping[str, str] = field(default_factory=dict)

    def stage(self, name: str | None) -> Stage | None:
        """The stage of that name, if there is one."""
        return next((stage for stage in self.stages if stage.name == name), None)

    def makers(self, stage: Stage) -> Iterator[Stage]:
        """The stages that made a stage's inputs."""
        for source in stage.inputs.values():
            maker = self.stage(source.stage)
            if maker:
                yield maker

    def ancestors(self, stage: Stage, past_training: bool = True) -> list[Stage]:
        """All stages that a stage rests on, in the chain's order.

        Args:
            stage: where to start.
            past_training: go on through stages that train.
        """
        found: set[str] = set()
        waiting = list(self.makers(stage))
        while waiting:
            maker = waiting.pop()
            if maker.name not in found:
                found.add(maker.name)
                if past_training or not trains(maker):
                    waiting += self.makers(maker)
        return [one for one in self.stages if one.name in found and one.name != stage.name]

    def alike(self, one: str, other: str) -> bool:
        """Whether two types are kinds of the same thing, like raw and filtered rows."""
        return any(
            self.catalogs.is_a(one, name) and self.catalogs.is_a(other, name)
            for name in {*self.catalogs.types, one, other}
        )


def goals(stage: Stage) -> frozenset[str]:
    """What a stage is for: what the user asked, else what its step does."""
    known = frozenset(stage.step.notes.goals)
    return frozenset({stage.goal}) if stage.goal in known else known


def trains(stage: Stage) -> bool:
    """Whether the stage trains a model."""
    return bool(stage.method or stage.step.notes.methods or goals(stage) & TRAINING)


def generates(stage: Stage) -> bool:
    """Whether the stage makes new rows."""
    return bool(goals(stage) & GENERATING)


def works_on_model(stage: Stage) -> bool:
    """Whether the stage loads the model that is customized (and not only names one)."""
    ports = [*stage.step.consumes, *stage.step.produces]
    handled = any(is_checkpoint(port.type) for port in ports)
    return bool(stage.model) and (
        handled or trains(stage) or "base_model" in stage.step.notes.roles
    )


def is_checkpoint(kind: str) -> bool:
    """Whether an artifact type is a model's weights."""
    return "checkpoint" in kind or "weights" in kind


def is_adapter(kind: str) -> bool:
    """Whether an artifact type is weights that need their base model."""
    return "lora" in kind or "adapter" in kind


def on_hub(path: str) -> bool:
    """Whether a path that is not there could be a Hub id."""
    return bool(_HUB.fullmatch(path)) and not path.endswith(_FILES) and path[0] not in "./"


def absent(path: str, root: Path = Path()) -> bool:
    """Whether a path that the user names is not here, and is no Hub id and no address either."""
    if path == "???" or on_hub(path) or "://" in path:
        return False
    return not any(glob.iglob(str(root / path), recursive=True))


def supported(step: Step, model: str) -> SupportedModel | None:
    """The entry of a step's list for a model; a local copy is known by its directory's name."""
    plain = model.rstrip("/").lower()
    for entry in step.models:
        if entry.name.lower() == plain:
            return entry
    if on_hub(model):
        return None
    last = plain.split("/")[-1]
    return next((entry for entry in step.models if entry.name.lower().split("/")[-1] == last), None)


def needed_gpus(step: Step) -> int | None:
    """GPUs a node that a step asks for; None: it does not say."""
    if step.notes.gpus is not None:
        return step.notes.gpus
    resources = (step.runspec or {}).get("resources") or {}
    asked = resources.get("gpus_per_node")
    return asked if isinstance(asked, int) else None


def ports(stage: Stage) -> list[tuple[Port, bool]]:
    """The consumed ports and whether each is required; the notes win over the manifest."""
    found = {port.type: (port, port.required) for port in stage.step.consumes}
    for kind, note in stage.step.notes.inputs.items():
        port, required = found.get(kind, (Port(type=kind), False))
        found[kind] = (port, required if note.required is None else note.required)
    return list(found.values())


def weights(stage: Stage) -> list[Source]:
    """The checkpoints among a stage's inputs."""
    return [source for source in stage.inputs.values() if is_checkpoint(source.type)]


def policy(stage: Stage) -> list[Source]:
    """The checkpoints that a stage trains further; a reward model is not among them."""
    notes = stage.step.notes
    base = set(notes.roles.get("base_model", ()))
    named = [
        source
        for kind, source in stage.inputs.items()
        if is_checkpoint(source.type)
        and kind in notes.inputs
        and base & set(notes.inputs[kind].key)
    ]
    return named or weights(stage)


def architecture(context: Context, model: str) -> str:
    """Class of a local model, like `GPT2LMHeadModel`; empty where it is not known."""
    found = str(context.model_files.get(model, {}).get("architecture") or "")
    # a bare model type, like gpt2, is no class: globs over classes would refuse it
    return "" if found.islower() else found
