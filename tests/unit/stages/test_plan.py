"""The plan of a chain: its warnings, what it never holds, and its files."""

import json

import pytest

from lockgate.journal import Journal
from lockgate.stages import plan

SFT = {"goal": "sft", "model": "small", "data": "chat.jsonl", "method": "full"}
MACHINE = {"cpus": 8, "memory_mb": 64000, "free_disk_mb": 1, "gpus": [], "partitions": []}
RESOURCES = {"prerequisites": [], "machine": MACHINE, "model_files": {}}
SERVED = {"url": "http://127.0.0.1:1/v1", "model": "m", "api_key_env": "SHOP_KEY"}


def document(chain, resources=RESOURCES):
    return plan.document(chain, resources, chain.config.results / "ledger.jsonl", Journal())


def warnings(chain, code):
    found = document(chain)["checks"]
    return [one for one in found if (one["status"], one["code"]) == ("warning", code)]


def written(shop, *items, **more):
    """The plan, and the text of each file of its phase."""
    chain, log, names = shop.read(*items, **more), Journal(), {}
    made = plan.document(chain, RESOURCES, shop.root / "ledger.jsonl", log)
    log.write(shop.root / "plan/log.jsonl")
    for name in ("markdown", "html", "summary", "summary_data", "design_log", "plan"):
        names[name] = str(shop.root / "plan" / name)
    plan.write(made, chain, names, [shop.root / "plan/log.jsonl"])
    return made, {path.name: path.read_text() for path in (shop.root / "plan").iterdir()}


def test_an_unknown_key_is_warned_of_with_the_nearest(shop):
    (found,) = warnings(shop.read({**SFT, "with": {"epoch": 3}}), "config.keys")
    assert (found["stage"], found["compared"], found["fix"]) == (
        "sft-whole",
        "sft/whole has no epoch",
        "write epochs",
    )
    (found,) = warnings(shop.read({**SFT, "with": {"zzzzzz": 3}}), "config.keys")
    assert found["fix"] == "leave it out"
    assert warnings(shop.read({**SFT, "with": {"epochs": 3}}), "config.keys") == []


def test_two_lengths_of_the_users_own_are_warned_of(shop):
    pack = {"step": "data_prep/pack", "data": "chat.jsonl"}
    pack["with"] = {"tokenizer": "t", "length": 64}
    train = {"step": "sft/sharded", "model": "large"}
    apart = shop.read(pack, {**train, "with": {"length": 128, "data.length": 128}})
    (found,) = warnings(apart, "length.match")
    assert "64" in found["compared"] and "128" in found["compared"]
    assert warnings(shop.read(pack, train), "length.match") == []


def test_of_two_steps_with_one_id_the_hidden_one_is_told(shop):
    for name in ("catalog/types.toml", "catalog/sft/whole/step.toml"):
        shop.write(name.replace("catalog", "second"), (shop.root / name).read_text())
    default = (shop.root / "catalog/sft/whole/config/default.yaml").read_text()
    shop.write("second/sft/whole/config/default.yaml", default)
    catalogs = [{"name": "mine", "path": "second"}]
    (found,) = warnings(shop.read(SFT, catalogs=catalogs), "catalog.precedence")
    assert found["compared"] == (
        "sft/whole of catalog mine comes first; catalog:sft/whole is there"
    )
    assert (found["fix"], found["severity"]) == (
        "write `step: catalog:sft/whole` to take that one",
        "note",
    )
    assert warnings(shop.read(SFT), "catalog.precedence") == []


def test_a_broken_catalog_file_is_told_and_the_rest_is_planned(shop):
    shop.write("catalog/rl/pairs/step.toml", "[step\n")
    chain = shop.read(SFT)
    (found,) = warnings(chain, "catalog.file")
    assert "rl/pairs/step.toml" in found["compared"]
    assert [stage["step"] for stage in document(chain)["stages"]] == ["sft/whole"]


@pytest.mark.parametrize(
    ("item", "told"),
    [
        ({}, ["1 x 8 GPUs; without a profile its runner starts 1 process"]),
        ({"gpus": 1}, []),
        ({"profile": "cluster"}, []),
    ],
)
def test_a_runner_that_starts_one_process_needs_a_profile_for_more_gpus(shop, item, told):
    catalogs = shop.checkout("sft/whole")
    chain = shop.read({**SFT, "step": "live:sft/whole", "goal": None, **item}, catalogs=catalogs)
    assert [one["compared"] for one in warnings(chain, "launch.profile")] == told


