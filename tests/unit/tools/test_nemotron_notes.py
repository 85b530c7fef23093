"""The notes on the Nemotron catalog: they parse, and say what is there in the catalog itself."""

import fnmatch
import functools
import tomllib
from pathlib import Path

import pytest
import yaml

from lockgate.catalog.model import Advice, Need, Notes, Question

ROOT = Path(__file__).parents[3]
NOTES = ROOT / "scripts/lockgate/tools/nemotron/notes.toml"
STEPS = ROOT.parent / "shared/reference/nemotron/src/nemotron/steps"

TRAINING = {"pretrain", "sft", "dpo", "rlvr", "rlhf"}
CHANGING = {"merge", "convert", "quantize", "prune", "distill"}
DATA = {"generate", "curate", "translate", "prepare"}
GOALS = TRAINING | CHANGING | DATA | {"benchmark", "evaluate", "profile"}
ROWS = {"messages", "prompt_completion", "preference", "verifiable", "mcq", "text"}
GLOBS = {"model", "model_not", "upstream", "downstream"}
NUMBERS = {"gpus_max", "gpus_min", "gpu_memory_max", "rows_max", "rows_min", "sequence_length_min"}
WORDS = {"method": {"full", "lora"}, "goal": GOALS, "goals_any": GOALS, "rows": ROWS}
FORMS = {"path", "blend", "prefixes"}

with_reference = pytest.mark.skipif(not STEPS.is_dir(), reason="the real catalog is not here")


def raw():
    return tomllib.loads(NOTES.read_text(encoding="utf-8"))


STEP_IDS = sorted(raw()["steps"])
PATTERN_IDS = sorted(raw()["patterns"])


def notes(identity):
    return Notes.model_validate(raw()["steps"][identity])


def advice(identity):
    return [Advice.model_validate(one) for one in raw()["patterns"][identity]["advice"]]


def listed(value):
    return value if isinstance(value, list) else [value]


def unknown_in_test(test):
    """What of a test is not in the vocabulary."""
    wrong = []
    for word, value in test.items():
        if word in GLOBS or word == "input":
            fine = all(isinstance(one, str) and one for one in listed(value))
        elif word in NUMBERS:
            fine = isinstance(value, (int, float)) and not isinstance(value, bool)
        elif word in WORDS:
            fine = set(listed(value)) <= WORDS[word]
        elif word == "value":
            fine = isinstance(value, dict) and bool(value)
        else:
            fine = word == "endpoint" and isinstance(value, bool)
        if not fine:
            wrong.append((word, value))
    return wrong


def unknown_fields(value, model):
    return sorted(set(value) - set(model.model_fields))


def test_the_vocabulary_has_no_gaps_for_what_is_not_in_it():
    assert unknown_in_test({"model": "*super*", "gpus_max": 2, "endpoint": True}) == []
    wrong = {"models": "x", "gpus_max": "2", "goal": "cook", "rows": ["pairs"], "value": {}}
    assert {word for word, _ in unknown_in_test(wrong)} == set(wrong)


@pytest.mark.parametrize("identity", STEP_IDS)
def test_each_step_says_only_what_the_models_have_fields_for(identity):
    table = raw()["steps"][identity]
    found = notes(identity)
    assert unknown_fields(table, Notes) == []
    for name, ports in {"inputs": found.inputs, "outputs": found.outputs}.items():
        for kind, port in ports.items():
            assert unknown_fields(table[name][kind], type(port)) == []
    for name, model in {"advice": Advice, "needs": Need, "questions": Question}.items():
        for one in table.get(name, []):
            assert unknown_fields(one, model) == []


@pytest.mark.parametrize("identity", STEP_IDS)
def test_each_steps_words_are_known(identity):
    found = notes(identity)
    assert set(found.goals) <= GOALS
    assert set(found.methods) <= {"full", "lora"}
    for port in found.inputs.values():
        assert set(port.rows) <= ROWS
        assert port.form in FORMS
    for one in (*found.advice, *found.needs, *found.questions):
        assert unknown_in_test(one.test) == []
    texts = [one.when for one in found.advice]
    assert len(texts) == len(set(texts))


