"""The chain that a configuration describes: its stages, questions and built documents.

A pure function of the configuration, the catalogs and the user's small files, quick enough to be
called each time the Snakefile is parsed. The digests of its documents are what approvals cover.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lockgate import catalog
from lockgate.catalog import Catalogs
from lockgate.catalog.model import Step
from lockgate.config import ChainConfig, load
from lockgate.documents import RECIPE_VERSION
from lockgate.errors import LockgateError
from lockgate.files import digest
from lockgate.matrix import CATALOG
from lockgate.stages import advice, assemble, configs, nested, planner, search, wishes
from lockgate.stages.model import RESULTS, Stage
from lockgate.stages.rows import Probe
from lockgate.stages.wishes import DATA, MODEL, UNKNOWN, Wish


@dataclass(frozen=True)
class Chain:
    """A chain of stages with everything that the plan says of it.

    Attributes:
        stages: in order; none where the catalogs cannot do what is asked.
        wishes: what the items of the configuration stand for.
        considered: for each item the steps that were looked at (`item`, `step`, `verdict`).
        missing: what no catalog can do, in a sentence; empty where there are stages.
        questions: what only the user can tell (`stage`, `key`, `ask`, `options`, `default`).
        probes: what the rows of the user's data files are, by path.
        facts: of each stage, by its name, for strategies and patterns.
    """

    config: ChainConfig
    source: str
    catalogs: Catalogs
    stages: list[Stage]
    wishes: list[Wish]
    considered: list[dict[str, str]]
    missing: str
    questions: list[dict[str, Any]]
    probes: dict[str, Probe | None]
    facts: dict[str, advice.Facts]

    @functools.cached_property
    def open_questions(self) -> list[dict[str, Any]]:
        """Questions without an answer or a default: nothing can start before."""
        return [question for question in self.questions if question["default"] is None]

    @property
    def blocked(self) -> str:
        """Why nothing of it can start; empty where something can."""
        if self.missing:
            return f"it has no stages: {self.missing}"
        asked = [f"{one['stage']}: {one['key']}" for one in self.open_questions]
        return f"it has open questions ({', '.join(asked)})" if asked else ""

    @functools.cached_property
    def documents(self) -> dict[str, dict[str, Any]]:
        """What each stage's job is built from: `stages/<name>`, and `smoke/<name>` reduced."""
        found = {}
        for stage in self.stages:
            found[f"stages/{stage.name}"] = self._document(stage, smoke=False)
            found[f"smoke/{stage.name}"] = self._document(stage, smoke=True)
        return found

    def _document(self, stage: Stage, smoke: bool) -> dict[str, Any]:
        settings = configs.smoke(stage.step, stage.settings) if smoke else stage.settings
        document = {
            "recipe_version": RECIPE_VERSION,
            "stage": stage.name,
            "step": stage.step.id,
            "catalog": stage.step.catalog,
            "step_digest": stage.step.digest,
            "explorer": stage.explorer,
            "nodes": stage.nodes,
            "gpus": stage.gpus,
            "profile": stage.profile,
            "settings": settings,
            "inputs": {kind: dataclasses.asdict(source) for kind, source in stage.inputs.items()},
            "outputs": stage.outputs,
            "directory": f"{RESULTS}/stages/{stage.name}/{stage.key}",
            "blends": {
                kind: {"file": stage.settings[note.key[0]], "path": source.path}
                for kind, source in stage.inputs.items()
                for note in [stage.step.notes.inputs.get(kind)]
                if note and note.form == "blend" and note.key[0] in stage.settings
            },
            "data_files": {
                path: sha
                for wish in self.wishes
                for path, sha in wish.files.items()
                if path in {source.path for source in stage.inputs.values()}
            },
        }
        return _moved(document) if smoke else document

    @functools.cached_property
    def items(self) -> dict[str, list[str]]:
        """What each gate's approval has to cover before this chain may go on."""
        pieces = [f"{name}:{digest(document)}" for name, document in self.documents.items()]
        asked = f"experiment:{digest(self.config.experiment.model_dump())}"
        explored = [
            f"explorer/{stage.name}: {stage.step.id} is your own step, no catalog vouches for it"
            for stage in self.stages
            if stage.explorer
        ]
        used = [f"catalog/{name}:{sha[:12]}" for name, sha in self.catalog_files.items()]
        return {
            "plan": [asked, *pieces, *explored, *used],
            "preview": [item for item in pieces if item.startswith("smoke/")],
        }

    @functools.cached_property
    def catalog_files(self) -> dict[str, str]:
        """SHA-256 of every catalog file that the plan rests on, by catalog and path."""
        ids = {(stage.step.catalog, stage.step.path) for stage in self.stages}
        found = {}
        for one in self.catalogs.catalogs:
            for path, sha in one.files.items():
                folders = [path_of for name, path_of in ids if name == one.name]
                used = any(path.startswith(f"{folder}/") for folder in folders)
                # types, patterns and notes are about every step
                if used or not Path(path).match("step.*") and "/config/" not in f"/{path}":
                    found[f"{one.name}/{path}"] = sha
        return found

    @functools.cached_property
    def fingerprint(self) -> str:
        """Digest of everything that resolve, learn and plan depend on."""
        return digest([self.config.model_dump(), self.items, self.considered, self.missing])


