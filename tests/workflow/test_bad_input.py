"""Bad input: one message that names file and key, a hint, and nothing half-written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from project import Project

CONFIG = "config/examples/own_model.yaml"


def put(config: dict[str, Any], path: str, value: Any) -> None:
    *parents, key = path.split(".")
    for parent in parents:
        config = config[parent]
    config[key] = value


@pytest.mark.parametrize(
    ("change", "key", "hint"),
    [
        (("training.learning_rte", 1e-3), "training.learning_rte", "known keys"),
        (("training.parameters.epoch", 2), "training.parameters.epoch", "did you mean 'epochs'"),
        (("data.records", "many"), "data.records", "config/README.md"),
        (("experiment.name", "My Experiment"), "experiment.name", ""),
        (("data.files", "absent.jsonl"), "data.files", "correct the path"),
        (("training.variables.learning_rate", [1e-3, 1e-3]), "training.variables", "once"),
        (("training.variables.lora_ranks", [4]), "variables.lora_ranks", "did you mean"),
        (("training.tool", "trll"), "training.tool", "did you mean 'trl'"),
        (("evaluation.epochs", [7]), "evaluation.epochs[0]", "epoch"),
    ],
)
def test_a_mistake_in_the_configuration(
    new: Project, change: tuple[str, Any], key: str, hint: str
) -> None:
    new.edit(lambda config: put(config, *change))
    result = new.run()
    assert result.status != 0
    assert "ERROR: " + CONFIG in result.output and key in result.output
    assert hint in result.output
    assert "Traceback" not in result.output
    assert not new.results.exists()


def test_a_missing_model_is_a_prerequisite(new: Project) -> None:
    new.edit(lambda config: put(config, "models.tiny.path", "models/absent"))
    assert new.run().status == 0
    plan = (new.results / "plan/plan.md").read_text()
    assert "models/absent" in plan
    assert not (new.results / "build").exists()


def dataset(content: str) -> Callable[[Project], Any]:
    return lambda project: (project.path / project.config["data"]["files"]).write_text(content)


@pytest.mark.parametrize(
    ("break_it", "told"),
    [
        (dataset(""), "no record"),
        (dataset('{"a": 1, "b": 2, "sum": 3}\n{"a": 1, "sum": 3}\n'), "record 2"),
        (dataset('{"a": 1, "b": 2, "sum": 3}\nnot json\n'), "line 2 is not valid JSON"),
        (dataset("[1, 2]\n"), "not an object"),
    ],
)
def test_a_broken_dataset(new: Project, break_it: Callable[[Project], Any], told: str) -> None:
    new.edit(lambda config: config["data"].pop("records"))
    break_it(new)
    result = new.run()
    assert result.status != 0
    assert told in result.output and "addition.jsonl" in result.output
    assert "Hint:" in result.output and "Traceback" not in result.output
    assert not (new.results / "plan/plan.json").exists()


@pytest.mark.slow
def test_an_unreachable_endpoint(new: Project) -> None:
    def design(config: dict[str, Any]) -> None:
        config["data"] |= {
            "tool": "data_designer",
            "records": 60,
            "endpoint": {"url": "http://127.0.0.1:9/v1", "model": "absent"},
            "design": {"columns": [
                {"name": "a", "column_type": "sampler", "sampler_type": "category",
                 "params": {"values": [1, 2]}},
                {"name": "sum", "column_type": "llm-text", "prompt": "{{ a }}"},
            ]},
            "rows": {"prompt": "{{ a }}", "completion": "{{ sum }}"},
        }  # fmt: skip
        del config["data"]["files"]

    new.edit(design)
    first = new.run()
    assert first.closed == "plan"
    plan = (new.results / "plan/plan.md").read_text()
    assert "WARNING: endpoint http://127.0.0.1:9/v1" in plan and "data.endpoint.url" in plan
    new.approve("plan")
    result = new.run()
    assert result.status != 0
    assert "data.endpoint.url" in result.output and "Hint:" in result.output
    assert "Traceback" not in result.output
    assert not list(new.results.glob("preview/data/*.json*"))
