"""The summary: the same for people and for programs, a draft until the plan is approved."""

import yaml

from lockgate import summary

PLAN = {
    "experiment": {"name": "sums_rate_2026-11-21", "kind": "experiment"}
    | {"question": "Does it | add?", "hypothesis": "It does."},
    "config_source": "my.yaml",
    "config_digest": "0123456789ab",
    "versions": {"tool": "1.2"},
    "variables": {"learning_rate": [0.1, 0.2]},
    "stages": [{"name": "data", "step": "data/dataset"}],
    "runs": [
        {"name": "m_control", "kind": "control", "model": "m", "seed": None, "varied": {}}
        | {"parameters": {"precision": "float32"}},
        {"name": "m_a", "kind": "fine-tuned", "model": "m", "seed": 1}
        | {"varied": {"learning_rate": 0.1}, "parameters": {"epochs": 2, "extra": {}}},
    ],
    "cells": [{"run": run, "task": "sums", "epoch": None} for run in ("m_control", "m_a")]
    + [{"run": "m_a", "task": "words", "epoch": 0}],
    "tasks": [
        {"name": "sums", "split": "test", "scorer": "exact", "task": None},
        {"name": "words", "split": "test", "scorer": None, "task": "words.py@words"},
    ],
    "resources": {"threads": 2, "memory_mb": 3000, "gpus": 0, "runtime_minutes": None},
    "machine": {"cpus": 2},
    "prerequisites": [],
    "questions": [{"key": "training.seeds", "ask": "More seeds?", "default": "one"}],
    "estimates": [
        {"run": None, "phase": "generate", "seconds": {"low": 1, "expected": 5, "high": 9}}
        | {"gpu_hours": 0, "memory_mb": None, "disk_mb": None, "basis": "a guess"},
        {"run": "m_a", "phase": "train", "seconds": {"low": 1, "expected": 90, "high": 99}}
        | {"gpu_hours": 0.1, "memory_mb": 700, "disk_mb": 16, "basis": "prior runs"},
    ],
    "hours": 0.25,
    "places": {"results": "results/sums", "approvals": "approvals/sums"},
}
APPROVAL = {"owner": "ann", "time": "2026-11-21T10:00:00+0000", "document": "feed", "items": []}


def written(tmp_path, plan, approvals):
    summary.write(plan, approvals, tmp_path / "s.md", tmp_path / "s.yaml")
    return (tmp_path / "s.md").read_text(), yaml.safe_load((tmp_path / "s.yaml").read_text())


def test_a_draft_says_so_and_how_to_approve_it(tmp_path):
    text, told = written(tmp_path, PLAN, [])
    assert "Draft: not approved yet." in text
    assert "touch approvals/sums/plan.approved" in text
    assert (told["status"], told["approvals"]) == ("draft", [])


def test_an_approved_one_says_by_whom(tmp_path):
    text, told = written(tmp_path, PLAN, [APPROVAL])
    assert "Approved by ann on 2026-11-21T10:00:00+0000 (document feed)." in text
    assert told["status"] == "approved"
    assert told["approvals"] == [{key: APPROVAL[key] for key in ("owner", "time", "document")}]


def test_runs_show_what_varies_and_tasks_how_many_runs_they_measure(tmp_path):
    text, told = written(tmp_path, PLAN, [])
    lines = text.splitlines()
    assert "| run | kind | model | seed | learning_rate |" in lines
    assert "| m_control | control | m |  |  |" in lines
    assert "| m_a | fine-tuned | m | 1 | 0.1 |" in lines
    assert "| sums | test | exact |  | 2 of 2 |" in lines
    assert "| words | test | words.py@words | 0 | 1 of 2 |" in lines
    assert told["runs"] == PLAN["runs"] and told["evaluations"] == PLAN["cells"]
    assert told["configuration"] == {"file": "my.yaml", "digest": "0123456789ab"}


def test_a_chain_has_no_runs(tmp_path):
    chain = {**PLAN, "runs": [], "cells": [], "tasks": [], "variables": {}}
    del chain["estimates"]
    text, told = written(tmp_path, chain, [])
    assert "## All runs" not in text and "## Evaluation plan" not in text
    assert "the walltime limits add up to 0.2 hours" in text
    assert told["runs"] == [] and told["stages"] == PLAN["stages"]


def test_what_is_left_open_is_said_in_both(tmp_path):
    page, data = written(tmp_path, PLAN, [])
    assert "- `training.seeds`: More seeds? Until then: one." in page
    assert data["questions"] == PLAN["questions"]


def test_estimates_and_what_all_runs_share_are_shown(tmp_path):
    page, data = written(tmp_path, PLAN, [])
    assert "The same in every fine-tuned run: epochs 2." in page
    assert "| generate  | 5 s | 0 | not known |  |" in page
    assert "| train m_a | 1.5 min | 0.1 | 700 | 16 |" in page
    assert data["estimates"] == PLAN["estimates"]
