"""An OpenAI-compatible endpoint of our own that is fast, and fails as it is told to.

    with MockEndpoint(latency=0.2, errors=0.3) as endpoint:
        ...  # requests to endpoint.url, http://127.0.0.1:PORT/v1
        endpoint.kill()  # SIGKILL: its port refuses connections
        endpoint.restart(errors=0)  # on the same port, without the faults
        assert endpoint.stats()["served"] == 20

It is a process of its own, that ends with the one that started it (also when that is killed); each
request takes it about 50 us. By hand: `python tests/mock_endpoint.py '{"port": 8001}'`.

It answers `POST /v1/chat/completions` (whole, without streaming; with usage: a token is a word),
`GET /v1/models`, and `GET /stats`: a JSON object of the counts in `COUNTS`. Each answer that it
sends has a number of its own, from 1, which goes on after a restart: an answer is "answer 17"
(or as in `answers`), so one that is lost or repeated in the records can be seen. Where the request
has a `response_format` with a JSON schema, the answer is an instance of it: what the schema
requires and no more, with that number in each free text, and members of an enum in turn.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import mmap
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import time
import weakref
from typing import Any

COUNTS = (
    "requests",  # for a completion
    "made",  # answers made: the number of the last
    "served",  # answers sent: of those made some may find that the client has gone
    "failed",  # answered with status 500
    "limited",  # answered with status 429
    "refused",  # answered with status 400, 401 or 404
    "open",  # being answered now
    "most",  # open at once, at most
    "tokens",  # in all answers
    "first",  # monotonic nanoseconds of the first request; 0: there was none
    "last",  # of the last answer
)
_PLACE = {name: place for place, name in enumerate(COUNTS)}
_SIZE = 8 * len(COUNTS)
PORTS = range(20000, 32000)
"""Below the system's own: none of them is taken by chance while the endpoint is down."""


class MockEndpoint:
    """The endpoint as a context manager: started on entry, stopped on exit.

    Args:
        latency: seconds from a request to its answer; errors come as late.
        spread: share by which that differs, at most, up or down.
        errors: share of completions answered with status 500.
        limits: share of completions answered with status 429, and `Retry-After`.
        retry_after: the seconds in that.
        seed: of the draws; by the order in which requests come.
        key: what the requests must have as their bearer token; else they get status 401.
        models: names of models; a request for another gets status 404. None: any will do, and
            "mock" is listed.
        hang: accepts connections and never answers.
        never_json: answers are never JSON, whatever is asked for.
        answers: texts of plain answers, in turn; `{n}` becomes the number.
        port: where it listens; None: a free one is found, and kept by `restart`.
    """

    def __init__(
        self,
        *,
        latency: float = 0,
        spread: float = 0,
        errors: float = 0,
        limits: float = 0,
        retry_after: int = 1,
        seed: int = 0,
        key: str | None = None,
        models: tuple[str, ...] | None = None,
        hang: bool = False,
        never_json: bool = False,
        answers: tuple[str, ...] = ("answer {n}",),
        port: int | None = None,
    ) -> None:
        options = {name: value for name, value in locals().items() if name != "self"}
        self.options: dict[str, Any] = options
        self._process: subprocess.Popen[bytes] | None = None
        # the counts are in memory that outlives a server which is killed
        self._shared = os.memfd_create("counts")
        os.truncate(self._shared, _SIZE)
        weakref.finalize(self, os.close, self._shared)

    @property
    def url(self) -> str:
        """Base address for clients, with `/v1`; known once it was started."""
        return f"http://127.0.0.1:{self.options['port']}/v1"

    @property
    def pid(self) -> int | None:
        """Of the server; None: it is down."""
        return self._process.pid if self._process else None

    def __enter__(self) -> MockEndpoint:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, **changes: Any) -> None:
        """Start it, with options that differ from now on; returns once it takes connections.

        Raises:
            RuntimeError: if it does not start, or runs already.
        """
        if self._process:
            raise RuntimeError("the endpoint runs already")
        self.options.update(changes)
        if self.options["port"] is None:
            self.options["port"] = _free_port()
        command = [sys.executable, "-S", __file__, json.dumps(self.options), str(self._shared)]
        # it ends when its input does: PR_SET_PDEATHSIG would end it with the thread that starts it
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[self._shared]
        )
        assert self._process.stdout
        if self._process.stdout.readline() != b"ready\n":
            self.stop()
            raise RuntimeError(f"the endpoint does not start on port {self.options['port']}")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it; nothing happens where it is down."""
        if self._process is None:
            return
        self._process.send_signal(how)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe
            pipe.close()
        self._process = None
        os.pwrite(self._shared, bytes(8), 8 * _PLACE["open"])

    def kill(self) -> None:
        """SIGKILL: requests that are open break off, and new ones are refused."""
        self.stop(signal.SIGKILL)

    def restart(self, **changes: Any) -> None:
        """Start it again on the same port; as it was, but for `changes` of the options."""
        self.stop()
        self.start(**changes)

    def stats(self) -> dict[str, int]:
        """The counts since its first start, see `COUNTS`; also while it is down."""
        numbers = struct.unpack(f"{len(COUNTS)}Q", os.pread(self._shared, _SIZE, 0))
        return dict(zip(COUNTS, numbers, strict=True))

    def reset(self) -> None:
        """Start all counts at 0 again, the answers' numbers too; while it is idle."""
        os.pwrite(self._shared, bytes(_SIZE), 0)


