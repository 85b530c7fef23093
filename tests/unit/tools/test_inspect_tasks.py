"""The built-in kinds of tasks, with a tiny model that was really trained and real logs."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from lockgate.config.evaluation import Task
from lockgate.config.training import Parameters
from lockgate.errors import LockgateError
from lockgate.tools import get
from tiny_model import make_tiny_model

INSPECT = get("evaluation", "inspect_ai", "evaluation.tool")
TRL = get("training", "trl", "training.tool")
TEAMS = ["billing", "shipping", "account", "technical"]
SUMS = {"1 + 1": "2", "4 + 3": "7", "9 + 4": "13"}


def rendered(*tasks: dict[str, Any], **more: Any) -> Any:
    evaluation = {
        "tasks": [Task(**{"max_tokens": 4, **task}).model_dump() for task in tasks],
        "system_prompt": None,
        "batch_size": 4,
        "seed": 0,
        "precision": "float32",
        **more,
    }
    return INSPECT.render(evaluation)


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def row(number: int, prompt: str, completion: str, **fields: Any) -> dict[str, Any]:
    return {"id": f"r{number}", "prompt": prompt, "completion": completion, "fields": fields}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "base"
    make_tiny_model(path, chat_template=True)
    return path


@pytest.fixture(scope="module")
def teams(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [
        row(n, f"Which team answers about {team}?", team, teams=[team, "Sales"])
        for n, team in enumerate(TEAMS)
    ]
    return write(tmp_path_factory.mktemp("rows") / "teams.jsonl", rows)


@pytest.fixture(scope="module")
def sums(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [row(n, f"{a} =", b) for n, (a, b) in enumerate(SUMS.items())]
    return write(tmp_path_factory.mktemp("rows") / "sums.jsonl", rows)


@pytest.fixture(scope="module")
def tuned(base: Path, teams: Path, sums: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that knows the rows by heart."""
    out = tmp_path_factory.mktemp("run")
    rows = out / "rows.jsonl"
    rows.write_text(teams.read_text() + sums.read_text())
    parameters = Parameters(
        epochs=30, batch_size=4, learning_rate=0.01, precision="float32", checkpoint_steps=100
    )
    run = {"parameters": parameters.model_dump(), "seed": 0, "system_prompt": None}
    trained = TRL.train(TRL.render(run), base, rows, None, out)
    return out / trained["checkpoints"][-1]["path"]


def evaluate(config: Any, weights: Path, base: Path, rows: Path, logs: Path) -> list[Any]:
    return list(INSPECT.evaluate(config, weights, base, {"test": rows}, logs, logs))


