"""The report's figures, as PNG, with the words that stand beside them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from lockgate import comparison, findings
from lockgate.comparison import Result
from lockgate.figures import answers, curves, panels, style

_OTHERS = 8


@dataclass
class Picture:
    """One figure.

    Attributes:
        name: of its file, without the ending.
        section: of the report: `scores`, `answers` or `training`.
        title: what it shows, in a few words.
        note: how to read it.
        png: the file.
    """

    name: str
    section: str
    title: str
    note: str
    png: bytes

    @property
    def width(self) -> float:
        """Inches; the file's header tells its pixels."""
        return int.from_bytes(self.png[16:20]) / style.DPI


def draw(
    plan: dict[str, Any], results: list[Result], trained: dict[str, dict[str, Any]]
) -> list[Picture]:
    """Every figure that there is something for, in the report's order.

    Args:
        plan: plan.json.
        results: every planned cell.
        trained: manifests of the plan's runs.
    """
    asked = plan.get("resources") or {}
    gpus = int(asked.get("gpus") or 0) * int(asked.get("nodes") or 1)
    unit = (
        "GPU hours are seconds of the training job times its GPUs"
        if gpus
        else ("Compute hours are the wall time of the training job")
    )
    dotted = "Bars are 95% intervals, dotted lines the controls' scores."
    found: list[tuple[Any, ...]] = [
        *(
            (f"scores_{n}" if n > 1 else "scores", "scores", "Score of each run", dotted, png)
            for n, png in enumerate(panels.scores(results), 1)
        ),
        *(
            (
                f"by_{_file(name)}",
                "scores",
                f"Score by {name}",
                "At each run's last epoch. A curve is one combination of the other variables. Bars "
                "are 95% intervals; where there are several seeds the filled point is their mean, "
                "its bar tells what other samples could change, and the open points are the seeds.",
                curves.by_variable(results, name),
            )
            for name in comparison.variables(plan["runs"])
        ),
        (
            "by_epoch",
            "scores",
            "Score by epoch",
            "Filled points are means over the seeds, open ones the seeds; bars are 95% intervals.",
            curves.by_epoch(results),
        ),
        (
            "by_cost",
            "scores",
            "Cost against score",
            f"{unit}; evaluation is not counted. The control costs no training. A run that was "
            "resumed is left out: only its last attempt's time is known.",
            curves.by_cost(results, trained, gpus),
        ),
    ]
    for task in findings.tasks(results):
        best = findings.best_tuned(results, task)
        if best is not None:
            found += _answers(task, best, results)
    found.append(
        (
            "losses",
            "training",
            "Training and validation loss by optimizer step",
            "Thin lines are the loss at each step, thick ones a moving average.",
            panels.losses(trained),
        )
    )
    return [Picture(*one) for one in found if one[-1] is not None]


def _answers(task: str, best: Result, results: list[Result]) -> list[tuple[Any, ...]]:
    name = _file(task)
    others = [
        result
        for result in comparison.last_epochs(results)
        if result.task == task and result.tuned and result.run is not best.run
    ]
    return [
        (
            f"confusion_{name}",
            "answers",
            f"{task}: which label was answered",
            "Samples by target and answer; the colour is the share of the target's samples. "
            "Answers are compared without case and outer white space; one that the scorer took for "
            f"right counts as its target, one that is none of the labels as '{answers.OTHER}'.",
            answers.confused(best, best.control),
        ),
        (
            f"calibration_{name}",
            "answers",
            f"{task}: does the confidence come true?",
            "The nearer to the diagonal, the better the probability of the chosen option tells how "
            f"often it is right; {answers.BINS} bins, bars are 95% intervals (Wilson). Pale lines: "
            "the other fine-tuned runs.",
            answers.calibration(best, others[:_OTHERS]),
        ),
        (
            f"numbers_{name}",
            "answers",
            f"{task}: answers against targets",
            "On the diagonal the answer is the target; red marks at the edge lie beyond it.",
            answers.numbers(best, best.control),
        ),
    ]


def _file(name: str) -> str:
    """A name as part of a file's name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)