def read(values: Any, source: str, root: Path = Path("."), builtin: Path = CATALOG) -> Chain:
    """Plan the chain.

    Args:
        values: the configuration as loaded from YAML.
        source: its path, for messages.
        root: the directory that relative paths start from.
        builtin: the built-in catalog.

    Raises:
        LockgateError: whatever is wrong with the configuration or a catalog that it names.
    """
    config = load(values, source)
    if not isinstance(config, ChainConfig):
        raise LockgateError("it has no stages", where=source, hint="add `stages`")
    catalogs = catalog.load(
        [(one.name, root / Path(one.path).expanduser()) for one in config.catalogs],
        builtin,
        os.environ.get("LOCKGATE_CATALOGS", ""),
        root.resolve(),
    )
    probes: dict[str, Probe | None] = {}
    wanted = wishes.read(config, source, root, catalogs, probes)
    links, considered, missing, wanted = search.find(config, source, catalogs, wanted)
    facts: dict[str, advice.Facts] = {}

    def advise(stages: list[Stage]) -> assemble.Advised:
        facts.update(_facts(stages, config, probes))
        return {stage.name: _advised(stage, facts[stage.name]) for stage in stages}

    steps = {link.step: catalogs.step(link.step) for link in links}
    resources = config.resources
    stages = assemble.stages(links, wanted, steps, resources.nodes, resources.gpus, advise, source)
    return Chain(
        config=config,
        source=source,
        catalogs=catalogs,
        stages=stages,
        wishes=wanted,
        considered=considered,
        missing=missing,
        questions=_questions(stages, links, wanted, facts, _methods(wanted, catalogs)),
        probes=probes,
        facts=facts,
    )


def _advised(stage: Stage, facts: advice.Facts) -> list[tuple[str, dict[str, Any]]]:
    """What questions stand at, what the step's needs set, and the strategies that are followed."""
    found: list[tuple[str, dict[str, Any]]] = []
    for question in stage.step.notes.questions:
        asked = question.default is not None and advice.judge(question.test, facts) is not False
        if asked and nested.get(stage.config, question.key) != question.default:
            found.append(("default", {question.key: question.default}))
    for need in stage.step.notes.needs:
        if advice.judge(need.test, facts):
            base = {"defaults": need.base} if need.base else {}
            found.append(("need", base | need.set))
    for record in advice.matched(stage.step, facts):
        if record["status"] == "followed":
            found.append(("advice", record["set"]))
    return found


