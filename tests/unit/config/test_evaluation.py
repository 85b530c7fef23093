"""What a task needs and takes, by its scorer."""

import pytest

from lockgate.config import load
from lockgate.errors import LockgateError

JUDGE = {"url": "http://127.0.0.1:8000/v1", "model": "judge"}


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"scorer": "choice"}, "scorer choice needs options"),
        ({"scorer": "probabilities"}, "scorer probabilities needs options"),
        ({"scorer": "choice", "options": ["a"]}, "options has 1 option; two are the fewest"),
        ({"scorer": "choice", "options": ["a", " A"]}, "has the option 'a' twice"),
        ({"scorer": "choice", "options": ["a", " "]}, "has an option without text"),
        ({"scorer": "exact", "options": ["a", "b"]}, "belongs to scorer choice and probabilities"),
        ({"scorer": "exact", "tolerance": 1}, "tolerance belongs to scorer numeric"),
        ({"scorer": "numeric", "tolerance": -1}, "greater than or equal to 0"),
        ({"scorer": "graded"}, "scorer graded needs judge"),
        ({"scorer": "exact", "judge": JUDGE}, "judge belongs to scorer graded"),
        ({"scorer": "exact", "rubric": "x"}, "rubric belongs to scorer graded"),
        ({"scorer": "graded", "judge": {"url": "host", "model": "m"}}, "begins with http"),
        ({"scorer": "graded", "judge": JUDGE, "rubric": "{answer}"}, "has no {instructions}"),
        ({"scorer": "graded", "judge": JUDGE, "rubric": "{instructions}"}, "has no {answer}"),
        (
            {"scorer": "graded", "judge": JUDGE, "rubric": "{answer} {instructions} {reply}"},
            "rubric cannot be filled ('reply'): it may use {question}, {criterion}",
        ),
        ({"scorer": "exact", "prompt": "{{ a"}, "prompt is not a Jinja2 template"),
        ({"task": "mine.py@mine", "prompt": "{{ prompt }}"}, "prompt belongs to scorer"),
    ],
)
def test_a_task_that_cannot_work_is_refused(project, task, message):
    values = project.values(evaluation__tasks=[{"name": "x", **task}])
    with pytest.raises(LockgateError) as caught:
        load(values, "my.yaml")
    assert message in str(caught.value)
    assert "evaluation.tasks" in str(caught.value)


def test_tasks_of_every_kind_pass(project):
    tasks = [
        {"name": "numeric", "scorer": "numeric", "tolerance": "5e-1"},
        {"name": "listed", "scorer": "choice", "options": ["a", "b"]},
        {"name": "own", "scorer": "probabilities", "options": "field", "prompt": "{{ prompt }}?"},
        {
            "name": "graded",
            "scorer": "graded",
            "judge": {**JUDGE, "api_key_env": "KEY", "max_tokens": 99},
            "rubric": "{question} {{}} {answer}: {instructions}",
        },
    ]
    matrix = project.read(evaluation__tasks=tasks)
    rendered = next(doc for name, doc in matrix.documents.items() if name.startswith("eval/"))
    found = {task["name"]: task for task in rendered["config"]["tasks"]}
    assert found["numeric"]["tolerance"] == 0.5
    assert found["own"]["prompt"] == "{{ prompt }}?"
    assert found["graded"]["judge"]["api_key_env"] == "KEY"
    assert rendered["config"]["temperature"] == 0