def _free_port() -> int:
    while True:
        port = random.SystemRandom().choice(PORTS)
        with socket.socket() as attempt, contextlib.suppress(OSError):
            attempt.bind(("127.0.0.1", port))
            return port


# ------------------------------------------------------------------------------- the server itself


class _Server:
    """What all connections share; `counts` is a view of memory, one number each of COUNTS."""

    def __init__(self, options: dict[str, Any], counts: memoryview) -> None:
        self.options = options
        self.counts = counts
        self.random = random.Random(options["seed"])
        self.key = options["key"] and f"bearer {options['key']}".lower()
        self.models = options["models"]

    def count(self, name: str, by: int = 1) -> int:
        place = _PLACE[name]
        self.counts[place] += by
        return int(self.counts[place])

    def begin(self) -> None:
        if self.count("requests") == 1:
            self.counts[_PLACE["first"]] = time.monotonic_ns()
        most = _PLACE["most"]
        self.counts[most] = max(self.counts[most], self.count("open"))

    def end(self) -> None:
        self.count("open", -1)
        self.counts[_PLACE["last"]] = time.monotonic_ns()

    def answer(self, head: bytes, body: bytes) -> tuple[str, Any, float]:
        """Status, JSON value and delay of the answer to a request."""
        method, path = head.split(b" ", 2)[:2]
        if path == b"/stats":
            return "200 OK", dict(zip(COUNTS, self.counts.tolist(), strict=True)), 0
        chat = (method, path) == (b"POST", b"/v1/chat/completions")
        if chat:
            self.begin()
        refused = self._refusal(head, chat)
        if refused is None and path == b"/v1/models":
            listed = [{"id": name, "object": "model"} for name in self.models or ["mock"]]
            return "200 OK", {"object": "list", "data": listed}, 0
        if refused is None and not chat:
            refused = "404 Not Found", "no such path"
        if refused is None:
            return self._completion(body)
        return refused[0], self._error(refused[1], "refused" if chat else None), 0

    def _refusal(self, head: bytes, chat: bool) -> tuple[str, str] | None:
        if self.key and f"authorization: {self.key}" not in head.decode("latin-1").lower():
            return "401 Unauthorized", "the key is wrong"
        return None

    def _error(self, message: str, counted: str | None) -> dict[str, Any]:
        if counted:
            self.count(counted)
        return {"error": {"message": message, "type": "mock", "code": None}}

    def _completion(self, body: bytes) -> tuple[str, Any, float]:
        late = self.options["latency"]
        if self.options["spread"]:
            late *= 1 + self.options["spread"] * self.random.uniform(-1, 1)
        try:
            asked = json.loads(body)
            model, messages = asked["model"], asked["messages"]
        except (ValueError, KeyError, TypeError):
            return "400 Bad Request", self._error("no chat request", "refused"), 0
        if self.models and model not in self.models:
            return "404 Not Found", self._error(f"no model {model}", "refused"), 0
        drawn = self.random.random()
        if drawn < self.options["errors"]:
            return "500 Internal Server Error", self._error("told to fail", "failed"), late
        if drawn < self.options["errors"] + self.options["limits"]:
            return "429 Too Many Requests", self._error("told to wait", "limited"), late
        text = self._text(asked, self.count("made"))
        tokens = len(text.split())
        self.count("tokens", tokens)
        prompt = sum(len(str(message.get("content")).split()) for message in messages)
        answer = {
            "id": "mock",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": model,
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": text},
                    "finish_reason": "stop",
                }
            ],
            "usage": {
                "prompt_tokens": prompt,
                "completion_tokens": tokens,
                "total_tokens": prompt + tokens,
            },
        }
        return "200 OK", answer, late

    def _text(self, asked: dict[str, Any], number: int) -> str:
        format_ = asked.get("response_format") or {}
        if not self.options["never_json"] and "json_schema" in format_:
            schema = format_["json_schema"]["schema"]
            return json.dumps(instance(schema, number, schema))
        texts = self.options["answers"]
        text: str = texts[(number - 1) % len(texts)]
        return text.replace("{n}", str(number))


