"""Configurations of steps: read with inheritance, checked by key, written as overlays."""

from pathlib import Path

import pytest
import yaml

from lockgate import catalog
from lockgate.catalog.model import Notes, Parameter, Step
from lockgate.errors import LockgateError
from lockgate.stages import configs
from lockgate.stages.model import Stage

REFERENCE = Path(__file__).parents[4] / "shared" / "reference" / "nemotron"

DEFAULT = """
run:
  env:
    image: registry/image:1
recipe:
  seq_length: 4096
  peft: null
dataset:
  path: ${oc.env:DATA_DIR,./data}/train.jsonl
  extra: {}
model:
  name: ${policy.model_name}
  path: ${art:model,path}
  language: ???
tokenizer:
  model: org/base
  add_bos: false
train:
  iters: 1000
  batch: 8
optimizer:
  eps: 1e-8
  betas: [0.9, 0.999]
released: 2025-01-31
tasks:
  - name: first
    limit: 5
  - name: second
"""
TINY = """
defaults: default.yaml
train:
  iters: 10
small_only: true
"""


def step(root, notes=None, files=None, parameters=(), **changes):
    """A step with files in its config folder."""
    folder = root / "sft" / "deep" / "config"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (
        {"default.yaml": DEFAULT, "tiny.yaml": TINY} if files is None else files
    ).items():
        (folder / name).write_text(text)
    return Step(
        id="sft/deep",
        catalog="mine",
        path="sft/deep",
        directory=root / "sft" / "deep",
        parameters=[Parameter(name=name) for name in parameters],
        notes=Notes.model_validate(notes or {}),
        **changes,
    )


def test_references_and_open_values_stay_text_and_scalars_are_read_as_the_runners_do(tmp_path):
    config = configs.read_config(step(tmp_path))
    assert config["dataset"]["path"] == "${oc.env:DATA_DIR,./data}/train.jsonl"
    assert config["model"] == {
        "name": "${policy.model_name}",
        "path": "${art:model,path}",
        "language": "???",
    }
    assert config["optimizer"]["eps"] == 1e-8
    assert config["released"] == "2025-01-31"


@pytest.mark.parametrize("base", ["default.yaml", "[default.yaml]"])
def test_defaults_are_followed_as_text_and_as_a_list_of_one(tmp_path, base):
    one = step(
        tmp_path,
        files={"default.yaml": DEFAULT, "t.yaml": f"defaults: {base}\ntrain: {{iters: 3}}"},
    )
    config = configs.read_config(one, "t")
    assert config["train"] == {"iters": 3, "batch": 8}
    assert "defaults" not in config


def test_an_absolute_base_is_followed_from_anywhere(tmp_path):
    one = step(tmp_path)
    overlay = tmp_path / "elsewhere" / "mine.yaml"
    overlay.parent.mkdir()
    overlay.write_text(f"defaults: {one.directory}/config/tiny.yaml\ntrain: {{batch: 2}}")
    assert configs.load(overlay)["train"] == {"iters": 10, "batch": 2}
    assert configs.load(overlay)["small_only"] is True


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("defaults: gone.yaml", "there is no file"),
        ("defaults: [a.yaml, b.yaml]", "no single file"),
        ("defaults: default.yaml", "its own base"),
        ("- a\n- b", "not a mapping"),
        ("a: [1", "not valid YAML"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, text, what):
    one = step(tmp_path, files={"default.yaml": text})
    with pytest.raises(LockgateError, match=what) as error:
        configs.read_config(one)
    assert "default.yaml" in error.value.where


def test_a_name_that_is_not_there_gets_the_names_that_are(tmp_path):
    with pytest.raises(LockgateError) as error:
        configs.read_config(step(tmp_path), "huge")
    assert "default, tiny" in error.value.hint


def test_the_runspec_says_where_the_configurations_are_and_which_is_the_default(tmp_path):
    other = tmp_path / "shared" / "configs"
    other.mkdir(parents=True)
    (other / "prod.yaml").write_text("a: 1")
    runspec = {"config_dir": "shared/configs", "default_config": "prod"}
    one = step(tmp_path, runspec=runspec)
    assert configs.names(one) == ["prod"]
    assert configs.read_config(one) == {"a": 1}
    assert configs.default_file(one)[1] == ""


