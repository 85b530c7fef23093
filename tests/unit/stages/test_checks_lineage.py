"""Reinforcement starts from a chat model; adapters go on the model they were trained on."""

import pytest

from checked_chains import checks, only, stage, step
from lockgate.stages.model import Source

SFT = step("sft/a", ["rows", "checkpoint_hf"], ["checkpoint_hf"], goals="sft")
PRETRAIN = step("pretrain/a", ["rows"], ["checkpoint_hf"], goals="pretrain")
SHARD = step("convert/shard", ["checkpoint_hf"], ["checkpoint_sharded"], goals="convert")
DPO = step(
    "rl/a",
    ["rows", "checkpoint_sharded", "checkpoint_hf?"],
    ["checkpoint_sharded"],
    goals="dpo",
    roles={"base_model": "policy"},
    inputs={"checkpoint_sharded": {"key": "policy"}, "checkpoint_hf": {"key": "reward"}},
)
LORA = step(
    "peft/a", ["rows", "checkpoint_hf"], ["checkpoint_lora"], goals="sft", methods={"lora": {}}
)
MERGE = step(
    "convert/merge",
    ["checkpoint_lora", "checkpoint_hf"],
    ["checkpoint_hf"],
    goals="merge",
    inputs={"checkpoint_hf": {"key": "base", "base_of_adapter": True}},
)
BASE = "org/model-8B"


def test_dpo_after_sft_through_a_conversion_is_fine():
    sft = stage("sft", SFT, {"rows": "a.jsonl", "checkpoint_hf": BASE})
    shard = stage("shard", SHARD, {"checkpoint_hf": sft})
    dpo = stage("dpo", DPO, {"rows": "b.jsonl", "checkpoint_sharded": shard})
    check = only("rl.from-sft", sft, shard, dpo)
    assert (check.status, check.compared) == ("ok", "dpo starts from what sft (sft/a) trained")


def test_dpo_after_a_merged_adapter_is_fine():
    lora = stage("lora", LORA, {"rows": "a.jsonl", "checkpoint_hf": BASE}, method="lora")
    merge = stage("merge", MERGE, {"checkpoint_lora": lora, "checkpoint_hf": BASE})
    shard = stage("shard", SHARD, {"checkpoint_hf": merge})
    dpo = stage("dpo", DPO, {"checkpoint_sharded": shard})
    assert only("rl.from-sft", lora, merge, shard, dpo).status == "ok"


def test_dpo_after_pretraining_alone_is_told():
    base = stage("base", PRETRAIN, {"rows": "a.jsonl"})
    shard = stage("shard", SHARD, {"checkpoint_hf": base})
    check = only("rl.from-sft", base, shard, stage("dpo", DPO, {"checkpoint_sharded": shard}))
    assert check.status == "warning"
    assert "which is no sft" in check.compared


def test_an_sft_of_the_reward_model_or_of_the_data_does_not_count():
    reward = stage("reward", SFT, {"rows": "a.jsonl", "checkpoint_hf": BASE})
    inputs = {"checkpoint_sharded": "org/model-8B-Base", "checkpoint_hf": reward}
    check = only("rl.from-sft", reward, stage("dpo", DPO, inputs))
    assert check.status == "warning"
    assert "its name says 'Base'" in check.compared


@pytest.mark.parametrize(
    ("model", "files", "status"),
    [
        ("org/model-8B-Instruct", {}, "ok"),
        ("org/gemma-9b-it", {}, "ok"),
        ("org/Chat-7B", {}, "ok"),
        ("org/model-8B-Base", {}, "warning"),
        ("org/model-8B", {}, "not checked"),
        ("org/digit-8B", {}, "not checked"),
        ("models/one", {"models/one": {"chat_template_sha256": "a"}}, "ok"),
        ("models/one", {"models/one": {"chat_template_sha256": None}}, "warning"),
        ("", {}, "warning"),
    ],
)
def test_without_sft_the_model_itself_has_to_follow_a_chat(model, files, status):
    check = only("rl.from-sft", stage("dpo", DPO, model=model), model_files=files)
    assert check.status == status
    assert (check.status == "ok") == (check.fix == "")


def test_a_stage_that_does_not_reinforce_starts_from_anything():
    assert not checks("rl.from-sft", stage("sft", SFT, {"checkpoint_hf": BASE}))


def merged(base, *between, lora_base=BASE):
    lora = stage("lora", LORA, {"rows": "a.jsonl", "checkpoint_hf": lora_base}, method="lora")
    inputs = {"checkpoint_lora": lora} | ({"checkpoint_hf": base} if base else {})
    return [*between, lora, stage("merge", MERGE, inputs)]


def test_a_merge_into_the_model_that_was_trained_is_fine():
    check = only("lora.base", *merged(BASE))
    assert check.status == "ok"
    assert check.compared == f"lora trained it on {BASE}; merge puts it on {BASE}"


def test_a_merge_into_another_model_is_told_the_right_one():
    check = only("lora.base", *merged("org/model-8B-Instruct"))
    assert check.status == "warning"
    assert check.fix == f"take {BASE} for checkpoint_hf"


