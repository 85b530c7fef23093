"""Checks of what was written for a stage, before anything runs."""

from __future__ import annotations

import dataclasses
import os
import shlex
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lockgate.catalog.model import ArtifactType, InputNote, OutputNote, Step
from lockgate.errors import LockgateError
from lockgate.process import die_with_parent
from lockgate.stages import configs
from lockgate.stages.checks import alignment, configuration
from lockgate.stages.checks.context import Context
from lockgate.stages.model import PREFIXES, RESULTS, Check, Source, Stage
from lockgate.stages.nested import own
from lockgate.stages.programs import check_python
from lockgate.tools import StepRunner

__all__ = ["check_python", "check_written", "dry_run"]

_LINES = 12  # of a dry run's output, in the message
_AGAIN = (
    configuration.secrets,
    configuration.artifact_reference,
    configuration.unresolved,
    alignment.length,
)
"""Checks of the plan that are made again on the files."""


class _NoTypes:
    """The repeated checks look at values alone."""

    types: Mapping[str, ArtifactType] = {}

    def is_a(self, name: str, other: str, /) -> bool:
        return name == other


def check_written(
    stage: Stage, full_yaml: Path, smoke_yaml: Path, downstream: list[Stage]
) -> list[Check]:
    """Check the two files of a stage.

    Args:
        stage: as planned.
        full_yaml: its configuration; what its `defaults` names is read too.
        smoke_yaml: the reduced one.
        downstream: the later stages, as planned.

    Returns:
        `written.yaml`, `written.keys` and the plan's own checks of values for either file;
        `written.base` where the step has no usual default; `written.inputs` for each later input
        that this stage makes; `written.smoke` and `written.apart` for the reduced run.
    """
    found: list[Check] = []
    unusual = configs.default_file(stage.step)[1]
    if unusual and "defaults" not in stage.settings:
        fix = "name another one with `defaults` under the stage's `with`"
        found.append(Check("written.base", stage.name, "warning", unusual, fix, "note"))
    whole: list[dict[str, Any]] = []
    for path in (full_yaml, smoke_yaml):
        try:
            values, config = own(path), configs.load(path)
        except LockgateError as error:
            fix = error.hint or "build the stage again"
            told = f"{error.where or path}: {error.what}"
            found.append(Check("written.yaml", stage.name, "warning", told, fix))
            continue
        told = f"{path.name}: {len(configs.flatten(values))} values of its own"
        found.append(Check("written.yaml", stage.name, "ok", told))
        found.append(_keys(stage, path, values))
        found += _again(stage, path, values, config)
        whole.append(config)
    if len(whole) == 2:
        found += _next(stage, whole[0], downstream)
        found += [_smoke(stage, *whole), *_apart(stage, *whole)]
    return found


def _keys(stage: Stage, path: Path, values: dict[str, Any]) -> Check:
    code = "written.keys"
    wrong = configs.unsupported(stage.step, values)
    if not wrong:
        return Check(code, stage.name, "ok", f"{path.name}: {stage.step.id} has all of its keys")
    fixes = [f"{key}: write {near}" if near else f"{key}: leave it out" for key, near in wrong]
    told = f"{path.name}: {stage.step.id} has no {', '.join(key for key, _ in wrong)}"
    return Check(code, stage.name, "warning", told, "; ".join(fixes))


def _again(
    stage: Stage, path: Path, values: dict[str, Any], config: dict[str, Any]
) -> Iterator[Check]:
    written = dataclasses.replace(stage, config=config, settings=configs.flatten(values))
    context = Context(stages=[written], catalogs=_NoTypes(), environ=os.environ)
    for check in _AGAIN:
        for one in check(context):
            yield dataclasses.replace(one, compared=f"{path.name}: {one.compared}")


def _next(stage: Stage, config: dict[str, Any], downstream: list[Stage]) -> Iterator[Check]:
    """Do later stages read where this one writes."""
    for later in downstream:
        for kind, source in later.inputs.items():
            if source.stage != stage.name:
                continue
            note = stage.step.notes.outputs.get(source.type, OutputNote())
            told = f"{stage.name} writes {source.type} to {stage.outputs.get(source.type)}"
            faults = [*_written(stage, source, note, config), *_read(later, kind, source, note)]
            if faults:
                fix = "leave both keys to the plan: take them out of the stages' `with`"
                yield Check(
                    "written.inputs", stage.name, "warning", f"{told}; {'; '.join(faults)}", fix
                )
            elif not note.key:
                why = f"the notes of {stage.step.id} do not say which key takes {source.type}"
                yield Check("written.inputs", stage.name, "not checked", told, why, "warning")
            else:
                yield Check(
                    "written.inputs", stage.name, "ok", f"{told}, where {later.name} reads it"
                )