def test_a_single_file_stands_in_for_a_missing_default_and_it_is_said(tmp_path):
    one = step(tmp_path, files={"cluster.yaml": "a: 1"})
    path, said = configs.default_file(one)
    assert path.name == "cluster.yaml"
    assert "no default.yaml" in said and "cluster.yaml" in said
    assert configs.read_config(one) == {"a": 1}


def test_a_step_without_configuration_is_empty(tmp_path):
    one = step(tmp_path, files={})
    assert configs.read_config(one) == {}
    assert configs.default_file(one)[0] is None
    assert configs.effective(one, {"a.b": 1}) == {"a": {"b": 1}}


def test_dotted_keys_reach_into_mappings_and_lists():
    config = {"a": {"b": 1}, "tasks": [{"name": "x"}]}
    assert configs.get(config, "a.b") == 1
    assert configs.get(config, "tasks.0.name") == "x"
    assert configs.get(config, "tasks.7.name") is configs.get(config, "a.b.c") is None
    configs.put(config, "tasks.0.name", "y")
    configs.put(config, "a.b.c", 2)
    assert config == {"a": {"b": {"c": 2}}, "tasks": [{"name": "y"}]}
    with pytest.raises(LockgateError, match="without a place 'name'"):
        configs.put(config, "tasks.name", "z")


def test_flattening_keeps_lists_and_empty_mappings_as_values():
    nested = {"a": {"b": {"c": 1}, "d": {}}, "e": [1, {"f": 2}], "g.h": None}
    assert configs.flatten(nested) == {"a.b.c": 1, "a.d": {}, "e": [1, {"f": 2}], "g.h": None}


def test_merging_replaces_lists_and_changes_neither_side():
    base, over = {"a": {"b": 1, "c": [1, 2]}}, {"a": {"c": [3]}, "d": {"e": []}}
    merged = configs.merge(base, over)
    assert merged == {"a": {"b": 1, "c": [3]}, "d": {"e": []}}
    merged["d"]["e"].append(1)
    assert (base, over) == ({"a": {"b": 1, "c": [1, 2]}}, {"a": {"c": [3]}, "d": {"e": []}})


ALIASES = {
    "aliases": {
        "seq_length": ["recipe.seq_length", "model.seq_length"],
        "peft=lora": {"recipe.peft.type": "lora", "recipe.peft.dim": 16},
        "peft=null": {"recipe.peft": "null"},
    }
}


def test_aliases_become_real_keys_and_the_rest_passes(tmp_path):
    one = step(tmp_path, ALIASES)
    assert configs.expand(one, {"seq_length": 8192, "train.iters": 5}) == {
        "recipe.seq_length": 8192,
        "model.seq_length": 8192,
        "train.iters": 5,
    }
    assert configs.expand(one, {"peft": "lora"}) == {
        "recipe.peft.type": "lora",
        "recipe.peft.dim": 16,
    }
    assert configs.expand(one, {"peft": None}) == {"recipe.peft": None}
    assert configs.expand(one, {"peft": "dora"}) == {"peft": "dora"}


def test_a_key_that_is_set_itself_wins_over_an_alias_in_any_order(tmp_path):
    one = step(tmp_path, ALIASES)
    for settings in (
        {"seq_length": 1, "model.seq_length": 2},
        {"model.seq_length": 2, "seq_length": 1},
    ):
        assert configs.expand(one, settings) == {"recipe.seq_length": 1, "model.seq_length": 2}


def test_keys_of_files_manifest_and_notes_are_supported(tmp_path):
    notes = {
        "keys": "hidden.key",
        "inputs": {"x": {"key": "in.path", "set": {"in.kind": 1}}},
        "outputs": {"y": {"key": "out.path"}},
        "roles": {"steps": "train.steps"},
    }
    found = configs.supported(step(tmp_path, notes, parameters=["seq_length"]))
    assert {"recipe.seq_length", "recipe", "small_only", "seq_length", "hidden.key"} <= found
    assert {"in.path", "in.kind", "out.path", "train.steps"} <= found
    assert "train.bogus" not in found


