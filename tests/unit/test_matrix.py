"""The experiment that a configuration spans, and what a change of it asks to approve again."""

import json
import os
import shutil
from pathlib import Path

import pytest
import yaml

from lockgate import files, jobs, matrix, models
from lockgate.errors import LockgateError

RUNS = ["tiny_control", "tiny_epochs-1", "tiny_epochs-4"]


@pytest.fixture
def refused(project):
    """A function that gives the message about a changed configuration."""

    def message(**changes):
        with pytest.raises(LockgateError) as error:
            project.read(**changes)
        text = str(error.value)
        assert text.startswith(f"{project.source}: ")
        assert "\nHint: " in text
        return text.removeprefix(f"{project.source}: ")

    return message


def changed(before, after, gate="plan"):
    """Names of the items that a gate needs now and did not need before."""
    new = set(after.items[gate]) - set(before.items[gate])
    return sorted(item.rpartition(":")[0] for item in new)


def test_runs_are_every_combination_and_seed_after_the_controls(project):
    spanned = project.read(
        training__variables={"learning_rate": ["5e-5", 5e-4], "lora_targets": [["q", "v"]]},
        training__seeds=[3, 4],
    )
    assert list(spanned.runs) == [
        "tiny_control",
        "tiny_learning-rate-5e-05_lora-targets-q-v_seed-3",
        "tiny_learning-rate-5e-05_lora-targets-q-v_seed-4",
        "tiny_learning-rate-0.0005_lora-targets-q-v_seed-3",
        "tiny_learning-rate-0.0005_lora-targets-q-v_seed-4",
    ]
    control, first, second, *_ = spanned.runs.values()
    assert (control.kind, control.seed, control.shape) == ("control", None, None)
    assert (first.kind, first.seed, second.seed) == ("fine-tuned", 3, 4)
    assert first.parameters["learning_rate"] == 5e-5
    assert first.parameters["batch_size"] == 8
    assert first.varied == {"learning_rate": 5e-5, "lora_targets": ["q", "v"]}


def test_each_run_takes_each_task_at_its_last_epoch(project):
    cells = [(cell.run, cell.task, cell.epoch) for cell in project.read().cells]
    epochs = {"tiny_control": None, "tiny_epochs-1": 0, "tiny_epochs-4": 3}
    assert cells == [(run, task, epochs[run]) for run in RUNS for task in ("closeness", "exact")]


def test_epochs_are_those_asked_for_each_once(project):
    spanned = project.read(training__variables={"epochs": [4]}, evaluation__epochs=[1, 3, 1])
    asked = [cell.epoch for cell in spanned.cells if cell.task == "exact"]
    assert asked == [None, 1, 3]


def test_where_nothing_varies_the_run_has_a_name_of_its_own(project):
    spanned = project.read(training__variables={}, training__controls=False)
    assert list(spanned.runs) == ["tiny_fine-tuned"]


def test_models_may_vary_and_each_has_a_control(project):
    models = {"tiny": {"path": "models/tiny"}, "other": {"path": "models/tiny"}}
    spanned = project.read(
        models=models, training__variables={"epochs": [1], "model": ["tiny", "other"]}
    )
    assert list(spanned.runs) == [
        "tiny_control",
        "other_control",
        "tiny_epochs-1",
        "other_epochs-1",
    ]
    assert spanned.runs["other_epochs-1"].model == "other"


