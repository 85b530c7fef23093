"""The runs table: spanned or listed, with exclusions, prompts and tasks for some runs only."""

import pytest

from lockgate.errors import LockgateError

RATES = {"learning_rate": [1e-3, 1e-2], "lora_rank": [4, 8]}
TASKS = [
    {"name": "closeness", "task": "config/examples/tasks/closeness.py@closeness"},
    {"name": "exact", "scorer": "exact"},
]


@pytest.fixture
def refused(project):
    """A function that gives the message about a changed configuration."""

    def message(**changes):
        with pytest.raises(LockgateError) as error:
            project.read(**changes)
        return str(error.value).removeprefix(f"{project.source}: ")

    return message


def cells(spanned):
    return [(cell.run, cell.task) for cell in spanned.cells]


def test_excluded_combinations_are_left_out(project):
    spanned = project.read(
        training__variables=RATES,
        training__exclude=[{"learning_rate": 1e-2, "lora_rank": 8}],
    )
    assert list(spanned.runs) == [
        "tiny_control",
        "tiny_learning-rate-0.001_lora-rank-4",
        "tiny_learning-rate-0.001_lora-rank-8",
        "tiny_learning-rate-0.01_lora-rank-4",
    ]
    half = project.read(training__variables=RATES, training__exclude=[{"lora_rank": 8}])
    assert len(half.runs) == 3


def test_listed_runs_are_those_and_no_others(project):
    listed = [{"learning_rate": "1e-3", "lora_rank": 4}, {"learning_rate": 1e-2, "lora_rank": 8}]
    spanned = project.read(training__variables={}, training__runs=listed, training__seeds=[1, 2])
    assert list(spanned.runs)[1:] == [
        "tiny_learning-rate-0.001_lora-rank-4_seed-1",
        "tiny_learning-rate-0.001_lora-rank-4_seed-2",
        "tiny_learning-rate-0.01_lora-rank-8_seed-1",
        "tiny_learning-rate-0.01_lora-rank-8_seed-2",
    ]
    run = spanned.runs["tiny_learning-rate-0.001_lora-rank-4_seed-1"]
    assert run.varied == {"learning_rate": 1e-3, "lora_rank": 4}
    assert run.parameters["lora_rank"] == 4


def test_a_system_prompt_may_vary_and_each_has_its_control(project):
    spanned = project.read(training__variables={"system_prompt": ["Be brief.", None]})
    assert list(spanned.runs) == [
        "tiny_control_system-prompt-be-brief",
        "tiny_control_system-prompt-none",
        "tiny_system-prompt-be-brief",
        "tiny_system-prompt-none",
    ]
    for name, prompt in [("be-brief", "Be brief."), ("none", None)]:
        for run in (f"tiny_control_system-prompt-{name}", f"tiny_system-prompt-{name}"):
            document = spanned.documents[f"eval/{run}"]
            assert document["config"]["system_prompt"] == prompt
        trained = spanned.documents[f"train/tiny_system-prompt-{name}"]["config"]
        assert trained["system_prompt"] == prompt
    assert "system_prompt" not in spanned.runs["tiny_system-prompt-none"].parameters


def test_a_task_has_its_own_system_prompt(project):
    tasks = [TASKS[0], {**TASKS[1], "system_prompt": "One number."}]
    spanned = project.read(evaluation__tasks=tasks, training__system_prompt="Add.")
    config = spanned.documents["eval/tiny_control"]["config"]
    assert config["system_prompt"] == "Add."
    assert [task["system_prompt"] for task in config["tasks"]] == [None, "One number."]


def test_a_task_measures_only_the_runs_that_it_names_and_their_controls(project):
    tasks = [TASKS[0], {**TASKS[1], "only": {"epochs": 4}}]
    spanned = project.read(evaluation__tasks=tasks)
    assert cells(spanned) == [
        ("tiny_control", "closeness"),
        ("tiny_control", "exact"),
        ("tiny_epochs-1", "closeness"),
        ("tiny_epochs-4", "closeness"),
        ("tiny_epochs-4", "exact"),
    ]
    config = spanned.documents["eval/tiny_epochs-1"]["config"]
    assert [task["name"] for task in config["tasks"]] == ["closeness"]
    assert all("only" not in task for task in config["tasks"])


def test_a_task_may_be_for_one_model_or_a_few_seeds(project):
    models = {"tiny": {"path": "models/tiny"}, "other": {"path": "models/tiny"}}
    tasks = [TASKS[0], {**TASKS[1], "only": {"model": ["other"], "seed": [2, 3]}}]
    spanned = project.read(
        models=models,
        training__variables={"model": ["tiny", "other"]},
        training__seeds=[1, 2],
        evaluation__tasks=tasks,
    )
    exact = [run for run, task in cells(spanned) if task == "exact"]
    assert exact == ["other_control", "other_seed-2"]


def test_only_the_runs_whose_tasks_changed_are_evaluated_again(project):
    before = project.read(evaluation__tasks=TASKS)
    after = project.read(evaluation__tasks=[TASKS[0], {**TASKS[1], "only": {"epochs": 4}}])
    changed = {
        name for name, document in after.documents.items() if before.documents[name] != document
    }
    assert changed == {"eval/tiny_epochs-1"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"training__variables": RATES, "training__exclude": [{"lora_rnk": 4}]},
            "training.exclude[0].lora_rnk: there is no variable 'lora_rnk'\n"
            "Hint: did you mean 'lora_rank'?",
        ),
        (
            {"training__variables": RATES, "training__exclude": [{"lora_rank": 16}]},
            "training.exclude[0]: it excludes no run",
        ),
        (
            {"training__variables": RATES, "training__exclude": [{"lora_rank": "x"}]},
            "training.exclude[0].lora_rank: 'x': ",
        ),
        (
            {"training__variables": RATES, "training__exclude": [{}]},
            "training.exclude: no combination is left",
        ),
        (
            {"training__variables": RATES, "training__runs": [{"lora_rank": 4}]},
            "training: give either runs, or variables (and exclude)",
        ),
        (
            {"training__variables": {}, "training__runs": [{"lora_rnk": 4}]},
            "training.runs[0].lora_rnk: there is no training parameter 'lora_rnk'",
        ),
        (
            {"training__variables": {}, "training__runs": [{"lora_rank": 4}, {"lora_rank": 4}]},
            "training.runs: two runs are called 'tiny_lora-rank-4'",
        ),
        (
            {"training__variables": RATES, "training__seeds": [1, 2, 3], "training__max_runs": 12},
            "training.max_runs: 13 runs: 1 controls, and 4 combinations with 3 seeds; at most 12",
        ),
        (
            {"training__variables": {"system_prompt": [" "]}},
            "training.variables.system_prompt[0]: ' ': ",
        ),
        (
            {"evaluation__tasks": [TASKS[0], {**TASKS[1], "only": {"epoch": 4}}]},
            "evaluation.tasks[1].only.epoch: there is no parameter 'epoch'\n"
            "Hint: did you mean 'epochs'?",
        ),
        (
            {"evaluation__tasks": [TASKS[0], {**TASKS[1], "only": {"epochs": 5}}]},
            "evaluation.tasks[1].only: task 'exact' measures no run",
        ),
        (
            {"evaluation__tasks": [{**TASKS[1], "only": {"epochs": 4}}]},
            "evaluation.tasks: run 'tiny_epochs-1' is measured on no task",
        ),
    ],
)
def test_a_mistake_is_one_message(refused, changes, expected):
    message = refused(**changes)
    assert message.startswith(expected)
    assert "\nHint: " in message
