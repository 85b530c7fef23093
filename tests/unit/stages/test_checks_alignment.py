"""Tokenizer, chat template and sequence length agree along a chain."""

import dataclasses

import pytest

from checked_chains import checks, only, stage, step
from lockgate.stages import rows

PACK = step(
    "pack/a",
    ["rows"],
    ["packed"],
    roles={
        "tokenizer": "tokenizer.model",
        "chat_template": "template",
        "sequence_length": "pack_size",
    },
)
TRAIN = step(
    "train/a",
    ["packed"],
    ["checkpoint_hf"],
    goals="sft",
    methods={"full": {}},
    roles={"base_model": "model", "sequence_length": ["model_length", "data.length"]},
)
ONE, OTHER = "org/model-8B", "org/model-8B-Base"


def chain(packing, training, **more):
    packed = stage("pack", PACK, {"rows": "data.jsonl"}, config=packing)
    more = {"method": "full"} | more
    return packed, stage("train", TRAIN, {"packed": packed}, config=training, **more)


def tokenizers(one, other, **more):
    return only("tokenizer.match", *chain({"tokenizer": {"model": one}}, {"model": other}), **more)


def test_the_same_id_is_the_same_tokenizer():
    check = tokenizers(ONE, ONE)
    assert check.status == "ok"
    assert check.compared == (f"pack: tokenizer.model = {ONE}; train: model = {ONE}: the same id")


def test_different_ids_are_not_known_to_be_equal():
    check = tokenizers(OTHER, ONE)
    assert (check.status, check.severity) == ("warning", "warning")
    assert "not known to be equal" in check.compared
    assert f"set tokenizer.model to {ONE} in pack" in check.fix


@pytest.mark.parametrize(
    ("hashes", "status", "told"),
    [
        (("a" * 64, "a" * 64), "ok", "the same content (aaaaaaaaaaaa)"),
        (("a" * 64, "b" * 64), "warning", "different content (aaaaaaaaaaaa and bbbbbbbbbbbb)"),
        (("a" * 64, None), "not checked", "models/other"),
    ],
)
def test_local_tokenizers_are_compared_by_content(hashes, status, told):
    names = ("models/one", "models/other")
    files = {name: {"tokenizer_sha256": sha} for name, sha in zip(names, hashes, strict=True)}
    check = tokenizers(*names, model_files=files)
    assert check.status == status
    assert told in check.compared


def test_a_local_tokenizer_is_not_compared_with_one_on_the_hub():
    files = {"models/one": {"tokenizer_sha256": "a" * 64}}
    check = tokenizers("models/one", ONE, model_files=files)
    assert check.status == "not checked"
    assert f"{ONE} is not here" in check.fix


def test_references_are_followed_before_names_are_compared():
    config = {"tokenizer": {"model": "${oc.env:MODEL,${other}}"}, "other": ONE}
    stages = chain(config, {"model": ONE})
    assert only("tokenizer.match", *stages).status == "ok"
    assert only("tokenizer.match", *stages, environ={"MODEL": OTHER}).status == "warning"


def test_two_keys_of_one_stage_are_compared_too():
    own = step("pretrain/a", roles={"tokenizer": ["a", "b"], "base_model": "model"})
    config = {"a": ONE, "b": ONE, "model": OTHER}
    found = checks("tokenizer.match", stage("pretrain", own, config=config))
    assert [check.status for check in found] == ["ok", "warning"]


def test_what_an_earlier_stage_made_and_other_lineages_are_not_compared():
    first, second = chain({"tokenizer": {"model": ONE}}, {"model": "@results@/stages/x"})
    apart = stage("apart", TRAIN, {"packed": "shards"}, config={"model": OTHER})
    assert not checks("tokenizer.match", first, second, apart)


def test_preparation_is_compared_with_the_training_that_it_is_for():
    first = chain({"tokenizer": {"model": ONE}}, {"model": ONE})
    own = step("rl/a", ["checkpoint_hf"], goals="dpo", roles={"base_model": "policy"})
    last = stage("rl", own, {"checkpoint_hf": first[1]}, config={"policy": OTHER})
    found = checks("tokenizer.match", *first, last)
    assert [(check.stage, check.status) for check in found] == [("train", "ok"), ("rl", "warning")]
    assert found[1].compared.startswith("train: model = ")


def test_named_templates_are_compared():
    own = step("train/b", ["packed"], goals="sft", roles={"chat_template": "chat.template"})
    packed = stage("pack", PACK, {"rows": "data.jsonl"}, config={"template": "one"})
    for name, status in (("one", "ok"), ("two", "warning")):
        config = {"chat": {"template": name}}
        check = only("template.match", packed, stage("t", own, {"packed": packed}, config=config))
        assert check.status == status
        assert f"pack: template = one; t: chat.template = {name}" in check.compared


def test_a_named_template_cannot_be_compared_with_that_of_a_model():
    config = {"template": "one", "tokenizer": {"model": ONE}}
    check = only("template.match", *chain(config, {"model": ONE}))
    assert check.status == "not checked"
    assert "look at one prepared row" in check.fix


