"""An own task: how close the number in the answer is to the right one."""

import re

from inspect_ai import Task, task
from inspect_ai.dataset import Sample, json_dataset
from inspect_ai.scorer import Score, Target, mean, scorer, stderr
from inspect_ai.solver import TaskState, generate


@scorer(metrics=[mean(), stderr()])
def within(tolerance: float):
    """1 for the right number, falling to 0 at `tolerance` away from it or without a number."""

    async def score(state: TaskState, target: Target) -> Score:
        found = re.search(r"-?\d+", state.output.completion)
        if found is None:
            return Score(value=0.0, answer=state.output.completion)
        error = abs(int(found[0]) - int(target.text))
        return Score(value=max(0.0, 1 - error / tolerance), answer=found[0])

    return score


@task
def closeness(dataset: str, tolerance: float = 10) -> Task:
    """Rows of the split's file: `id`, `prompt`, `completion`."""

    def sample(row: dict) -> Sample:
        return Sample(input=row["prompt"], target=row["completion"], id=row["id"])

    return Task(dataset=json_dataset(dataset, sample), solver=generate(), scorer=within(tolerance))
