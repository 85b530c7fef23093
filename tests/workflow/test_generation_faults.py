"""Generation against an endpoint that fails, dies and comes back: no record is lost or repeated.

The endpoint is a process of its own that numbers its answers; the tool that asks it is the real
one. Each answer is in the records once, and a sampled number tells the records apart.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lockgate import tools
from lockgate.config.data import Data
from lockgate.data import generation
from lockgate.errors import LockgateError
from lockgate.files import digest, read_json, write_yaml
from lockgate.jobs import RECIPE_VERSION
from lockgate.tools.data_designer import watch
from mock_endpoint import MockEndpoint

pytestmark = pytest.mark.slow

SCRIPT = Path(generation.__file__).parents[2] / "generate_data.py"
ADAPTER = tools.get("data", "data_designer", "")

NUMBER = {
    "name": "number",
    "column_type": "sampler",
    "sampler_type": "uniform",
    "params": {"low": 0, "high": 1},
}
TEXT = {"name": "text", "column_type": "llm-text", "prompt": "Say {{ number }}."}


class Job:
    """One shard to be made, as a built and approved document in a directory of its own."""

    def __init__(self, root: Path, endpoint: MockEndpoint, **changes) -> None:
        self.root, self.endpoint, self.changes = root, endpoint, {}
        self.out = root / "data/shards/0.json"
        self.build(**changes)

    def build(self, **changes) -> None:
        """Build and approve it with changes of the `data` section, which stay."""
        self.changes |= changes
        section = {
            "tool": "data_designer",
            "records": 48,
            "design": {"columns": [NUMBER, TEXT]},
            "endpoint": {"url": self.endpoint.url, "model": "mock"},
            "rows": {"prompt": "{{ number }}", "completion": "{{ text }}"},
            "seed": 3,
            **self.changes,
        }
        data = Data(**section).model_dump()
        text = ADAPTER.render(data, self.root)
        self.design = self.root / "build/data/design.py"
        self.design.parent.mkdir(parents=True, exist_ok=True)
        self.design.write_text(text)
        document = {
            "recipe_version": RECIPE_VERSION,
            **data,
            "design_sha256": digest(text),
            "input_files": {},
            "model_identity": None,
        }
        self.spec = self.root / "build/data/data.yaml"
        write_yaml(self.spec, document)
        item = f"data/data:{digest(document)}"
        lines = [json.dumps({"gate": gate, "items": [item]}) for gate in ("plan", "preview")]
        self.ledger = self.root / "ledger.jsonl"
        self.ledger.write_text("\n".join(lines) + "\n")

    def run(self) -> dict:
        """Make the shard in this process."""
        generation.generate_data(self.spec, self.design, [], 0, self.ledger, 1, self.out)
        return read_json(self.out)

    def start(self) -> subprocess.Popen:
        """Make it in a process group of its own, by the rule's script."""
        given = {"spec": self.spec, "design": self.design, "shard": 0, "ledger": self.ledger}
        words = [f"--{name}={value}" for name, value in (given | {"out": self.out}).items()]
        command = [sys.executable, SCRIPT, *words, "--threads=1", "--models"]
        return subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)

    def groups(self) -> dict[str, bytes]:
        """The finished groups' files."""
        found = sorted(self.root.rglob("parquet-files/*.parquet"))
        return {path.name: path.read_bytes() for path in found}


@pytest.fixture
def job(tmp_path, monkeypatch):
    """Makes jobs; their endpoints end with the test."""
    monkeypatch.chdir(tmp_path)
    endpoints = []

    def make(options, **changes):
        endpoints.append(MockEndpoint(**options))
        endpoints[-1].start()
        return Job(tmp_path, endpoints[-1], **changes)

    yield make
    for endpoint in endpoints:
        endpoint.stop()


def check(shard, count):
    """Exactly `count` records, none twice, each with an answer of its own."""
    records = shard["records"]
    answers = [re.search(r"\d+", record["text"])[0] for record in records]
    assert len(records) == count
    assert len(set(answers)) == count, "an answer is in two records"
    assert len({record["number"] for record in records}) == count, "a sample was repeated"
    return records


def test_a_third_of_errors_and_a_third_of_limits(job):
    made = job({"errors": 0.3, "limits": 0.3}, records=20)
    shard = made.run()
    check(shard, 20)
    told = made.endpoint.stats()
    assert told["failed"] > 4 and told["limited"] > 4, "the endpoint did not fail"
    assert shard["usage"]["requests"] >= 20
    assert made.run()["records"] == shard["records"]
    assert made.endpoint.stats()["requests"] == told["requests"], "it was asked again"