def test_a_program_of_its_own_starts_what_it_wants(shop):
    assert warnings(shop.read(SFT), "launch.profile") == []


def test_the_value_of_a_variable_is_in_no_file(shop, monkeypatch):
    monkeypatch.setenv("SHOP_KEY", "very-hidden-0123456789")
    measure = {"goal": "evaluate", "endpoint": SERVED, "tasks": ["sums"]}
    with_ = {"with": {"judge": "${oc.env:SHOP_KEY}"}}
    _, files = written(shop, {**measure, **with_})
    assert {
        "plan",
        "markdown",
        "html",
        "summary",
        "summary_data",
        "design_log",
        "log.jsonl",
    } == set(files)
    assert [name for name, text in files.items() if "very-hidden" in text] == []
    assert "SHOP_KEY" in files["plan"]


def test_what_is_covered_names_no_place_of_this_machine(shop):
    made, _ = written(shop, SFT, {"goal": "evaluate"})
    told = [made["covers"], made["fingerprint"], made["asked"], made["data"], made["catalog_files"]]
    told += [{k: v for k, v in stage.items() if k != "command"} for stage in made["stages"]]
    assert str(shop.root) not in json.dumps(told)


def test_the_same_plan_is_the_same_text(shop):
    assert json.dumps(document(shop.read(SFT))) == json.dumps(document(shop.read(SFT)))


def test_each_stage_tells_its_inputs_outputs_keys_and_command(shop):
    large = {"step": "sft/sharded", "model": "large", "data": "chat.jsonl"}
    made, files = written(shop, {**large, "with": {"steps": 5}})
    shard, pack, train = made["stages"]
    assert (shard["inserted"], pack["inserted"], train["inserted"]) == (True, True, False)
    assert [(one["type"], one["stage"], one["iterations"]) for one in train["inputs"]] == [
        ("packed_parquet", "data-prep-pack", ""),
        ("checkpoint_sharded", "convert-shard", "iter_*"),
    ]
    assert train["settings"][0] == {"key": "steps", "value": 5, "origin": "user"}
    assert made["covers"][-1] == "compute hours up to 9"
    text = files["markdown"]
    told = "checkpoint_sharded from stage convert-shard (the newest complete `iter_*`)"
    assert f"- Input: {told}" in text
    assert f"`results/shop_rows_2026-11-21/stages/sft-sharded/{_key(train)}/" in text
    assert "- convert-shard (`convert/shard`): inserted: sft/sharded consumes" in text
    assert "@results@" not in "".join(files.values())


def _key(stage):
    return stage["outputs"][0]["path"].split("/")[-2]


def test_warnings_questions_and_prerequisites_are_on_the_page(shop):
    chain = shop.read({"step": "sft/whole", "with": {"epoch": 3}})
    lacking = {"number": 1, "kind": "step", "name": "x", "detail": "no program", "fix": "write it"}
    made = document(chain, {**RESOURCES, "prerequisites": [lacking]})
    text = plan.pages.render("chain.md.j2", plan=made, links=[])
    assert (
        "**WARNING: config.keys (sft-whole)**: sft/whole has no epoch. Fix: write epochs." in text
    )
    assert "| sft-whole | `data` |" in text and "**none: it waits**" in text
    assert "1. step x: no program. write it." in text


def test_a_goal_that_nothing_supports_has_zero_stages_and_a_nearest_step(shop):
    made, files = written(shop, {"goal": "evaluated", "model": "small"})
    assert (made["stages"], made["nearest"]) == ([], "eval/measure")
    assert "**Zero stages.** 'evaluated' of models/small is not supported" in files["markdown"]
    assert "lockgate steps new CATEGORY/NAME --like eval/measure" in files["markdown"]


def test_the_page_needs_no_network(shop):
    _, files = written(shop, SFT, {"goal": "evaluate"})
    assert "```mermaid" in files["markdown"] and "```mermaid" not in files["html"]
    assert "<svg" in files["html"]
    assert "<script" not in files["html"] and 'src="http' not in files["html"]
