"""The heavy rules: what each works on, what it makes, and what is told of those that failed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lockgate import attempts, files

TAIL = 5
"""Last lines of a failed job's log that are shown."""


@dataclass(frozen=True)
class Rule:
    """One heavy rule; `{}` stands for the name in its wildcards.

    Attributes:
        document: the built document that it works on.
        result: what it makes, below the experiment's results.
        log: where its output goes, below them.
    """

    document: str
    result: str
    log: str


RULES = {
    "preview_data": Rule("data/data", "preview/data/summary.json", "logs/preview/data.log"),
    "preview_train": Rule("smoke/{}", "preview/train/{}.json", "logs/preview/train/{}.log"),
    "preview_eval": Rule("eval/{}", "preview/eval/{}.json", "logs/preview/eval/{}.log"),
    "generate": Rule("data/data", "data/shards/{}.json", "logs/generate/{}.log"),
    "train": Rule("train/{}", "train/{}/manifest.json", "logs/train/{}.log"),
    "eval": Rule("eval/{}", "eval/{}/scores.json", "logs/eval/{}.log"),
    "smoke_stage": Rule("smoke/{}", "preview/stages/{}/manifest.json", "logs/preview/{}.log"),
    "stage": Rule("stages/{}", "stages/{}/manifest.json", "logs/stages/{}.log"),
}


def failures(
    results: Path,
    jobs: dict[str, list[str]],
    item: Callable[[str], str],
    exhausted: Callable[[str, str], str],
) -> Iterator[str]:
    """Lines on each job whose last attempt failed: how, where, and its log's last words.

    Args:
        results: the experiment's.
        jobs: names of the jobs of each rule.
        item: gives name and digest of a built document.
        exhausted: gives why a job (rule, name) cannot be given more; empty: it can.
    """
    for rule, names in jobs.items():
        about = RULES[rule]
        for name in names:
            out = results / about.result.format(name)
            tried = attempts.kept(out)
            if not tried or tried[-1].outcome in ("", attempts.DONE):
                continue
            last = tried[-1]
            if last.item != item(about.document.format(name)):
                continue
            where = f"SLURM job {last.job}" if last.job else f"process {last.pid}"
            yield f"FAILED: {rule} {name}: {last.outcome} ({where} on {last.host}): {last.detail}"
            if more := exhausted(rule, name):
                yield f"  {more}"
            for line in files.tail(results / about.log.format(name), TAIL):
                yield f"  | {line}"