def test_an_endpoint_that_dies_and_comes_back(job, monkeypatch, capsys):
    monkeypatch.setattr(watch, "LOOK", 1)
    monkeypatch.setattr(watch, "REFUSED", 3)
    made = job({"latency": 0.2}, records=64)

    def break_off():
        while made.endpoint.stats()["served"] < 40:
            time.sleep(0.05)
        made.endpoint.kill()
        time.sleep(9)
        made.endpoint.start()

    breaking = threading.Thread(target=break_off)
    breaking.start()
    shard = made.run()
    breaking.join()
    check(shard, 64)
    told = capsys.readouterr().out
    assert told.count("waited for, up to 10 min") == 1
    assert "answers after" in told


def test_a_job_killed_with_all_its_processes(job):
    made = job({"latency": 0.15}, records=64)
    kept = {}
    for wanted in (1, 2):  # groups that are finished when the kill comes
        running = made.start()
        end = time.monotonic() + 60
        while len(made.groups()) < wanted and time.monotonic() < end and running.poll() is None:
            time.sleep(0.02)
        os.killpg(running.pid, signal.SIGKILL)
        assert running.wait() == -signal.SIGKILL, "the job ended before the kill"
        assert kept.items() <= made.groups().items()
        kept = made.groups()
    records = check(made.run(), 64)
    assert kept.items() <= made.groups().items(), "what was finished was made again"
    assert made.run()["records"] == records


def test_refused_records_are_made_up_for(job):
    code = {
        "name": "code",
        "column_type": "validation",
        "target_columns": ["text"],
        "validator_type": "code",
        "validator_params": {"code_lang": "python"},
    }
    answers = ("x = {n}", "x = ({n}", "I'm sorry, but I can't help with that.", "y = {n}")
    made = job(
        {"answers": answers},
        records=24,
        design={"columns": [NUMBER, TEXT, code]},
        accept={"when": "text.startswith('x')"},
    )
    with pytest.raises(LockgateError, match=r"accepted \d+ of 24 records \(shard 1 of 1\)") as told:
        made.run()
    assert "of 72 made" in told.value.what and "raise accept.most (3 now)" in told.value.hint
    asked = made.endpoint.stats()["requests"]
    made.build(accept={"when": "text.startswith('x')", "most": 6})
    shard = made.run()
    records = check(shard, 24)
    assert all(record["text"].startswith("x = ") for record in records)
    assert set(shard["refused"]) == {
        "validator code says no", "text refuses", "accept.when is not true"
    }  # fmt: skip
    assert shard["made"] == 24 + sum(shard["refused"].values())
    more = made.endpoint.stats()["requests"] - asked
    assert more < asked, "what was made before was made again"
    made.build(accept={"valid": False, "complete": False}, records=20)
    assert len(made.run()["records"]) == 20
    assert made.endpoint.stats()["requests"] == asked + more, "a change of accept asked the model"


def test_a_model_that_never_returns_valid_json(job):
    fields = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    column = {
        "name": "thing",
        "column_type": "llm-structured",
        "prompt": "Describe {{ number }}.",
        "output_format": fields,
    }
    rows = {"prompt": "{{ number }}", "completion": "{{ thing.a }}"}
    made = job({"never_json": True}, design={"columns": [NUMBER, column]}, rows=rows)
    with pytest.raises(LockgateError, match="column 'thing' could not be made") as told:
        made.run()
    assert "parsed" in told.value.what
    assert "data.endpoint.constrain" in told.value.hint
    made.endpoint.restart(key="right", never_json=False)
    with pytest.raises(LockgateError, match="refuses the key") as told:
        made.run()
    assert told.value.where == "data.endpoint.api_key_env"
    made.endpoint.restart(key=None, models=("other",))
    with pytest.raises(LockgateError, match="has no model 'mock'") as told:
        made.run()
    assert "other" in told.value.hint


def test_an_endpoint_that_never_answers(job, monkeypatch):
    monkeypatch.setattr(watch, "WAIT", 2)
    made = job({"hang": True})
    began = time.monotonic()
    with pytest.raises(LockgateError, match="no answer from .*timed out") as told:
        made.run()
    assert time.monotonic() - began < 60
    assert told.value.where == "data.endpoint.url"
