"""The endpoint that a data design asks for, running."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lockgate import tools
from lockgate.errors import LockgateError


@contextmanager
def serving(
    spec: dict[str, Any], manifests: dict[str, dict[str, Any]], threads: int, log: Path
) -> Iterator[tools.Endpoint | None]:
    """The endpoint that a data design asks for; an embedded one runs as long as the block.

    Args:
        spec: the built data document.
        manifests: of the models, by name.
        threads: of the embedded server.
        log: its output.
    """
    asked = spec["endpoint"]
    if asked is None:
        yield None
    elif not asked["server"]:
        yield running(spec)
    else:
        server = tools.get("server", asked["server"], "data.endpoint.server")
        source = Path(manifests[asked["model"]]["source_file"])
        with server.serve(source, asked["model"], threads, log) as served:
            yield served


def running(data: dict[str, Any]) -> tools.Endpoint:
    """An endpoint that is not embedded: at its address, or by a name that the data tool knows.

    Args:
        data: the section, or the built data document.

    Raises:
        LockgateError: if the tool knows no such name.
    """
    asked = data["endpoint"]
    if asked["url"]:
        return tools.Endpoint(asked["url"], asked["model"], asked["api_key_env"])
    adapter = tools.get("data", data["tool"], "data.tool")
    if not hasattr(adapter, "endpoint"):
        key = "provider" if asked["provider"] else "gateway"
        raise LockgateError(
            f"the data tool '{data['tool']}' knows no endpoints by name",
            where=f"data.endpoint.{key}",
            hint="give the endpoint's url",
        )
    found: tools.Endpoint = adapter.endpoint(data)
    return found
