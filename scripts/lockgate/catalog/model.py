"""What a step catalog holds: steps, artifact types, patterns, and what is wrong with its files.

The fields are those of `step.toml`, `types.toml` and of the patterns' front matter; what a
manifest leaves to prose (which key takes an input, what a smoke run reduces) is its `lockgate`
table: in the manifest itself, or, for catalogs that are not ours, in the notes of the adapter
that knows them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

from lockgate.errors import LockgateError

MARK = "# Written by Lockgate"
"""How a configuration begins that Lockgate placed in a step's folder: it is no part of the step."""


class Entry(BaseModel):
    """A part of a catalog file: a key that we do not know is upstream's news, not an error."""

    model_config = ConfigDict(extra="ignore", frozen=True)


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Keys = Annotated[tuple[str, ...], BeforeValidator(_listed)]
"""One or several dotted keys of a step's configuration, like `dataset.seq_length`."""


def _with_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_nulls(item) for key, item in value.items()}
    return None if value == "null" else value


Settings = Annotated[dict[str, Any], BeforeValidator(_with_nulls)]
"""Dotted keys and their values; TOML has no null, so the word `null` stands for it."""


class Port(Entry):
    """One artifact that a step consumes or produces.

    Attributes:
        required: as the notes say, else as the manifest does.
        stated: what the manifest itself says of `required`; None: only the notes have this port.
    """

    type: str
    required: bool = True
    description: str = ""
    stated: bool | None = None


class Parameter(Entry):
    """One parameter that the manifest names; most, not all, are keys of the configuration."""

    name: str
    description: str = ""
    default: Any = None
    choices: list[Any] = []


class SupportedModel(Entry):
    """A model that the step was made for."""

    name: str
    description: str = ""
    default: bool = False
    min_gpus: int | None = None


class Strategy(Entry):
    """Advice of the manifest: prose in both parts."""

    when: str
    then: str
    skill: str | None = None


class KnownError(Entry):
    """A failure that the manifest knows, and what mends it."""

    name: str
    recovery: str
    skill: str | None = None


class InputNote(Entry):
    """How a step's configuration names an input.

    Attributes:
        key: configuration keys that take the path.
        rows: kind of rows it reads: `messages`, `prompt_completion`, `preference`, `verifiable`,
            `mcq`, `text` (several: any of them).
        glob: appended to the directory that an earlier stage made, like `train/*.parquet`.
        required: overrides the manifest (or adds a port that it leaves to prose).
        base_of_adapter: it is the base model that the adapter was trained from.
        parent: it takes the directory above concrete checkpoints and finds the newest itself.
        form: what the keys take: `path`; `blend`: a JSON file that points at the path, which
            our job writes: `{"datasets": [{"name": ..., "path": ..., "weight": 1.0}]}`;
            `prefixes`: the list under `train` in the JSON file at the path.
        set: keys that must have a value where this input is used.
    """

    key: Keys = ()
    rows: Keys = ()
    glob: str = ""
    required: bool | None = None
    base_of_adapter: bool = False
    parent: bool = False
    form: str = "path"
    set: Settings = {}


class OutputNote(Entry):
    """How a step's configuration names an output.

    Attributes:
        key: configuration keys that take the path.
        path: where the artifact is below what the keys name.
        verify: globs below the artifact that must match a file with content after the run.
        iterations: pattern of the concrete checkpoint directories, like `iter_*`.
        required: overrides the manifest.
    """

    key: Keys = ()
    path: str = ""
    verify: Keys = ()
    iterations: str = ""
    required: bool | None = None


class Advice(Entry):
    """A manifest's strategy, or a pattern's trigger, that code can evaluate.

    Attributes:
        when: its exact text; a text that upstream has changed is left to the reader.
        test: conditions, all of which must hold; see `lockgate.stages.advice`.
        set: configuration keys to set where the user has not.
    """

    when: str
    test: Settings
    set: Settings = {}


class Need(Entry):
    """What a configuration needs and its default.yaml does not say; weaker than advice.

    Attributes:
        why: one sentence.
        test: conditions as in `Advice`, all of which must hold; none: always.
        set: configuration keys to set where nothing else does; a later need wins.
        base: name of the step's configuration to start from in place of its default.
    """

    why: str
    test: Settings = {}
    set: Settings = {}
    base: str = ""


class Question(Entry):
    """A configuration key that only the user can fill.

    Attributes:
        key: the dotted key.
        ask: the question.
        options: what may be answered; empty: anything.
        default: what is used where the user answers nothing; None: the stage waits.
        test: conditions as in `Advice` under which it is asked; none: always.
    """

    key: str
    ask: str
    options: list[Any] = []
    default: Any = None
    test: Settings = {}


