"""Embedded OpenAI-compatible server: llama.cpp through `xllamacpp`, on a loopback port.

The server is a child process, so that its threads and memory end with the block that needs it,
and with the job, however that ends. No request ever leaves the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lockgate.errors import LockgateError
from lockgate.process import die_with_parent
from lockgate.tools import Endpoint, installed

READY_SECONDS = 120
SLOTS = 4
"""Requests served at the same time."""
SLOT_TOKENS = 4096
"""Context of each: prompt and answer together."""

_INSTALL = "pip install --no-deps xllamacpp"


class XLlamaCpp:
    """Serves a GGUF file."""

    kind = "server"

    def versions(self) -> dict[str, str]:
        return installed(["xllamacpp"], "data.endpoint.server", _INSTALL)

    @contextmanager
    def serve(self, weights: Path, model: str, threads: int, log: Path) -> Iterator[Endpoint]:
        """Serve `weights` under the name `model` until the block ends.

        Args:
            weights: a `.gguf` file.
            model: the name that requests ask for.
            threads: how many threads compute; more than the job has makes all of them slow.
            log: the server's own messages; replaced.

        Raises:
            LockgateError: if the file is no GGUF file, or the server does not get ready.
        """
        self.versions()
        _check(weights)
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "w", encoding="utf-8") as messages:
            child = subprocess.Popen(
                [sys.executable, "-m", __name__, str(weights), model, str(threads)],
                env=_environment(threads),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=messages,
                text=True,
                preexec_fn=die_with_parent,
            )
        try:
            yield Endpoint(url=_wait_until_ready(child, weights, log) + "/v1", model=model)
        finally:
            child.kill()  # it keeps nothing that a slower end could save
            child.wait()
            if child.stdout:
                child.stdout.close()


def _check(weights: Path) -> None:
    try:
        with open(weights, "rb") as handle:
            magic = handle.read(4)
    except OSError as error:
        raise LockgateError(
            f"cannot read the model: {error.strerror}",
            where=str(weights),
            hint="the embedded server needs a .gguf file",
        ) from error
    if magic != b"GGUF":
        raise LockgateError(
            "not a GGUF model", where=str(weights), hint="the embedded server needs a .gguf file"
        )


def _environment(threads: int) -> dict[str, str]:
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "OMP_NUM_THREADS": str(threads),
    }


def _wait_until_ready(child: subprocess.Popen[str], weights: Path, log: Path) -> str:
    """The server's address, once it answers."""
    deadline = time.monotonic() + READY_SECONDS
    address: list[str] = []
    # The child says its port on standard output; a thread reads it, so that a child that hangs
    # before it says anything cannot hang this process too.
    assert child.stdout is not None
    reader = threading.Thread(target=_read_address, args=(child.stdout, address), daemon=True)
    reader.start()
    while time.monotonic() < deadline and child.poll() is None:
        if address and _is_healthy(address[0]):
            return address[0]
        time.sleep(0.05)
    ended = child.poll()
    what = (
        f"the embedded server did not get ready in {READY_SECONDS} s"
        if ended is None
        else f"the embedded server ended with status {ended} while loading {weights.name}"
    )
    last = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-8:])
    raise LockgateError(
        f"{what}; its last messages:\n{last}",
        where=str(log),
        hint="look at the log; is the model file whole, and is there memory for it?",
    )


def _read_address(lines: Iterator[str], address: list[str]) -> None:
    for line in lines:
        if line.startswith('{"address"'):
            address.append(json.loads(line)["address"])


def _is_healthy(address: str) -> bool:
    # Without proxies: a proxy variable of the user's must not catch a loopback address.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{address}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _serve(weights: str, model: str, threads: int) -> None:
    """What the child does: serve until it is killed."""
    import xllamacpp

    settings = xllamacpp.CommonParams()
    settings.model.path = weights
    settings.model_alias = {model}
    settings.hostnames = ["127.0.0.1"]
    settings.port = 0  # the kernel gives a free one: two jobs that start together never collide
    settings.n_parallel = SLOTS
    settings.n_ctx = SLOT_TOKENS * SLOTS
    settings.cpuparams.n_threads = threads
    settings.cpuparams_batch.n_threads = threads
    settings.cont_batching = True
    settings.offline = True
    server = xllamacpp.Server(settings)
    print(json.dumps({"address": server.listening_address}), flush=True)
    threading.Event().wait()


def _main() -> None:
    parser = argparse.ArgumentParser(description="Serve a GGUF model on a free loopback port.")
    parser.add_argument("weights")
    parser.add_argument("model")
    parser.add_argument("threads", type=int)
    arguments = parser.parse_args()
    _serve(arguments.weights, arguments.model, arguments.threads)


ADAPTER = XLlamaCpp()

if __name__ == "__main__":
    _main()
