"""Generation without Lockgate: the tool's own command, and the provider that it asks."""

from __future__ import annotations

from typing import Any

import yaml

from lockgate.tools import Handover, Job
from lockgate.tools.data_designer.command import seed
from lockgate.tools.data_designer.design import PROVIDER

_HEADER = "# Where the language model answers that writes the records' text.\n"
_NOWHERE = "http://127.0.0.1:9/v1"


def scaffold(data: dict[str, Any], name: str) -> Handover:
    """See `Handover`.

    Args:
        data: the built data document.
        name: file name of the design.
    """
    endpoint = data["endpoint"] or {}
    provider = {
        "name": PROVIDER,
        "endpoint": endpoint.get("url") or _NOWHERE,
        "provider_type": "openai",
    }
    if endpoint.get("api_key_env"):
        provider["api_key"] = endpoint["api_key_env"]  # the variable's name: the tool reads it
    providers = _HEADER + yaml.safe_dump({"providers": [provider]}, sort_keys=False)
    lines = [
        'export DATA_DESIGNER_HOME="$PWD/data/home" NEMO_TELEMETRY_ENABLED=false PYTHONHASHSEED=0',
        f"export LOCKGATE_SEED={seed(data['seed'], 0, 0)}",
        f"data-designer create data/{name} --num-records {data['records']} \\",
        "  --dataset-name dataset --artifact-path data/work --output-format jsonl --no-tui",
    ]
    if endpoint and not endpoint.get("url"):
        lines.insert(0, "# first name the server's address in data/home/model_providers.yaml")
    job = Job("\n".join(lines), "data/work/dataset/dataset.jsonl", (f"data/{name}",))
    return Handover({"data/home/model_providers.yaml": providers}, {"data": job})
