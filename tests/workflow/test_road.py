"""The whole road on real parts, and the same road after a kill at each expensive phase."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from project import Project

from lockgate.files import read_jsonl

pytestmark = pytest.mark.slow
RUN, CONTROL = "smollm2-135m_learning-rate-0.001", "smollm2-135m_control"


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_every_phase_leaves_its_files(smoke: Project) -> None:
    results = smoke.results
    for name in (
        "resolve/tools.json", "resolve/resources.json", "learn/catalog.json",
        "learn/data_designer.json", "learn/prior_runs.csv", "plan/plan.json", "plan/plan.md",
        "plan/plan.html", "plan/experiment_summary.md", "plan/experiment_summary.yaml",
        "plan/runs.csv", "plan/cells.csv", "plan/estimates.csv", "plan/design-experiment.log",
        "build/data/design.py",
        f"build/train/{RUN}.yaml", f"build/eval/{RUN}.yaml", "build/experiment_summary.md",
        "validate/report.json", "validate/report.md", "preview/review.json", "preview/review.html",
        "data/train.jsonl", "data/validation.jsonl", "data/test.jsonl", "data/card.md",
        f"train/{RUN}/manifest.json", f"eval/{RUN}/scores.json", f"eval/{CONTROL}/scores.json",
        "report/report.html", "report/results.csv",
    ):  # fmt: skip
        assert (results / name).stat().st_size > 0, name
    assert list((results / "preview/data").rglob("*.html")), "the tool's own sample browser"
    assert "Approved by" in (results / "build/experiment_summary.md").read_text()
    told = yaml.safe_load((results / "build/experiment_summary.yaml").read_text())
    assert (told["status"], [run["name"] for run in told["runs"]]) == ("approved", [CONTROL, RUN])
    assert smoke.processes() == []


def test_the_report_compares_with_the_control_on_held_out_rows(smoke: Project) -> None:
    with open(smoke.results / "report/results.csv") as handle:
        rows = {row["run"]: row for row in csv.DictReader(handle)}
    tuned, control = rows[RUN], rows[CONTROL]
    assert tuned["control"] == CONTROL and int(tuned["n"]) == 6
    assert float(tuned["low"]) <= float(tuned["score"]) <= float(tuned["high"])
    difference = float(tuned["score"]) - float(control["score"])
    assert float(tuned["difference"]) == pytest.approx(difference, abs=1e-6)
    prompts = {
        split: {row["prompt"] for row in read_jsonl(smoke.results / f"data/{split}.jsonl")}
        for split in ("train", "test")
    }
    assert len(prompts["test"]) == 6 and not prompts["train"] & prompts["test"]
    page = (smoke.results / "report/report.html").read_text()
    assert not re.search(r"(src|href)=[\"\']?(https?:)?//", page), "it stands alone"
    losses = read(smoke.results / f"train/{RUN}/manifest.json")["losses"]
    assert losses[-1]["loss"] < losses[0]["loss"]


def test_snakemakes_own_report(smoke: Project) -> None:
    result = smoke.run("--report", "report.zip")
    assert result.status == 0, result.output
    assert (smoke.path / "report.zip").stat().st_size > 10_000


def test_other_data_and_another_rate_give_other_losses_and_scores(smoke: Project) -> None:
    def outcome() -> tuple[Any, Any]:
        scores = read(smoke.results / f"eval/{name}/scores.json")
        answers = [sample["answer"] for sample in scores["cells"][0]["samples"]]
        losses = read(smoke.results / f"train/{name}/manifest.json")["losses"]
        return [loss["loss"] for loss in losses], answers

    name = RUN
    first = outcome()
    smoke.edit(lambda config: config["training"]["variables"].update(learning_rate=[2e-2]))
    assert smoke.run().closed == "plan"
    smoke.approve("plan")
    result = smoke.run()
    assert (result.status, result.closed) == (0, None), result.output
    name = "smollm2-135m_learning-rate-0.02"
    rate = outcome()
    assert rate[0] != first[0] and rate[1] != first[1]
    smoke.edit(lambda config: config["data"].update(seed=4))
    assert smoke.run().closed == "plan"
    smoke.approve("plan")
    smoke.pass_preview()
    manifest = (smoke.results / f"train/{name}/manifest.json").relative_to(smoke.path)
    result = smoke.run(str(manifest))
    assert result.status == 0, result.output
    assert outcome()[0] != rate[0]


def test_killed_while_it_generates(smoke: Project) -> None:
    smoke.edit(lambda config: config["data"].update(records=64))
    assert smoke.run().closed == "plan"
    smoke.approve("plan")
    smoke.pass_preview()
    card = str(smoke.results.relative_to(smoke.path) / "data/card.md")
    work = smoke.results / "data/work"
    old = set(work.rglob("*.parquet"))

    def groups() -> dict[Path, int]:
        """The new groups of records and when they were written."""
        found = [path for path in work.rglob("*.parquet") if "partial" not in str(path)]
        return {path: path.stat().st_mtime_ns for path in found if path not in old}

    smoke.kill_when(lambda: len(groups()) >= 2, card)
    smoke.wait_until_quiet()
    kept = groups()
    assert kept and not (smoke.results / "data/shards/0.json").exists()
    result = smoke.run(card)
    assert result.status == 0, result.output
    assert groups().items() >= kept.items()
    shard = read(smoke.results / "data/shards/0.json")
    assert len(shard["records"]) == 64


def test_killed_while_it_trains(smoke: Project) -> None:
    directory = smoke.results / "train" / RUN
    whole = read(directory / "manifest.json")
    shutil.rmtree(directory)
    smoke.kill_when(lambda: bool(list(directory.glob("*/checkpoint-*/trainer_state.json"))))
    smoke.wait_until_quiet()
    assert not (directory / "manifest.json").exists()
    result = smoke.run()
    assert result.status == 0 and result.heavy == {f"train:{RUN}", f"eval:{RUN}"}, result.output
    resumed = read(directory / "manifest.json")
    assert resumed["resumed_from_step"] >= 1 and resumed["steps"] == whole["steps"]
    for after, before in zip(resumed["losses"], whole["losses"], strict=True):
        assert after["loss"] == pytest.approx(before["loss"], rel=1e-3)


def test_killed_while_it_evaluates(smoke: Project) -> None:
    from inspect_ai.log import list_eval_logs, read_eval_log

    smoke.edit(lambda config: config["evaluation"].update(batch_size=1))
    smoke.edit(lambda config: config["evaluation"]["tasks"][0].update(max_tokens=48))
    assert smoke.run().closed == "plan"
    smoke.approve("plan")
    directory = smoke.results / "eval" / CONTROL
    old = set(directory.rglob("*"))

    def finished() -> dict[Any, str | None]:
        """Each finished sample of the new logs; its uuid tells whether it was made again."""
        new = [p for p in directory.rglob("*") if p.is_dir() and p not in old]
        try:
            logs = [read_eval_log(log) for p in new for log in list_eval_logs(str(p))]
        except ValueError:  # it is being written
            return {}
        return {
            sample.id: sample.uuid
            for log in sorted(logs, key=lambda log: log.eval.created)
            for sample in log.samples or []
            if sample.output
        }

    smoke.kill_when(lambda: 1 <= len(finished()) < 6)
    smoke.wait_until_quiet()
    kept = finished()
    assert 1 <= len(kept) < 6 and not (directory / "scores.json").exists()
    result = smoke.run()
    assert (result.status, result.closed) == (0, None), result.output
    (cell,) = read(directory / "scores.json")["cells"]
    assert len(cell["samples"]) == 6
    after = finished()
    assert len(after) == 6 and {sample: after[sample] for sample in kept} == kept