class Notes(Entry):
    """What code needs and prose leaves out; every part is optional.

    Attributes:
        goals: what the step does in the words of a goal (`sft`, `dpo`, `evaluate` ...).
        open_models: `models` are examples; any model of these `architectures` will do.
        architectures: globs over the model's architecture, like `*ForCausalLM`.
        inputs, outputs: by artifact type.
        keys: configuration keys that neither default.yaml nor the manifest shows.
        aliases: a manifest's parameter, or `name=value`, and the real keys (with values).
        roles: what a key means: `base_model`, `tokenizer`, `chat_template`, `sequence_length`,
            `tensor_parallel`, `pipeline_parallel`, `context_parallel`, `expert_parallel`,
            `global_batch`, `micro_batch`, `steps`, `nodes`, `gpus_per_node`, `ranks_per_node`,
            `tasks`, `endpoint_url`, `endpoint_model`, `secret_name`, `teacher`; of a design
            of data `rows` (how many), `columns`, `validators`, `processors`, `seed_data` and
            `target_schema` ...
        task_entry: a task in the list is a mapping with its name under this key; empty: text.
        methods: `full` or `lora`, and the keys that choose it.
        smoke: keys that make a run small.
        stack: training stack, for proposals (`automodel`, `megatron_bridge` ...).
        gpus: GPUs a node that it needs at least; 0: none.
        most_gpus: GPUs that it can use, on one node; None: all that there are, but none where
            it needs none.
        needs: what default.yaml leaves out or has wrong for some models and machines.
        advice: strategies that code can evaluate.
        questions: keys that only the user can fill.
    """

    goals: Keys = ()
    open_models: bool = False
    architectures: Keys = ()
    inputs: dict[str, InputNote] = {}
    outputs: dict[str, OutputNote] = {}
    keys: Keys = ()
    aliases: dict[str, Settings | Keys] = {}
    roles: dict[str, Keys] = {}
    methods: dict[str, Settings] = {}
    smoke: Settings = {}
    stack: str = ""
    gpus: int | None = None
    most_gpus: int | None = None
    task_entry: str = ""
    needs: list[Need] = []
    advice: list[Advice] = []
    questions: list[Question] = []


class Step(Entry):
    """One step of a catalog.

    Attributes:
        reference: links by name, as the manifest has them.
        runspec: header of step.py (`name`, `image`, `launch`, `config_dir`, `default_config`,
            `resources` with `nodes` and `gpus_per_node`); None: there is no header to read.
        tool: name of our adapter that runs it in the training matrix.
        catalog: name of its catalog.
        path: its directory, relative to the catalog's root.
        directory: its directory.
        digest: first 12 digits of the SHA-256 over its files (manifest, configurations,
            header, notes).
    """

    id: str
    name: str = ""
    category: str = ""
    description: str = ""
    tags: list[str] = []
    tool: str | None = None
    consumes: list[Port] = []
    produces: list[Port] = []
    parameters: list[Parameter] = []
    models: list[SupportedModel] = []
    strategies: list[Strategy] = []
    errors: list[KnownError] = []
    reference: dict[str, Any] = {}
    runspec: dict[str, Any] | None = None
    notes: Notes = Notes()
    catalog: str = ""
    path: str = ""
    directory: Path = Path()
    digest: str = ""

    @property
    def ports(self) -> list[Port]:
        """What it consumes, less what its notes know to have no key in its configuration."""
        known = self.notes.inputs
        return [
            port
            for port in self.consumes
            if port.required or port.type not in known or known[port.type].key
        ]


class ArtifactType(Entry):
    """A kind of thing that flows between steps.

    Attributes:
        is_a: types in whose place it may stand.
        convert_to: target type and the id of the step that makes it.
    """

    name: str
    description: str = ""
    is_a: Keys = ()
    convert_to: dict[str, str] = {}


class Pattern(Entry):
    """Advice across steps: a markdown file with front matter.

    Attributes:
        triggers: when to apply it, in prose.
        steps: ids (or categories) that it is about; none: any.
        advice: triggers that code can evaluate.
    """

    id: str
    title: str = ""
    tags: list[str] = []
    triggers: list[str] = []
    steps: list[str] = []
    confidence: str = ""
    body: str = ""
    advice: list[Advice] = []
    catalog: str = ""
    path: str = ""
    digest: str = ""


class Problem(Entry):
    """One thing that is wrong with a catalog file; the rest of the catalog still loads."""

    where: str
    what: str
    hint: str = ""

    def __str__(self) -> str:
        return str(LockgateError(self.what, where=self.where, hint=self.hint))


class Catalog(Entry):
    """One catalog as loaded.

    Attributes:
        name: `builtin`, or what the configuration or its adapter calls it.
        root: the checkout (paths of steps are relative to it).
        runner: name of the adapter that runs its steps.
        commit: of the checkout; None where it is no git checkout.
        files: SHA-256 of every file used, by path relative to the root.
    """

    name: str
    root: Path
    runner: str
    commit: str | None = None
    steps: list[Step] = []
    types: list[ArtifactType] = []
    patterns: list[Pattern] = []
    problems: list[Problem] = []
    files: dict[str, str] = {}