def test_runs_of_one_shape_are_measured_once(project):
    assert len(project.read(training__variables={"learning_rate": [1e-3, 1e-2]}).shapes) == 1
    assert len(project.read(training__variables={"batch_size": [2, 4]}).shapes) == 2


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"training__variables": {"epochs": [1, 1]}},
            "training.variables: two runs are called 'tiny_epochs-1'",
        ),
        (
            {"training__seeds": [2, 2]},
            "training.variables: two runs are called 'tiny_epochs-1_seed-2'",
        ),
        (
            {"training__variables": {"lerning_rate": [1]}},
            "training.variables.lerning_rate: there is no field that can vary 'lerning_rate'\n"
            "Hint: did you mean 'learning_rate'?",
        ),
        (
            {"training__variables": {"zzz": [1]}},
            "training.variables.zzz: there is no field that can vary 'zzz'\nHint: there are: ",
        ),
        ({"training__variables": {"epochs": []}}, "training.variables.epochs: it has no value"),
        (
            {"training__variables": {"epochs": [1, "two"]}},
            "training.variables.epochs[1]: 'two': Input should be a valid integer",
        ),
        (
            {"training__variables": {"epochs": [0]}},
            "training.variables.epochs[0]: 0: Input should be greater than or equal to 1",
        ),
        (
            {"training__variables": {"model": ["tony"]}},
            "training.variables.model: there is no model 'tony'\nHint: models has: tiny",
        ),
        (
            {"evaluation__epochs": [0, 1]},
            "evaluation.epochs[1]: run 'tiny_epochs-1' has no epoch 1: its last is 0",
        ),
        (
            {"training__tool": "trll"},
            "training.tool: there is no training tool 'trll'\nHint: did you mean 'trl'?",
        ),
        (
            {"data__tool": "zzz"},
            "data.tool: there is no data tool 'zzz'\nHint: there are: data_designer, dataset",
        ),
        (
            {"evaluation__tool": "trl"},
            "evaluation.tool: there is no evaluation tool 'trl'",
        ),
        (
            {"training__model": "big"},
            "training.model: there is no model 'big'\nHint: models has: tiny",
        ),
        (
            {"models__other": {"path": "models/tiny"}},
            "training.model: several models are given, and none is named for training",
        ),
        (
            {"models__tiny": {"path": "models/tiny", "base": "tony"}},
            "models.tiny.base: there is no model 'tony'\nHint: models has: tiny",
        ),
        ({"data__files": "gone.jsonl"}, "data.files: the file gone.jsonl does not exist"),
        (
            {"data__endpoint": {"server": "xllamacpp", "model": "tony"}},
            "data.endpoint.model: there is no model 'tony' to serve",
        ),
        (
            {"data__endpoint": {"server": "xllamacpp", "model": "tiny"}},
            "data.endpoint.model: an embedded server needs a .gguf file; 'tiny' is not one",
        ),
        (
            {"evaluation__tasks": [{"name": "own", "task": "gone.py@own"}]},
            "evaluation.tasks[0].task: the task file gone.py does not exist",
        ),
        (
            {"evaluation__tasks": [{"name": "same", "scorer": "exact"}] * 2},
            "evaluation.tasks[1].name: there are two tasks 'same'",
        ),
        (
            {
                "data__splits": {"train": 0.8, "validation": 0, "test": 0.2},
                "evaluation__tasks": [{"name": "a", "scorer": "exact", "split": "validation"}],
            },
            "evaluation.tasks[0].split: task 'a' is measured on the validation split, "
            "which is empty",
        ),
        (
            {"training__parameters__extra": {"learning_rate": 1}},
            "training.parameters.extra.learning_rate: 'learning_rate' has a name of its own",
        ),
    ],
)
def test_a_mistake_is_named_with_its_file_its_key_and_a_hint(refused, changes, expected):
    assert refused(**changes).startswith(expected)


def test_the_same_configuration_needs_the_same(project):
    before, after = project.read(), project.read()
    assert (before.items, before.fingerprint) == (after.items, after.fingerprint)
    assert before.items["preview"] == [
        item for item in before.items["plan"] if item.startswith(("smoke/", "data/data"))
    ]