@pytest.mark.parametrize("identity", STEP_IDS)
def test_a_need_does_something_and_a_smoke_run_starts_small(identity):
    found = notes(identity)
    for one in found.needs:
        assert one.why
        assert one.set or one.base
    for key in found.roles.get("steps", ()):
        assert found.smoke[key] <= 5
    for port in found.outputs.values():
        assert not any(Path(glob).is_absolute() for glob in port.verify)


@pytest.mark.parametrize("identity", PATTERN_IDS)
def test_each_patterns_advice_is_known(identity):
    assert set(raw()["patterns"][identity]) == {"advice"}
    found = advice(identity)
    for table, one in zip(raw()["patterns"][identity]["advice"], found, strict=True):
        assert unknown_fields(table, Advice) == []
        assert one.test
        assert unknown_in_test(one.test) == []


def test_every_step_that_trains_offers_a_method_and_every_goal_has_a_step():
    for identity in STEP_IDS:
        found = notes(identity)
        assert bool(found.methods) == bool(TRAINING & set(found.goals)), identity
        assert ("lora" in found.methods) == (
            identity.startswith("peft/") or identity == "sft/automodel"
        )
    done = {goal for identity in STEP_IDS for goal in notes(identity).goals}
    assert GOALS - done == {"profile"}


def test_the_word_null_becomes_no_value():
    assert notes("curate/nemo_curator").inputs["raw_jsonl"].set == {"dataset": None}
    assert notes("sft/automodel").aliases["peft=null"] == {"peft": None}
    values = [one.test.get("value", {}) for one in notes("optimize/modelopt/prune").advice]
    assert {"args.prune_target_params": None} in values


def test_the_known_drifts_are_mended_by_data():
    sft = notes("sft/megatron_bridge")
    assert sft.aliases["seq_length"] == sft.roles["sequence_length"]
    assert len(sft.roles["sequence_length"]) == 4
    assert sft.aliases["peft=lora"]["peft.type"] == "lora"
    assert notes("data_prep/sft_packing").aliases["tokenizer"] == ("tokenizer.model",)


# tensor, pipeline and expert parallel size in default.yaml (1: it has none)
SHIPPED = {"sft/megatron_bridge": (4, 1, 8), "peft/megatron_bridge": (4, 1, 1)}


@pytest.mark.parametrize("identity", sorted(SHIPPED))
@pytest.mark.parametrize(
    ("model", "gpus", "copies"),
    [
        ("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", 8, 2),
        ("nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-BF16", 32, 1),
    ],
)
def test_the_listed_models_divide_their_gpus(identity, model, gpus, copies):
    found = notes(identity)
    keys = [found.roles[f"{name}_parallel"][0] for name in ("tensor", "pipeline", "expert")]
    values = dict(zip(keys, SHIPPED[identity], strict=True))
    for one in (*found.needs, *found.advice):
        globs = listed(one.test.get("model", []))
        if not one.test or any(fnmatch.fnmatch(model.lower(), glob) for glob in globs):
            values |= one.set
    tensor, pipeline, expert = (values[key] for key in keys)
    assert gpus % (tensor * pipeline) == 0
    assert gpus % (expert * pipeline) == 0
    assert gpus // (tensor * pipeline) == copies


# ------------------------------------------------------------------- against the real catalog


@functools.cache
def manifest(identity):
    return tomllib.loads((STEPS / identity / "step.toml").read_text(encoding="utf-8"))


def dotted(value, above=""):
    """Every key of a nested configuration, inner ones and leaves."""
    for key, inner in value.items():
        name = f"{above}{key}"
        yield name
        if isinstance(inner, dict):
            yield from dotted(inner, f"{name}.")


