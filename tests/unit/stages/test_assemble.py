"""From links to stages: who sets a key, one sequence length, own directories, named inputs."""

import pytest

from lockgate.errors import LockgateError

SFT = {"goal": "sft", "model": "small", "data": "chat.jsonl"}
LARGE = {"step": "sft/sharded", "model": "large"}
PACK = {"step": "data_prep/pack", "data": "chat.jsonl", "with": {"tokenizer": "t"}}

LADDER = """
[step]
id = "sft/ladder"
category = "sft"
[[consumes]]
type = "training_jsonl"
[lockgate]
gpus = 1
[lockgate.roles]
base_model = ["model", "input", "resources", "advice", "alignment", "user"]
gpus_per_node = ["resources", "advice", "alignment", "user"]
sequence_length = ["alignment", "user"]
[lockgate.methods]
full = { method = 2, model = 2, input = 2, resources = 2, advice = 2, alignment = 2, user = 2 }
[lockgate.inputs.training_jsonl]
key = ["input", "resources", "advice", "alignment", "user"]
[[lockgate.needs]]
why = "It sets all."
[lockgate.needs.set]
need = 1
method = 1
model = 1
input = 1
resources = 1
advice = 1
alignment = 1
user = 1
[[lockgate.advice]]
when = "Always."
test = { rows_max = 100 }
set = { advice = 6, alignment = 6, user = 6 }
[[strategies]]
when = "Always."
then = "Set them."
"""


def named(chain, name):
    return next(stage for stage in chain.stages if stage.name == name)


def keys(chain):
    return {stage.name: stage.key for stage in chain.stages}


def refused(shop, *stages):
    with pytest.raises(LockgateError) as error:
        shop.read(*stages)
    return error.value


def test_the_stronger_of_two_sets_a_key_and_the_user_is_the_strongest(shop):
    shop.step("sft/ladder", LADDER, "need: 0\nuser: 0\n")
    item = {"step": "sft/ladder", "model": "small", "data": "chat.jsonl", "with": {"user": 99}}
    (stage,) = shop.read(item).stages
    order = ["need", "method", "model", "input", "resources", "advice", "alignment", "user"]
    assert {key: stage.origin[key] for key in order} == {key: key for key in order}
    found = [stage.config[key] for key in order]
    assert found == [1, 2, "models/small", "chat.jsonl", 8, 6, 99, 99]


def test_a_default_that_nobody_sets_has_no_origin(shop):
    (stage,) = shop.read({**SFT, "with": {"warmup": 8}}).stages
    assert (stage.config["steps"], "steps" in stage.settings, "steps" in stage.origin) == (
        1000,
        False,
        False,
    )
    origin = {key: stage.origin[key] for key in ("rate", "epochs", "warmup", "model", "out")}
    assert origin == {
        "rate": "need",
        "epochs": "advice",
        "warmup": "user",
        "model": "input",
        "out": "output",
    }


def test_an_inserted_preparation_gets_the_trainings_own_length(shop):
    chain = shop.read({**LARGE, "data": "chat.jsonl"})
    pack = named(chain, "data-prep-pack")
    assert (pack.config["length"], pack.origin["length"]) == (1024, "alignment")
    assert chain.stages[-1].config["data"]["length"] == 1024


def test_a_length_set_for_training_reaches_its_preparation(shop):
    long = {**LARGE, "with": {"length": 2048}}
    for items in ([{**long, "data": "chat.jsonl"}], [PACK, long]):
        chain = shop.read(*items)
        pack = named(chain, "data-prep-pack")
        assert (pack.config["length"], pack.origin["length"]) == (2048, "alignment")
        assert chain.stages[-1].config["data"]["length"] == 2048


def test_a_length_set_for_a_named_preparation_reaches_its_training(shop):
    chain = shop.read({**PACK, "with": {"tokenizer": "t", "length": 64}}, LARGE)
    assert named(chain, "data-prep-pack").origin["length"] == "user"
    training = chain.stages[-1]
    assert (training.config["length"], training.config["data"]["length"]) == (64, 64)
    assert training.origin["length"] == "alignment"


def test_two_lengths_of_the_users_own_stay(shop):
    pack = {**PACK, "with": {"tokenizer": "t", "length": 64}}
    chain = shop.read(pack, {**LARGE, "with": {"length": 128, "data.length": 128}})
    assert named(chain, "data-prep-pack").config["length"] == 64
    assert chain.stages[-1].config["length"] == 128
    assert chain.stages[-1].origin["length"] == "user"


