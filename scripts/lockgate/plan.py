"""Phase plan: the experiment on paper, and what its approval covers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lockgate import estimates, gates, journal, margins, offers, pages, parity, summary
from lockgate.data import splits
from lockgate.decision import control_of, statement
from lockgate.files import digest, write_json, write_text
from lockgate.matrix import Matrix

ESTIMATE_FIELDS = [
    "run",
    "phase",
    "low",
    "expected",
    "high",
    "gpu_hours",
    "memory_mb",
    "gpu_memory_mb",
    "disk_mb",
    "basis",
]


def build(
    matrix: Matrix,
    resources: dict[str, Any],
    tools: dict[str, Any],
    prior: list[dict[str, str]],
    ledger: Path,
    log: journal.Journal,
) -> dict[str, Any]:
    """plan.json: everything that plan.md and the summary show, and `covers`."""
    config = matrix.config
    rows = estimates.analytical(matrix, resources, prior)
    for item in rows:
        log.add(
            "estimate",
            input=f"{item['phase']} {item['run'] or 'data'}",
            result=item["seconds"],
            why=item["basis"],
        )
    partition = offers.chosen(config.resources, resources["machine"])
    asked = margins.first(rows, config.resources, partition, config.data.shards)
    hours = estimates.total_hours(rows)
    ceiling = gates.hours_item(ledger, hours)
    log.add("add up", result=f"{hours:.3f} h", why=f"expected, all jobs; approval covers {ceiling}")
    return {
        "experiment": config.experiment.model_dump(),
        "decided_by": [
            statement(rule.model_dump(), rule.task) for rule in config.experiment.decision
        ],
        "config_digest": digest(config.model_dump()),
        "config_source": matrix.source,
        "fingerprint": matrix.fingerprint,
        "covers": [*matrix.items["plan"], ceiling],
        "data": config.data.model_dump(),
        "dataset": next((one for one in resources["resources"] if "splits" in one), None),
        "stages": _stages(matrix),
        "runs": [
            {
                "name": run.name,
                "kind": run.kind,
                "model": run.model,
                "seed": run.seed,
                "varied": run.varied,
                "system_prompt": run.system_prompt,
                "rows": run.rows,
                "train_rows": run.train_rows,
                "train_files": run.train_files,
                "base": run.base,
                "shape": run.shape,
                "parameters": run.parameters,
                "blocked": matrix.blocked.get(run.name),
            }
            for run in matrix.runs.values()
        ],
        "cells": [vars(cell) for cell in matrix.cells],
        "tasks": [task.model_dump() for task in config.evaluation.tasks],
        "groups": config.evaluation.groups,
        "variables": _variables(matrix),
        "checks": _checks(matrix, resources, rows, log),
        "questions": _questions(matrix, resources),
        "prerequisites": resources["prerequisites"],
        "resources": config.resources.model_dump(),
        "machine": resources["machine"],
        "estimates": [{**item, "asks": one} for item, one in zip(rows, asked, strict=True)],
        "hours": hours,
        "totals": estimates.totals(rows),
        "versions": {
            name: version
            for record in tools["adapters"].values()
            for name, version in record.get("versions", {}).items()
        },
        "approvers": config.approvers,
        "places": config.places,
    }


def _variables(matrix: Matrix) -> dict[str, list[Any]]:
    """What varies, and each value that some run has."""
    found: dict[str, list[Any]] = {}
    for run in matrix.runs.values():
        for name, value in run.varied.items():
            values = found.setdefault(name, [])
            if value not in values:
                values.append(value)
    return found


def _stages(matrix: Matrix) -> list[dict[str, Any]]:
    """The chain of catalog steps, with what flows between them."""
    config = matrix.config
    made = {"records": config.data.records, "seed": config.data.seed}
    parameters, variables = config.training.parameters, _variables(matrix)
    settings = {
        config.data.tool: {key: value for key, value in made.items() if value is not None},
        config.training.tool: {
            key: variables.get(key, getattr(parameters, key))
            for key in ("learning_rate", "epochs", "max_length")
        },
        config.evaluation.tool: {"tasks": [task.name for task in config.evaluation.tasks]},
    }
    stages = []
    for link in matrix.links:
        step = matrix.steps[link.step]
        stages.append(
            {
                "step": step.id,
                "name": step.name,
                "inputs": [
                    {"type": use.type, "port": use.port, "from": use.producer}
                    for use in link.inputs
                ],
                "produces": [port.type for port in step.produces],
                "settings": settings[str(step.tool)],
            }
        )
    return stages


def _checks(
    matrix: Matrix,
    resources: dict[str, Any],
    rows: list[dict[str, Any]],
    log: journal.Journal,
) -> list[dict[str, str]]:
    """Each check with what it compared; `ok`, `warning` with a fix, or `not checked`."""
    config, checks = matrix.config, []

    def check(name: str, good: bool | None, compared: str, fix: str) -> None:
        status = "not checked" if good is None else "ok" if good else "warning"
        record = {"name": name, "status": status, "compared": compared}
        checks.append(record if status == "ok" else {**record, "fix": fix})
        log.add("check", input=f"{name}: {compared}", result=status)

    for link in matrix.links:
        makers = [
            f"{use.type} for {use.port}"
            + ("" if use.producer is None else f" from {matrix.links[use.producer].step}")
            for use in link.inputs
        ]
        # the planner found the chain; had it not, there would be no plan
        check(f"artifacts of {link.step}", True, ", ".join(makers) or "it needs nothing", "")
    for found in parity.checks(matrix):
        check(*found)
    table = [vars(run) for run in matrix.runs.values()]
    for run in matrix.runs.values():
        if run.kind == "eval-only" and run.base is not None:
            check(
                f"control of {run.name}",
                control_of(vars(run), table) is not None,
                f"the untouched {run.base}, asked in the same words and precision",
                f"its control is evaluated where a run trains {run.base} with training's own "
                "precision and prompts: without it nothing is compared",
            )
    contexts = {item["name"]: item.get("context_length") for item in resources["resources"]}
    longest: dict[str, int] = {}
    for run in matrix.runs.values():
        if run.trained:
            longest[run.model] = max(longest.get(run.model, 0), run.parameters["max_length"])
    for model, length in longest.items():
        known = contexts.get(model)
        check(
            f"longest sequence of {model}",
            None if known is None else length <= known,
            f"max_length {length}, {'an unknown' if known is None else f'a {known}'} token context",
            f"compare with the context length in the model's card (models.{model})"
            if known is None
            else f"lower training.parameters.max_length to {known} or less",
        )
    machine = resources["machine"]
    given = config.resources.memory_mb
    most = given or max((row["memory_mb"] or 0 for row in rows), default=0)
    check(
        "memory of a job",
        (most <= machine["memory_mb"] or bool(machine["partitions"])) if most else None,
        f"{'asks' if given else 'expects up to'} {most:.0f} MB, this machine has "
        f"{machine['memory_mb']} MB",
        "lower resources.memory_mb, or run where there is more",
    )
    wanted = {("generate", None), *(("eval", name) for name in matrix.runs)}
    wanted |= {("train", run.name) for run in matrix.runs.values() if run.kind == "fine-tuned"}
    lacking = sorted(
        " ".join(filter(None, job)) for job in wanted - {(row["phase"], row["run"]) for row in rows}
    )
    known = {item["name"] for item in resources["resources"] if item.get("parameters")}
    models = {run.model for run in matrix.runs.values()}
    sizes = {item["name"]: item.get("bytes", 0) for item in resources["resources"]}
    need = sum(sizes[name] for name in models & known) * 4 / 1e6
    kept = estimates.totals(rows)["disk_mb"]
    check(
        "free disk",
        need + kept < machine["free_disk_mb"] if models <= known else None,
        f"about {need:.0f} MB for models and {kept:.0f} MB for checkpoints, "
        f"{machine['free_disk_mb']} MB free",
        "free some disk, move base_dir and cache_dir, or train fewer runs or epochs",
    )
    check(
        "every job has an estimate",
        None if lacking else True,
        f"without one: {', '.join(lacking)}" if lacking else f"{len(rows)} jobs",
        "nothing is known of the model's size or the endpoint's speed; the preview measures it",
    )
    sizes = _splits(matrix, resources)
    held = sizes.get("test", 0)
    check(
        "held-out rows enough to tell runs apart",
        held >= 30 if sizes else None,
        f"{held} test rows" if sizes else "the number of records is not known yet",
        "with fewer than 30 the 95% intervals can be wider than 0.3: raise data.records or "
        "data.splits.test",
    )
    for name, steps, warmup in _short_runs(matrix, sizes.get("train", 0)):
        check(
            f"steps of {name}",
            False,
            f"{steps} optimizer steps, {warmup} of them warm-up",
            "with fewer than three warm-ups the learning rate hardly gets to its peak: lower "
            "warmup_steps, or train longer",
        )
    for job, compared, fix in offers.walltimes(config.resources, machine, rows, config.data.shards):
        check(job, False, compared, fix)
    for job, compared, fix in estimates.memory_warnings(matrix, resources, rows):
        check(f"memory of {job}", False, compared, fix)
    for item in resources["prerequisites"]:
        check(f"{item['kind']} {item['name']}", False, item["detail"], item["fix"])
    return checks


def _questions(matrix: Matrix, resources: dict[str, Any]) -> list[dict[str, str]]:
    """What the configuration leaves open, with the key that answers it and what holds until then.

    A sanity check answers no scientific question: it is asked only what it needs to run.
    """
    config, found = matrix.config, []

    def ask(key: str, question: str, default: str) -> None:
        found.append({"key": key, "ask": question, "default": default})

    if config.experiment.kind == "experiment":
        if not config.experiment.decision:
            rule = "By what rule do the scores decide on the hypothesis?"
            ask("experiment.decision", rule, "the report gives no verdict")
        if len(config.training.seeds) == 1:
            spread = "Are more seeds wanted? With one, chance in training looks like an effect."
            ask("training.seeds", spread, "one seed; no spread across seeds is known")
        if not config.training.controls:
            control = "What are the tuned models compared with, if not with their base models?"
            ask("training.controls", control, "nothing; scores stand alone")
        section, inputs = config.data, matrix.documents["data/data"]["input_files"]
        if section.licence is None and (section.files or set(inputs) - {section.script}):
            licence = "Under which licence are the data that this rests on?"
            ask("data.licence", licence, "the data card says that it is not stated")
        if not _variables(matrix):
            ask("training.variables", "What varies?", "nothing: one configuration")
    for name, model in config.models.items():
        if model.hub and not model.revision:
            revision = f"Which revision of {model.hub}? A commit never changes."
            ask(f"models.{name}.revision", revision, "the newest when it is fetched")
    for number, name in enumerate(config.evaluation.models):
        if config.models[name].base is None:
            base = f"Which model was '{name}' made from? Its control is then compared with it."
            ask(f"models.{name}.base", base, f"evaluation.models[{number}] stands alone")
    if not _splits(matrix, resources):
        ask("data.records", "How many records?", "all that the data tool makes; sizes unknown")
    if resources["machine"]["partitions"] and not config.resources.partition:
        partitions = ", ".join(one["name"] for one in resources["machine"]["partitions"])
        ask("resources.partition", f"Which partition of {partitions}?", "the cluster's own default")
    return found


def _splits(matrix: Matrix, resources: dict[str, Any]) -> dict[str, int]:
    """Rows in each split: counted in the file, or by the number wanted; empty: not known."""
    counted = [one["splits"] for one in resources["resources"] if "splits" in one]
    section = matrix.config.data
    if counted or not section.records:
        return dict(counted[0]) if counted else {}
    return splits.split_sizes(section.records, section.splits.model_dump())


def _short_runs(matrix: Matrix, train: int) -> list[tuple[str, int, int]]:
    """Runs whose optimizer steps are fewer than three warm-ups: name, steps, warm-up.

    Args:
        matrix: the experiment.
        train: rows to train on; 0: not known.
    """
    found: list[tuple[str, int, int]] = []
    for run in matrix.runs.values():
        if not run.trained or not train:
            continue
        work = estimates.workload(run, matrix)
        steps = estimates.steps(work, estimates.trained_rows(work, {"train": train}))
        warmup = run.parameters["warmup_steps"]
        if steps < 3 * warmup:
            found.append((run.name, steps, warmup))
    return found


def write(plan: dict[str, Any], outputs: dict[str, str], logs: list[Path | str]) -> None:
    """Every file of the phase; plan.json is last, for it opens the way to the gate.

    Args:
        plan: what `build` gave.
        outputs: paths by the rule's names.
        logs: the phases' log.jsonl, in order.
    """
    title = plan["experiment"]["name"]
    markdown = pages.render("plan.md.j2", plan=plan, links=_mermaid(plan))
    write_text(outputs["markdown"], markdown)
    write_text(outputs["html"], pages.as_html(f"Plan: {title}", markdown))
    summary.write(plan, [], outputs["summary"], outputs["summary_data"])
    runs = [{**run, **run["varied"]} for run in plan["runs"]]
    fields = ["name", "kind", "model", "seed", *plan["variables"]]
    write_text(outputs["runs"], estimates.to_csv(runs, list(dict.fromkeys(fields))))
    write_text(outputs["cells"], estimates.to_csv(plan["cells"], ["run", "task", "epoch"]))
    everything = {"phase": "all", **plan["totals"]}
    flat = [{**item, **item["seconds"]} for item in [*plan["estimates"], everything]]
    write_text(outputs["estimates"], estimates.to_csv(flat, ESTIMATE_FIELDS))
    write_text(outputs["design_log"], journal.render(logs))
    write_json(outputs["plan"], plan)


def _mermaid(plan: dict[str, Any]) -> list[str]:
    """Edges of the artifact graph in Mermaid's notation."""
    edges = []
    for index, stage in enumerate(plan["stages"]):
        node = f"s{index}[{stage['step']}]"
        for item in stage["inputs"]:
            made = item["from"]
            brought = "model[base model]" if "checkpoint" in item["type"] else "file[dataset]"
            maker = brought if made is None else f"s{made}[{plan['stages'][made]['step']}]"
            edges.append(f"{maker} -- {item['type']} --> {node}")
        if not any(item["from"] == index for other in plan["stages"] for item in other["inputs"]):
            edges.append(f"{node} -- {stage['produces'][0]} --> report[report]")
    return edges
