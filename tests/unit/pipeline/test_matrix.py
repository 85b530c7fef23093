"""What the Snakefile asks of an experiment with a runs table."""

import re
import shutil
from pathlib import Path

from lockgate import pipeline


def read(project, **changes):
    return pipeline.read(project.values(**changes), project.source, False, lambda: True)


def test_names_of_trained_and_untrained_runs_exclude_each_other(project):
    made = read(project)
    for name, run in made.matrix.runs.items():
        assert bool(re.fullmatch(made.names(True), name)) == run.trained
        assert bool(re.fullmatch(made.names(False), name)) != run.trained
    none = read(project, training__controls=False)
    assert re.fullmatch(none.names(False), "") is None, "no name is untrained, not every one"


def test_each_run_ends_in_scores_of_its_own_model(project):
    made = read(project)
    for run in made.runs:
        assert f"{made.results}/eval/{run}/scores.json" in made.finished()
        assert made.run_model(run) in made.trained_models
    assert made.jobs["eval"] == made.runs
    assert set(made.jobs["train"]) == {run for run in made.runs if made.matrix.runs[run].trained}
    assert {made.evaluated_model(name) for name in made.evaluations} <= set(made.trained_models)


def test_without_its_model_an_experiment_is_planned_and_no_more(project):
    shutil.rmtree(Path(project.model).parent)
    made = read(project)
    assert made.runs == [] and "no run can start" in made.gates.blocked
    assert made.targets() == [f"{made.results}/plan/plan.json", f"{made.results}/plan/plan.html"]