def test_a_learning_rate_changes_the_item_of_its_run_alone(project):
    """A run that only changes a value keeps its place; nothing else is asked for again."""
    first = project.read(training__variables={"learning_rate": [1e-3, 1e-2]})
    second = project.read(training__variables={"learning_rate": [1e-3, 2e-2]})
    name = "tiny_learning-rate-0.02"
    assert changed(first, second) == [f"eval/{name}", "runs table", f"train/{name}"]
    assert changed(first, second, "preview") == []

    before, after = project.read(), project.read(training__parameters__learning_rate=0.5)
    assert changed(before, after) == ["train/tiny_epochs-1", "train/tiny_epochs-4"]
    assert changed(before, after, "preview") == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("resources__threads", 2),
        ("resources__memory_mb", 9000),
        ("data__preview_records", 3),
        ("approvers", ["somebody"]),
    ],
)
def test_what_changes_no_result_is_not_approved_again(project, key, value):
    before, after = project.read(), project.read(**{key: value})
    assert before.items == after.items
    assert before.fingerprint != after.fingerprint  # the plan shows it, so it is written again


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("data__seed", 9),
        ("data__rows__prompt", "{{ a }} plus {{ b }}"),
        ("data__records", 100),
        ("data__splits", {"train": 0.6, "validation": 0.2, "test": 0.2}),
    ],
)
def test_a_change_of_the_data_asks_for_the_data_alone(project, key, value):
    before, after = project.read(), project.read(**{key: value})
    assert changed(before, after) == changed(before, after, "preview") == ["data/data"]


def test_a_changed_dataset_asks_for_the_data_alone(project):
    before = project.read()
    with open(project.records, "a") as handle:
        handle.write(json.dumps({"a": 1, "b": 1, "sum": 2}) + "\n")
    assert changed(before, project.read()) == ["data/data"]


def test_a_changed_task_file_asks_for_every_evaluation(project):
    before = project.read()
    with open(project.task, "a") as handle:
        handle.write("# changed\n")
    # and the measurement of the untouched model
    assert changed(before, project.read()) == [f"eval/{run}" for run in [*RUNS, "tiny_float32"]]


def test_a_changed_model_asks_for_all_that_starts_from_it(project):
    before = project.read()
    project.model.write_bytes(project.model.read_bytes() + b"other")
    shape = next(iter(before.shapes))
    assert changed(before, project.read()) == [
        *(f"eval/{name}" for name in [*RUNS, "tiny_float32"]),
        f"smoke/{shape}",
        "train/tiny_epochs-1",
        "train/tiny_epochs-4",
    ]


def test_a_batch_size_changes_the_shape(project):
    before, after = project.read(), project.read(training__parameters__batch_size=2)
    shape = next(iter(after.shapes))
    assert shape not in before.shapes
    assert changed(before, after, "preview") == [f"smoke/{shape}"]


def test_a_removed_run_changes_the_runs_table_alone(project):
    before, after = project.read(), project.read(training__variables={"epochs": [4]})
    assert changed(before, after) == ["runs table"]
    assert set(before.runs) - set(after.runs) == {"tiny_epochs-1"}


def test_a_changed_step_asks_for_the_step_alone(project, tmp_path):
    values = project.values()
    shutil.copytree(matrix.CATALOG, tmp_path / "catalog")
    before = matrix.read(values, project.source, catalogs=tmp_path / "catalog")
    assert before.items == project.read().items
    with open(tmp_path / "catalog" / "sft" / "trl" / "step.toml", "a") as handle:
        handle.write("# changed\n")
    after = matrix.read(values, project.source, catalogs=tmp_path / "catalog")
    (item,) = changed(before, after)
    assert item.startswith("catalog/")


def test_a_digest_does_not_depend_on_the_order_of_keys(project):
    values = project.values()
    turned = dict(reversed(values.items()))
    turned["training"] = dict(reversed(values["training"].items()))
    assert matrix.read(values, project.source).items == matrix.read(turned, project.source).items


def test_another_hypothesis_is_approved_again_but_changes_no_job(project):
    before, after = project.read(), project.read(experiment__hypothesis="Another.")
    changed_items = set(after.items["plan"]) - set(before.items["plan"])
    assert [item.split(":")[0] for item in changed_items] == ["experiment"]
    assert before.documents == after.documents


def test_two_task_files_of_one_name_both_count(project):
    text = (Path() / "config/examples/tasks/closeness.py").read_text()
    tasks = []
    for folder in ("a", "b"):
        (Path() / folder).mkdir()
        (Path() / folder / "t.py").write_text(text)
        tasks.append({"name": folder, "task": f"{folder}/t.py@closeness"})
    before = project.read(evaluation__tasks=tasks)
    (Path() / "a" / "t.py").write_text(text + "# changed\n")
    assert changed(before, project.read(evaluation__tasks=tasks)) == [
        name for name in sorted(before.documents) if name.startswith("eval/")
    ]


