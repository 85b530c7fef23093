"""Synthetic records by NeMo Data Designer: designed, checked, previewed, generated.

Modules: `design` and `literal` (the script, from the configuration), `checks` and `references` (of
its names), `seeds` (seed files), `constrain` (answers kept to a schema), `columns` (what the
records have), `script` (the user's own), `providers` (endpoints known by name), `program` (which
command is here), `command` (calls of it), `schemas` (the tool's classes), `records` and `watch`
(generation that survives a crash), `scaffold` (generation without Lockgate).

A script of the user's own (`data.script`) finds the model under the provider `endpoint` and
should seed its samplers with the environment variable LOCKGATE_SEED; LOCKGATE_SHARD and
LOCKGATE_SHARDS say which part of the records it makes.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lockgate import files
from lockgate.errors import LockgateError
from lockgate.handover import Handover
from lockgate.tools import Column, Endpoint, share
from lockgate.tools.data_designer import (
    checks,
    columns,
    command,
    design,
    program,
    providers,
    records,
    scaffold,
    schemas,
    script,
    seeds,
    watch,
)
from lockgate.tools.data_designer.command import Command


class DataDesigner:
    """Makes records from a design."""

    kind = "data"
    design_name = "design.py"

    def versions(self) -> dict[str, str]:
        return command.versions()

    def render(self, data: dict[str, Any], root: Path) -> str:
        return design.render(data, root)

    def inputs(self, data: dict[str, Any], root: Path) -> list[Path]:
        return design.inputs(data, root)

    def program(self, data: dict[str, Any]) -> dict[str, Any]:
        return program.record(data.get("command"))

    def endpoint(self, data: dict[str, Any]) -> Endpoint:
        return providers.endpoint(data["endpoint"], data.get("command"))

    def fields(self, data: dict[str, Any], root: Path) -> list[Column] | None:
        self.versions()
        given = data.get("design")
        if given is None:
            given = script.design_of(root / data["script"])
            script.check(given, root)
        else:
            _check_design(data, root)
        columns.check_kept(given, data.get("accept") or {}, script=bool(data.get("script")))
        if seeds.columns(given, root) is None:
            return None
        return columns.describe(given, root)

    def notes(self, design: Path, data: dict[str, Any]) -> list[str]:
        given = data.get("design")
        if given is not None:
            return checks.notes(given, data.get("endpoint"), data.get("shards", 1))
        return [*script.notes(design), *checks.notes(script.design_of(design), None)]

    def learn(self) -> dict[str, Any]:
        return schemas.learn()

    def validate(
        self, design: Path, data: dict[str, Any], endpoint: Endpoint | None, work: Path
    ) -> None:
        self.versions()
        tool = Command(work / "home", endpoint, work / "validate.log", data.get("command"))
        if data.get("design") is not None:
            _check_design(data, Path())
        done = tool.run("validate", design)
        if done.returncode != 0:
            column, what = command.finding(done) or ("", command.message(done))
            raise LockgateError(
                f"Data Designer refuses the design: {what}",
                where=_key(data, column),
                hint=f"the tool's messages are in {work / 'validate.log'}",
            )
        if endpoint is None:
            return
        command.check_endpoint(endpoint)
        done = tool.run("check-models", design)
        if done.returncode != 0:
            raise LockgateError(
                f"the model '{endpoint.model}' does not answer: {command.message(done)}",
                where="data.endpoint",
                hint=f"the tool's messages are in {work / 'validate.log'}",
            )

    def describe(self, design: Path, data: dict[str, Any]) -> list[Column]:
        given = data.get("design")
        return columns.describe(script.design_of(design) if given is None else given, Path())

    def preview(
        self, design: Path, data: dict[str, Any], endpoint: Endpoint | None, out: Path
    ) -> list[dict[str, Any]]:
        """Make records; `records.jsonl` and `browser/index.html` are for reading them."""
        self.versions()
        home, raw, log = out / "home", out / "raw", out / "preview.log"
        for leftover in (home, raw, out / "browser"):
            shutil.rmtree(leftover, ignore_errors=True)
        log.unlink(missing_ok=True)
        if endpoint is not None:
            command.check_endpoint(endpoint)
        done = Command(home, endpoint, log, data.get("command")).run(
            *("preview", design, "--num-records", str(data["preview_records"])),
            *("--save-results", "--artifact-path", raw, "--theme", "light"),
            env={"LOCKGATE_SEED": command.seed(data.get("seed", 0), "preview")},
            look=watch.Watch(lambda: 0, log, endpoint, None, _idle(data)).look,
        )
        tables = sorted(raw.glob("*/dataset.parquet"))
        if done.returncode != 0 or not tables:
            if endpoint is not None:
                command.check_endpoint(endpoint)  # names the endpoint, if that is why
            hint = f"the tool's messages are in {log}"
            column, what = "", command.message(done)
            if failures := watch.causes(done.stdout):
                what, change = watch.blame(failures)
                column = failures.most_common(1)[0][0][0]
                hint = f"{change}; {hint}" if change else hint
            raise LockgateError(f"the preview failed: {what}", where=_key(data, column), hint=hint)
        made = records.read_parquet(tables[-1])
        _collect(tables[-1].parent, out / "browser")
        files.write_jsonl(out / "records.jsonl", made)
        shutil.rmtree(home)
        shutil.rmtree(raw)
        return made

    def generate(
        self,
        design: Path,
        data: dict[str, Any],
        shard: int,
        endpoint: Endpoint | None,
        work: Path,
        told: Callable[[int], None] | None = None,
    ) -> list[dict[str, Any]]:
        self.versions()
        seed, shards = data.get("seed", 0), data.get("shards", 1)
        wanted = share(data["records"], shards, shard)
        if wanted == 0:
            return []
        # Records of another design, seed or division must not be carried on.
        key = files.digest([design.read_text("utf-8"), seed, shard, shards, self.versions()])
        work = (work / f"shard-{shard}-{key}").resolve()
        tool = Command(work / "home", endpoint, work / "create.log", data.get("command"))
        idle = _idle(data)
        return records.create(tool, design, wanted, seed, shard, shards, work, endpoint, told, idle)

    def usage(self, work: Path) -> dict[str, int] | None:
        return watch.usage([*work.rglob("create.log"), *work.glob("preview.log")])

    def pace(self, work: Path) -> tuple[int, float] | None:
        return watch.pace(work)

    def scaffold(self, data: dict[str, Any], root: Path) -> Handover:
        return scaffold.scaffold(data, self.design_name, root)


def _check_design(data: dict[str, Any], root: Path) -> None:
    completed = design.complete(data, root)
    checks.check(completed, seeds.columns(completed, Path()))
    seeds.check_rows(completed, data.get("shards", 1))
    checks.check_persons(completed)
    schemas.check(completed, data["design"])


def _idle(data: dict[str, Any]) -> float:
    """Seconds in which the tool has to make something: three times what a request may take."""
    models = (data.get("design") or {}).get("model_configs") or []
    asked = [(model.get("inference_parameters") or {}).get("timeout") for model in models]
    return max([watch.IDLE, *(3.0 * one for one in asked if one)])


def _key(data: dict[str, Any], column: str = "") -> str:
    """What an error is about: the script, the design, or a column of the design."""
    if data.get("script"):
        return "data.script"
    names = [known["name"] for known in data["design"]["columns"]]
    return f"data.design.columns[{names.index(column)}]" if column in names else "data.design"


def _collect(results: Path, browser: Path) -> None:
    """Move the pages to where they stay; the tool's own directory has the time in its name."""
    pages = results / "sample_records"
    shutil.move(pages, browser)
    pager = browser / "sample_records_browser.html"
    text = pager.read_text(encoding="utf-8").replace(results.name, "preview")
    files.write_text(browser / "index.html", text)
    pager.unlink()
    report = results / "report.html"
    if report.exists():
        shutil.move(report, browser / "report.html")


ADAPTER = DataDesigner()
