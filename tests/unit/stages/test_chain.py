"""The chain of a configuration: what an approval covers, smoke documents, open questions."""

import json

import pytest

from lockgate.errors import LockgateError
from lockgate.stages import chain

SFT = {"goal": "sft", "model": "small", "data": "chat.jsonl", "method": "full"}
EVALUATE = {"goal": "evaluate"}

OWN = """
[step]
id = "eval/mine"
category = "eval"
[[consumes]]
type = "checkpoint_hf"
[[produces]]
type = "marks"
[reference]
like = "eval/measure"
[lockgate]
gpus = 0
inputs.checkpoint_hf = { key = "model" }
outputs.marks = { key = "out" }
"""


def pieces(planned, kind, gate="plan"):
    return [item for item in planned.items[gate] if item.startswith(kind)]


def asked(planned):
    """Key and default of each question, by its stage."""
    return {(one["stage"], one["key"]): one["default"] for one in planned.questions}


def test_an_approval_covers_the_experiment_each_document_and_the_catalog_files(shop):
    planned = shop.read(SFT, EVALUATE)
    names = [item.split(":")[0] for item in planned.items["plan"]]
    kinds = ("stages/", "smoke/", "experiment")
    assert [name for name in names if name.startswith(kinds)] == [
        "experiment",
        "stages/sft-whole",
        "smoke/sft-whole",
        "stages/eval-measure",
        "smoke/eval-measure",
    ]
    assert pieces(planned, "", "preview") == pieces(planned, "smoke/")


def test_an_approval_covers_the_catalog_files_used_and_no_others(shop):
    planned = shop.read(SFT)
    used = [item.split(":")[0] for item in pieces(planned, "catalog/")]
    steps = [path for path in used if "sft" in path or "rl" in path or "convert" in path]
    assert steps == [
        "catalog/catalog/sft/whole/config/default.yaml",
        "catalog/catalog/sft/whole/step.py",
        "catalog/catalog/sft/whole/step.toml",
    ]
    assert {"catalog/catalog/types.toml", "catalog/catalog/patterns/short-runs.md"} <= set(used)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("sft/whole/step.py", "it is never run", "it is not run"),
        ("sft/whole/step.toml", "Trains any", "Trains each"),
        ("sft/whole/config/default.yaml", "decay: 1", "decay: 2"),
        ("types.toml", "Rows as they came", "Rows"),
        ("patterns/short-runs.md", "Try a short run", "Try"),
    ],
)
def test_a_changed_catalog_file_needs_a_new_approval(shop, file, old, new):
    before = shop.read(SFT)
    shop.edit(f"catalog/{file}", old, new)
    after = shop.read(SFT)
    assert pieces(after, "catalog/") != pieces(before, "catalog/")
    # what steps do is in their documents too; words about them are not
    changed = pieces(after, "stages/") != pieces(before, "stages/")
    assert changed == file.startswith("sft/")
    assert after.fingerprint != before.fingerprint


def test_a_file_of_a_step_that_is_not_used_changes_nothing(shop):
    before = shop.read(SFT).items
    shop.edit("catalog/rl/pairs/step.py", "never", "not")
    shop.edit("catalog/rl/pairs/config/default.yaml", "100", "200")
    assert shop.read(SFT).items == before


def test_the_same_project_elsewhere_is_the_same_chain(shop, tmp_path, monkeypatch):
    before = shop.read(SFT, EVALUATE)
    assert shop.read(SFT, EVALUATE).items == before.items
    twin = type(shop)(tmp_path / "twin")
    monkeypatch.chdir(twin.root)
    assert twin.read(SFT, EVALUATE).items == before.items
    assert str(tmp_path) not in json.dumps(before.documents)


def test_the_question_is_covered_and_changes_no_document(shop):
    before = shop.read(SFT)
    words = {"name": before.config.experiment.name, "question": "Else?", "hypothesis": "No."}
    after = shop.read(SFT, experiment=words)
    assert pieces(after, "experiment") != pieces(before, "experiment")
    assert after.documents == before.documents


def test_a_step_of_the_users_own_has_a_line_of_its_own(shop):
    shop.step("eval/mine", OWN, "model: ???\nout: ???\n")
    planned = shop.read(SFT, {"step": "eval/mine"})
    assert pieces(planned, "explorer/") == [
        "explorer/eval-mine: eval/mine is your own step, no catalog vouches for it"
    ]
    assert pieces(shop.read(SFT, EVALUATE), "explorer/") == []