@pytest.mark.parametrize(
    "key",
    ["dataset.extra.anything", "recipe.peft.dim", "tasks.0.anything", "model.language.code",
     "model.name.part", "run.env.nodes", "defaults", "seq_length.deep"],
)  # fmt: skip
def test_anything_goes_below_what_is_open_and_in_what_is_the_runners_own(tmp_path, key):
    assert configs.unsupported(step(tmp_path, parameters=["seq_length"]), {key: 1}) == []


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("train.itres", "train.iters"),
        ("train.iters.more", "train.iters"),
        ("learning_rate", ""),
        ("recipe.sequence_length", "recipe.seq_length"),
    ],
)
def test_an_unknown_key_gets_the_nearest_one(tmp_path, key, nearest):
    assert configs.unsupported(step(tmp_path), {key: 1}) == [(key, nearest)]


def test_a_value_in_place_of_a_whole_mapping_is_found(tmp_path):
    one = step(tmp_path, parameters=["tokenizer"])
    assert configs.unsupported(one, {"tokenizer": "org/other"}) == [
        ("tokenizer", "tokenizer.model")
    ]
    for fine in (None, "${policy.tokenizer}", {"model": "org/other"}):
        assert configs.unsupported(one, {"tokenizer": fine}) == []


def test_settings_change_a_copy_of_the_default(tmp_path):
    one = step(tmp_path)
    config = configs.effective(one, {"train.iters": 7, "tasks.1.limit": 3, "dataset.extra.k": "v"})
    assert config["train"] == {"iters": 7, "batch": 8}
    assert config["tasks"] == [{"name": "first", "limit": 5}, {"name": "second", "limit": 3}]
    assert config["dataset"]["extra"] == {"k": "v"}
    assert configs.read_config(one)["train"]["iters"] == 1000


def test_settings_may_start_from_another_file_of_the_step(tmp_path):
    assert configs.effective(step(tmp_path), {"defaults": "tiny"})["train"]["iters"] == 10


SMOKE = {"smoke": {"train.batch": 2}, "roles": {"steps": "train.iters"}}


def test_a_reduced_run_takes_the_notes_and_what_roles_mean(tmp_path):
    one = step(tmp_path, SMOKE)
    reduced = configs.smoke(one, {"recipe.peft": None})
    assert reduced == {"recipe.peft": None, "train.batch": 2, "train.iters": 2}


def test_a_value_that_is_smaller_already_stays(tmp_path):
    one = step(tmp_path, SMOKE)
    assert configs.smoke(one, {"train.batch": 1, "train.iters": 1}) == {
        "train.batch": 1,
        "train.iters": 1,
    }


def test_the_reduced_configuration_is_smaller(tmp_path):
    one = step(tmp_path, SMOKE)
    full = configs.effective(one, {})
    assert configs.smaller(one, full, configs.effective(one, configs.smoke(one, {}))) == []
    assert configs.smaller(one, full, full) == ["none of train.batch, train.iters is smaller"]
    larger = configs.effective(one, {"train.batch": 2, "train.iters": 2000})
    assert configs.smaller(one, full, larger) == ["train.iters: 1000, here 2000, is larger"]


def test_null_in_place_of_a_number_means_all_of_it(tmp_path):
    one = step(tmp_path, {"smoke": {"limit": 8}}, {"default.yaml": "limit: null"})
    assert configs.smaller(one, {"limit": None}, {"limit": 8}) == []
    assert configs.smaller(one, {"limit": 8}, {"limit": None}) == ["limit: 8, here null, is larger"]


def test_a_step_whose_notes_reduce_nothing_is_not_smaller(tmp_path):
    one = step(tmp_path)
    assert configs.smaller(one, {}, {}) == ["nothing says what makes sft/deep small"]


def stage(one, **settings):
    return Stage(
        name="sft",
        step=one,
        why="chosen for `sft`\nand not for: another one",
        settings=settings,
        origin=dict.fromkeys(settings, "user"),
    )


COMMAND = ["tool", "run", "sft/deep", "-c", "/some where/mine_sft.yaml"]


