"""What a user reads after a mistake in the configuration."""

import copy
from pathlib import Path

import pytest
import yaml

from lockgate.config import load
from lockgate.errors import LockgateError

ROOT = Path(__file__).parents[3]
VALID = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())


def change(path, value):
    """The quickstart's values with one key set; a number in the path is a position."""
    values = copy.deepcopy(VALID)
    at = values
    *parents, last = path.split("/")
    for step in parents:
        at = at[int(step)] if isinstance(at, list) else at[step]
    at[last] = value
    return values


def message(values):
    with pytest.raises(LockgateError) as error:
        load(values, "my.yaml")
    return str(error.value)


@pytest.mark.parametrize("path", sorted((ROOT / "config").rglob("*.yaml")), ids=lambda p: p.name)
def test_what_is_shipped_is_valid(path):
    values = yaml.safe_load(path.read_text())
    assert load(values, str(path)).experiment.name == values["experiment"]["name"]


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (
            "training/parameters/learning_rates",
            1e-3,
            "my.yaml: training.parameters.learning_rates: unknown key\n"
            "Hint: did you mean 'learning_rate'?",
        ),
        (
            "data/endpoint/servr",
            "x",
            "my.yaml: data.endpoint.servr: unknown key\nHint: did you mean 'server'?",
        ),
        (
            "evaluation/tasks/0/scoring",
            "exact",
            "my.yaml: evaluation.tasks[0].scoring: unknown key\nHint: did you mean 'scorer'?",
        ),
        (
            "aprovers",
            ["me"],
            "my.yaml: aprovers: unknown key\nHint: did you mean 'approvers'?",
        ),
        (
            "data/splits/zzz",
            1,
            "my.yaml: data.splits.zzz: unknown key\nHint: known keys: train, validation, test",
        ),
        (
            "training/parameters/batch_size",
            "four",
            "my.yaml: training.parameters.batch_size: input should be a valid integer "
            "(given: 'four')\nHint: config/README.md lists every key with its type",
        ),
        (
            "data/rows",
            None,
            "my.yaml: data: rows is missing: it says how a record of a design becomes a row\n"
            "Hint: config/README.md describes data",
        ),
        (
            "models/Big",
            {"path": "x"},
            "my.yaml: models.Big: string should match pattern '^[a-z0-9][a-z0-9.-]*$' "
            "(given: 'Big')\nHint: config/README.md lists every key with its type",
        ),
    ],
)
def test_a_mistake_is_named_with_its_file_its_key_and_a_hint(path, value, expected):
    assert message(change(path, value)) == expected


@pytest.mark.parametrize("value", [True, 2.0, "2"])
def test_only_an_integer_is_an_integer(value):
    text = message(change("resources/threads", value))
    assert text.startswith("my.yaml: resources.threads: input should be a valid integer")
    assert f"(given: {value!r})\nHint: " in text


@pytest.mark.parametrize("value", [True, "fast", float("inf"), float("nan"), 0, -1e-4, "0e-4"])
def test_what_is_no_learning_rate_is_refused(value):
    text = message(change("training/parameters/learning_rate", value))
    assert text.startswith("my.yaml: training.parameters.learning_rate: input should be ")
    assert "\nHint: " in text


@pytest.mark.parametrize("text", ["5e-4", "5E-4", "0.5e-3", "0.0005", "5.0e-4"])
def test_a_number_with_an_exponent_needs_no_dot(text):
    value = yaml.safe_load(text)
    config = load(change("training/parameters/learning_rate", value), "my.yaml")
    assert config.training.parameters.learning_rate == 0.0005


def test_a_missing_key_is_named():
    values = copy.deepcopy(VALID)
    del values["experiment"]["hypothesis"]
    assert message(values) == (
        "my.yaml: experiment.hypothesis: this key is missing\n"
        "Hint: config/README.md describes it; config/config.yaml has one"
    )


def test_several_mistakes_are_told_at_once():
    values = change("resources/threads", 0)
    values["data"]["colour"] = "red"
    del values["models"]
    mistakes = [line for line in message(values).splitlines() if line.startswith("my.yaml: ")]
    keys = [line.split(": ")[1] for line in mistakes]
    assert sorted(keys) == ["data.colour", "models", "resources.threads"]


@pytest.mark.parametrize(
    "name",
    [
        "learning-rate_2026-11-20",
        "Ticket_learning-rate_2026-11-20",
        "a_b_c_2026-11-20",
        "a_b_2026-11-20-2",
        "a_b_20261120",
        "../b_2026-11-20",
    ],
)
def test_a_name_follows_the_convention(name):
    text = message(change("experiment/name", name))
    assert text.startswith(
        f"my.yaml: experiment.name: '{name}' does not follow task_factor_YYYY-MM-DD"
    )


def test_a_name_holds_a_date_that_exists():
    text = message(change("experiment/name", "a_b_2026-02-30"))
    assert text.startswith("my.yaml: experiment.name: '2026-02-30' is not a date")