def by_hand(base: Path, prompt: str, options: list[str], system: str | None) -> list[float]:
    """Probability of each option, one sequence and one token at a time."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base)
    start = f"<|start|>system\n{system or 'You are a tiny helper'}<|end|>\n"
    start += f"<|start|>user\n{prompt}<|end|>\n<|start|>assistant\n"
    found = []
    for option in options:
        ids = tokenizer(start, add_special_tokens=False)["input_ids"]
        probability = 1.0
        for token in tokenizer(option, add_special_tokens=False)["input_ids"]:
            with torch.no_grad():
                logits = model(torch.tensor([ids])).logits[0, -1]
            probability *= float(logits.softmax(-1)[token])
            ids = [*ids, token]
        found.append(probability)
    return found


def test_a_choice_is_scored_by_the_option_it_names(
    base: Path, tuned: Path, teams: Path, tmp_path: Path
) -> None:
    options = ["Billing", "Shipping", "Account", "Technical"]
    config = rendered(
        {"name": "listed", "scorer": "choice", "options": options},
        {"name": "own", "scorer": "choice", "options": "teams"},
    )
    listed, own = evaluate(config, tuned, base, teams, tmp_path)
    assert [(s["answer"], s["target"], s["option"], s["score"]) for s in listed["samples"]] == [
        (team, team, team, 1.0) for team in options
    ]
    assert listed["metrics"] == {"accuracy": 1.0, "macro_f1": 1.0, "parse_rate": 1.0}
    assert listed["metric"] == "choice" and listed["output_tokens"] > 0
    assert [sample["option"] for sample in own["samples"]] == TEAMS
    (control,) = evaluate(rendered(config["tasks"][0]), base, base, teams, tmp_path / "base")
    assert control["metrics"] == {"accuracy": 0.0, "macro_f1": 0.0, "parse_rate": 0.0}
    assert all(s["option"] is None and s["answer"] for s in control["samples"])


def test_the_first_number_of_an_answer_is_compared(
    base: Path, tuned: Path, sums: Path, tmp_path: Path
) -> None:
    task = {"name": "sum", "scorer": "numeric"}
    (right,) = evaluate(rendered(task), tuned, base, sums, tmp_path)
    assert [(s["value"], s["score"]) for s in right["samples"]] == [(2, 1), (7, 1), (13, 1)]
    assert right["metrics"] == {"mae": 0.0, "rmse": 0.0, "parse_rate": 1.0}
    rows = [json.loads(line) for line in sums.read_text().splitlines()]
    other = write(tmp_path / "other.jsonl", [{**one, "completion": "10"} for one in rows])
    wide = {**task, "tolerance": 3}
    (off,) = evaluate(rendered(wide), tuned, base, other, tmp_path)
    assert [sample["score"] for sample in off["samples"]] == [0, 1, 1]
    assert off["metrics"]["mae"] == pytest.approx((8 + 3 + 3) / 3)
    (none,) = evaluate(rendered(task), base, base, sums, tmp_path / "base")
    assert {sample["value"] for sample in none["samples"]} == {None}
    assert none["metrics"] == {"mae": None, "rmse": None, "parse_rate": 0.0}


@pytest.mark.parametrize("system", [None, "Answer with one word."])
def test_probabilities_are_those_of_the_options_behind_the_same_prompt(
    base: Path, teams: Path, tmp_path: Path, system: str | None
) -> None:
    config = rendered(
        {"name": "weighed", "scorer": "probabilities", "options": TEAMS},
        system_prompt=system,
        batch_size=3,
    )
    (result,) = evaluate(config, base, base, teams, tmp_path)
    assert [sample["id"] for sample in result["samples"]] == ["r0", "r1", "r2", "r3"]
    for sample, team in zip(result["samples"], TEAMS, strict=True):
        wanted = by_hand(base, f"Which team answers about {team}?", TEAMS, system)
        assert list(sample["probabilities"]) == TEAMS
        assert list(sample["probabilities"].values()) == pytest.approx(
            [one / sum(wanted) for one in wanted], rel=1e-4
        )
        best = TEAMS[wanted.index(max(wanted))]
        assert (sample["answer"], sample["target"]) == (best, team)
        assert sample["score"] == float(best == team)
    assert set(result["metrics"]) == {"accuracy", "ece", "brier", "auc"}
    assert (result["metric"], result["output_tokens"]) == ("probabilities", 0)


def test_options_are_weighed_behind_the_whole_conversation(base: Path, tmp_path: Path) -> None:
    history = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}]
    rows = write(
        tmp_path / "rows.jsonl", [{**row(0, "Which team?", "account"), "history": history}]
    )
    config = rendered({"name": "weighed", "scorer": "probabilities", "options": TEAMS})
    (result,) = evaluate(config, base, base, rows, tmp_path / "logs")
    turns = "Hi.<|end|>\n<|start|>assistant\nHello.<|end|>\n<|start|>user\nWhich team?"
    wanted = by_hand(base, turns, TEAMS, None)
    found = list(result["samples"][0]["probabilities"].values())
    assert found == pytest.approx([each / sum(wanted) for each in wanted], rel=1e-4)


def test_an_option_that_another_begins_with_loses_what_is_the_other_s(
    base: Path, tmp_path: Path
) -> None:
    options = ["1", "12", "123", "2"]
    rows = write(tmp_path / "rows.jsonl", [row(0, "How many?", "2")])
    task = {"name": "rating", "scorer": "probabilities", "options": options}
    (result,) = evaluate(rendered(task), base, base, rows, tmp_path / "logs")
    one, twelve, more, two = by_hand(base, "How many?", options, None)
    wanted = [one - twelve, twelve - more, more, two]
    found = list(result["samples"][0]["probabilities"].values())
    assert found == pytest.approx([each / sum(wanted) for each in wanted], rel=1e-4)


def test_what_was_learned_is_probable(base: Path, tuned: Path, teams: Path, tmp_path: Path) -> None:
    config = rendered({"name": "weighed", "scorer": "probabilities", "options": TEAMS})
    (result,) = evaluate(config, tuned, base, teams, tmp_path)
    assert all(s["probabilities"][s["target"]] > 0.9 for s in result["samples"])
    found = result["metrics"]
    assert (found["accuracy"], found["auc"]) == (1.0, 1.0)
    assert 0 < found["brier"] < 0.02 and 0 < found["ece"] < 0.1
    assert math.isclose(sum(result["samples"][0]["probabilities"].values()), 1)
    assert evaluate(config, tuned, base, teams, tmp_path) == [result]


def test_a_model_without_a_chat_template_is_weighed_too(teams: Path, tmp_path: Path) -> None:
    make_tiny_model(tmp_path / "plain", chat_template=False)
    config = rendered({"name": "weighed", "scorer": "probabilities", "options": "teams"})
    plain = tmp_path / "plain"
    (result,) = evaluate(config, plain, plain, teams, tmp_path / "logs")
    assert all(set(s["probabilities"]) == {s["target"], "Sales"} for s in result["samples"])
    assert result["metrics"]["auc"] is None


def test_a_task_asks_in_its_own_words(base: Path, teams: Path, tmp_path: Path) -> None:
    from inspect_ai.log import read_eval_log

    prompt = "{{ prompt }} Is it {{ teams | join(' or ') }}?"
    (result,) = evaluate(
        rendered({"name": "asked", "scorer": "exact", "prompt": prompt}),
        base,
        base,
        teams,
        tmp_path,
    )
    samples = read_eval_log(result["log"]).samples or []
    assert samples[0].messages[0].text == (
        "Which team answers about billing? Is it billing or Sales?"
    )


def test_drawn_answers_are_those_of_the_seed(base: Path, teams: Path, tmp_path: Path) -> None:
    def answers(name: str, **more: Any) -> list[str]:
        config = rendered({"name": "drawn", "scorer": "exact", "max_tokens": 8}, **more)
        (result,) = evaluate(config, base, base, teams, tmp_path / name)
        return [sample["answer"] for sample in result["samples"]]

    greedy = answers("greedy")
    drawn = answers("drawn", temperature=5.0)
    assert drawn != greedy
    assert answers("same", temperature=5.0) == drawn
    assert answers("other", temperature=5.0, seed=1) != drawn


@pytest.mark.slow
def test_weighing_that_was_killed_redoes_only_what_is_unfinished(
    base: Path, teams: Path, tmp_path: Path
) -> None:
    config = rendered(
        {"name": "weighed", "scorer": "probabilities", "options": TEAMS}, batch_size=2
    )
    code = f"""
        import json, os, signal
        from pathlib import Path
        from lockgate.tools import get
        from transformers import LlamaForCausalLM

        forward, calls = LlamaForCausalLM.forward, []
        def counted(self, *args, **kwargs):
            calls.append(1)
            if len(calls) == LAST:  # two a sample
                os.kill(os.getpid(), signal.SIGKILL)
            return forward(self, *args, **kwargs)
        LlamaForCausalLM.forward = counted
        base, rows, logs = [Path(p) for p in {[str(base), str(teams), str(tmp_path)]!r}]
        evaluate = get("evaluation", "inspect_ai", "").evaluate
        evaluate(json.loads({json.dumps(config)!r}), base, base, {{"test": rows}}, logs, logs)
        print(len(calls))
    """

    def run(last: int) -> subprocess.CompletedProcess[str]:
        program = textwrap.dedent(code).replace("LAST", str(last))
        return subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=False
        )

    killed = run(7)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    done = run(0)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 8, "finished samples were weighed again"
    (result,) = evaluate(config, base, base, teams, tmp_path)
    assert [sample["id"] for sample in result["samples"]] == ["r0", "r1", "r2", "r3"]


def test_a_target_that_cannot_be_scored_stops_before_the_model_is_loaded(
    teams: Path, tmp_path: Path
) -> None:
    nowhere = tmp_path / "nowhere"
    for task, message in (
        ({"scorer": "numeric"}, "task 'x', row r0: the target 'billing' has no number"),
        ({"scorer": "choice", "options": ["a", "b"]}, "'billing' is none of its options"),
        ({"scorer": "exact", "prompt": "{{ text }}"}, "'text' is undefined"),
    ):
        with pytest.raises(LockgateError, match=message):
            evaluate(rendered({"name": "x", **task}), nowhere, nowhere, teams, tmp_path)