def test_nearly_equal_values_are_two_runs(project):
    rates = [0.12345678, 0.12345679]
    matrix = project.read(training__variables={"learning_rate": rates})
    assert len(matrix.runs) == 3


def test_a_model_that_is_fixed_and_varies_is_refused(project):
    with pytest.raises(LockgateError, match="training.model: the model is fixed here"):
        project.read(training__model="tiny", training__variables={"model": ["tiny"]})


@pytest.mark.parametrize("key", ["evaluation__tasks", "training__parameters__extra"])
def test_a_date_in_free_yaml_is_no_traceback(project, key):
    value = yaml.safe_load("{since: 2026-01-01}")
    if key == "evaluation__tasks":
        value = [{**project.original["evaluation"]["tasks"][0], "args": {"tolerance": 2, **value}}]
    assert project.read(**{key: value}).fingerprint


@pytest.mark.parametrize("seed", [-1, 2**40])
def test_a_seed_that_numpy_refuses_is_refused(project, seed):
    with pytest.raises(LockgateError):
        project.read(training__seeds=[seed])


@pytest.mark.parametrize(
    "model, lacking",
    [
        ({"path": "models/gone"}, "models/gone is neither a model directory nor a .gguf file"),
        ({"package": "no_such_package"}, "the Python package 'no_such_package' is not installed"),
        ({"package": "no.such.package"}, "the Python package 'no.such.package' is not installed"),
        ({"package": "..x"}, "the Python package '..x' is not installed"),
    ],
)
def test_a_model_that_is_not_here_stops_its_own_runs_and_no_plan(project, model, lacking):
    shared = {"models__other": model, "training__variables": {"model": ["tiny", "other"]}}
    spanned = project.read(**shared)
    assert spanned.blocked == dict.fromkeys(["other_control", "other_fine-tuned"], lacking)
    whole = project.read(training__variables={"model": ["tiny"]})
    assert spanned.items["preview"] == whole.items["preview"]
    shutil.copytree("models/tiny", "models/gone")
    later = project.read(**shared)
    if "path" in model:
        assert later.blocked == {}
        assert len(later.items["preview"]) > len(spanned.items["preview"])
    # what approvals cover of the other runs stays
    for name in ("train/tiny_fine-tuned", "eval/tiny_control", "data/data"):
        assert later.documents[name] == spanned.documents[name]


def test_an_incomplete_model_stops_its_own_runs(project):
    shutil.copytree("models/tiny", "models/half")
    Path("models/half/model.safetensors").unlink()
    spanned = project.read(
        models__half={"path": "models/half"}, training__variables={"model": ["tiny", "half"]}
    )
    assert list(spanned.blocked) == ["half_control", "half_fine-tuned"]
    assert "has no .safetensors weights" in spanned.blocked["half_control"]


def test_a_base_that_is_only_compared_with_may_be_missing(project):
    shutil.copytree("models/tiny", "models/older")
    changes = {
        "models__gone": {"path": "models/gone"},
        "models__older": {"path": "models/older", "base": "gone"},
        "training__model": "tiny",
        "evaluation__models": ["older"],
    }
    assert project.read(**changes).blocked == {}


def test_another_checkpoint_or_base_of_it_is_approved_anew(project):
    for name in ("older", "newer", "base"):
        shutil.copytree("models/tiny", f"models/{name}")
    Path("models/newer/config.json").write_text('{"a": 1}')

    def read(path="models/older", base="tiny"):
        return project.read(
            models__older={"path": path, "base": base},
            models__base={"path": "models/base"},
            training__model="tiny",
            evaluation__models=["older"],
        )

    before = read()
    assert changed(before, read("models/newer")) == ["eval/older_eval-only", "eval/older_float32"]
    assert changed(before, read(base="base")) == ["runs table"]


