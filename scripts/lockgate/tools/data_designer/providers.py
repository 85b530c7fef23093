"""Endpoints that are known by a name: vendors that the tool knows, and a platform's gateway."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

from lockgate.errors import LockgateError
from lockgate.tools import Endpoint
from lockgate.tools.data_designer import program
from lockgate.tools.data_designer.references import nearest

SECONDS = 60
"""A platform that takes longer to answer is given up."""


def endpoint(asked: dict[str, Any], configured: str | None = None) -> Endpoint:
    """The endpoint behind `provider` or `gateway`.

    Args:
        asked: the section `data.endpoint`.
        configured: the section's `data.command`.

    Raises:
        LockgateError: if there is none of that name, or the platform does not answer.
    """
    if asked.get("gateway"):
        url = _gateway(asked["gateway"], program.find(program.PLATFORM, configured))
        return Endpoint(url, asked["model"], asked.get("api_key_env"))
    vendors = {one["name"]: one for one in _predefined()}
    vendor = vendors.get(asked["provider"])
    if vendor is None:
        raise LockgateError(
            f"there is no vendor '{asked['provider']}' that the data tool knows",
            where="data.endpoint.provider",
            hint=nearest(asked["provider"], vendors) + "; for any other, give its url",
        )
    key = asked.get("api_key_env") or vendor.get("api_key")
    return Endpoint(
        vendor["endpoint"], asked["model"], key, protocol=vendor.get("provider_type", "openai")
    )


def _predefined() -> list[dict[str, Any]]:
    from data_designer.config.utils.constants import PREDEFINED_PROVIDERS

    return list(PREDEFINED_PROVIDERS)


def _gateway(name: str, command: Path | None) -> str:
    """Address of a provider of the platform's Inference Gateway, OpenAI-compatible.

    Args:
        name: the provider's, or `workspace/name`.
        command: path of `nemo`.
    """
    where = "data.endpoint.gateway"
    if command is None:
        raise LockgateError(
            "a gateway is asked for by the command nemo, which is not here",
            where=where,
            hint="pip install nemo-platform, or give the gateway's address as data.endpoint.url",
        )
    workspace, _, short = name.rpartition("/")
    within = ["--workspace", workspace] if workspace else []
    listed = _ask(command, "inference", "providers", "list", "--all-pages", *within)
    found = listed.get("data", []) if isinstance(listed, dict) else listed
    known = {one["name"]: one for one in found if isinstance(one, dict) and "name" in one}
    if short not in known:
        raise LockgateError(
            f"the platform has no provider '{name}'", where=where, hint=nearest(short, known)
        )
    base = os.environ.get("NMP_BASE_URL") or _base(_ask(command, "config", "view"))
    route = f"{base.rstrip('/')}/apis/inference-gateway/v2/workspaces/"
    route += f"{known[short].get('workspace') or workspace or 'default'}/provider/{short}/-"
    own = str(known[short].get("host_url", "")).rstrip("/")
    return route if own.endswith("/v1") else f"{route}/v1"


def _base(view: Any) -> str:
    """The platform's address, of the context that `nemo` is set to."""
    clusters = view.get("clusters") if isinstance(view, dict) else None
    if not clusters or not clusters[0].get("base_url"):
        raise LockgateError(
            "nemo does not say where its platform is",
            where="data.endpoint.gateway",
            hint="export NMP_BASE_URL=... with the platform's address",
        )
    return str(clusters[0]["base_url"])


def _ask(command: Path, *arguments: str) -> Any:
    """What `nemo` answers, as JSON."""
    asked = f"nemo {' '.join(arguments)}"
    where = "data.endpoint.gateway"
    hint = "start the platform, or give the gateway's address as data.endpoint.url"
    try:
        done = subprocess.run(
            [command, *arguments, "--output-format", "json"],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
            env={**os.environ, "NO_COLOR": "1", "TERM": "dumb"},
        )
    except subprocess.TimeoutExpired:
        raise LockgateError(
            f"no answer to `{asked}` in {SECONDS} seconds", where=where, hint=hint
        ) from None
    if done.returncode != 0:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise LockgateError(
            f"the platform does not answer `{asked}`: "
            f"{lines[-1] if lines else f'status {done.returncode}'}",
            where=where,
            hint=hint,
        )
    try:
        return json.loads(re.sub(r"\x1b\[[0-9;]*m", "", done.stdout))
    except json.JSONDecodeError:
        raise LockgateError(
            f"`{asked}` answers in an unknown form", where=where, hint=hint
        ) from None
