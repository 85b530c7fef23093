"""The plan of a chain: what is asked, the stages that do it, what was checked, what is open."""

from __future__ import annotations

import dataclasses
import os
import shlex
from pathlib import Path
from typing import Any

from lockgate import gates, journal, margins, offers, pages, summary
from lockgate.catalog.files import nearest
from lockgate.files import digest, write_json, write_text
from lockgate.launch import World
from lockgate.stages import advice, build, checks, configs, graph, nested
from lockgate.stages.chain import Chain
from lockgate.stages.model import RESULTS, Check, Stage

_DESIGN = ("rows", "columns", "validators", "processors", "seed_data", "target_schema")

_SHOWN = ("user", "advice", "method", "need", "default", "alignment", "resources", "model")
"""Who sets what a reader wants to see first; inputs and outputs have lines of their own."""


def document(
    chain: Chain, resources: dict[str, Any], ledger: Path, log: journal.Journal
) -> dict[str, Any]:
    """plan.json: everything that plan.md shows, and `covers`."""
    config = chain.config
    for one in chain.considered:
        log.add("consider a step", input=f"{one['item']}: {one['step']}", result=one["verdict"])
    found = [
        *_catalog_files(chain),
        *checks.run(context(chain, resources)),
        *_keys(chain),
        *_launches(chain),
    ]
    records = [dataclasses.asdict(check) for check in found]
    for check in records:
        told = _shown(check["compared"], str(config.results))
        log.add("check", input=f"{check['code']} {check['stage']}", result=told)
    stages = [_stage(stage, chain) for stage in chain.stages]
    # a ceiling that the scheduler enforces; half as much again is added by the item
    asks = margins.asked(
        [], config.resources, offers.chosen(config.resources, resources["machine"])
    )
    hours = len(chain.stages) * asks["minutes"] / 60
    plan = {
        "experiment": config.experiment.model_dump(),
        "config_digest": digest(config.model_dump(by_alias=True)),
        "config_source": chain.source,
        "fingerprint": chain.fingerprint,
        "covers": [*chain.items["plan"], gates.hours_item(ledger, hours)],
        "asked": [_asked(wish.item) for wish in chain.wishes],
        "missing": chain.missing,
        "nearest": _nearest(chain),
        "questions": chain.questions,
        "data": _data(chain),
        "designs": _designs(chain),
        "writers": _writers(chain),
        "stages": stages,
        "reader": _reader(stages),
        "considered": chain.considered,
        "checks": records,
        "prerequisites": resources["prerequisites"],
        "resources": config.resources.model_dump(),
        "asks": asks,
        "machine": resources["machine"],
        "catalogs": [
            {
                "name": one.name,
                "root": str(one.root),
                "commit": one.commit,
                "steps": len(one.steps),
                "problems": len(one.problems),
            }
            for one in chain.catalogs.catalogs
        ],
        "catalog_files": chain.catalog_files,
        "hours": hours,
        "approvers": config.approvers,
        "places": config.places,
        # what the summary of an experiment with a runs table also says
        "variables": {},
        "runs": [],
        "tasks": [],
        "versions": {},
    }
    shown: dict[str, Any] = _shown(plan, str(config.results))
    return shown


def _nearest(chain: Chain) -> str:
    """The step to begin an own one from: one that was considered, or one of a like word."""
    if chain.considered:
        return chain.considered[0]["step"]
    words = {word: step.id for step in chain.catalogs.steps.values() for word in step.notes.goals}
    words |= {step.category: step.id for step in chain.catalogs.steps.values()}
    asked = [str(wish.item.goal) for wish in chain.wishes if wish.item.goal not in words]
    like = [word for goal in asked for word in nearest(goal, words, 1)]
    return words[like[0]] if like else ""


def _shown(value: Any, results: str) -> Any:
    """The same with planned paths as a reader finds them."""
    if isinstance(value, dict):
        return {key: _shown(item, results) for key, item in value.items()}
    if isinstance(value, list):
        return [_shown(item, results) for item in value]
    return value.replace(RESULTS, results) if isinstance(value, str) else value