@pytest.mark.parametrize(
    ("path", "value", "key", "what"),
    [
        (
            "models/smollm2-135m",
            {"path": "x", "hub": "y/z"},
            "models.smollm2-135m",
            "give exactly one of path, hub and package (given: path, hub)",
        ),
        (
            "models/smollm2-135m",
            {},
            "models.smollm2-135m",
            "give exactly one of path, hub and package (given: none)",
        ),
        (
            "models/smollm2-135m",
            {"path": "x", "revision": "main"},
            "models.smollm2-135m",
            "revision belongs to hub",
        ),
        (
            "data/splits",
            {"train": 0.8, "validation": 0.1, "test": 0.2},
            "data.splits",
            "train + validation + test = 1.1, not 1",
        ),
        (
            "evaluation/tasks",
            [{"name": "a"}],
            "evaluation.tasks[0]",
            "give either scorer or task (file.py@name)",
        ),
        (
            "evaluation/tasks",
            [{"name": "a", "scorer": "exact", "task": "a.py@a"}],
            "evaluation.tasks[0]",
            "give either scorer or task (file.py@name)",
        ),
        (
            "evaluation/tasks",
            [{"name": "a", "task": "a.py"}],
            "evaluation.tasks[0]",
            "'a.py' is not file.py@name",
        ),
        (
            "evaluation/tasks",
            [{"name": "a", "scorer": "exact", "args": {"b": 1}}],
            "evaluation.tasks[0]",
            "args belongs to task",
        ),
        (
            "data/endpoint",
            {"server": "a", "url": "http://b", "model": "c"},
            "data.endpoint",
            "give one of server (embedded), url, provider and gateway",
        ),
    ],
)
def test_keys_that_do_not_go_together_are_refused(path, value, key, what):
    assert message(change(path, value)).splitlines()[0] == f"my.yaml: {key}: {what}"


@pytest.mark.parametrize("key", ["sk-0123456789abcdef", "$API_KEY", "my key", ""])
def test_the_key_itself_never_belongs_in_the_file(key):
    text = message(change("data/endpoint/api_key_env", key))
    assert text.startswith("my.yaml: data.endpoint.api_key_env: string should match pattern")


@pytest.mark.parametrize("values", [None, [], "text"])
def test_a_file_that_is_no_mapping_is_refused(values):
    assert message(values) == (
        "my.yaml: the configuration is not a mapping of sections\n"
        "Hint: start from config/config.yaml"
    )


@pytest.mark.parametrize(
    ("changes", "results"),
    [
        ({}, "results/a_b_2026-11-20"),
        ({"base_dir": "shared"}, "shared/experiments/a_b_2026-11-20"),
        (
            {"base_dir": "shared", "kind": "sanity_check"},
            "shared/sanity_checks/a_b_2026-11-20",
        ),
    ],
)
def test_where_results_go(changes, results):
    values = change("experiment/name", "a_b_2026-11-20")
    values["experiment"]["kind"] = changes.get("kind", "experiment")
    values["base_dir"] = changes.get("base_dir")
    config = load(values, "my.yaml")
    assert str(config.results) == results
    assert str(config.approvals) == "approvals/a_b_2026-11-20"


def test_cache_is_the_configured_one_then_the_environments(monkeypatch, tmp_path):
    monkeypatch.setenv("LOCKGATE_CACHE", str(tmp_path / "environment"))
    assert load(VALID, "my.yaml").cache == tmp_path / "environment"
    chosen = load(change("cache_dir", str(tmp_path / "chosen")), "my.yaml")
    assert chosen.cache == tmp_path / "chosen"


def test_a_name_has_no_newline(project):
    with pytest.raises(LockgateError):
        load(project.values(experiment__name="a_b_2026-11-20\n"), "x")


def test_a_pasted_key_is_not_shown(project):
    endpoint = {"url": "http://x", "model": "m", "api_key_env": "sk-secret"}
    with pytest.raises(LockgateError) as error:
        load(project.values(data__endpoint=endpoint), "x")
    assert "sk-secret" not in str(error.value)


def test_base_dir_knows_the_home_directory(project):
    assert "~" not in str(load(project.values(base_dir="~/x"), "x").results)


def test_a_key_that_yaml_does_not_read_as_a_word_is_refused(project):
    values = project.values(data__design=yaml.safe_load("{yes: 1, maybe: 2}"))
    with pytest.raises(LockgateError, match="mine.yaml: YAML reads a key as true") as error:
        load(values, "mine.yaml")
    assert "quote" in error.value.hint


CHAIN = yaml.safe_load((ROOT / "config" / "examples" / "chain.yaml").read_text())


