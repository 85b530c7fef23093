"""Datasets on the Hub, which is a server of the test's own here."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
import time

import pytest

from lockgate import resolve
from lockgate.data import hub, records
from lockgate.errors import LockgateError
from lockgate.tools import get

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILE = f"hf://datasets/me/sums@{COMMIT}/data/train.jsonl"
CONTENT = b'{"input": "1 + 1 =", "output": "2"}\n'


def test_a_name_on_the_hub_is_told_from_a_path():
    assert hub.is_hub(FILE)
    assert not any(map(hub.is_hub, ("data/rows.jsonl", "me/sums@v1/rows.jsonl", "", None)))
    assert hub.parse(FILE) == ("me/sums", COMMIT, "data/train.jsonl")


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ("hf://datasets/me/sums/data/train.jsonl", "no commit pins the content of me/sums .none"),
        ("hf://datasets/me/sums@main/x.jsonl", "'main' is a branch, a tag or part of a commit"),
        (f"hf://datasets/me/sums@{COMMIT[:7]}/x.jsonl", "part of a commit"),
        ("hf://me/sums/x.jsonl", "names no file of a dataset on the Hub"),
        (f"hf://datasets/me/sums@{COMMIT}", "names no file|no commit"),
    ],
)
def test_a_name_that_does_not_pin_its_content_is_refused(tmp_path, files, what):
    section = {"files": files, "design": None, "script": None, "endpoint": None}
    with pytest.raises(LockgateError, match=what) as error:
        get("data", "dataset", "test").render(section, tmp_path)
    assert error.value.where == "data.files"
    assert "hf://datasets/OWNER/NAME@COMMIT/" in error.value.hint


def test_a_name_that_no_dataset_can_have_is_refused():
    files = f"hf://datasets/foo/bar--baz@{COMMIT}/x.jsonl"
    for reads in (hub.is_here, hub.local):
        with pytest.raises(LockgateError, match="bar--baz") as error:
            reads(files)
        assert error.value.where == "data.files"
        assert "hf://datasets/OWNER/NAME@COMMIT/" in error.value.hint


class Hub(http.server.BaseHTTPRequestHandler):
    """Answers as the Hub does for one file; `status` and `delay` break it."""

    status, delay = 200, 0.0
    asked: list[str] = []

    def do_HEAD(self):
        self.asked.append(f"{self.command} {self.path}")
        time.sleep(self.delay)
        good = self.path == f"/datasets/me/sums/resolve/{COMMIT}/data/train.jsonl"
        self.send_response(self.status if good else 404)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha1(CONTENT).hexdigest()}"')
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        return good and self.status == 200

    def do_GET(self):
        if self.do_HEAD():
            self.wfile.write(CONTENT)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    """The Hub, and a function that reads a file of it in a process of its own: the library reads
    its settings once."""
    kind = type("Kind", (Hub,), {"asked": []})
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    told = {"HF_ENDPOINT": f"http://127.0.0.1:{httpd.server_port}", "HF_HOME": str(tmp_path / "hf")}

    def read(files=FILE, code="", **environment):
        script = (
            "import sys, json\nfrom lockgate.data import hub, records\n"
            "from lockgate.errors import entry\n"
            f"{code or 'entry(lambda: print(json.dumps(records.read(sys.argv[1]))))()'}"
        )
        return subprocess.run(
            [sys.executable, "-c", script, files],
            env={**os.environ, **told, **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )

    kind.read = staticmethod(read)
    yield kind
    httpd.shutdown()
    httpd.server_close()


def test_a_file_is_fetched_once_and_then_read_without_the_hub(server):
    first = server.read()
    assert json.loads(first.stdout) == [{"input": "1 + 1 =", "output": "2"}], first.stderr
    assert f"GET /datasets/me/sums/resolve/{COMMIT}/data/train.jsonl" in server.asked
    server.asked.clear()
    again = server.read(HF_HUB_OFFLINE="1")
    assert (again.stdout, again.returncode) == (first.stdout, 0)
    assert server.read().stdout == first.stdout
    assert not [one for one in server.asked if "resolve" in one]


@pytest.mark.parametrize(
    ("status", "environment", "reason"),
    [
        (404, {}, "404"),
        (503, {}, "503"),
        (401, {}, "401"),
        (200, {"HF_HUB_OFFLINE": "1"}, "offline mode is enabled"),
        (200, {"HF_ENDPOINT": "http://127.0.0.1:9"}, "refused"),
    ],
)
def test_what_cannot_be_fetched_is_one_message(server, status, environment, reason):
    server.status = status
    done = server.read(**environment)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    assert line.startswith(
        "ERROR: data.files: cannot fetch data/train.jsonl of the dataset me/sums"
    )
    assert reason in line
    assert "Traceback" not in done.stderr and "Hint: check the name" in done.stderr


def test_a_hub_that_does_not_answer_is_not_waited_for(server):
    server.delay = 30
    code = "hub.SECONDS = 1\nentry(lambda: hub.local(sys.argv[1]))()"
    start = time.monotonic()
    done = server.read(code=code)
    assert time.monotonic() - start < 20
    assert "cannot fetch data/train.jsonl of the dataset me/sums" in done.stderr


def cached(home, name, content):
    """What the library keeps of a file that it has fetched."""
    path = home / f"hub/datasets--me--sums/snapshots/{COMMIT}" / name
    path.parent.mkdir(parents=True)
    path.write_text(content)
    return f"hf://datasets/me/sums@{COMMIT}/{name}"


@pytest.fixture
def cache(monkeypatch, tmp_path):
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf/hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hf"


def test_an_experiment_on_a_fetched_file(project, cache):
    rows = "".join(
        json.dumps({"input": f"{n} + 1 =", "output": str(n + 1)}) + "\n" for n in range(50)
    )
    files = cached(cache, "data/train.jsonl", rows)
    assert hub.is_here(files) and len(records.read(files)) == 50
    made = project.read(data={"tool": "dataset", "files": files})
    document = made.documents["data/data"]
    assert (document["files"], document["input_files"]) == (files, {})
    assert str(cache) not in made.design
    (record,) = resolve._data(made)
    assert (record["name"], record["rows"], record["status"]) == (files, 50, "found")


def test_a_file_that_is_not_here_is_a_prerequisite(project, cache):
    made = project.read(data={"tool": "dataset", "files": FILE})
    (record,) = resolve._data(made)
    assert record["status"] == "missing"
    assert record["detail"].startswith("cannot fetch data/train.jsonl of the dataset me/sums")
    assert "HF_TOKEN" in record["fix"]
    assert not hub.is_here(FILE)


def test_a_file_with_splits_of_its_own_may_be_on_the_hub(project, cache):
    part = [{"input": f"question {n}", "output": "a"} for n in range(4)]
    other = [{"input": f"query {n}", "output": "a"} for n in range(4)]
    files = cached(cache, "own.json", json.dumps({"train": part, "test": other}))
    made = project.read(data={"tool": "dataset", "files": files})
    assert made.config.data.splits.test == 0.5
    with pytest.raises(LockgateError, match="cannot fetch absent.json") as error:
        absent = files.replace("own.json", "absent.json")
        project.read(data={"tool": "dataset", "files": absent})
    assert error.value.where == f"{project.source}: data.files"
