"""The endpoint that tests of the data phases ask: it does what it was told, and no more."""

import concurrent.futures
import contextlib
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import jsonschema
import psutil
import pytest

from mock_endpoint import MockEndpoint, instance

SCHEMA = {
    "type": "object",
    "properties": {
        "label": {"$ref": "#/$defs/Label"},
        "text": {"type": "string", "minLength": 20},
        "score": {"type": "integer", "minimum": 1, "maximum": 5},
        "above": {"type": "number", "exclusiveMinimum": 0},
        "tags": {"type": "array", "items": {"type": "string"}, "minItems": 2},
        "maybe": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "sure": {"type": "boolean"},
        "left_out": {"type": "string"},
    },
    "required": ["label", "text", "score", "above", "tags", "maybe", "sure"],
    "additionalProperties": False,
    "$defs": {"Label": {"enum": ["red", "green"]}},
}


def ask(endpoint, key=None, model="mock", **more):
    """Status and answer of one request for a completion."""
    body = {"model": model, "messages": [{"role": "user", "content": "Say it."}], **more}
    request = urllib.request.Request(
        f"{endpoint.url}/chat/completions",
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {key}"} if key else {},
    )
    try:
        with urllib.request.urlopen(request, timeout=2) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers)


def text(answer):
    return answer["choices"][0]["message"]["content"]


def test_each_answer_has_a_number_also_after_a_kill_and_under_load():
    with MockEndpoint() as endpoint:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            said = [text(answer) for _, answer in pool.map(lambda _: ask(endpoint), range(40))]
        url = endpoint.url
        endpoint.kill()
        with pytest.raises(urllib.error.URLError, match="refused"):
            ask(endpoint)
        endpoint.restart()
        status, answer = ask(endpoint)
        assert (endpoint.url, status) == (url, 200)
        said.append(text(answer))
        assert answer["usage"] == {
            "prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4
        }  # fmt: skip
        stats = endpoint.stats()
        with urllib.request.urlopen(url.removesuffix("v1") + "stats") as told:
            assert json.load(told) == stats
    assert sorted(said) == sorted(f"answer {number}" for number in range(1, 42))
    assert stats["requests"] == stats["made"] == stats["served"] == 41
    assert stats["failed"] == stats["limited"] == stats["open"] == 0
    assert 0 < stats["first"] < stats["last"] < time.monotonic_ns()
    assert endpoint.stats() == stats, "the counts stay when it is gone"


def test_failures_come_in_the_shares_asked_for_and_again_with_the_same_seed():
    seen = []
    for _ in range(2):
        with MockEndpoint(errors=0.3, limits=0.2, retry_after=3, seed=5) as endpoint:
            answers = [ask(endpoint) for _ in range(100)]
            stats = endpoint.stats()
        seen.append([status for status, _ in answers])
        counted = [stats["served"], stats["failed"], stats["limited"]]
        assert counted == [seen[-1].count(status) for status in (200, 500, 429)]
        assert all(headers["Retry-After"] == "3" for status, headers in answers if status == 429)
    assert seen[0] == seen[1]
    assert 15 <= seen[0].count(500) <= 45 and 8 <= seen[0].count(429) <= 32


def test_the_key_and_the_models_are_asked_for():
    with MockEndpoint(key="secret", models=("one",)) as endpoint:
        assert [ask(endpoint, key, "one")[0] for key in (None, "wrong", "secret")] == [
            401,
            401,
            200,
        ]
        assert ask(endpoint, "secret", "two")[0] == 404
        listing = f"{endpoint.url}/models"
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(listing)
        allowed = urllib.request.Request(listing, headers={"Authorization": "Bearer secret"})
        with urllib.request.urlopen(allowed) as answer:
            assert [model["id"] for model in json.load(answer)["data"]] == ["one"]
        assert endpoint.stats()["refused"] == 3


def test_a_schema_is_kept_unless_answers_are_never_json():
    asked = {"type": "json_schema", "json_schema": {"name": "it", "schema": SCHEMA}}
    with MockEndpoint() as endpoint:
        made = [json.loads(text(ask(endpoint, response_format=asked)[1])) for _ in range(2)]
        endpoint.restart(never_json=True)
        assert text(ask(endpoint, response_format=asked)[1]) == "answer 3"
    for number, one in enumerate(made, 1):
        jsonschema.validate(one, SCHEMA)
        assert one["maybe"] == f"answer {number}" and "left_out" not in one
    assert {one["label"] for one in made} == {"red", "green"}
    assert instance({}, 1, {}) == "answer 1"


def test_it_is_late_hangs_and_says_what_it_is_told():
    with MockEndpoint(latency=0.2, answers=("yes {n}", "no")) as endpoint:
        start = time.monotonic()
        assert [text(ask(endpoint)[1]) for _ in range(3)] == ["yes 1", "no", "yes 3"]
        assert time.monotonic() - start >= 0.6
        endpoint.restart(hang=True)
        with pytest.raises(TimeoutError):
            ask(endpoint)


def test_it_does_not_outlive_the_process_that_started_it():
    code = (
        "import os, signal; from mock_endpoint import MockEndpoint; endpoint = MockEndpoint(); "
        "endpoint.start(); print(endpoint.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with parent.stdout as told, contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(int(told.readline())).wait(5)
    parent.wait()
