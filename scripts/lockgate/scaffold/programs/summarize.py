"""Print each run's scores, and write them to results/results.csv.

    python summarize.py

It ends with status 1 where a run has no scores yet, and says which.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

RESULTS = Path("results")


def main() -> None:
    """Read every run's scores.json; the runs are those with a file in configs/eval."""
    rows, lacking = [], []
    for config in sorted(Path("configs/eval").glob("*.yaml")):
        path = RESULTS / config.stem / "scores.json"
        if not path.exists():
            lacking.append(config.stem)
            continue
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            epoch = "" if cell["epoch"] is None else cell["epoch"]
            rows.append([config.stem, cell["task"], epoch, cell["n"], cell["score"]])
    RESULTS.mkdir(exist_ok=True)
    with open(RESULTS / "results.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["run", "task", "epoch", "n", "score"], *rows])
    for run, task, epoch, n, score in rows:
        print(f"{run}  {task}  {f'epoch {epoch}  ' if epoch != '' else ''}{score:.4f}  of {n}")
    if lacking:
        print(f"ERROR: without scores: {', '.join(lacking)}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
