"""From goals to steps: which are considered, which is taken, and the word where none is."""

import pytest

from lockgate.errors import LockgateError

SFT = {"goal": "sft", "model": "small", "data": "chat.jsonl"}
LARGE = {**SFT, "model": "large"}
DPO = {"goal": "dpo", "data": "pairs.jsonl"}
SERVED = {"url": "http://127.0.0.1:1/v1", "model": "m"}


def steps(chain):
    return [stage.step.id for stage in chain.stages]


def verdicts(chain):
    return {one["step"]: one["verdict"] for one in chain.considered}


def test_a_goal_alone_inserts_conversion_and_preparation_and_says_why(shop):
    chain = shop.read(LARGE)
    assert steps(chain) == ["convert/shard", "data_prep/pack", "sft/sharded"]
    assert [stage.inserted for stage in chain.stages] == [True, True, False]
    assert [stage.why for stage in chain.stages] == [
        "inserted: sft/sharded consumes checkpoint_sharded, and this step makes it",
        "inserted: sft/sharded consumes packed_parquet, and this step makes it",
        "for the goal 'sft': it lists the model, from 8 GPUs",
    ]
    assert [stage.goal for stage in chain.stages] == ["", "", "sft"]


def test_nothing_is_inserted_where_the_artifacts_fit(shop):
    assert steps(shop.read(SFT)) == ["sft/whole"]


def test_a_converter_leads_from_one_trainer_to_the_next_step(shop):
    chain = shop.read(LARGE, {"goal": "evaluate"})
    assert steps(chain)[-2:] == ["convert/join", "eval/measure"]
    assert chain.stages[-2].inserted


def test_a_named_step_wins_over_a_better_one(shop):
    chain = shop.read({"step": "sft/whole", "model": "large", "data": "chat.jsonl"})
    assert steps(chain) == ["sft/whole"]
    assert chain.stages[0].why == "named in the configuration"
    assert chain.considered == []


def test_the_step_that_lists_the_model_wins_over_a_shorter_chain(shop):
    assert steps(shop.read(LARGE))[-1] == "sft/sharded"
    assert steps(shop.read({**SFT, "model": "other"})) == ["sft/whole"]


def test_upper_case_does_not_matter_in_a_models_name(shop):
    shop.edit("catalog/sft/sharded/step.toml", "org/large", "Org/Large")
    assert steps(shop.read(LARGE))[-1] == "sft/sharded"


def test_too_few_gpus_are_told_and_leave_the_choice_to_the_user(shop):
    chain = shop.read(LARGE, resources={"gpus": 4})
    assert verdicts(chain)["sft/sharded"] == "it lists the model, from 8 GPUs (4 here)"
    assert shop.read({**LARGE, "gpus": 8}, resources={"gpus": 4}).considered[0]["verdict"] == (
        "it lists the model, from 8 GPUs"
    )
    two = shop.read(LARGE, resources={"gpus": 4, "nodes": 2})
    assert verdicts(two)["sft/sharded"] == "it lists the model, from 8 GPUs"


def test_of_two_steps_that_take_any_model_the_one_with_enough_gpus_comes_first(shop):
    manifest = (shop.root / "catalog/sft/whole/step.toml").read_text()
    wide = manifest.replace("sft/whole", "sft/awide").replace("gpus = 1", "gpus = 4")
    shop.step("sft/awide", wide, "data: ???\nmodel: ???\nout: ???\n")
    other = {**SFT, "model": "other"}
    assert steps(shop.read(other)) == ["sft/awide"]  # the first of two equals
    assert steps(shop.read(other, resources={"gpus": 2})) == ["sft/whole"]


def test_every_step_with_the_goal_is_considered_with_a_verdict(shop):
    assert verdicts(shop.read(SFT)) == {
        "sft/whole": "it takes SmallForCausalLM",
        "sft/sharded": "it does not list models/small (it lists org/large)",
    }
    assert verdicts(shop.read({**SFT, "model": "other"}))["sft/whole"] == (
        "it takes *ForCausalLM; what org/other is, is not known here"
    )


def test_a_method_chooses_among_the_steps(shop):
    chain = shop.read({**LARGE, "method": "lora"})
    assert steps(chain) == ["sft/whole"]
    assert verdicts(chain)["sft/sharded"] == "it has no method lora"


def test_a_step_that_does_nothing_but_the_method_comes_first(shop):
    manifest = (shop.root / "catalog/sft/whole/step.toml").read_text()
    only = manifest.replace("sft/whole", "sft/zlight").replace(
        'full = { "adapter.on" = false }, ', ""
    )
    shop.step("sft/zlight", only, "data: ???\nmodel: ???\nout: ???\nadapter: {on: false}\n")
    assert steps(shop.read({**SFT, "method": "lora"})) == ["sft/zlight"]
    assert steps(shop.read({**SFT, "method": "full"})) == ["sft/whole"]