def test_a_stages_directory_is_keyed_by_what_shapes_it(shop):
    items = [{**SFT, "name": "first"}, {"goal": "dpo", "data": "pairs.jsonl", "name": "second"}]
    before = keys(shop.read(*items))
    assert keys(shop.read(*items)) == before

    asked = {"name": "shop_other_2026-11-21", "question": "What?", "hypothesis": "Nothing."}
    assert keys(shop.read(*items, experiment=asked)) == before
    # what the second works on: its own data; the first knows nothing of it
    shop.rows("pairs.jsonl", [{"prompt": "?", "chosen": "a", "rejected": "b"}])
    data = keys(shop.read(*items))
    assert (data["first"], data["second"] != before["second"]) == (before["first"], True)
    # the step of the second
    shop.edit("catalog/rl/pairs/config/default.yaml", "steps: 100", "steps: 101")
    step = keys(shop.read(*items))
    assert (step["first"], step["second"] != data["second"]) == (before["first"], True)
    # a setting of the first: the second works on what it makes, which is then elsewhere
    changed = keys(shop.read({**items[0], "with": {"steps": 7}}, items[1]))
    assert changed["first"] != step["first"] and changed["second"] != step["second"]


def test_a_stages_directory_changes_with_its_data_and_its_model(shop):
    before = keys(shop.read(SFT))
    shop.rows("chat.jsonl", [{"prompt": f"{n}?", "completion": f"{n}!"} for n in range(20)])
    data = keys(shop.read(SFT))
    shop.edit("models/small/config.json", "{", '{"layers": 2, ')
    assert len({*before.values(), *data.values(), *keys(shop.read(SFT)).values()}) == 3


def test_outputs_are_in_the_stages_own_directory(shop):
    (stage,) = shop.read(SFT).stages
    base = f"@results@/stages/{stage.name}/{stage.key}"
    assert stage.outputs == {"checkpoint_hf": f"{base}/checkpoint_hf/model"}
    assert stage.config["out"] == f"{base}/checkpoint_hf"


def test_an_input_by_a_stages_name_is_taken_from_that_very_stage(shop):
    first, second = ({**SFT, "name": name} for name in ("first", "second"))
    last = {"goal": "evaluate", "name": "last"}
    source = named(shop.read(first, second, last), "last").inputs["checkpoint_hf"]
    assert source.stage == "second"
    last["inputs"] = {"checkpoint_hf": "first"}
    chain = shop.read(first, second, last)
    source = named(chain, "last").inputs["checkpoint_hf"]
    assert (source.stage, source.path) == ("first", chain.stages[0].outputs["checkpoint_hf"])
    assert named(chain, "last").config["model"] == source.path


def test_the_name_of_a_later_stage_is_refused(shop):
    early = {"goal": "evaluate", "inputs": {"checkpoint_hf": "later"}, "model": "small"}
    error = refused(shop, {**SFT, "name": "first"}, early, {**SFT, "name": "later"})
    assert error.where == "chain.yaml: stages[1].inputs.checkpoint_hf"
    assert error.what == "no earlier stage is named 'later'"


def test_the_name_of_a_stage_that_does_not_make_it_is_refused(shop):
    pack = {**PACK, "name": "packed"}
    last = {"goal": "evaluate", "inputs": {"checkpoint_hf": "packed"}}
    error = refused(shop, pack, {**SFT, "name": "trained"}, last)
    assert error.where == "chain.yaml: stages[2].inputs.checkpoint_hf"
    assert error.what == "stage 'packed' makes packed_parquet"
    assert error.hint == "name an earlier stage that makes it, or give a path"


def test_a_word_that_names_no_stage_is_a_path(shop):
    last = {"goal": "evaluate", "inputs": {"checkpoint_hf": "models/small"}}
    source = shop.read(last).stages[0].inputs["checkpoint_hf"]
    assert (source.stage, source.path) == (None, "models/small")


def test_where_there_is_no_chain_the_missing_word_comes_before_any_refusal(shop):
    first = {"goal": "translate", "data": "chat.jsonl", "name": "first"}
    chain = shop.read(first, {"goal": "evaluate", "inputs": {"checkpoint_hf": "first"}})
    assert chain.stages == []
    assert "'translate' is not supported by any catalog" in chain.missing


def test_a_step_that_comes_twice_has_two_names(shop):
    chain = shop.read(SFT, SFT, {**SFT, "name": "own"})
    assert [stage.name for stage in chain.stages] == ["sft-whole", "sft-whole-2", "own"]


def test_what_a_job_may_have_is_the_users_word_else_what_its_step_can_use(shop):
    small, own, measure = shop.read(
        SFT, {**SFT, "gpus": 2, "nodes": 3}, {"goal": "evaluate"}
    ).stages
    assert (small.nodes, small.gpus) == (1, 8)
    assert (own.nodes, own.gpus, own.config["devices"]) == (3, 2, 2)
    assert measure.gpus == 0