def _written(
    stage: Stage, source: Source, note: OutputNote, config: dict[str, Any]
) -> Iterator[str]:
    """What is wrong with where the file on disk says that the artifact goes."""
    planned = stage.outputs.get(source.type, "")
    target = planned.removesuffix(f"/{note.path}") if note.path else planned
    tail = target.removeprefix(RESULTS)
    for key in note.key:
        value = configs.get(config, key)
        text = value.rstrip("/") if isinstance(value, str) else ""
        if not planned or not text.endswith(tail) or not text.startswith((RESULTS, "/")):
            yield f"its {key} is {value}"


def _read(later: Stage, kind: str, source: Source, made: OutputNote) -> Iterator[str]:
    """What is wrong with where a later stage looks."""
    note = later.step.notes.inputs.get(kind, InputNote())
    if made.iterations and not (source.iterations or note.parent):
        yield f"{later.name} is given the directory above {made.iterations}"
    wanted = f"{source.path}/{note.glob}" if note.glob else source.path
    # in a blend the path is in a file beside the configuration, which the job writes
    for key in note.key if note.form != "blend" else ():
        value = configs.get(later.config, key)
        if str(value).removeprefix(PREFIXES) != wanted:
            yield f"{later.name} reads {key} = {value}, not {wanted}"


def _smoke(stage: Stage, full: dict[str, Any], reduced: dict[str, Any]) -> Check:
    code = "written.smoke"
    less, more = configs.sizes(stage.step, full, reduced)
    if more:
        fix = "give smaller values in the `smoke` table of the step's notes"
        return Check(code, stage.name, "warning", f"larger: {'; '.join(more)}", fix)
    if less:
        return Check(code, stage.name, "ok", f"smaller: {'; '.join(less)}")
    told = configs.smaller(stage.step, full, reduced)[0]
    why = "its inputs are those of the reduced run: that is all that makes it smaller"
    status = "warning" if configs.reductions(stage.step) else "not checked"
    return Check(code, stage.name, status, told, why, severity="warning")


def _apart(stage: Stage, full: dict[str, Any], reduced: dict[str, Any]) -> Iterator[Check]:
    """Does the reduced run keep off the real one's outputs."""
    # a key of an output that the stage was not asked for keeps the step's own default
    notes = [note for kind, note in stage.step.notes.outputs.items() if kind in stage.outputs]
    keys = sorted({key for note in notes for key in note.key})
    same = [
        key
        for key in keys
        if (value := configs.get(full, key)) is not None and value == configs.get(reduced, key)
    ]
    if same:
        told = ", ".join(f"{key} = {configs.get(full, key)}" for key in same)
        fix = "leave the key to the plan: take it out of the stage's `with`"
        yield Check(
            "written.apart", stage.name, "warning", f"both runs write to one place: {told}", fix
        )
    elif keys:
        yield Check("written.apart", stage.name, "ok", f"each run has its own {', '.join(keys)}")


def dry_run(
    runner: StepRunner,
    step: Step,
    config: Path,
    profile: str = "",
    stage: str = "",
    timeout_s: float = 180,
) -> Check:
    """`dry-run`: the catalog's own tool takes the configuration, where it can be asked here.

    Args:
        runner: the adapter of the step's catalog.
        step: the step.
        config: the written file.
        profile: environment profile; empty: none.
        stage: its name, for the record.
        timeout_s: seconds after which the tool, and what it started, is stopped.
    """
    code = "dry-run"
    told = f"{step.id} with {config.name}"
    if lacking := runner.available(step):
        return Check(code, stage, "not checked", told, lacking, "note")
    try:
        # the command may be run from another directory
        command = runner.command(step, config.resolve(), profile, True)
    except LockgateError as error:
        return Check(code, stage, "not checked", told, f"{error.what}; {error.hint}", "note")
    told = f"`{shlex.join(command)}`"
    try:
        child = subprocess.Popen(
            command,
            cwd=runner.directory(step, Path.cwd()),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
    except OSError as error:
        why = f"it cannot be started: {error.strerror}"
        return Check(code, stage, "not checked", told, why, "note")
    try:
        output, _ = child.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        why = f"it took more than {timeout_s:g} s: run it by hand"
        return Check(code, stage, "not checked", told, why, "warning")
    if child.returncode == 0:
        return Check(code, stage, "ok", f"{told} accepts it")
    last = "\n".join(output.strip().splitlines()[-_LINES:])
    told = f"{told} ended with status {child.returncode}:\n{last}"
    return Check(code, stage, "warning", told, "set what it names under the stage's `with`")
