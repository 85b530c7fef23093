"""GPUs of step and model, memory, parallel sizes, and what is proposed where they are too few."""

import pytest

from checked_chains import checks, only, stage, step

BIG, SMALL, MIDDLE = "org/big-30B-A3B", "org/small-1B", "org/middle-8B"
ROLES = {
    "tensor_parallel": "tp",
    "pipeline_parallel": "pp",
    "context_parallel": "cp",
    "expert_parallel": "ep",
    "global_batch": "batch",
    "micro_batch": "micro",
}
SFT = step(
    "sft/heavy",
    ["rows"],
    ["checkpoint_hf"],
    goals="sft",
    methods={"full": {}},
    models={BIG: 8},
    resources={"nodes": 1, "gpus_per_node": 8},
    stack="heavy",
    roles=ROLES,
)
LIGHT = step(
    "sft/light",
    ["rows"],
    ["checkpoint_hf"],
    goals="sft",
    methods={"full": {}, "lora": {}},
    models={SMALL: 1, MIDDLE: 4},
    open_models=True,
    gpus=1,
    stack="light",
)
ADAPTERS = step(
    "peft/light",
    ["rows"],
    ["checkpoint_lora"],
    goals="sft",
    methods={"lora": {}},
    models={BIG: 2},
    gpus=1,
    stack="light",
)


def sft(**more):
    return stage("sft", SFT, **({"model": BIG, "method": "full", "nodes": 1, "gpus": 8} | more))


def test_enough_gpus_are_shown_with_the_numbers():
    found = {check.code: check for check in checks("gpus.", sft(), gpu="H100")}
    assert {check.status for check in found.values()} == {"ok"}
    assert found["gpus.step-minimum"].compared == (
        "sft/heavy asks for 8 GPUs a node; the stage has 8"
    )
    assert found["gpus.model-minimum"].compared == (
        f"{BIG} with sft/heavy needs 8 GPUs; the stage has 1 x 8 = 8"
    )
    assert found["gpus.memory"].compared == (
        "30B parameters (from the name), full, 16 bytes, and 15% headroom: 552 GB; "
        "8 x H100 have 640 GB"
    )


def test_no_gpus_at_all_is_one_clear_message():
    found = checks("gpus.", sft(gpus=0), gpu="H100")
    assert [check.code for check in found] == ["gpus.none"]
    assert found[0].compared == "sft/heavy needs 8 GPUs a node; the stage has 0"
    assert found[0].fix == "set resources.gpus (or the stage's gpus) to 8"


def test_no_gpus_for_a_model_of_several_nodes_names_the_nodes():
    big = step("sft/b", models={BIG: 32}, gpus=8, goals="sft")
    check = only("gpus.none", stage("sft", big, model=BIG))
    assert check.fix == "set resources.gpus (or the stage's gpus) to 8 and nodes to 4"


def test_a_step_that_needs_no_gpu_is_not_asked_about_them():
    own = step("pack/a", ["rows"], ["packed"], gpus=0)
    assert not checks("gpus.", stage("pack", own, model=BIG))


def test_too_few_gpus_are_answered_with_the_cheapest_way_first():
    check = only("gpus.model-minimum", sft(gpus=4), gpu="H100", alternatives=[LIGHT, ADAPTERS])
    assert check.status == "warning"
    ways = check.fix.split("; ")
    assert ways == [
        f"1) a smaller model: {MIDDLE} with sft/light from 4 GPUs, {SMALL} with sft/light from "
        "1 GPU",
        "2) LoRA: peft/light with method lora from 2 GPUs",
        "3) LoRA: sft/light with method lora from 1 GPU (74.52 GB of 80 GB each)",
        "4) full as planned needs 8 GPUs",
    ]


def test_another_stack_is_proposed_before_lora_where_it_fits():
    listing = step(
        "sft/light", goals="sft", methods={"full": {}}, models={BIG: 4}, gpus=1, stack="light"
    )
    check = only("gpus.model-minimum", sft(gpus=4), alternatives=[listing, ADAPTERS])
    assert check.fix.split("; ")[:2] == [
        f"1) the light stack: sft/light takes {BIG} from 4 GPUs",
        "2) LoRA: peft/light with method lora from 2 GPUs",
    ]


def test_a_smaller_model_is_proposed_with_a_step_that_trains_as_planned():
    lora = step("peft/a", goals="sft", methods={"lora": {}}, models={MIDDLE: 1}, gpus=1)
    check = only("gpus.model-minimum", sft(gpus=4), alternatives=[lora, LIGHT])
    assert f"{MIDDLE} with sft/light from 4 GPUs" in check.fix


def test_alternatives_for_another_goal_are_not_proposed():
    other = step("rl/a", goals="dpo", models={SMALL: 1}, methods={"lora": {}}, stack="rl")
    check = only("gpus.model-minimum", sft(gpus=4), alternatives=[other])
    assert check.fix == "1) full as planned needs 8 GPUs"