def instance(schema: Any, number: int, root: dict[str, Any]) -> Any:
    """A small instance of a JSON Schema: required properties alone, numbers at their least.

    Args:
        schema: the schema or a part of it.
        number: goes into free texts, and chooses the member of an enum.
        root: the whole schema, that references point into.
    """
    if schema is True or not schema:
        return f"answer {number}"
    if "$ref" in schema:
        part: Any = root
        for key in schema["$ref"].removeprefix("#/").split("/"):
            part = part[key]
        return instance(part, number, root)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][number % len(schema["enum"])]
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return instance(schema[key][0], number, root)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        known = schema.get("properties", {})
        required = schema.get("required", [])
        return {name: instance(known.get(name), number, root) for name in required}
    if kind == "array":
        count = schema.get("minItems", 0)
        return [instance(schema.get("items"), number, root) for _ in range(count)]
    if kind in ("integer", "number"):
        above = schema.get("exclusiveMinimum")
        return schema.get("minimum", 0) if above is None else above + 1
    if kind in ("boolean", "null"):
        return False if kind == "boolean" else None
    text = f"answer {number}".ljust(schema.get("minLength", 0), ".")
    return text[: schema.get("maxLength", len(text))]


class _Connection(asyncio.Protocol):
    """One connection of a client that keeps it open; its answers come in the order it asked."""

    def __init__(self, server: _Server, loop: asyncio.AbstractEventLoop) -> None:
        self.server, self.loop, self.data = server, loop, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.server.options["hang"]:
            return
        self.data += data
        while True:
            end = self.data.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self.data[:end]
            found = head.lower().find(b"content-length:")
            length = int(head[found + 15 :].split(b"\r\n", 1)[0]) if found >= 0 else 0
            if len(self.data) < end + 4 + length:
                return
            body, self.data = self.data[end + 4 : end + 4 + length], self.data[end + 4 + length :]
            status, value, late = self.server.answer(head, body)
            chat = head.startswith(b"POST")
            if late:
                self.loop.call_later(late, self.send, status, value, chat)
            else:
                self.send(status, value, chat)

    def send(self, status: str, value: Any, chat: bool) -> None:
        if chat:
            self.server.end()
        if self.transport.is_closing():
            return
        if chat and status.startswith("200"):
            self.server.count("served")
        body = json.dumps(value).encode()
        wait = ""
        if status.startswith("429"):
            wait = f"Retry-After: {self.server.options['retry_after']}\r\n"
        head = (
            f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{wait}"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self.transport.write(head.encode() + body)


async def _serve(options: dict[str, Any], counts: memoryview) -> None:
    loop = asyncio.get_running_loop()
    server = _Server(options, counts)
    await loop.create_server(
        lambda: _Connection(server, loop), "127.0.0.1", options["port"], backlog=1024
    )
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGINT, ended.set)
    if not sys.stdin.isatty():
        loop.add_reader(sys.stdin, ended.set)  # nothing is ever written to it: it was closed
    print("ready", flush=True)
    await ended.wait()


def main() -> None:
    """Serve: arguments are options as JSON, and the descriptor of the memory with the counts."""
    asked = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
    options = MockEndpoint(**asked).options | {"port": asked.get("port") or _free_port()}
    if len(sys.argv) > 2:
        memory = mmap.mmap(int(sys.argv[2]), _SIZE)
    else:
        memory = mmap.mmap(-1, _SIZE)
        print(f"http://127.0.0.1:{options['port']}/v1", file=sys.stderr)
    asyncio.run(_serve(options, memoryview(memory).cast("Q")))


if __name__ == "__main__":
    main()
