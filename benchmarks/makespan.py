"""Does each evaluation start as soon as its own training has ended?

    python benchmarks/makespan.py [--short | --long] [--runs N] [--keep DIR]

Runs a project of sleep-jobs (a training and an evaluation a run, 1, 2 or 4 GPUs each) on the test
cluster, 2 nodes with 4 GPUs, through real Snakemake with `profiles/slurm` as it is. Prints the
makespan over its lower bound, max(critical path, GPU-seconds / 8), submission and polling included;
and beside it the same of the same jobs when all evaluations wait for the last training. `--short`:
jobs of 60 s; `--long`: 180 to 600 s. Exit status 1: the bar is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "slurm"))

from cluster import Cluster  # noqa: E402

GPUS = 8
BARS = {"short": 1.5, "long": 1.15}
"""Highest makespan over the lower bound."""
SECONDS = {"short": (60, 60), "long": (180, 600)}
"""Shortest and longest job."""

SNAKEFILE = """\
import json

from lockgate.cluster import poll_steadily
from lockgate.margins import nice, weight

with open("jobs.json") as handle:
    JOBS = json.load(handle)


def of(rule, key):
    return lambda wildcards: JOBS[wildcards.run][rule][key]


def way(run, rule):
    job, after = JOBS[run][rule], JOBS[run]["eval"]["minutes"]
    return weight(job["gpus"], job["minutes"] + (after if rule == "train" else 0))


def order(rule):
    # as the pipeline's own jobs
    heaviest = max(way(run, one) for run in JOBS for one in JOBS[run])
    return lambda wildcards: f"--nice={nice(way(wildcards.run, rule), heaviest)}"


def targets(wildcards):
    if workflow.is_main_process:
        poll_steadily(workflow.executor_settings)
    return expand("eval/{run}", run=JOBS)


rule all:
    input:
        targets,
"""

RULE = """

rule NAME:
    input:
        INPUT,
    output:
        "NAME/{run}",
    params:
        seconds=of("NAME", "seconds"),
    resources:
        gres=of("NAME", "gres"),
        mem_mb=800,
        runtime=of("NAME", "minutes"),
        slurm_extra=order("NAME"),
    shell:
        "date +%s.%N > {output}; sleep {params.seconds}; date +%s.%N >> {output}"
"""


@dataclass(frozen=True)
class Job:
    """One sleep-job: seconds it takes, and GPUs it holds meanwhile."""

    seconds: int
    gpus: int

    def asks(self) -> dict[str, Any]:
        """What the rule reads; the walltime is the estimate with a margin of half."""
        return {
            "seconds": self.seconds,
            "gres": f"gpu:{self.gpus}",
            "gpus": self.gpus,
            "minutes": -(-self.seconds * 3 // 120) + 1,
        }


def draw(kind: str, runs: int) -> dict[str, dict[str, Job]]:
    """The same jobs at each call: a training on 1, 2 or 4 GPUs and an evaluation on one a run."""
    luck = random.Random(5)
    return {
        f"run{number:02}": {
            "train": Job(luck.randint(*SECONDS[kind]), luck.choice((1, 2, 4))),
            "eval": Job(luck.randint(*SECONDS[kind]), 1),
        }
        for number in range(runs)
    }


def bound(jobs: dict[str, dict[str, Job]]) -> float:
    """Seconds below which no schedule gets: the critical path, or all GPUs busy all the time."""
    path = max(run["train"].seconds + run["eval"].seconds for run in jobs.values())
    work = sum(job.seconds * job.gpus for run in jobs.values() for job in run.values())
    return max(path, work / GPUS)


def run(
    directory: Path,
    cluster: Cluster,
    jobs: dict[str, dict[str, Job]],
    barrier: bool,
) -> tuple[float, float]:
    """Seconds of the whole call of Snakemake, and the median from a training's end to the start of
    its evaluation."""
    directory.mkdir(parents=True)
    own = 'expand("train/{run}", run=JOBS)' if barrier else '"train/{run}"'
    rules = {"train": "[]", "eval": own}
    text = [RULE.replace("NAME", name).replace("INPUT", needs) for name, needs in rules.items()]
    (directory / "Snakefile").write_text(SNAKEFILE + "".join(text))
    asked = {name: {rule: job.asks() for rule, job in pair.items()} for name, pair in jobs.items()}
    (directory / "jobs.json").write_text(json.dumps(asked))
    snakemake = Path(sys.executable).with_name("snakemake")
    started = time.monotonic()
    with open(directory / "log", "w") as log:
        done = subprocess.run(
            [snakemake, "--profile", ROOT / "profiles" / "slurm"],
            cwd=directory,
            env=os.environ | cluster.environment() | {"PYTHONPATH": str(ROOT / "scripts")},
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False,
        )  # fmt: skip
    seconds = time.monotonic() - started
    if done.returncode:
        sys.exit((directory / "log").read_text()[-3000:])

    def moments(rule: str, name: str) -> list[float]:
        return [float(line) for line in (directory / rule / name).read_text().split()]

    waits = [moments("eval", name)[0] - moments("train", name)[1] for name in jobs]
    return seconds, statistics.median(waits)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--short", action="store_const", const="short", dest="kind")
    kind.add_argument("--long", action="store_const", const="long", dest="kind")
    parser.add_argument("--runs", type=int, default=16)
    parser.add_argument("--keep", type=Path, help="directory for the projects; kept")
    parser.set_defaults(kind="short")
    arguments = parser.parse_args()
    jobs = draw(arguments.kind, arguments.runs)
    lowest, bar = bound(jobs), BARS[arguments.kind]
    low, high = SECONDS[arguments.kind]
    length = f"{low} to {high} s" if high > low else f"{low} s"
    print(f"{2 * len(jobs)} jobs of {length} on {GPUS} GPUs; lower bound {lowest:.0f} s")
    ratios = []
    with tempfile.TemporaryDirectory(prefix="makespan-") as scratch:
        projects = (arguments.keep or Path(scratch)).resolve()
        with Cluster(Path(scratch) / "cluster") as cluster:
            for name in ("each when it can", "after the last training"):
                barrier = name != "each when it can"
                place = projects / ("barrier" if barrier else "flow")
                seconds, wait = run(place, cluster, jobs, barrier)
                ratios.append(seconds / lowest)
                print(
                    f"evaluations {name:24} makespan {seconds:6.0f} s   ratio {ratios[-1]:.2f}   "
                    f"median from a training's end to its evaluation {wait:.0f} s",
                    flush=True,
                )
    missed = ratios[0] > bar
    print(f"bar {bar}: {'MISSED' if missed else 'met'}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
