"""An effective configuration holds no secret, no artifact reference and no placeholder."""

import pytest

from checked_chains import checks, only, stage, step
from lockgate.stages.checks import CHECKS
from lockgate.stages.checks.values import Unresolved, leaves, resolve

OWN = step("own/a")


def own(config, **more):
    return stage("own", OWN, config=config, **more)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("api_key", "plain"),
        ("server.api_key", "f00dcafe"),
        ("hf_token", "abc"),
        ("token", "abc"),
        ("access_key", "abc"),
        ("password", "hunter2"),
        ("password", 12345),
        ("client_secret", "shhh"),
        ("api_key", "${oc.env:KEY,f00dcafe}"),
        ("encryption_key", "3f2a9c7d1b"),
        ("anything", "nvapi-0123456789abcdef"),
        ("anything", "Bearer hf_AbCdEfGhIjKlMnOp1"),
        ("anything", "${oc.env:KEY,sk-proj-0123456789abcdef}"),
        ("url", "https://me:hunter2@example.org/v1"),
    ],
)
def test_what_looks_like_a_secret_is_told_and_never_shown(key, value):
    *above, last = key.split(".")
    config = {last: value}
    for part in reversed(above):
        config = {part: config}
    check = only("config.secret", own(config))
    assert check.status == "warning"
    assert key in check.compared
    assert str(value) not in check.compared + check.fix


def test_a_secret_in_a_list_or_in_the_settings_alone_is_found():
    config = {"providers": [{"name": "a"}, {"name": "b", "api_key": "f00dcafe"}]}
    assert "providers.1.api_key" in only("config.secret", own(config)).compared
    settings = {"providers": [{"api_key": "f00dcafe"}], "token": "abc"}
    check = only("config.secret", own({}, settings=settings))
    assert check.compared.startswith("providers, token holds")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("api_key", ""),
        ("api_key", None),
        ("api_key", "NVIDIA_API_KEY"),
        ("HF_TOKEN", "HF_TOKEN"),
        ("api_key", "${oc.env:NVIDIA_API_KEY}"),
        ("api_key", "${oc.env:NVIDIA_API_KEY,''}"),
        ("api_key", "${oc.env:NVIDIA_API_KEY,null}"),
        ("api_key", "${server.api_key}"),
        ("api_key", "???"),
        ("api_key_env", "my_variable"),
        ("max_tokens", 512),
        ("save_tokenizer", True),
        ("tokenizer", "org/model"),
        ("pad_token", "<pad>"),
        ("prompt_key", "prompt"),
        ("model", "org/hf_checkpoint-sk-small"),
        ("source", "git+https://example.org/a.git@d10cd6ffe9f5ac4cbb176d7b3ada698f22633aea"),
    ],
)
def test_names_of_variables_tokens_and_columns_are_no_secrets(key, value):
    assert only("config.secret", own({key: value})).status == "ok"


def test_an_artifact_reference_is_told_with_its_key():
    check = only("config.artifact-reference", own({"data": {"path": "${art:data,path}/x"}}))
    assert (check.status, check.severity) == ("warning", "error")
    assert check.compared == "data.path refers to an artifact by ${art:...}"
    assert only("config.artifact-reference", own({"a": "b"})).status == "ok"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("???", "a.b is ???"),
        ("/path/to/train.jsonl", "a.b = /path/to/train.jsonl"),
        ("${oc.env:NOWHERE}/out", "$NOWHERE is not set (a.b)"),
        ("${oc.env:FIRST,${oc.env:NOWHERE}}", "$NOWHERE is not set (a.b)"),
    ],
)
def test_what_nobody_has_given_yet_is_told_with_its_key(value, told):
    check = only("config.unresolved", own({"a": {"b": value}}))
    assert check.status == "warning"
    assert told in check.compared


@pytest.mark.parametrize(
    "value",
    ["${oc.env:HERE}/out", "${oc.env:NOWHERE,default}", "${oc.env:HERE,${oc.env:NOWHERE}}", "x", 3],
)
def test_values_that_are_given_are_fine(value):
    assert only("config.unresolved", own({"a": value}), environ={"HERE": "x"}).status == "ok"