@functools.cache
def configs(identity):
    """Configurations of a step by name."""
    return {
        path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))
        for path in sorted((STEPS / identity / "config").glob("*.yaml"))
    }


@functools.cache
def front_matter():
    found = {}
    for path in sorted(STEPS.rglob("patterns/*.md")):
        front = yaml.safe_load(path.read_text(encoding="utf-8").split("---")[1])
        found[front["id"]] = front
    return found


def shown_keys(identity):
    """What the step's configurations and its manifest show."""
    keys = {key for config in configs(identity).values() for key in dotted(config)}
    return keys | {parameter["name"] for parameter in manifest(identity).get("parameters", [])}


def known_keys(identity):
    return shown_keys(identity) | set(notes(identity).keys)


def used_keys(identity):
    """Every configuration key that the notes on a step name."""
    found = notes(identity)
    for port in found.inputs.values():
        yield from (*port.key, *port.set)
    for port in found.outputs.values():
        yield from port.key
    for keys in found.roles.values():
        yield from keys
    for alias in found.aliases.values():
        yield from alias
    for settings in (*found.methods.values(), found.smoke):
        yield from settings
    for one in (*found.advice, *found.needs):
        yield from (*one.set, *one.test.get("value", {}))
    for question in found.questions:
        yield from (question.key, *question.test.get("value", {}))


@with_reference
def test_the_notes_are_on_the_steps_and_patterns_that_there_are():
    real = {str(path.parent.relative_to(STEPS)) for path in STEPS.rglob("step.toml")}
    assert set(STEP_IDS) == real
    assert set(PATTERN_IDS) == set(front_matter())


@with_reference
@pytest.mark.parametrize("identity", STEP_IDS)
def test_every_strategy_is_quoted_exactly(identity):
    texts = {one["when"] for one in manifest(identity).get("strategies", [])}
    assert {one.when for one in notes(identity).advice} <= texts


@with_reference
@pytest.mark.parametrize("identity", PATTERN_IDS)
def test_every_trigger_is_quoted_exactly(identity):
    assert {one.when for one in advice(identity)} <= set(front_matter()[identity]["triggers"])


@with_reference
@pytest.mark.parametrize("identity", STEP_IDS)
def test_every_key_is_a_key_of_the_step(identity):
    assert sorted(set(used_keys(identity)) - known_keys(identity)) == []


@with_reference
@pytest.mark.parametrize("identity", PATTERN_IDS)
def test_what_a_pattern_sets_is_a_key_of_each_of_its_steps(identity):
    for one in advice(identity):
        for key in (*one.set, *one.test.get("value", {})):
            for step in front_matter()[identity]["steps"]:
                assert key in known_keys(step), (step, key)


@with_reference
@pytest.mark.parametrize("identity", STEP_IDS)
def test_the_extra_keys_are_those_that_upstream_does_not_show(identity):
    assert sorted(set(notes(identity).keys) & shown_keys(identity)) == []


@with_reference
@pytest.mark.parametrize("identity", STEP_IDS)
def test_types_steps_and_base_configurations_exist(identity):
    types = set(tomllib.loads((STEPS / "types.toml").read_text(encoding="utf-8")))
    found = notes(identity)
    assert {*found.inputs, *found.outputs} <= types
    for one in (*found.advice, *found.needs, *found.questions):
        assert set(listed(one.test.get("input", []))) <= types
        globs = [*listed(one.test.get("upstream", [])), *listed(one.test.get("downstream", []))]
        assert all(fnmatch.filter(STEP_IDS, glob) for glob in globs), globs
    for need in found.needs:
        assert not need.base or need.base in configs(identity)
    for kind in [port["type"] for port in manifest(identity).get("consumes", [])]:
        assert kind in found.inputs, kind
    for kind in [port["type"] for port in manifest(identity).get("produces", [])]:
        assert kind in found.outputs, kind