def _catalog_files(chain: Chain) -> list[Check]:
    """What is wrong with the catalogs' files, and which of two steps with one id is taken."""
    found = []
    for problem in chain.catalogs.problems:
        told, fix = f"{problem.where}: {problem.what}", problem.hint or "mend the file"
        found.append(Check("catalog.file", "", "warning", told, fix, "warning"))
    for name, hidden in chain.catalogs.hidden.items():
        for stage in chain.stages:
            if stage.step.id == hidden.id and stage.step.catalog != hidden.catalog:
                told = f"{hidden.id} of catalog {stage.step.catalog} comes first; {name} is there"
                fix = f"write `step: {name}` to take that one"
                found.append(Check("catalog.precedence", stage.name, "warning", told, fix, "note"))
    return found


def _keys(chain: Chain) -> list[Check]:
    """Keys that a stage sets and its step does not know."""
    found = []
    for stage in chain.stages:
        for key, near in configs.unsupported(stage.step, stage.settings):
            fix = f"write {near}" if near else "leave it out"
            found.append(
                Check("config.keys", stage.name, "warning", f"{stage.step.id} has no {key}", fix)
            )
    return found


def _launches(chain: Chain) -> list[Check]:
    """Whether each stage's runner starts as many processes as its job has GPUs."""
    found = []
    for stage in chain.stages:
        runner = build.runner(stage, chain)
        limit, world = runner.local_processes, World(stage.nodes, max(1, stage.gpus))
        if limit is None or stage.profile or world.size <= limit:
            continue
        if not runner.alone(stage.step, world):
            continue
        found.append(
            Check(
                code="launch.profile",
                stage=stage.name,
                status="warning",
                compared=f"{stage.nodes} x {stage.gpus} GPUs; without a profile its runner starts "
                f"{limit} process",
                fix="name one of the runner's environment profiles as the stage's `profile`",
            )
        )
    return found


def context(chain: Chain, resources: dict[str, Any]) -> checks.Context:
    """What the checks look at."""
    ids = {stage.step.id for stage in chain.stages}
    return checks.Context(
        stages=chain.stages,
        catalogs=chain.catalogs,
        gpu=chain.config.resources.gpu,
        nodes=chain.config.resources.nodes,
        gpus=chain.config.resources.gpus,
        memory_mb=chain.config.resources.memory_mb,
        probes=chain.probes,
        model_files=resources["model_files"],
        alternatives=[
            step for name, step in sorted(chain.catalogs.steps.items()) if name not in ids
        ],
        environ=dict(os.environ),
    )


def _asked(item: Any) -> str:
    parts = [item.goal or item.step]
    parts += [f"of {item.model}"] if item.model else []
    parts += [f"by {item.method}"] if item.method else []
    parts += [f"on {item.data}"] if item.data else []
    parts += [f"measuring {', '.join(item.tasks)}"] if item.tasks else []
    parts += [f"at {item.endpoint.url}"] if item.endpoint else []
    return " ".join(parts)


def _data(chain: Chain) -> list[dict[str, Any]]:
    """What the user's data files hold."""
    found = []
    for wish in chain.wishes:
        for source in wish.given.values():
            if source.model or source.path not in chain.probes:
                continue
            probe = chain.probes[source.path]
            record: dict[str, Any] = {"path": source.path, "type": source.type, "kinds": None}
            record["detail"] = "it is not a file here"
            if probe:
                record |= {
                    "kinds": sorted(probe.kinds),
                    "rows": probe.count,
                    "columns": list(probe.columns),
                }
            if record not in found:
                found.append(record)
    return found


def _designs(chain: Chain) -> list[dict[str, Any]]:
    """What the stages that make new rows are configured to make."""
    found = []
    for stage in chain.stages:
        if not checks.generates(stage):
            continue
        roles = stage.step.notes.roles
        record: dict[str, Any] = {"stage": stage.name}
        for role in _DESIGN:
            values = [nested.get(stage.config, key) for key in roles.get(role, ())]
            record[role] = values[0] if values and values[0] != "???" else None
        columns = record["columns"] if isinstance(record["columns"], list) else []
        record["columns"] = [_column(one) for one in columns if isinstance(one, dict)]
        found.append(record)
    return found


def _column(column: dict[str, Any]) -> dict[str, str]:
    kinds = [column.get(key) for key in ("sampler_type", "type", "column_type")]
    return {
        "name": str(column.get("name", "")),
        "type": next((str(kind) for kind in kinds if kind), ""),
    }