def test_gpus_that_are_there_and_not_asked_for_come_first():
    check = only("gpus.model-minimum", sft(gpus=4), nodes=2, gpus=8)
    assert check.fix.startswith("1) give the stage all that is there (2 x 8 = 16 GPUs)")


def test_what_a_step_s_header_asks_for_is_softer_than_what_its_notes_do():
    assert only("gpus.step-minimum", sft(gpus=4)).severity == "warning"
    hard = step("sft/a", gpus=8)
    check = only("gpus.step-minimum", stage("sft", hard, gpus=4))
    assert (check.status, check.severity) == ("warning", "error")


def test_full_training_that_needs_more_nodes_names_them():
    check = only("gpus.memory", sft(model="org/huge-120B"), gpu="H100")
    assert check.status == "warning"
    assert check.fix.endswith("full as planned needs 28 GPUs (4 x 8)")


@pytest.mark.parametrize(
    ("more", "gpu", "reason"),
    [
        ({}, None, "set resources.gpu"),
        ({}, "H10O", "did you mean 'H100'?"),
        ({"model": "org/mine"}, "H100", "how many parameters"),
    ],
)
def test_memory_is_not_checked_without_a_size_or_a_device(more, gpu, reason):
    check = only("gpus.memory", sft(**more), gpu=gpu)
    assert check.status == "not checked"
    assert reason in check.fix


def test_parameters_that_are_counted_are_better_than_a_name():
    files = {BIG: {"parameters": 1_000_000_000}}
    check = only("gpus.memory", sft(gpus=1), gpu="H100", model_files=files)
    assert check.status == "ok"
    assert check.compared.startswith("1B parameters (counted in its files)")


def test_what_any_step_says_of_a_model_is_better_than_its_name():
    said = {"name": BIG, "description": "31.6B total / 3.2B active", "min_gpus": 8}
    other = step("sft/b", goals="sft")
    other = type(other).model_validate(other.model_dump() | {"models": [said]})
    check = only("gpus.memory", sft(), gpu="H100", alternatives=[other])
    assert check.compared.startswith("31.6B parameters (from the catalog)")


def test_a_conversion_is_not_asked_for_the_memory_of_a_training():
    own = step("convert/a", ["checkpoint_hf"], ["checkpoint_sharded"], goals="convert")
    assert not checks("gpus.memory", stage("convert", own, model=BIG, gpus=1), gpu="H100")


@pytest.mark.parametrize(
    ("step_models", "more", "model", "files", "status"),
    [
        ({BIG: 8}, {}, BIG.upper(), {}, "ok"),
        ({BIG: 8}, {}, "/models/big-30B-A3B", {}, "ok"),
        ({BIG: 8}, {}, "other/big-30B-A3B", {}, "warning"),
        ({BIG: 8}, {"open_models": True}, SMALL, {}, "ok"),
        ({}, {"architectures": "*ForCausalLM"}, SMALL, {}, "not checked"),
        ({}, {"architectures": "*ForCausalLM"}, "m", {"m": "AForCausalLM"}, "ok"),
        ({}, {"architectures": "*ForCausalLM"}, "m", {"m": "AEncoder"}, "warning"),
        ({}, {"architectures": "*ForCausalLM"}, "m", {"m": "llama"}, "not checked"),
    ],
)
def test_a_step_lists_its_models_or_takes_an_architecture(step_models, more, model, files, status):
    own = step("sft/a", goals="sft", models=step_models, **more)
    known = {name: {"architecture": found} for name, found in files.items()}
    check = only("model.supported", stage("sft", own, model=model), model_files=known)
    assert check.status == status


def test_a_step_that_does_not_touch_the_model_need_not_support_it():
    own = step("make/a", ["rows"], ["rows"], models={SMALL: 1})
    assert not checks("model.supported", stage("make", own, model=BIG))


def shape(nodes=1, gpus=8, environ=None, **config):
    own = sft(nodes=nodes, gpus=gpus, config=config)
    found = checks("parallel.divides", own, environ=environ or {})
    found += checks("batch.divides", own, environ=environ or {})
    return {check.code: check for check in found}


def test_sizes_that_divide_are_shown_with_the_numbers():
    found = shape(nodes=4, tp=8, pp=2, cp=1, ep=8, batch=64, micro=2)
    assert found["parallel.divides"].status == "ok"
    assert found["parallel.divides"].compared == (
        "tensor parallel 8 x pipeline parallel 2 x context parallel 1 = 16; 4 x 8 = 32 GPUs: "
        "data parallel 2; expert parallel 8 divides 16"
    )
    assert found["batch.divides"].compared == (
        "global batch 64; micro batch 2 x data parallel 2 = 4 (32 ranks): 16 micro batches a step"
    )