def test_an_overlay_names_its_base_first_and_holds_only_what_differs(tmp_path):
    one = step(tmp_path)
    settings = {"train.iters": 7, "tasks.0.limit": 1, "a.list": (1, 2), "b.list": [1, 2]}
    text = configs.render(stage(one, **settings), settings, COMMAND)
    body = yaml.safe_load(text)
    assert list(body)[0] == "defaults"
    assert Path(body["defaults"]) == one.directory / "config" / "default.yaml"
    assert body["train"] == {"iters": 7}
    assert body["tasks"] == [{"name": "first", "limit": 1}, {"name": "second"}]
    assert body["a"] == body["b"] == {"list": [1, 2]}
    assert "&id" not in text
    written = tmp_path / "mine_sft.yaml"
    written.write_text(text)
    assert configs.load(written) == configs.effective(one, settings)


def test_the_header_says_what_the_file_is_and_how_it_is_run(tmp_path):
    one = step(tmp_path)
    text = configs.render(stage(one, **{"train.iters": 7}), {"train.iters": 7}, COMMAND)
    header = [line for line in text.splitlines() if line.startswith("#")]
    assert text.startswith(configs.MARK)
    assert "stage sft, step sft/deep of the catalog mine" in header[0]
    assert "#   tool run sft/deep -c '/some where/mine_sft.yaml'" in header
    assert "#   with: {train.iters: 7}" in header
    assert any("and not for: another one" in line for line in header)


def test_a_step_that_inherits_nothing_gets_the_whole_configuration(tmp_path):
    one = step(tmp_path)
    body = yaml.safe_load(configs.render(stage(one), {"train.iters": 7}, COMMAND, full=True))
    assert "defaults" not in body
    assert body["train"] == {"iters": 7, "batch": 8}
    assert body["optimizer"]["eps"] == 1e-8


def test_the_installed_file_is_new_and_no_shipped_one(tmp_path):
    one = step(tmp_path)
    known = configs.supported(one)
    text = configs.render(stage(one), {"train.bogus": 7}, COMMAND, installed=True)
    path = configs.install(one, "mine_sft.yaml", text)
    assert path.parent == one.directory / "config"
    assert yaml.safe_load(path.read_text())["defaults"] == "default.yaml"
    assert configs.load(path)["train"] == {"iters": 1000, "batch": 8, "bogus": 7}
    assert configs.names(one) == ["default", "tiny"]
    assert configs.supported(one) == known
    assert configs.install(one, "mine_sft.yaml", text) == path


@pytest.mark.parametrize("name", ["default.yaml", "tiny.yaml"])
def test_no_file_is_ever_overwritten(tmp_path, name):
    one = step(tmp_path)
    before = (one.directory / "config" / name).read_text()
    with pytest.raises(LockgateError, match="never overwritten"):
        configs.install(one, name, "a: 1")
    assert (one.directory / "config" / name).read_text() == before


@pytest.mark.parametrize("name", ["../mine.yaml", "mine.txt", ""])
def test_only_a_plain_name_of_a_yaml_file_is_installed(tmp_path, name):
    with pytest.raises(LockgateError, match="no name of a YAML file"):
        configs.install(step(tmp_path), name, "a: 1")
    assert not (tmp_path / "sft" / "deep" / "mine.yaml").exists()


def test_files_are_named_after_experiment_and_stage(tmp_path):
    one = stage(step(tmp_path))
    assert configs.file_name(one, "mine") == "mine_sft.yaml"
    assert configs.file_name(one, "mine", smoke=True) == "mine_sft_smoke.yaml"


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="the reference catalog is not here")
def test_every_step_of_the_reference_catalog_can_be_read_reduced_and_written():
    steps = catalog.load_catalog(REFERENCE, "reference").steps
    assert len(steps) == 24
    for one in steps:
        reduced = configs.smoke(one, {})
        assert configs.read_config(one), one.id
        named = [parameter.name for parameter in one.parameters]
        assert set(named) <= configs.supported(one), one.id
        assert configs.unsupported(one, reduced) == [], one.id
        text = configs.render(stage(one), reduced, ["tool"], full=True)
        assert yaml.safe_load(text) is not None