def test_the_base_of_an_adapter_counts_as_the_adapter(project):
    for name in ("base", "other"):
        shutil.copytree("models/tiny", f"models/{name}")
    Path("models/other/config.json").write_text('{"a": 1}')
    Path("models/adapter").mkdir()
    Path("models/adapter/adapter_config.json").write_text("{}")
    Path("models/adapter/adapter_model.safetensors").write_bytes(project.model.read_bytes())

    def read(base):
        known = {name: {"path": f"models/{name}"} for name in ("tiny", "base", "other")}
        known["adapter"] = {"path": "models/adapter", "base": base}
        changes = {"training__model": "tiny", "evaluation__models": ["adapter"]}
        return project.read(models=known, **changes)

    before, after = read("base"), read("other")
    assert "eval/adapter_eval-only" in changed(before, after)
    stamp = models.stamp("adapter", before.config.models, "x")
    os.utime("models/base/config.json", (1, 1))
    assert models.stamp("adapter", before.config.models, "x") != stamp
    with pytest.raises(LockgateError, match="models.adapter.base: 'adapter' is itself"):
        read("adapter")


def test_a_model_that_is_a_list_is_no_traceback(project):
    with pytest.raises(LockgateError):
        project.read(training__variables={"model": [["tiny"]]})


def test_a_run_name_fits_a_file_name(project):
    targets = [["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj"] * 6]
    spanned = project.read(training__variables={"lora_targets": targets})
    assert max(map(len, spanned.runs)) < 200


def test_a_seed_is_part_of_the_run(project):
    one = project.read(training__seeds=[1]).documents["train/tiny_epochs-1"]
    assert one != project.read(training__seeds=[2]).documents["train/tiny_epochs-1"]


def test_evaluation_takes_the_system_prompt_of_training(project):
    spanned = project.read(training__system_prompt="Be short.")
    assert spanned.documents["eval/tiny_control"]["config"]["system_prompt"] == "Be short."
    spanned = project.read(training__system_prompt="a", evaluation__system_prompt="b")
    assert spanned.documents["eval/tiny_control"]["config"]["system_prompt"] == "b"


def test_models_of_other_weights_have_other_shapes(project):
    models = {"tiny": {"path": "models/tiny"}, "other": {"path": "models/tiny"}}
    spanned = project.read(models=models, training__variables={"model": ["tiny", "other"]})
    assert len(spanned.shapes) == 2


def test_a_changed_file_changes_the_fingerprint(project):
    before = project.read()
    with open(project.task, "a") as handle:
        handle.write("# changed\n")
    assert before.fingerprint != project.read().fingerprint


def test_a_broken_row_template_is_refused_at_once(project):
    with pytest.raises(LockgateError, match="data.rows.prompt: not a Jinja2 template"):
        project.read(data__rows__prompt="{{ a ")


def test_each_precision_has_its_own_control(project):
    spanned = project.read(training__variables={"precision": ["float32", "bfloat16"]})
    controls = [run for run in spanned.runs.values() if run.kind == "control"]
    assert [run.parameters["precision"] for run in controls] == ["float32", "bfloat16"]


def test_a_touched_model_file_is_looked_at_again_without_an_approval(project):
    before = project.read()
    stamp = models.stamp("tiny", before.config.models, "x")
    os.utime(project.model, (1, 1))
    after = project.read()
    assert models.stamp("tiny", after.config.models, "x") != stamp
    assert before.items == after.items


def test_more_shards_than_records_are_refused(project):
    with pytest.raises(LockgateError, match="data.shards: 3 shards for 2 records"):
        project.read(data__records=2, data__shards=3)


def test_a_job_refuses_a_document_whose_files_changed_since(project, tmp_path):
    spec = tmp_path / "spec" / "tiny_control.yaml"
    files.write_yaml(spec, project.read().documents["eval/tiny_control"])
    assert jobs.read_spec(spec)["run"] == "tiny_control"
    with open(project.task, "a") as handle:
        handle.write("# changed\n")
    with pytest.raises(LockgateError, match="closeness.py changed after"):
        jobs.read_spec(spec)
