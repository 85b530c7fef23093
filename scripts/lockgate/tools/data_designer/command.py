"""Calls of the `data-designer` command: environment, model provider, and what went wrong."""

from __future__ import annotations

import hashlib
import http.client
import importlib.util
import json
import os
import re
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from lockgate import files, process
from lockgate.errors import LockgateError
from lockgate.tools import Endpoint, installed
from lockgate.tools.data_designer import program
from lockgate.tools.data_designer.design import PROVIDER
from lockgate.tools.data_designer.references import nearest

PACKAGES = ("data-designer", "data-designer-engine", "data-designer-config")
# Cache key of the vocabulary cl100k_base: SHA-1 of the address it is published at.
_VOCABULARY = "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"


# The tool's own client takes no proxy of the environment's either; a proxy would read the key.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))

_GONE = (502, 503, 504)
"""A gateway's answer for a server that is gone, or a server's that still loads its model."""


class Unreachable(LockgateError):
    """The endpoint does not answer, or only something before it: it may come back."""


def versions() -> dict[str, str]:
    return installed(PACKAGES, "data.tool", program.INSTALL)


class Command:
    """The tool's command with one directory for its settings.

    Args:
        home: the tool's own settings and caches; nothing else of this machine's is read.
        endpoint: where the LLM columns' model answers.
        log: gets everything the tool prints.
        configured: the section's `data.command`.

    Raises:
        LockgateError: if the tool, or the variable with the endpoint's key, is missing.
    """

    def __init__(
        self, home: Path, endpoint: Endpoint | None, log: Path, configured: str | None = None
    ) -> None:
        self._program = program.command(configured)
        key(endpoint)
        self._log = log
        home = home.resolve()
        home.mkdir(parents=True, exist_ok=True)
        # The tool wants a provider even where no column asks a model; port 9 discards.
        provider = {
            "name": PROVIDER,
            "endpoint": endpoint.url if endpoint else "http://127.0.0.1:9/v1",
            "provider_type": endpoint.protocol if endpoint else "openai",
        }
        if endpoint and endpoint.api_key_env:
            provider["api_key"] = endpoint.api_key_env  # the variable's name: the tool reads it
        files.write_yaml(home / "model_providers.yaml", {"providers": [provider]})
        self._environment = {
            "DATA_DESIGNER_HOME": str(home),
            "DATA_DESIGNER_DISABLE_VERSION_CHECK": "1",
            "NEMO_TELEMETRY_ENABLED": "false",
            "TIKTOKEN_CACHE_DIR": str(_vocabulary(home / "tiktoken")),
            # The order in which samplers draw depends on Python's random hashes otherwise.
            "PYTHONHASHSEED": "0",
            "NO_COLOR": "1",
            "TERM": "dumb",
            "COLUMNS": "160",
        }

    def run(
        self,
        *arguments: str | Path,
        env: dict[str, str] | None = None,
        look: Callable[[], None] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run one subcommand; a status other than 0 is the caller's to judge.

        `look` is for `lockgate.process.run`.
        """
        # Some subcommands make an empty directory `artifacts` where they are called.
        litter = Path("artifacts").absolute()
        was_there = litter.exists()
        try:
            return process.run(
                [str(self._program), *map(str, arguments)],
                log=self._log,
                env={**self._environment, **(env or {})},
                look=look,
            )
        finally:
            if not was_there and litter.is_dir() and not any(litter.iterdir()):
                litter.rmdir()


def finding(done: subprocess.CompletedProcess[str]) -> tuple[str, str] | None:
    """The first column that the tool found fault with, and what is wrong there."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
    found = re.search(r"Column: (\S+)[^|]*?ERROR \| (\w+)\s+(.*?)\s*(?:──|❌|\Z)", text, re.DOTALL)
    return (found[1], re.sub(r"\s+", " ", found[3])) if found else None


def message(done: subprocess.CompletedProcess[str]) -> str:
    """What the tool said was wrong, without its decoration."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
    reason = text.rsplit("❌", 1)[-1] if "❌" in text else "\n".join(text.splitlines()[-5:])
    reason = re.sub(r"[^\x00-\x7F]+", " ", reason)
    return re.sub(r"\s+", " ", reason).strip() or f"it ended with status {done.returncode}"


def key(endpoint: Endpoint | None) -> str | None:
    """The endpoint's key, from its environment variable."""
    if endpoint is None or not endpoint.api_key_env:
        return None
    value = os.environ.get(endpoint.api_key_env)
    if not value:
        raise LockgateError(
            f"the environment variable {endpoint.api_key_env} is not set",
            where="data.endpoint.api_key_env",
            hint=f"export {endpoint.api_key_env}=... before you run Lockgate",
        )
    return value


def check_endpoint(endpoint: Endpoint, seconds: float = 10) -> None:
    """Check that the endpoint answers, takes the key, and knows the model.

    Raises:
        Unreachable: if it does not answer.
        LockgateError: naming the key of the configuration that is wrong.
    """
    headers = {"Authorization": f"Bearer {value}"} if (value := key(endpoint)) else {}
    try:
        request = urllib.request.Request(endpoint.url.rstrip("/") + "/models", headers=headers)
        with _OPENER.open(request, timeout=seconds) as answer:
            listed = json.load(answer)["data"]
            known = [model["id"] for model in listed]
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            raise LockgateError(
                f"{endpoint.url} refuses the key (HTTP {error.code})",
                where="data.endpoint.api_key_env",
                hint="check the key in that variable"
                if endpoint.api_key_env
                else "name the environment variable that holds the key",
            ) from error
        if error.code in _GONE:
            raise _unreachable(endpoint, f"HTTP {error.code}") from error
        return  # it answers; not every server lists its models
    except json.JSONDecodeError:
        return
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise _unreachable(endpoint, getattr(error, "reason", None) or error) from error
    except (KeyError, TypeError):
        return
    if known and endpoint.model not in known:
        raise LockgateError(
            f"{endpoint.url} has no model '{endpoint.model}'",
            where="data.endpoint.model",
            hint=nearest(endpoint.model, known),
        )


def _unreachable(endpoint: Endpoint, reason: object) -> Unreachable:
    return Unreachable(
        f"no answer from {endpoint.url} ({reason})",
        where="data.endpoint.url",
        hint="is the server running, and can this machine reach it?",
    )


def _vocabulary(cache: Path) -> Path:
    """A cache for tiktoken from which the tool's token counts never reach for the network.

    On a network that swallows packets that download hangs at the end of each run. Where the
    vocabulary is at hand (litellm carries it) it is used; else a directory in its place makes
    the download's first step fail at once, and the tool leaves out its token counts.
    """
    target = cache / _VOCABULARY
    if target.exists():
        return cache
    cache.mkdir(parents=True, exist_ok=True)
    found = importlib.util.find_spec("litellm")
    if found is not None and found.origin is not None:
        source = Path(found.origin).parent / "litellm_core_utils" / "tokenizers" / _VOCABULARY
        if source.is_file():
            files.write_bytes(target, source.read_bytes())  # cut off, it would be trusted
            return cache
    target.mkdir(exist_ok=True)
    return cache


def seed(*parts: object) -> str:
    """A 32-bit seed from anything, as text for an environment variable."""
    return str(int(hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()[:8], 16))