def test_sizes_that_do_not_divide_are_told_with_sizes_that_do():
    check = shape(gpus=4, tp=8, pp=1)["parallel.divides"]
    assert check.status == "warning"
    assert check.fix == ("set tp = 4, pp = 1; or take a multiple of 8 GPUs, like 8")


def test_experts_that_do_not_divide_are_told():
    check = shape(gpus=4, tp=4, pp=1, ep=8)["parallel.divides"]
    assert (check.status, check.fix) == ("warning", "set ep = 4")


def test_a_batch_that_does_not_divide_is_told_with_the_nearest():
    check = shape(tp=1, batch=20, micro=2)["batch.divides"]
    assert check.status == "warning"
    assert check.fix == "set batch to 16 or 32"
    assert shape(tp=1, batch=3)["batch.divides"].fix == "set batch to 8"


def test_sizes_in_references_and_variables_are_followed():
    sizes = {"tp": "${oc.env:TP,2}", "pp": "${tp}", "batch": 8}
    assert "= 4; 1 x 8" in shape(**sizes)["parallel.divides"].compared
    assert shape(environ={"TP": "3"}, **sizes)["parallel.divides"].status == "warning"


@pytest.mark.parametrize("value", ["${oc.env:TP}", "many", "${nowhere}"])
def test_a_size_that_cannot_be_told_is_not_checked(value):
    found = shape(tp=value, batch=8)
    assert found["parallel.divides"].status == "not checked"
    assert "batch.divides" not in found


@pytest.mark.parametrize("value", [None, "none"])
def test_a_size_that_is_left_open_is_one(value):
    assert shape(tp=value, pp=2)["parallel.divides"].compared.startswith("pipeline parallel 2 = 2")


def test_on_a_cpu_only_the_batch_is_looked_at():
    found = shape(gpus=0, tp=8, batch=5, micro=2)
    assert list(found) == []
    assert shape(gpus=0, batch=5, micro=2)["batch.divides"].status == "warning"


def test_a_proposal_says_what_its_step_asks_for_a_model_of_that_size():
    wide = LIGHT.model_copy(
        update={
            "models": [LIGHT.models[0].model_copy(update={"name": "org/twin-32B", "min_gpus": 8})]
        }
    )
    check = only("gpus.model-minimum", sft(gpus=4), gpu="H100", alternatives=[wide])
    assert "it asks 8 GPUs for org/twin-32B" in check.fix


def test_one_list_of_ways_out_is_enough():
    found = checks("gpus.", sft(gpus=4), gpu="H100", alternatives=[LIGHT])
    fixes = {check.code: check.fix for check in found}
    assert fixes["gpus.step-minimum"] == fixes["gpus.memory"] == "see gpus.model-minimum"
    assert fixes["gpus.model-minimum"].startswith("1) ")


def test_a_step_for_one_gpu_is_not_given_more():
    one = step("sft/one", ["rows"], ["checkpoint_hf"], goals="sft", gpus=0, most_gpus=1)
    check = only("gpus.memory", stage("sft", one, model=MIDDLE, gpus=1), gpu="H100", gpus=8)
    assert check.status == "warning"
    assert check.fix == "1) another step: sft/one uses 1 GPU at most"


@pytest.mark.parametrize(("memory_mb", "status"), [(200_000, "ok"), (100_000, "warning")])
def test_without_a_gpu_a_training_has_to_fit_into_host_memory(memory_mb, status):
    one = step("sft/one", ["rows"], ["checkpoint_hf"], goals="sft", gpus=0)
    check = only("memory.host", stage("sft", one, model=MIDDLE), memory_mb=memory_mb)
    assert check.status == status
    assert "147.2 GB" in check.compared and "resources.memory_mb" in check.compared
    assert status == "ok" or check.fix.startswith("set resources.memory_mb to 1472")


EVALUATE = step("eval/a", ["checkpoint_hf"], ["scores"], goals="evaluate", gpus=1, most_gpus=1)


def test_a_model_that_answers_has_to_fit_with_its_weights_alone():
    fine = only("gpus.memory", stage("eval", EVALUATE, model=BIG, gpus=1), gpu="H100")
    assert fine.status == "ok" and "30B parameters (from the name), inference" in fine.compared
    large = only("gpus.memory", stage("eval", EVALUATE, model="org/huge-120B", gpus=1), gpu="H100")
    assert large.status == "warning"
    assert large.fix == "give it 4 GPUs, and spread the model in its configuration"


def test_an_endpoint_needs_no_gpu_of_ours():
    assert checks("gpus.", stage("eval", EVALUATE, model=BIG, endpoint=True), gpu="H100") == []
    assert checks("memory.", stage("eval", EVALUATE, model=BIG, endpoint=True)) == []