def test_two_stages_of_one_name_are_told():
    stages = [{**stage, "name": "same"} for stage in CHAIN["stages"]]
    told = message({**CHAIN, "stages": stages})
    assert "my.yaml: stages: two stages have the name same: give each its own" in told


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        ({}, "my.yaml: stages[0]: give either step (a catalog's id) or goal"),
        ({"step": "a/b", "goal": "sft"}, "stages[0]: give either step (a catalog's id) or goal"),
        ({"goal": "sft", "gpus": -1}, "my.yaml: stages[0].gpus: "),
        ({"goal": "sft", "with": ["a"]}, "my.yaml: stages[0].with: "),
        ({"goal": "sft", "modle": "m"}, "did you mean 'model'?"),
    ],
)
def test_a_mistake_in_a_stage_is_told_with_its_place(stage, expected):
    assert expected in message({**CHAIN, "stages": [stage]})


def test_numbers_without_a_point_are_numbers_in_a_stages_configuration():
    stage = {"goal": "sft", "with": {"optimizer": {"lr": "3e-3"}, "names": ["1e5", "e5"]}}
    loaded = load({**CHAIN, "stages": [stage]}, "my.yaml").stages[0].with_
    assert loaded == {"optimizer": {"lr": 0.003}, "names": [1e5, "e5"]}


@pytest.mark.parametrize(
    "url", ["http://host:99999/v1", "http://[::1", "host:8000/v1", "https://", "http://host:no/v1"]
)
def test_an_address_that_is_none_is_told(url):
    served = {"url": url, "model": "m"}
    told = message({**CHAIN, "stages": [{"goal": "evaluate", "endpoint": served}]})
    assert "my.yaml: stages[0].endpoint.url: an address begins with http://" in told
    data = change("data/endpoint", served)
    assert "my.yaml: data.endpoint.url: an address begins with http://" in message(data)


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("http://me:secret@host/v1", "an address has no user or key in it"),
        ("http://host/v1?key=secret", "an address ends with its path"),
        ("http://host/v1#secret", "an address ends with its path"),
    ],
)
def test_a_key_in_an_address_is_refused_and_not_told(url, what):
    told = message(change("data/endpoint", {"url": url, "model": "m"}))
    assert f"my.yaml: data.endpoint.url: {what}" in told
    assert "api_key_env" in told
    assert "secret" not in told


@pytest.mark.parametrize(
    ("source", "given", "kind"),
    [
        ("config/my.yaml", {}, "experiment"),
        ("config/sanity_checks/my.yaml", {}, "sanity_check"),
        ("/shared/sanity-check/deep/my.yaml", {}, "sanity_check"),
        ("config/sanity_checks/my.yaml", {"kind": "experiment"}, "experiment"),
        ("sanity_check.yaml", {}, "experiment"),
    ],
)
def test_the_kind_is_told_by_where_the_configuration_is_unless_it_says_so(source, given, kind):
    asked = {key: value for key, value in VALID["experiment"].items() if key != "kind"}
    assert load({**VALID, "experiment": {**asked, **given}}, source).experiment.kind == kind


def test_a_rule_about_the_hypothesis_is_read_with_its_defaults():
    given = [{"expect": "better", "runs": {"learning_rate": "5e-4", "lora_rank": ["1e1", 16]}}]
    (rule,) = load(change("experiment/decision", given), "my.yaml").experiment.decision
    assert rule.model_dump() == {
        "task": None,
        "runs": {"learning_rate": 5e-4, "lora_rank": [10.0, 16]},
        "against": "control",
        "expect": "better",
        "at_least": 0.0,
    }
    assert load(change("experiment/decision", []), "my.yaml").experiment.decision == []


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"at_least": 0.1}, "my.yaml: experiment.decision[0].expect: this key is missing"),
        ({"expect": "higher"}, "my.yaml: experiment.decision[0].expect: "),
        ({"expect": "better", "at_least": 1}, "my.yaml: experiment.decision[0].at_least: "),
        ({"expect": "better", "at_least": -0.1}, "experiment.decision[0].at_least: "),
        ({"expect": "better", "atleast": 0.1}, "did you mean 'at_least'?"),
        ({"expect": "better", "against": {}}, "my.yaml: experiment.decision[0].against: "),
        ({"expect": "better", "against": "nothing"}, "my.yaml: experiment.decision[0].against: "),
        ({"expect": "equal"}, "my.yaml: experiment.decision[0]: `equal` needs at_least"),
    ],
)
def test_a_mistake_in_a_rule_about_the_hypothesis(rule, expected):
    assert expected in message(change("experiment/decision", [rule]))


def test_a_chain_has_no_rule_to_decide_by():
    asked = {**CHAIN["experiment"], "decision": [{"expect": "better"}]}
    told = message({**CHAIN, "experiment": asked})
    assert "my.yaml: experiment: a chain has no runs to decide by" in told


def test_a_dataset_needs_no_templates():
    section = {"tool": "dataset", "files": "chats.jsonl"}
    loaded = load({**VALID, "data": section}, "my.yaml").data
    assert loaded.rows is None
    assert loaded.similarity == 0.8


@pytest.mark.parametrize("value", [0, 0.4, 1.1, "high"])
def test_a_similarity_that_is_none_is_refused(value):
    assert message(change("data/similarity", value)).startswith("my.yaml: data.similarity: ")