@pytest.mark.parametrize(("other", "status"), [("a", "ok"), ("b", "warning")])
def test_templates_of_local_models_are_compared_by_content(other, status):
    files = {"one": {"chat_template_sha256": "a" * 64}, "two": {"chat_template_sha256": other * 64}}
    stages = chain({"tokenizer": {"model": "one"}}, {"model": "two"})
    assert only("template.match", *stages, model_files=files).status == status


def lengths(packed, model, data, **more):
    training = {"model_length": model, "data": {"length": data}}
    return only("length.match", *chain({"pack_size": packed}, training), **more)


def test_equal_lengths_are_shown_with_their_keys():
    check = lengths(4096, 4096, 4096)
    assert check.status == "ok"
    assert check.compared == (
        "pack: pack_size = 4096; train: model_length = 4096, data.length = 4096"
    )


@pytest.mark.parametrize("values", [(2048, 4096, 4096), (4096, 4096, 2048)])
def test_a_different_length_is_told_with_the_value_to_set(values):
    check = lengths(*values)
    assert check.status == "warning"
    assert check.fix == "set all of them to 4096"


def test_a_length_of_zero_or_none_switches_something_off():
    assert lengths(4096, 4096, 0).status == "ok"
    assert lengths(4096, 4096, None).status == "ok"


def test_a_length_that_cannot_be_told_is_not_checked():
    stages = chain({"pack_size": 4096}, {"model_length": "${oc.env:LENGTH}"})
    check = only("length.match", *stages)
    assert (check.status, check.fix) == ("not checked", "set model_length to a number")
    assert only("length.match", *stages, environ={"LENGTH": "4096"}).status == "ok"


def test_a_later_training_may_have_another_length():
    first = chain({"pack_size": 4096}, {"model_length": 4096})
    rl = step("rl/a", ["checkpoint_hf"], goals="dpo", roles={"sequence_length": ["x", "y"]})
    last = stage("rl", rl, {"checkpoint_hf": first[1]}, config={"x": 1024, "y": 1024})
    assert [check.status for check in checks("length.match", *first, last)] == ["ok", "ok"]


@pytest.mark.parametrize(("limit", "status"), [(8192, "ok"), (2048, "warning")])
def test_a_sequence_is_no_longer_than_the_model_takes(limit, status):
    stages = chain({}, {"model_length": 4096}, model="models/one")
    check = only("length.context", *stages, model_files={"models/one": {"context_length": limit}})
    assert (check.status, check.compared) == (
        status,
        f"model_length = 4096; models/one takes {limit}",
    )


def test_the_context_of_a_model_on_the_hub_is_not_checked():
    check = only("length.context", *chain({}, {"model_length": 4096}, model=ONE))
    assert check.status == "not checked"
    assert "max_position_embeddings" in check.fix


ROUNDS = step(
    "train/b",
    ["packed"],
    ["checkpoint_hf"],
    goals="sft",
    roles={"steps": "steps", "global_batch": "batch"},
)
ROWS = rows.Probe(100, 100, ("text",), "text", 0, (), ("text",), 9)


def passes(steps, batch, probe=ROWS, **more):
    packed = stage("pack", PACK, {"rows": "data.jsonl"})
    config = {"steps": steps, "batch": batch}
    train = stage("train", ROUNDS, {"packed": packed}, config=config, **more)
    return checks("data.passes", packed, train, probes={"data.jsonl": probe})


def test_a_few_passes_over_the_rows_are_fine():
    (check,) = passes(30, 10)
    assert (check.status, check.compared) == (
        "ok",
        "steps 30 x batch 10 = 300 sequences; 100 rows: 3.0 passes over them (more where several "
        "rows share a sequence)",
    )


def test_many_passes_are_told_with_a_number_that_makes_three():
    (check,) = passes(1000, 8)
    assert check.status == "warning" and "80.0 passes" in check.compared
    assert check.fix == "set steps to about 38 for 3 passes, or bring more rows"
    (check,) = passes(1000, 128)
    assert "1,280 passes" in check.compared
    assert check.fix.endswith("; lower batch: one batch is more than all rows")


def test_passes_are_not_told_where_they_are_not_known():
    assert passes(0, 8) == passes(None, 8) == []  # it goes by epochs
    assert passes(1000, 8, None) == []
    assert passes(1000, 8, dataclasses.replace(ROWS, count=None)) == []
    own = ROUNDS.model_copy(update={"notes": ROUNDS.notes.model_copy(update={"goals": ("rlvr",)})})
    train = stage("rl", own, {"packed": "data.jsonl"}, config={"steps": 1000, "batch": 8})
    assert checks("data.passes", train, probes={"data.jsonl": ROWS}) == []


def test_passes_over_generated_rows_are_not_told():
    make = step("make/a", ["rows"], ["packed"], goals="generate")
    made = stage("make", make, {"rows": "data.jsonl"})
    train = stage("train", ROUNDS, {"packed": made}, config={"steps": 1000, "batch": 8})
    assert checks("data.passes", made, train, probes={"data.jsonl": ROWS}) == []
