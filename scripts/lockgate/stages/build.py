"""What is written for a stage past the plan's gate, and what is checked of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from lockgate import tools
from lockgate.errors import LockgateError
from lockgate.stages import configs, nested, validate
from lockgate.stages.chain import Chain
from lockgate.stages.model import RESULTS, Check, Stage


def value(stage: Stage, key: str) -> str:
    """What a key of the effective configuration says, as text; empty for nothing."""
    found = nested.get(stage.config, key)
    return "" if found is None or str(found).startswith(("???", "${")) else str(found)


def runner(stage: Stage, chain: Chain) -> Any:
    """The adapter that runs a stage's step."""
    name = next(one.runner for one in chain.catalogs.catalogs if one.name == stage.step.catalog)
    return tools.get("catalog", name, stage.step.catalog)


def config_path(chain: Chain, stage: Stage, smoke: bool = False) -> Path:
    """Where a stage's configuration is built."""
    name = configs.file_name(stage, chain.config.experiment.name, smoke)
    return chain.config.results / "build" / "configs" / name


def command_line(stage: Stage, chain: Chain, smoke: bool = False) -> list[str]:
    """The command that runs a stage with its built configuration."""
    path = config_path(chain, stage, smoke).resolve()
    command: list[str] = runner(stage, chain).command(stage.step, path, stage.profile, False)
    return command


def configuration(chain: Chain, name: str, path: Path) -> str:
    """Text of a built configuration.

    Args:
        chain: the chain.
        name: of the document, `stages/<stage>` or `smoke/<stage>`.
        path: where it will be.
    """
    kind, _, stage_name = name.partition("/")
    stage = next(stage for stage in chain.stages if stage.name == stage_name)
    settings = chain.documents[name]["settings"]
    results = chain.config.results.resolve()
    local = {
        source.path: str(Path(source.path).resolve())
        for source in stage.inputs.values()
        if not source.stage and _here(source.path)
    }
    if stage.model and _here(stage.model):
        local[stage.model] = str(Path(stage.model).resolve())
    placed = {key: _placed(item, local, results) for key, item in settings.items()}
    command = command_line(stage, chain, kind == "smoke")
    inherits = runner(stage, chain).inherits
    if inherits and chain.config.install_configs:
        text = configs.render(stage, placed, command, installed=True)
        configs.install(stage.step, path.name, text)
    return configs.render(stage, placed, command, full=not inherits)


def _here(path: str) -> bool:
    return Path(path).exists() or (
        any(letter in path for letter in "*?[") and any(Path(".").glob(path))
    )


def _placed(item: Any, local: dict[str, str], results: Path) -> Any:
    """Planned paths as paths on this machine."""
    if isinstance(item, str):
        for path, absolute in local.items():
            if item == path or item.startswith(f"{path}/"):
                return absolute + item.removeprefix(path)
        return item.replace(RESULTS, str(results))
    if isinstance(item, list):
        return [_placed(one, local, results) for one in item]
    if isinstance(item, dict):
        return {key: _placed(one, local, results) for key, one in item.items()}
    return item


def validate_stage(chain: Chain, name: str, full: Path, smoke: Path) -> list[dict[str, Any]]:
    """Check what was written for one stage.

    Raises:
        LockgateError: for everything that would fail, with its fixes.
    """
    stage = next(stage for stage in chain.stages if stage.name == name)
    at = chain.stages.index(stage)
    found: list[Check] = [
        *validate.check_written(stage, full, smoke, chain.stages[at + 1 :]),
        *validate.check_python(stage.step, name),
        validate.dry_run(runner(stage, chain), stage.step, full, stage.profile, name),
    ]
    wrong = [one for one in found if one.status == "warning" and one.severity == "error"]
    if wrong:
        raise LockgateError(
            "\n".join(f"{one.code}: {one.compared}" for one in wrong),
            where=str(full),
            hint="; ".join(dict.fromkeys(one.fix for one in wrong if one.fix)),
        )
    return [dataclasses.asdict(one) for one in found]