def test_a_category_is_a_goal_of_a_step_that_names_none(shop):
    chain = shop.read({"goal": "data_prep", "data": "chat.jsonl", "with": {"tokenizer": "t"}})
    assert steps(chain) == ["data_prep/pack"]


def test_a_step_is_named_with_its_catalog_where_two_have_one_id(shop):
    shop.write("second/types.toml", "[checkpoint_hf]\n")
    manifest = (shop.root / "catalog/rl/pairs/step.toml").read_text()
    shop.write("second/rl/pairs/step.toml", manifest)
    shop.write("second/rl/pairs/config/default.yaml", "data: ???\nmodel: ???\nout: ???\n")
    catalogs = [{"name": "mine", "path": "second"}]
    item = {"data": "pairs.jsonl", "model": "small"}

    def catalog(name):
        (stage,) = shop.read({"step": name, **item}, catalogs=catalogs).stages
        return stage.step.catalog

    assert catalog("rl/pairs") == "mine"  # what the user configured comes first
    assert catalog("mine:rl/pairs") == "mine"
    assert catalog("catalog:rl/pairs") == "catalog"


def test_an_unknown_step_is_told_with_the_nearest(shop):
    with pytest.raises(LockgateError) as error:
        shop.read(SFT, {"step": "eval/mesure"})
    assert str(error.value) == (
        "chain.yaml: stages[1].step: there is no step 'eval/mesure'\n"
        "Hint: did you mean eval/measure?"
    )


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (
            {"goal": "translate", "data": "chat.jsonl"},
            ["'translate' is not supported by any catalog", "there are: dpo, evaluate, sft"],
        ),
        (
            {**DPO, "model": "small", "method": "full"},
            [],  # a step without methods trains all weights
        ),
        (
            {**DPO, "model": "small", "method": "lora"},
            ["'dpo' of models/small with method lora", "rl/pairs: it has no method lora"],
        ),
        (
            {**SFT, "model": "seq"},
            [
                "'sft' of models/seq is not supported by any catalog",
                "T5ForConditionalGeneration is none of *ForCausalLM",
                "it does not list models/seq",
            ],
        ),
        (
            {**SFT, "tasks": ["sums"]},
            ["with the tasks sums is not supported", "its configuration names no tasks"],
        ),
        (
            {**SFT, "endpoint": SERVED},
            ["it evaluates no running endpoint"],
        ),
        (
            {**SFT, "data_type": "marks"},
            ["nothing turns marks into what it consumes"],
        ),
    ],
)
def test_what_no_catalog_does_has_no_stages_and_a_clear_word(shop, item, words):
    shop.model("seq", "T5ForConditionalGeneration")
    models = {"small": {"path": "models/small"}, "seq": {"path": "models/seq"}}
    chain = shop.read(item, models=models)
    assert bool(chain.stages) == (not words)
    for word in words:
        assert word in chain.missing
    assert ("it has no stages" in chain.blocked) == bool(words)


def test_a_named_step_without_the_method_is_refused_with_those_that_have_it(shop):
    item = {"step": "sft/sharded", "model": "large", "data": "chat.jsonl", "method": "lora"}
    with pytest.raises(LockgateError) as error:
        shop.read(item)
    assert str(error.value) == (
        "chain.yaml: stages[0].method: sft/sharded has no method lora\nHint: take sft/whole"
    )


def test_a_step_made_like_another_one_is_taken_last(shop):
    manifest = (shop.root / "catalog/sft/whole/step.toml").read_text()
    mine = manifest.replace("sft/whole", "sft/amine").replace('"org/example"', '"org/other"')
    default = (shop.root / "catalog/sft/whole/config/default.yaml").read_text()
    other = {**SFT, "model": "other"}
    shop.step("sft/amine", mine, default)
    assert steps(shop.read(other)) == ["sft/amine"]  # it lists the model
    shop.step("sft/amine", mine + '[reference]\nlike = "sft/whole"\n', default)
    assert steps(shop.read(other)) == ["sft/whole"]
    assert steps(shop.read({**other, "goal": None, "step": "sft/amine"})) == ["sft/amine"]