def test_a_merge_without_a_base_is_told_the_right_one():
    check = only("lora.base", *merged(None))
    assert (check.status, check.fix) == ("warning", f"take {BASE} for checkpoint_hf")


def test_a_base_that_is_written_into_the_configuration_counts():
    *before, merge = merged(None)
    for name, status in ((BASE, "ok"), ("org/other", "warning")):
        own = stage("merge", MERGE, {"checkpoint_lora": before[0]}, config={"base": name})
        assert only("lora.base", *before, own).status == status


def test_the_same_model_in_another_form_is_the_same_base():
    shard = stage("shard", SHARD, {"checkpoint_hf": BASE})
    lora = step("peft/b", ["checkpoint_sharded"], ["checkpoint_lora"], goals="sft")
    trained = stage("lora", lora, {"checkpoint_sharded": shard}, method="lora")
    merge = stage("merge", MERGE, {"checkpoint_lora": trained, "checkpoint_hf": BASE})
    assert only("lora.base", shard, trained, merge).status == "ok"


def test_a_base_that_an_earlier_stage_trained_is_not_its_own_base():
    sft = stage("sft", SFT, {"rows": "a.jsonl", "checkpoint_hf": BASE})
    lora = stage("lora", LORA, {"rows": "b.jsonl", "checkpoint_hf": sft}, method="lora")
    for base, status in ((sft, "ok"), (BASE, "warning")):
        merge = stage("merge", MERGE, {"checkpoint_lora": lora, "checkpoint_hf": base})
        assert only("lora.base", sft, lora, merge).status == status


@pytest.mark.parametrize(
    ("files", "status"),
    [
        ({}, "not checked"),
        ({"adapters/mine": {"base_model": BASE}}, "ok"),
        ({"adapters/mine": {"base_model": "org/other"}}, "warning"),
    ],
)
def test_the_user_s_own_adapter_records_its_base(files, status):
    merge = stage("merge", MERGE, {"checkpoint_lora": "adapters/mine", "checkpoint_hf": BASE})
    assert only("lora.base", merge, model_files=files).status == status


def test_where_the_base_is_optional_the_adapter_s_own_record_is_taken():
    own = step(
        "eval/a",
        ["checkpoint_lora", "checkpoint_hf?"],
        inputs={"checkpoint_hf": {"key": "base", "base_of_adapter": True}},
    )
    evaluate = stage("eval", own, {"checkpoint_lora": "adapters/mine"})
    assert only("lora.base", evaluate).status == "ok"


def test_a_whole_model_needs_no_base():
    whole = Source(type="checkpoint_hf", path=BASE)
    assert not checks("lora.base", stage("merge", MERGE, {"checkpoint_lora": whole}))


DISTILL = step(
    "distill/a",
    ["checkpoint_hf"],
    ["checkpoint_sharded"],
    goals="distill",
    roles={"teacher": "teacher"},
)
PRUNE = step("prune/a", ["checkpoint_hf"], ["checkpoint_hf"], goals="prune")


def test_a_model_that_would_learn_from_itself_is_told():
    config = {"teacher": BASE}
    alone = stage("distill", DISTILL, {"checkpoint_hf": BASE}, config=config)
    check = only("distill.teacher", alone)
    assert check.status == "warning" and check.fix.startswith("set teacher to the model to learn")
    config = {"teacher": "org/larger-30B"}
    other = stage("distill", DISTILL, {"checkpoint_hf": BASE}, config=config)
    assert only("distill.teacher", other).status == "ok"


MEASURE = step("eval/a", ["checkpoint_hf"], ["scores"], goals="evaluate", roles={"tasks": "tasks"})
OTHER_MEASURE = MEASURE.model_copy(update={"id": "eval/b"})


@pytest.mark.parametrize(
    ("second", "tasks", "status"),
    [
        (MEASURE, ["sums"], "ok"),
        (MEASURE, ["words"], "warning"),
        (OTHER_MEASURE, ["sums"], "warning"),
    ],
)
def test_scores_to_compare_come_of_one_step_and_the_same_tasks(second, tasks, status):
    before = stage("before", MEASURE, {"checkpoint_hf": BASE}, config={"tasks": ["sums"]})
    after = stage("after", second, {"checkpoint_hf": BASE}, config={"tasks": tasks})
    assert only("evaluation.same", before, after).status == status
    assert checks("evaluation.same", before) == []


def test_what_training_changed_needs_the_untrained_model_beside_it():
    before = stage("before", MEASURE, {"checkpoint_hf": BASE})
    sft = stage("sft", SFT, {"rows": "a.jsonl", "checkpoint_hf": BASE})
    after = stage("after", MEASURE, {"checkpoint_hf": sft})
    check = only("evaluation.control", sft, after)
    assert (check.stage, check.status) == ("after", "warning")
    assert check.compared.startswith("after measures what sft trained; nothing measures")
    assert only("evaluation.control", before, sft, after).status == "ok"
    assert checks("evaluation.control", before) == []