def _facts(
    stages: list[Stage], config: ChainConfig, probes: dict[str, Probe | None]
) -> dict[str, advice.Facts]:
    """What each stage is judged by."""
    by_name = {stage.name: stage for stage in stages}
    feeds: dict[str, set[str]] = {
        stage.name: {source.stage for source in stage.inputs.values() if source.stage}
        for stage in stages
    }
    for stage in stages:  # in order, so that what feeds a stage is complete before it
        feeds[stage.name] |= {far for near in set(feeds[stage.name]) for far in feeds[near]}
    found = {}
    for stage in stages:
        data = _data(stage, by_name, probes)
        lengths = [
            nested.get(stage.config, key)
            for key in stage.step.notes.roles.get("sequence_length", ())
        ]
        whole = [value for value in lengths if isinstance(value, int)]
        found[stage.name] = advice.Facts(
            model=stage.model or None,
            method=stage.method or None,
            goal=stage.goal or None,
            gpus=stage.nodes * stage.gpus,
            gpu=config.resources.gpu,
            rows=data.count if data else None,
            kinds=tuple(sorted(data.kinds)) if data else None,
            sequence_length=max(whole, default=None),
            upstream=tuple(by_name[name].step.id for name in sorted(feeds[stage.name])),
            downstream=tuple(other.step.id for other in stages if stage.name in feeds[other.name]),
            inputs=tuple(source.type for source in stage.inputs.values()),
            config=stage.config,
            goals=tuple(other.goal for other in stages if other.goal),
            endpoint=stage.endpoint,
        )
    return found


def _data(stage: Stage, by_name: dict[str, Stage], probes: dict[str, Probe | None]) -> Probe | None:
    """The rows of the user's file that a stage works on, also through earlier stages."""
    for source in stage.inputs.values():
        if source.stage:
            found = _data(by_name[source.stage], by_name, probes)
            if found:
                return found
        elif probes.get(source.path):
            return probes[source.path]
    return None


def _methods(wanted: list[Wish], catalogs: Catalogs) -> list[list[str]]:
    """For each item the methods that its goal's steps (or its step) offer."""
    return [
        sorted({method for step in _doing(wish, catalogs) for method in step.notes.methods})
        for wish in wanted
    ]


def _doing(wish: Wish, catalogs: Catalogs) -> list[Step]:
    item = wish.item
    return [catalogs.step(item.step)] if item.step else catalogs.with_goal(str(item.goal))


def _questions(
    stages: list[Stage],
    links: list[planner.Link],
    wishes: list[Wish],
    facts: dict[str, advice.Facts],
    methods: list[list[str]],
) -> list[dict[str, Any]]:
    """What the plan does not know: never assumed."""
    found: list[dict[str, Any]] = []
    unknown: set[str] = set()
    for stage, link in zip(stages, links, strict=True):
        unknown |= {one.type for one in stage.inputs.values() if one.path == UNKNOWN}

        def ask(
            key: str, text: str, options: list[Any], default: Any, name: str = stage.name
        ) -> None:
            found.append(
                {"stage": name, "key": key, "ask": text, "options": options, "default": default}
            )

        if link.action is not None:
            item = wishes[link.action].item
            if item.method is None and len(methods[link.action]) > 1:
                options = methods[link.action]
                ask("method", "All weights, or low-rank adapters?", options, stage.method)
            # also what was inserted for it may lack something
            if DATA in unknown:
                text = "Which rows does it work on? Or put a stage with goal `generate` before it."
                ask("data", text, [], None)
            roles = stage.step.notes.roles
            brought = any("checkpoint" in one.type for one in stage.inputs.values())
            wants = "base_model" in roles or any(
                "checkpoint" in one.type for one in stage.step.ports
            )
            nameless = wants and not (stage.model or stage.endpoint or brought)
            if MODEL in unknown or nameless:
                names = [entry.name for entry in stage.step.models]
                ask("model", "Which base model (a name under `models`)?", names, None)
            unknown = set()
        for question in stage.step.notes.questions:
            known = stage.origin.get(question.key, "default") != "default"
            if not known and advice.judge(question.test, facts[stage.name]) is not False:
                ask(question.key, question.ask, question.options, question.default)
        asked = {one["key"] for one in found if one["stage"] == stage.name}
        for key, value in nested.flatten(stage.config).items():
            if value == UNKNOWN and key not in asked and stage.origin.get(key) != "input":
                choices = [one.choices for one in stage.step.parameters if one.name == key]
                ask(key, "It has no default: what is it to be?", sum(choices, []), None)
    return found


def _moved(value: Any) -> Any:
    """The same with results below `preview/`: a smoke run touches nothing of the real one."""
    if isinstance(value, dict):
        return {key: _moved(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_moved(item) for item in value]
    if isinstance(value, str):
        return value.replace(f"{RESULTS}/stages/", f"{RESULTS}/preview/stages/")
    return value