def test_a_whole_model_that_is_evaluated_has_no_base(shop):
    shop.edit(
        "catalog/eval/measure/step.toml",
        'type = "checkpoint_hf"\nrequired = false',
        'type = "weights"\n[[consumes]]\ntype = "checkpoint_hf"\nrequired = false',
    )
    shop.edit(
        "catalog/eval/measure/step.toml",
        'inputs.checkpoint_hf = { key = "model" }',
        'inputs.weights = { key = "model" }\n'
        'inputs.checkpoint_hf = { key = "samples", base_of_adapter = true }',
    )
    shop.edit(
        "catalog/types.toml", "[checkpoint_hf]", '[weights]\n[checkpoint_hf]\nis_a = "weights"'
    )
    (stage,) = shop.read({"goal": "evaluate", "model": "small"}).stages
    assert list(stage.inputs) == ["weights"]


def test_an_input_named_after_a_stage_builds_on_it_whatever_else_the_item_brings(shop):
    given = {"checkpoint_hf": "tune"}
    second = {**DPO, "model": "small", "inputs": given, "name": "prefer"}
    chain = shop.read({**SFT, "name": "tune"}, second)
    assert chain.stages[1].inputs["checkpoint_hf"].stage == "tune"


def test_an_optional_input_is_taken_from_the_stage_that_is_named_however_far_back(shop):
    shop.edit(
        "catalog/eval/measure/step.toml",
        '[[produces]]\ntype = "marks"',
        '[[consumes]]\ntype = "packed_parquet"\nrequired = false\n[[produces]]\ntype = "marks"',
    )
    pack = {"step": "data_prep/pack", "data": "chat.jsonl", "name": "early"}
    pack["with"] = {"tokenizer": "t"}
    measure = {"goal": "evaluate"}
    named = {**measure, "inputs": {"packed_parquet": "early"}}
    train = {**SFT, "step": "sft/whole", "goal": None}
    for item, expected in ((measure, None), (named, "early")):
        last = shop.read(pack, train, item).stages[-1]
        taken = last.inputs.get("packed_parquet")
        assert (taken.stage if taken else None) == expected


def test_a_method_that_no_step_has_is_told(shop):
    shop.edit("catalog/sft/whole/step.toml", ', lora = { "adapter.on" = true }', "")
    chain = shop.read({**SFT, "method": "lora"})
    assert chain.stages == []
    assert chain.missing.startswith(
        "'sft' of models/small with method lora is not supported by any catalog."
    )


def test_stages_in_a_contradictory_order_are_told_with_one_that_works(shop):
    train = {"step": "sft/whole", "model": "small", "data": "chat.jsonl"}
    chain = shop.read({"step": "rl/pairs", "data": "pairs.jsonl"}, train)
    assert chain.stages == []
    assert chain.missing == (
        "no chain of steps reaches 'rl/pairs': rl/pairs needs checkpoint_hf, which nothing gives "
        "or makes; this order works: sft/whole, rl/pairs"
    )


def test_what_nothing_makes_is_told_by_its_type(shop):
    shop.edit(
        "catalog/eval/measure/step.toml",
        '[[produces]]\ntype = "marks"',
        '[[consumes]]\ntype = "benchmark_parquet"\n[[produces]]\ntype = "marks"',
    )
    chain = shop.read(SFT, {"goal": "evaluate"})
    assert chain.stages == []
    assert chain.missing == (
        "no chain of steps reaches 'evaluate': eval/measure needs benchmark_parquet, which nothing "
        "gives or makes; give it benchmark_parquet, or add a step that makes it"
    )


def test_a_worse_step_is_taken_where_the_best_has_no_chain(shop):
    (shop.root / "catalog/convert/shard/step.toml").unlink()
    chain = shop.read(LARGE)
    assert steps(chain) == ["sft/whole"]
    assert chain.stages[0].why == (
        "for the goal 'sft': it takes *ForCausalLM; what org/large is, is not known here"
    )


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (SFT, (2, 8)),  # it says what it needs at least
        ({**SFT, "gpus": 3, "nodes": 1}, (1, 3)),
        ({"goal": "evaluate", "model": "small"}, (1, 0)),  # it needs none
        ({"goal": "evaluate", "model": "small", "gpus": 1}, (1, 1)),
        ({"goal": "evaluate", "endpoint": SERVED}, (1, 0)),
    ],
)
def test_a_stage_gets_the_gpus_that_its_step_can_use(shop, item, expected):
    (stage,) = shop.read(item, resources={"gpus": 8, "nodes": 2}).stages
    assert (stage.nodes, stage.gpus) == expected


@pytest.mark.parametrize("there", [0, 1, 8])
def test_a_step_for_some_gpus_gets_no_more(shop, there):
    shop.edit("catalog/sft/whole/step.toml", "gpus = 1", "gpus = 0\nmost_gpus = 1")
    (stage,) = shop.read(SFT, resources={"gpus": there, "nodes": 2}).stages
    assert (stage.nodes, stage.gpus) == (1, min(there, 1))
