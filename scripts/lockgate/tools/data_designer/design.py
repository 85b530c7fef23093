"""From the `data` section to the design script, without importing the tool.

The text depends on its arguments alone: it is made, and hashed, while the pipeline is planned.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import jinja2

from lockgate import files
from lockgate.errors import LockgateError
from lockgate.imports import with_imports
from lockgate.tools.data_designer import checks, constrain, script, seeds
from lockgate.tools.data_designer.literal import literal
from lockgate.tools.data_designer.references import nearest

PROVIDER = "endpoint"
"""Name under which the design finds the model's endpoint, whatever its port is."""

KEYS = (
    "columns",
    "model_configs",
    "seed_config",
    "constraints",
    "profilers",
    "processors",
)
TEMPLATES = Path(__file__).parents[4] / "workflow" / "templates"


def render(data: dict[str, Any], root: Path) -> str:
    """Text of the design script."""
    if (data.get("design") is None) == (data.get("script") is None):
        raise LockgateError(
            "give either design (declarative) or script (your own Python)",
            where="data",
            hint="remove one of them" if data.get("design") else "add a design with columns",
        )
    if data.get("files") is not None:
        raise LockgateError(
            "a design generates records; it reads no files",
            where="data.files",
            hint="remove data.files, or choose a tool that reads an existing dataset",
        )
    if data.get("records") is None:
        raise LockgateError(
            "the number of records to generate is missing",
            where="data.records",
            hint="set data.records, like 200",
        )
    if data.get("script") is not None:
        if (data.get("endpoint") or {}).get("constrain"):
            raise LockgateError(
                "a script's answers cannot be kept to their schemas from outside",
                where="data.endpoint.constrain",
                hint="leave it out, and give response_format in the script's extra_body",
            )
        return _script(root / data["script"])
    design = complete(data, root)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("design.py.j2").render(
        summary=f"{len(design['columns'])} columns",
        provider=PROVIDER,
        seed=data.get("seed", 0),
        parted=_parted(design, data.get("shards", 1)),
        parts={key: literal(design[key]) for key in KEYS if key in design},
    )


def complete(data: dict[str, Any], root: Path) -> dict[str, Any]:
    """The design with its model and aliases filled in, and a seed's path as `root` makes it.

    Raises:
        LockgateError: where the design cannot be right, naming the key.
    """
    design: dict[str, Any] = copy.deepcopy(data["design"])
    checks.check_values(design)
    _check_structure(design)
    constrain.check(design["columns"])
    models = _models(design, data.get("endpoint"))
    aliases = [model["alias"] for model in models]
    for index, column in enumerate(design["columns"]):
        if not _asks_a_model(column):
            continue
        where = f"data.design.columns[{index}]"
        if not aliases:
            raise LockgateError(
                f"column '{column['name']}' is written by a language model, but there is none",
                where=where,
                hint="add data.endpoint",
            )
        if "model_alias" not in column and len(aliases) == 1:
            column["model_alias"] = aliases[0]
        if "model_alias" not in column:
            raise LockgateError(
                "model_alias is missing, and there are several models",
                where=where,
                hint=f"choose one of {', '.join(aliases)}",
            )
        if column["model_alias"] not in aliases:
            raise LockgateError(
                f"there is no model with the alias '{column['model_alias']}'",
                where=f"{where}.model_alias",
                hint=nearest(column["model_alias"], aliases),
            )
    for index, profiler in enumerate(design.get("profilers") or []):
        alias = profiler.get("model_alias", aliases[0] if aliases else None)
        if alias not in aliases:
            raise LockgateError(
                f"there is no model with the alias '{alias}'",
                where=f"data.design.profilers[{index}].model_alias",
                hint=nearest(alias, aliases),
            )
        profiler["model_alias"] = alias
    if not design.get("seed_config"):
        checks.check(design, [])  # with seeds the files have to be read: in the jobs
    if models:
        if constrain.wanted(data["endpoint"]):
            models = constrain.models(design["columns"], models)
        design["model_configs"] = models
    source = seeds.source(design)
    if source is not None:
        source["path"] = str(root / source["path"])
        source.setdefault("seed_type", "local")  # the tool demands it first as it draws
    return design


def inputs(data: dict[str, Any], root: Path) -> list[Path]:
    """The user's script first, what it imports and names of the project, and seed files."""
    found = []
    if data.get("script"):
        found.append(root / data["script"])
        if not found[0].is_file():
            raise LockgateError(
                f"the file {found[0]} does not exist", where="data.script", hint="correct the path"
            )
        found = with_imports(found, [found[0].parent, root])
        found = list(dict.fromkeys([*found, *script.named(found, root)]))
    source = seeds.source(data.get("design") or {})
    return found + (seeds.files(source, root) if source else [])