def _writers(chain: Chain) -> list[dict[str, str]]:
    """Stages whose text a language model writes, with the endpoint that is configured."""
    found = []
    for stage in chain.stages:
        roles = stage.step.notes.roles
        urls = [build.value(stage, key) for key in roles.get("endpoint_url", ())]
        named = [build.value(stage, key) for key in roles.get("endpoint_model", ())]
        # an evaluation that has no endpoint measures what the chain made
        if urls and named and (urls[0] or named[0] or stage.goal != "evaluate"):
            endpoint = urls[0] or "no endpoint yet"
            found.append(
                {"stage": stage.name, "model": named[0] or "no model yet", "endpoint": endpoint}
            )
    return found


def _stage(stage: Stage, chain: Chain) -> dict[str, Any]:
    facts = chain.facts[stage.name]
    strategies = advice.matched(stage.step, facts)
    patterns = advice.patterns(chain.catalogs.patterns_for(stage.step), facts)
    commits = {one.name: one.commit for one in chain.catalogs.catalogs}
    keys = [key for who in _SHOWN for key, by in stage.origin.items() if by == who]
    record: dict[str, Any] = {
        "name": stage.name,
        "step": stage.step.id,
        "catalog": stage.step.catalog,
        "commit": commits.get(stage.step.catalog),
        "goal": stage.goal,
        "why": stage.why,
        "inserted": stage.inserted,
        "model": stage.model,
        "method": stage.method,
        "nodes": stage.nodes,
        "gpus": stage.gpus,
        "inputs": [
            {
                "type": source.type,
                "stage": source.stage,
                "path": source.path,
                "iterations": source.iterations,
            }
            for source in stage.inputs.values()
        ],
        "outputs": [{"type": kind, "path": path} for kind, path in stage.outputs.items()],
        "settings": [
            {"key": key, "value": stage.settings[key], "origin": stage.origin[key]} for key in keys
        ],
        "strategies": strategies,
        "patterns": patterns,
        "command": shlex.join(build.command_line(stage, chain)),
        "explorer": None,
    }
    if stage.explorer:
        like = str(stage.step.reference["like"])
        record["explorer"] = {
            "like": like,
            "existing": [one["step"] for one in chain.considered if one["step"] != stage.step.id],
            "files": sorted(
                str(path.relative_to(stage.step.directory))
                for path in stage.step.directory.rglob("*")
                if path.is_file() and "__pycache__" not in path.parts
            ),
            "knobs": [parameter.name for parameter in stage.step.parameters],
            "notes": [f"{error.name}: {error.recovery}" for error in _errors_of(like, chain)],
            "followed": [item["when"] for item in strategies if item["status"] == "followed"],
        }
    return record


def _reader(stages: list[dict[str, Any]]) -> list[dict[str, str]]:
    """What is left to the reader, each once: `of` (a step or a pattern) and `when`."""
    told = [
        (stage["step"], item["when"])
        for stage in stages
        for item in stage["strategies"]
        if item["status"] not in ("followed", "applies", "does not apply")
    ]
    told += [
        (f"pattern {item['id']}", text)
        for stage in stages
        for item in stage["patterns"]
        for text in [*item["reader"], *item["not_known"]]
    ]
    return [{"of": of, "when": when} for of, when in dict.fromkeys(told)]


def _errors_of(step: str, chain: Chain) -> list[Any]:
    """Failures that the step which an own step was made from knows."""
    known = chain.catalogs.steps.get(step)
    return list(known.errors) if known else []


def write(
    plan: dict[str, Any], chain: Chain, outputs: dict[str, str], logs: list[Path | str]
) -> None:
    """Every file of the phase; plan.json is last, for it opens the way to the gate."""
    title = plan["experiment"]["name"]
    markdown = pages.render("chain.md.j2", plan=plan, links=graph.mermaid(chain.stages))
    write_text(outputs["markdown"], markdown)
    # the page has the graph as a picture in place of its notation
    page = pages.render("chain.md.j2", plan=plan, links=[])
    picture = graph.svg(chain.stages) if chain.stages else ""
    write_text(outputs["html"], pages.as_html(f"Plan: {title}", page, picture))
    summary.write(plan, [], outputs["summary"], outputs["summary_data"])
    write_text(outputs["design_log"], journal.render(logs))
    write_json(outputs["plan"], plan)