def test_a_reduced_run_is_smaller_and_writes_below_preview_only(shop):
    planned = shop.read(SFT, EVALUATE)
    full, smoke = (planned.documents[f"{kind}/sft-whole"] for kind in ("stages", "smoke"))
    assert ("steps" in full["settings"], smoke["settings"]["steps"]) == (False, 2)
    for name, document in planned.documents.items():
        text = json.dumps(document)
        below = text.count("@results@/preview/stages/")
        assert text.count("@results@/") == (
            below if name.startswith("smoke/") else text.count("@results@/stages/")
        )
    moved = planned.documents["smoke/eval-measure"]
    assert moved["inputs"]["checkpoint_hf"]["path"] == smoke["outputs"]["checkpoint_hf"]


def test_a_list_of_data_sets_is_written_into_the_stages_own_directory(shop):
    pack = {"step": "data_prep/pack", "data": "chat.jsonl", "with": {"tokenizer": "t"}}
    document = shop.read(pack).documents["stages/data-prep-pack"]
    place = f"{document['directory']}/training_jsonl.blend.json"
    assert document["blends"] == {"training_jsonl": {"file": place, "path": "chat.jsonl"}}
    assert document["settings"]["data.path"] == place
    assert list(document["data_files"]) == ["chat.jsonl"]


def test_what_is_not_known_is_asked_and_nothing_starts(shop):
    planned = shop.read({"step": "sft/whole", "method": "full"})
    assert asked(planned) == {("sft-whole", "data"): None, ("sft-whole", "model"): None}
    assert planned.blocked == "it has open questions (sft-whole: data, sft-whole: model)"
    assert asked(shop.read(SFT)) == {}
    assert shop.read(SFT).blocked == ""


def test_a_method_that_is_not_named_is_asked_with_a_default(shop):
    planned = shop.read({**SFT, "method": None})
    assert [(one["key"], one["options"], one["default"]) for one in planned.questions] == [
        ("method", ["full", "lora"], "full")
    ]
    assert planned.blocked == ""


def test_a_key_without_a_value_is_asked_with_its_choices(shop):
    shop.edit("catalog/eval/measure/config/default.yaml", "judge: strict", "judge: ???")
    planned = shop.read(SFT, EVALUATE)
    (question,) = planned.questions
    assert (question["key"], question["options"]) == ("judge", ["strict", "kind"])
    assert planned.open_questions == [question]
    answered = shop.read(SFT, {**EVALUATE, "with": {"judge": "kind"}})
    assert answered.questions == []


@pytest.mark.parametrize(
    ("default", "blocked"),
    [("", "it has open questions (eval-measure: place)"), ('default = "here"\n', "")],
)
def test_a_question_of_the_notes_waits_unless_it_has_a_default(shop, default, blocked):
    text = f'\n[[lockgate.questions]]\nkey = "place"\nask = "Where?"\n{default}'
    manifest = (shop.root / "catalog/eval/measure/step.toml").read_text()
    shop.write("catalog/eval/measure/step.toml", manifest + text)
    planned = shop.read(SFT, EVALUATE)
    assert asked(planned) == {("eval-measure", "place"): "here" if default else None}
    assert planned.blocked == blocked
    assert shop.read(SFT, {**EVALUATE, "with": {"place": "there"}}).questions == []


def test_a_question_of_the_notes_is_asked_only_where_it_applies(shop):
    text = '\n[[lockgate.questions]]\nkey = "k"\nask = "?"\ntest = { model = "org/*" }\n'
    manifest = (shop.root / "catalog/rl/pairs/step.toml").read_text()
    shop.write("catalog/rl/pairs/step.toml", manifest + text)
    item = {"goal": "dpo", "data": "pairs.jsonl"}
    assert asked(shop.read({**item, "model": "small"})) == {}
    assert asked(shop.read({**item, "model": "other"})) == {("rl-pairs", "k"): None}


def test_a_goal_that_no_step_has_blocks_with_a_word(shop):
    planned = shop.read({"goal": "translate", "data": "chat.jsonl"})
    assert (planned.stages, planned.documents) == ([], {})
    assert planned.blocked == f"it has no stages: {planned.missing}"


def test_a_configuration_without_stages_is_refused(shop):
    with pytest.raises(LockgateError, match=r"^chain\.yaml"):
        chain.read({"experiment": {}}, "chain.yaml")
