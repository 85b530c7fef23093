"""The runs table: spanned or listed, with exclusions, prompts and tasks for some runs only."""

import shutil
from pathlib import Path

import pytest

from lockgate.config.data import Rows
from lockgate.decision import control_of
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


def test_a_completion_of_preference_pairs_does_not_vary(project, refused):
    pairs = {"prompt": "{{ a }}", "chosen": "{{ sum }}", "rejected": "{{ b }}"}
    variables = {"data.rows.completion": ["{{ completion }}", "It is {{ completion }}"]}
    said = refused(data__rows=pairs, training__variables=variables)
    assert said.startswith("training.variables.data.rows.completion[0]: the rows are preference p")
    prompts = {"data.rows.prompt": ["{{ prompt }}", "What is {{ prompt }}"]}
    for rows in (pairs, {"messages": "talk"}):
        assert len(project.read(data__rows=rows, training__variables=prompts).runs) == 4


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
    tasks = [TASKS[0], {**TASKS[1], "only": {"model": ["other"], "seed": [2]}}]
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
            "training.runs[0].lora_rnk: there is no field that can vary 'lora_rnk'",
        ),
        (
            {"training__variables": {}, "training__runs": [{"lora_rank": 4}, {"lora_rank": 4}]},
            "training.runs: two runs are called 'tiny_lora-rank-4'",
        ),
        (
            {"training__variables": RATES, "training__seeds": [1, 2, 3], "training__max_runs": 12},
            "training.max_runs: 13 runs: 1 without training, and 4 combinations with 3 seeds",
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
            "evaluation.tasks[1].only.epochs: no run has epochs 5\nHint: runs have: 1, 4",
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


def test_rows_to_train_on_may_vary_and_the_control_is_one(project):
    spanned = project.read(training__variables={"data.train_rows": [8, 64]})
    assert list(spanned.runs) == ["tiny_control", "tiny_train-rows-8", "tiny_train-rows-64"]
    assert spanned.runs["tiny_train-rows-8"].train_rows == 8
    assert spanned.documents["train/tiny_train-rows-8"]["train_rows"] == 8
    assert len(spanned.shapes) == 1
    fixed = project.read(data__train_rows=8)
    assert {run.train_rows for run in fixed.runs.values() if run.trained} == {8}
    # the records and the preview do not depend on it
    assert fixed.items["preview"] == project.read().items["preview"]


def test_the_dataset_to_train_on_may_vary_and_counts_as_a_file(project, refused):
    Path("more.jsonl").write_text('{"a": 1, "b": 2, "sum": 3}\n')
    variables = {"data.train_files": ["more.jsonl", str(project.records)]}
    spanned = project.read(training__variables=variables)
    name = "tiny_train-files-more.jsonl"
    assert list(spanned.runs)[1] == name
    document = spanned.documents[f"train/{name}"]
    assert document["train_files"] == "more.jsonl" and list(document["input_files"]) == [
        "more.jsonl"
    ]
    templates = project.original["data"]["rows"]
    assert {**dict.fromkeys(Rows.model_fields), **templates} == document["projection"]
    Path("more.jsonl").write_text('{"a": 2, "b": 2, "sum": 4}\n')
    assert project.read(training__variables=variables).documents[f"train/{name}"] != document
    told = refused(training__variables={"data.train_files": ["gone.jsonl"]})
    assert told.startswith("data.train_files: the file gone.jsonl does not exist")


def test_a_prompt_template_may_vary_and_each_has_its_control(project):
    templates = ["{{ a }} plus {{ b }}?", "Add {{ a }} and {{ b }}."]
    spanned = project.read(training__variables={"data.rows.prompt": templates})
    names = list(spanned.runs)
    assert len(names) == 4 and all("rows-prompt-" in name for name in names)
    for name, run in spanned.runs.items():
        assert run.rows["prompt"] in templates
        assert spanned.documents[f"eval/{name}"]["rows"] == run.rows
    trained = [run for run in spanned.runs.values() if run.trained]
    assert [spanned.documents[f"train/{run.name}"]["rows"] for run in trained] == [
        {"prompt": templates[0]}, {"prompt": templates[1]},
    ]  # fmt: skip
    runs = [vars(run) for run in spanned.runs.values()]
    for run in runs[2:]:
        assert control_of(run, runs)["rows"] == run["rows"]


@pytest.mark.parametrize(
    "changes, expected",
    [
        (
            {"training__variables": {"data.rows.prompt": ["{{ a "]}},
            "training.variables.data.rows.prompt[0]: not a Jinja2 template",
        ),
        (
            {"training__variables": {"data.train_rows": [0]}},
            "training.variables.data.train_rows[0]: 0: Input should be greater",
        ),
        (
            {"training__variables": {"data.seed": [1, 2]}},
            "training.variables.data.seed: there is no field that can vary 'data.seed'",
        ),
        (
            {"evaluation__models": ["tony"]},
            "evaluation.models[0]: there is no model 'tony'",
        ),
        (
            {"evaluation__tasks": [{**TASKS[1], "epochs": [0, 4]}]},
            "evaluation.tasks[0].epochs[1]: run 'tiny_epochs-1_seed-1' has no epoch 4",
        ),
    ],
)
def test_what_cannot_vary_or_be_measured_is_one_message(refused, changes, expected):
    assert refused(training__seeds=[1, 2], **changes).startswith(expected)


def test_a_task_has_epochs_of_its_own_and_others_the_general_ones(project):
    tasks = [{**TASKS[0], "epochs": "all"}, TASKS[1]]
    spanned = project.read(evaluation__tasks=tasks, training__variables={"epochs": [1, 3]})
    at = [(cell.run, cell.task, cell.epoch) for cell in spanned.cells]
    assert at == [
        ("tiny_control", "closeness", None),
        ("tiny_control", "exact", None),
        ("tiny_epochs-1", "closeness", 0),
        ("tiny_epochs-1", "exact", 0),
        ("tiny_epochs-3", "closeness", 0),
        ("tiny_epochs-3", "closeness", 1),
        ("tiny_epochs-3", "closeness", 2),
        ("tiny_epochs-3", "exact", 2),
    ]
    assert spanned.documents["eval/tiny_epochs-3"]["epochs"] == [
        {"epoch": 0, "tasks": ["closeness"]},
        {"epoch": 1, "tasks": ["closeness"]},
        {"epoch": 2, "tasks": ["closeness", "exact"]},
    ]


def test_a_checkpoint_is_evaluated_as_it_is_and_compared_with_its_base(project):
    shutil.copytree("models/tiny", "models/older")
    spanned = project.read(
        training__model="tiny",
        models__older={"path": "models/older", "base": "tiny"},
        evaluation__models=["older"],
    )
    run = spanned.runs["older_eval-only"]
    assert (run.kind, run.trained, run.shape, run.base) == ("eval-only", False, None, "tiny")
    assert "train/older_eval-only" not in spanned.documents
    assert [cell.epoch for cell in spanned.cells if cell.run == run.name] == [None, None]
    runs = [vars(one) for one in spanned.runs.values()]
    assert control_of(vars(run), runs)["name"] == "tiny_control"
    alone = {**vars(run), "base": None}
    assert control_of(alone, runs) is None


def test_an_adapter_names_its_base_and_is_not_trained(project, refused):
    older = Path("models/older")
    older.mkdir()
    (older / "adapter_config.json").write_text("{}")
    entry = {"path": "models/older"}
    told = refused(models__older=entry, training__model="tiny")
    assert told.startswith("models.older.base: models/older is an adapter, and its base")
    entry["base"] = "tiny"
    told = refused(models__older=entry, training__model="older")
    assert told.startswith("models.older.path: 'older' is an adapter: it can be evaluated")
    spanned = project.read(
        models__older=entry, training__model="tiny", evaluation__models=["older"]
    )
    assert "older_eval-only" in spanned.runs


def test_only_reads_numbers_as_the_variables_do(project):
    tasks = [TASKS[0], {**TASKS[1], "only": {"learning_rate": ["1e-3"]}}]
    spanned = project.read(training__variables=RATES, evaluation__tasks=tasks)
    tuned = [run for run, task in cells(spanned) if task == "exact" and "control" not in run]
    assert tuned == ["tiny_learning-rate-0.001_lora-rank-4", "tiny_learning-rate-0.001_lora-rank-8"]


def test_far_too_many_combinations_are_refused_before_they_are_spelled_out(refused):
    values = {f: list(range(1, 2000)) for f in ("lora_rank", "lora_alpha", "warmup_steps")}
    told = refused(training__variables=values)
    assert told.startswith(f"training.variables: {1999**3} combinations")
