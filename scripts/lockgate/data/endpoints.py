"""The endpoint that a data design asks for, running."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lockgate import tools


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
    elif asked["url"]:
        yield tools.Endpoint(asked["url"], asked["model"], asked["api_key_env"])
    else:
        server = tools.get("server", asked["server"], "data.endpoint.server")
        source = Path(manifests[asked["model"]]["source_file"])
        with server.serve(source, asked["model"], threads, log) as running:
            yield running