def test_each_kind_of_open_value_is_told_once_for_all_its_keys():
    config = {"a": "???", "b": "???", "c": "${oc.env:OUT}/x", "d": "${oc.env:OUT}/y"}
    found = checks("config.unresolved", own(config))
    assert [check.compared for check in found] == [
        "a, b is ???: the step leaves it to you",
        "$OUT is not set (c, d)",
    ]


def resolved(config, key, **environ):
    return resolve(config, key, environ)


def test_references_are_followed_to_values_of_their_own_type():
    config = {
        "a": {"number": 8, "near": "${.number}", "far": "${b.text}"},
        "b": {"text": "x", "mixed": "${b.text}-${a.number}", "up": "${..a.number}"},
        "c": "${oc.decode:${oc.env:N,4}}",
        "d": "${oc.select:nowhere,${oc.env:N,5}}",
        "e": "${oc.env:N,''}",
    }
    assert resolved(config, "a.near") == 8
    assert resolved(config, "a.far") == "x"
    assert resolved(config, "b.mixed") == "x-8"
    assert resolved(config, "b.up") == 8
    assert resolved(config, "c") == 4
    assert resolved(config, "c", N="6") == 6
    assert resolved(config, "d") == 5
    assert resolved(config, "e") is None
    assert resolved(config, "nowhere") is None


@pytest.mark.parametrize("value", ["${b}", "${art:x}", "${oc.env:N}", "${a}", "${oc.select:b}"])
def test_a_reference_that_leads_nowhere_is_told(value):
    with pytest.raises(Unresolved):
        resolved({"a": value}, "a")


def test_a_variable_that_holds_a_reference_to_itself_ends():
    with pytest.raises(Unresolved):
        resolved({"a": "x${oc.env:N}"}, "a", N="${oc.env:N}")


def test_leaves_are_the_values_of_mappings_and_lists():
    assert dict(leaves({"a": [1, {"b": 2}], "c": {}, "d": None})) == {
        "a.0": 1,
        "a.1.b": 2,
        "d": None,
    }


def test_a_stage_that_says_nothing_at_all_breaks_no_check():
    empty = own({})
    assert {check.status for check in checks("", empty)} == {"ok"}
    assert len(CHECKS) == len(set(CHECKS))


def test_the_same_chain_gives_the_same_records():
    config = {"a": "???", "b": "${oc.env:OUT}"}
    assert checks("", own(config)) == checks("", own(config))


@pytest.fixture
def kinds(tmp_path):
    """The `config.kinds` records of values that the user sets over a default.yaml."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config/default.yaml").write_text(
        "steps: 10\nrate: 0.1\nname: a\nopen: ???\npacked: true\ntags: []\nmodel: {path: x}\n"
        "odd: 1e-5\nnothing: null\nway: slow\n"
    )

    def found(**settings):
        parameters = [{"name": "way", "choices": ["slow", "fast"]}]
        place = step("own/a").model_copy(update={"directory": tmp_path})
        own = place.model_validate({**place.model_dump(), "parameters": parameters})
        origin = dict.fromkeys(settings, "user")
        return checks("config.kinds", stage("own", own, settings=settings, origin=origin))

    return found


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("steps", "lots", "a whole number, like 10"),
        ("steps", 1.5, "a whole number, like 10"),
        ("steps", True, "a whole number, like 10"),
        ("rate", "fast", "a number, like 0.1"),
        ("packed", 1, "true or false, like True"),
        ("tags", "one", "a list, like []"),
        ("way", "middle", "one of slow, fast"),
    ],
)
def test_a_value_of_another_kind_than_the_default_is_told(kinds, key, value, wanted):
    (check,) = kinds(**{key: value})
    assert (check.status, check.compared) == ("warning", f"{key} = {value}")
    assert check.fix == f"set it to {wanted}"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("steps", 20),
        ("rate", 1),
        ("name", 7),
        ("open", [1]),
        ("odd", 0.1),
        ("nothing", {"a": 1}),
        ("steps", "${oc.env:STEPS}"),
        ("steps", None),
        ("model.path", "y"),
        ("way", "fast"),
        ("unknown", 1),
    ],
)
def test_a_value_that_may_stand_for_the_default_is_not_told(kinds, key, value):
    assert kinds(**{key: value}) == []


def test_what_the_plan_sets_is_not_judged(kinds):
    own = step("own/a")
    assert (
        checks(
            "config.kinds", stage("own", own, settings={"steps": "x"}, origin={"steps": "input"})
        )
        == []
    )
