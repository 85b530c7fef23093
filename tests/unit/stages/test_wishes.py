"""What a user brings to a chain: models, data and inputs, by what they are."""

import json

import pytest

from lockgate.errors import LockgateError
from lockgate.stages import wishes
from lockgate.stages.checks.context import absent

SFT = {"goal": "sft", "model": "small", "data": "chat.jsonl"}


def refused(shop, *stages, **more):
    with pytest.raises(LockgateError) as error:
        shop.read(*stages, **more)
    return error.value


def given(shop, **item):
    """Types and paths of what the last item brings."""
    return {kind: one.path for kind, one in shop.read(item).wishes[-1].given.items()}


def test_a_model_stays_the_base_until_another_is_named(shop):
    names = [SFT, {"goal": "dpo", "data": "pairs.jsonl"}, {**SFT, "model": "other"}]
    planned = shop.read(*names)
    assert [wish.model for wish in planned.wishes] == ["models/small", "models/small", "org/other"]
    assert "checkpoint_hf" not in planned.wishes[1].given


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("config.json", "checkpoint_hf"),
        ("adapter_config.json", "checkpoint_lora"),
        ("latest_checkpointed_iteration.txt", "checkpoint_megatron"),
    ],
)
def test_a_models_directory_is_what_its_files_say(shop, file, kind):
    place = shop.write(f"models/found/{file}", "{}").parent
    assert wishes._checkpoint(place) == kind


def test_a_concrete_checkpoint_directory_is_in_pieces(shop):
    place = shop.write("models/iter_0000100/shard.pt", "x").parent
    assert wishes._checkpoint(place) == "checkpoint_megatron"


def test_rows_are_raw_unless_they_or_the_user_say_more(shop):
    assert given(shop, **SFT)["raw_jsonl"] == "chat.jsonl"
    assert given(shop, **SFT, data_type="training_jsonl")["training_jsonl"] == "chat.jsonl"
    quiz = [{"question": "?", "options": ["a", "b"], "answer": "a"}] * 3
    shop.rows("quiz.jsonl", quiz)
    assert given(shop, **{**SFT, "data": "quiz.jsonl"})["benchmark_parquet"] == "quiz.jsonl"


def test_further_inputs_are_given_by_type(shop):
    assert given(shop, step="convert/join", inputs={"checkpoint_sharded": "some/pieces"}) == {
        "checkpoint_sharded": "some/pieces"
    }


def test_a_word_that_is_neither_a_stage_nor_a_file_is_told(shop):
    last = {"goal": "evaluate", "inputs": {"checkpoint_hf": "tune"}}
    error = refused(shop, {**SFT, "name": "tuned"}, last)
    assert error.where == "chain.yaml: stages[1].inputs.checkpoint_hf"
    assert error.what == "no stage is named 'tune', and there is no such file"
    assert error.hint == "stages with a name: tuned"


@pytest.mark.parametrize(
    ("change", "key", "what", "hint"),
    [
        ({"model": "smal"}, "model", "there is no model 'smal'", "small, large, other"),
        ({"data_type": "rows"}, "data_type", "there is no artifact type 'rows'", "raw_jsonl"),
        (
            {"inputs": {"rows": "x"}},
            "inputs.rows",
            "there is no artifact type 'rows'",
            "packed_parquet",
        ),
    ],
)
def test_an_unknown_name_is_told_with_its_key_and_what_there_is(shop, change, key, what, hint):
    error = refused(shop, {**SFT, **change})
    assert (error.where, error.what) == (f"chain.yaml: stages[0].{key}", what)
    assert hint in error.hint


def test_a_model_that_is_not_there_is_told(shop):
    error = refused(shop, SFT, models={"small": {"path": "models/gone"}})
    assert error.where == "chain.yaml: models.small.path"


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"with": {"service": {"api_key": "abcdef0123456789"}}}, "with.service.api_key"),
        ({"with": {"token_of": ["hf_abcdEFGH12345678"]}}, "with.token_of"),
    ],
)
def test_a_secret_is_refused_and_not_shown(shop, change, key):
    error = refused(shop, {"goal": "evaluate", "model": "small", **change})
    assert f"chain.yaml: stages[0].{key}" in str(error)
    assert "secret" in error.what
    for secret in ("abcdef0123456789", "hf_abcd", "hidden"):
        assert secret not in str(error)


def test_a_key_in_an_address_is_refused_and_not_shown(shop):
    endpoint = {"url": "http://me:hidden@host/v1", "model": "m"}
    error = refused(shop, {"goal": "evaluate", "model": "small", "endpoint": endpoint})
    assert "stages[0].endpoint.url: an address has no user or key in it" in str(error)
    assert "hidden" not in str(error)


def test_the_name_of_a_variable_is_no_secret(shop):
    item = {**SFT, "with": {"service.api_key": "${oc.env:SERVICE_KEY}"}}
    assert shop.read(item).stages


def test_files_are_known_by_their_content(shop):
    first = shop.read(SFT).wishes[0].files
    assert list(first) == ["chat.jsonl"]
    assert shop.read(SFT).wishes[0].files == first
    shop.rows("chat.jsonl", [{"prompt": "new", "completion": "rows"}])
    assert shop.read(SFT).wishes[0].files != first


def test_a_directory_and_a_glob_are_known_by_all_their_files(shop):
    shop.rows("many/a.jsonl", [{"text": "a"}])
    for path in ("many", "many/*.jsonl"):
        before = wishes.digests(path, shop.root)
        assert list(before) == [path]
        shop.rows("many/b.jsonl", [{"text": path}])
        assert wishes.digests(path, shop.root) != before
        (shop.root / "many/b.jsonl").unlink()
        assert wishes.digests(path, shop.root) == before


def test_a_path_is_absent_unless_it_is_here_or_may_be_elsewhere(shop):
    gone = ["gone.jsonl", "deep/er/gone", "gone/*.jsonl", "/gone/rows.jsonl"]
    assert [path for path in gone if not absent(path, shop.root)] == []
    there = ["chat.jsonl", "models/small", "*.jsonl", "org/on-the-hub", "s3://pail/rows", "???"]
    assert [path for path in there if absent(path, shop.root)] == []


@pytest.mark.parametrize("path", ["org/on-the-hub", "gone.jsonl", "gone/*.jsonl"])
def test_what_is_not_a_file_here_has_no_digest(shop, path):
    assert wishes.digests(path, shop.root) == {}


def test_an_architecture_is_known_where_the_models_files_are_here(shop):
    assert wishes.architecture("models/small") == "SmallForCausalLM"
    assert wishes.architecture("org/large") is None
    shop.write("models/bare/config.json", json.dumps({}))
    assert wishes.architecture("models/bare") is None


def test_another_config_of_the_model_is_another_model(shop):
    before = shop.read(SFT).wishes[0].identity
    shop.edit("models/small/config.json", "Small", "Smaller")
    assert shop.read(SFT).wishes[0].identity != before