def _script(path: Path) -> str:
    text = files.read_text(path, where="data.script", hint="correct the path")
    if "def load_config_builder" not in text:
        raise LockgateError(
            f"{path.name} has no function load_config_builder",
            where="data.script",
            hint="define `def load_config_builder()` that returns a DataDesignerConfigBuilder",
        )
    return text


def _check_structure(design: Any) -> None:
    where = "data.design"
    if not isinstance(design, dict):
        raise LockgateError("must be a mapping with columns", where=where)
    if "tool_configs" in design:
        raise LockgateError(
            "models cannot use tools here: the command data-designer starts no servers of tools",
            where=f"{where}.tool_configs",
            hint="leave it out; or make the records elsewhere, and name their file in data.files",
        )
    for key in design:
        if key not in KEYS:
            raise LockgateError(
                f"there is no key '{key}'", where=f"{where}.{key}", hint=nearest(key, KEYS)
            )
    columns = design.get("columns")
    if not isinstance(columns, list) or not columns:
        raise LockgateError("must be a list of columns", where=f"{where}.columns")
    seen: dict[str, int] = {}
    for index, column in enumerate(columns):
        here = f"{where}.columns[{index}]"
        if not isinstance(column, dict):
            raise LockgateError("must be a mapping with name and column_type", where=here)
        for key in ("name", "column_type"):
            if not isinstance(column.get(key), str):
                raise LockgateError(f"{key} is missing, or is not text", where=f"{here}.{key}")
        if column["name"] in seen:
            raise LockgateError(
                f"column '{column['name']}' exists already (columns[{seen[column['name']]}])",
                where=f"{here}.name",
                hint="the tool would keep only the last one: give each its own name",
            )
        seen[column["name"]] = index
    for key in ("constraints", "profilers", "processors"):
        parts = design.get(key) or []
        if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
            raise LockgateError("must be a list of mappings", where=f"{where}.{key}")
    seeded = design.get("seed_config") or {}
    if not isinstance(seeded, dict) or not isinstance(seeded.get("source") or {}, dict):
        raise LockgateError(
            "must be a mapping with a source, which has a path", where=f"{where}.seed_config"
        )


def _asks_a_model(column: dict[str, Any]) -> bool:
    kind = column["column_type"]
    return "model_alias" in column or kind.startswith("llm-") or kind in ("embedding", "image")


def _models(design: dict[str, Any], endpoint: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Model configurations, each tied to the endpoint."""
    given = design.get("model_configs")
    if endpoint is None:
        if given:
            raise LockgateError(
                "a model is configured, but no endpoint serves it",
                where="data.design.model_configs",
                hint="add data.endpoint",
            )
        return []
    if given is None:
        given = [{}]
    if not isinstance(given, list) or not all(isinstance(model, dict) for model in given):
        raise LockgateError("must be a list of mappings", where="data.design.model_configs")
    models: list[dict[str, Any]] = []
    for index, model in enumerate(given):
        filled = {"alias": PROVIDER, "model": endpoint["model"], "provider": PROVIDER, **model}
        if not isinstance(filled["alias"], str):
            raise LockgateError(
                f"the alias {filled['alias']!r} is no text",
                where=f"data.design.model_configs[{index}].alias",
                hint="put it in quotes, or take a word",
            )
        if filled["provider"] != PROVIDER:
            raise LockgateError(
                f"there is no provider '{filled['provider']}'",
                where=f"data.design.model_configs[{index}].provider",
                hint=f"leave it out (it is '{PROVIDER}'); its address is data.endpoint",
            )
        if filled["alias"] in [model["alias"] for model in models]:
            raise LockgateError(
                f"the alias '{filled['alias']}' exists already",
                where=f"data.design.model_configs[{index}].alias",
                hint="give each model its own alias",
            )
        models.append(filled)
    return models


def _parted(design: dict[str, Any], shards: int) -> str:
    """What each job reads its own part of: all `rows` of the seed dataset, the `range` of them
    that the user chose, or nothing."""
    seeded = design.get("seed_config") or {}
    chosen = seeded.get("selection_strategy")
    if not chosen:
        return "rows" if seeded else ""
    if not isinstance(chosen, dict):
        return ""  # the tool's classes will say what is wrong
    start, end = chosen.get("start"), chosen.get("end")
    if isinstance(start, int) and isinstance(end, int):
        if (rows := end - start + 1) < shards:
            raise LockgateError(
                f"{rows} rows of the seed dataset are chosen for {shards} shards"
                if rows > 0
                else f"its end, {end}, is before its start, {start}",
                where="data.design.seed_config.selection_strategy",
                hint="choose more rows, or take fewer data.shards"
                if rows > 0
                else "rows are counted from 0; both are included",
            )
        return "range"
    if shards > 1 and "start" not in chosen:
        raise LockgateError(
            f"each of {shards} shards would read these same rows of the seed dataset",
            where="data.design.seed_config.selection_strategy",
            hint="choose rows by start and end, which the shards share out; or data.shards: 1",
        )
    return ""
