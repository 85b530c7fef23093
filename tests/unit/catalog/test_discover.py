"""Several catalogs as one."""

from pathlib import Path

import pytest

from lockgate import catalog
from lockgate.errors import LockgateError


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An empty working directory, and a built-in catalog with one step."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return make(tmp_path / "basic", "sft/basic")


def make(root, *identities, types="[rows]\n"):
    root.mkdir(parents=True)
    (root / "types.toml").write_text(types)
    for identity in identities:
        path = root / identity / "step.toml"
        path.parent.mkdir(parents=True)
        path.write_text(f'[step]\nid = "{identity}"\nname = "{root.name}"\n')
    return root


def load(tmp_path, sources=(), environ="", builtin="basic"):
    return catalog.load(list(sources), tmp_path / builtin, environ, tmp_path / "work")


def merged(files):
    return catalog.merge([catalog.load_catalog(files.root, "own")])


def told(found):
    return [(one.where, one.what) for one in found.problems]


def test_the_earlier_catalog_wins_and_the_other_stays_addressable(tmp_path, elsewhere):
    one, two = make(tmp_path / "one", "a/b"), make(tmp_path / "two", "a/b", "a/c")
    make(tmp_path / "work/catalog", "a/b", "sft/basic")
    found = load(tmp_path, [("mine", one)], str(two))
    assert [one.name for one in found.catalogs] == ["mine", "two", "catalog", "builtin"]
    assert list(found.steps) == ["a/b", "a/c", "sft/basic"]
    assert found.step("a/b").name == "one"
    assert found.step("mine:a/b").name == "one"
    assert found.step("two:a/b").name == "two"
    assert found.step("builtin:sft/basic").name == "basic"
    assert found.step("sft/basic").name == "catalog"
    assert [note.where for note in found.shadowed] == [
        "two:a/b/step.toml: step.id",
        "catalog:a/b/step.toml: step.id",
        "builtin:sft/basic/step.toml: step.id",
    ]
    assert "two:a/b" in found.shadowed[0].hint
    assert found.problems == []


def test_paths_of_the_configuration_and_the_environment_start_at_the_working_directory(
    tmp_path, elsewhere
):
    make(tmp_path / "work/one", "a/b")
    make(tmp_path / "work/two", "a/c")
    found = load(tmp_path, [("mine", Path("one"))], ":two")
    assert [one.name for one in found.catalogs] == ["mine", "two", "builtin"]


def test_a_directory_counts_once(tmp_path, elsewhere):
    one = make(tmp_path / "one", "a/b")
    (tmp_path / "link").symlink_to(one)
    found = load(tmp_path, [("mine", one)], f"{one}:{tmp_path / 'link'}:{elsewhere}")
    assert [one.name for one in found.catalogs] == ["mine", "basic"]
    assert found.shadowed == []


def test_catalogs_of_one_name_get_numbers(tmp_path, elsewhere):
    one, two = make(tmp_path / "x/my steps", "a/b"), make(tmp_path / "y/my steps", "a/c")
    builtin = make(tmp_path / "z/builtin", "a/d")
    found = load(tmp_path, environ=f"{one}:{two}:{builtin}")
    names = [one.name for one in found.catalogs]
    assert names == ["my-steps", "my-steps-2", "builtin-2", "builtin"]


def test_a_named_path_that_is_no_catalog_is_refused(tmp_path, elsewhere):
    empty = tmp_path / "empty"
    with pytest.raises(LockgateError, match="does not exist") as error:
        load(tmp_path, [("mine", empty)])
    assert error.value.where == "catalogs[0]"
    empty.mkdir()
    with pytest.raises(LockgateError, match="is not a step catalog") as error:
        load(tmp_path, environ=str(empty))
    assert error.value.where == "LOCKGATE_CATALOGS"
    with pytest.raises(LockgateError, match="is not a step catalog"):
        catalog.load_only([empty], tmp_path)


def test_names_of_configured_catalogs_are_their_own(tmp_path, elsewhere):
    one, two = make(tmp_path / "one", "a/b"), make(tmp_path / "two", "a/c")
    with pytest.raises(LockgateError, match="there are two catalogs 'x'") as error:
        load(tmp_path, [("x", one), ("x", two)])
    assert error.value.where == "catalogs[1]"
    with pytest.raises(LockgateError, match="name of the built-in catalog"):
        load(tmp_path, [("builtin", one)])


def test_a_broken_catalog_that_was_found_is_a_problem_only(tmp_path, elsewhere):
    make(tmp_path / "work/catalog", "a/b", types="[broken")
    found = load(tmp_path)
    assert told(found)[0][0] == "catalog:types.toml"
    assert list(found.steps) == ["a/b", "sft/basic"]


def test_an_unknown_step_is_refused_with_the_nearest(whole):
    found = merged(whole)
    with pytest.raises(LockgateError, match="there is no step 'sft/trian'") as error:
        found.step("sft/trian", "config.yaml: stages[0].step")
    assert error.value.where == "config.yaml: stages[0].step"
    assert "sft/train" in error.value.hint
    with pytest.raises(LockgateError, match="there is no step 'other:sft/train'"):
        found.step("other:sft/train")
    with pytest.raises(LockgateError) as error:
        found.step("zzz")
    assert "lockgate steps list" in error.value.hint


def test_types_are_joined_over_catalogs(tmp_path, elsewhere):
    text = '[rows]\ndescription = "{}"\nis_a = "{}"\nconvert_to = {{ {} = "a/b" }}\n[x]\n[y]\n'
    one = make(tmp_path / "one", "a/b", types=text.format("", "x", "y"))
    two = make(tmp_path / "two", types=text.format("Two.", "y", "x"))
    rows = catalog.load_only([one, two], tmp_path).types["rows"]
    assert (rows.description, rows.is_a) == ("Two.", ("x", "y"))
    assert rows.convert_to == {"y": "a/b", "x": "a/b"}


def test_is_a_goes_through_several_types_but_not_back(files):
    files.write("types.toml", '[a]\nis_a = "b"\n[b]\nis_a = ["c", "d"]\n[c]\n[d]\n')
    found = merged(files)
    assert found.supertypes("a") == ["b", "c", "d"]
    assert found.is_a("a", "d") and found.is_a("a", "a")
    assert not found.is_a("d", "a")
    assert found.supertypes("unheard") == []
    assert found.is_a("unheard", "unheard")


def test_a_circle_of_types_is_named_once_and_harms_nothing(files):
    files.write(
        "types.toml", '[a]\nis_a = "b"\n[b]\nis_a = "c"\n[c]\nis_a = "a"\n[s]\nis_a = "s"\n'
    )
    found = merged(files)
    assert told(found) == [
        ("own:types.toml: a.is_a", "is_a goes in a circle: a -> b -> c -> a"),
        ("own:types.toml: s.is_a", "is_a goes in a circle: s -> s"),
    ]
    assert all(problem.hint for problem in found.problems)
    assert found.supertypes("a") == ["b", "c"]
    assert found.is_a("c", "b")
    assert not found.is_a("s", "a")


def test_what_a_catalog_names_and_nobody_has_is_a_problem(files):
    files.write(
        "types.toml",
        '[rows]\nis_a = "rowz"\nconvert_to = { rows2 = "x/y", rows = "x/z" }\n',
    )
    files.step("x/y", ["row"], ["zzz"])
    found = merged(files)
    assert told(found) == [
        ("own:x/y/step.toml: consumes[0].type", "there is no artifact type 'row'"),
        ("own:x/y/step.toml: produces[0].type", "there is no artifact type 'zzz'"),
        ("own:types.toml: rows.is_a", "there is no artifact type 'rowz'"),
        ("own:types.toml: rows.convert_to", "there is no artifact type 'rows2'"),
        ("own:types.toml: rows.convert_to", "there is no step 'x/z'"),
    ]
    assert found.problems[0].hint == "did you mean 'rows'?"
    assert found.problems[1].hint == "add the artifact type, or remove it here"
    assert found.converters("rows") == {"rows2": "x/y"}


def test_a_type_of_another_catalog_is_known(tmp_path, elsewhere):
    make(tmp_path / "work/catalog", "a/b", types="")
    with open(tmp_path / "work/catalog/a/b/step.toml", "a") as handle:
        handle.write('[[consumes]]\ntype = "rows"\n')
    assert load(tmp_path).problems == []


def test_a_conversion_may_leave_its_target_to_the_step(files):
    files.write("types.toml", '[a]\nconvert_to = { step = "x/one" }\n[b]\n[c]\n')
    files.step("x/one", ["a"], ["b"])
    assert merged(files).converters("a") == {"b": "x/one"}
    files.step("x/one", ["a"], ["b", "c"])
    found = merged(files)
    assert found.converters("a") == {}
    assert "which of its products 'x/one'" in told(found)[0][1]


def test_a_type_is_converted_as_what_it_may_stand_for(whole):
    whole.write("types.toml", (whole.root / "types.toml").read_text() + '[tuned]\nis_a = "model"\n')
    found = merged(whole)
    assert found.problems == []
    assert found.converters("model") == {"packed_model": "convert/pack"}
    assert found.converters("tuned") == {"packed_model": "convert/pack"}
    assert found.converters("rows") == {}


def test_a_goal_is_what_the_notes_say_else_the_category_and_the_name(whole):
    found = merged(whole)
    assert [step.id for step in found.with_goal("sft")] == ["sft/train"]
    assert found.with_goal("train") == []
    assert [step.id for step in found.with_goal("dpo")] == ["rl/deep/dpo"]
    assert [step.id for step in found.with_goal("rl")] == ["rl/deep/dpo"]
    assert [step.id for step in found.with_goal("convert")] == ["convert/pack", "convert/unpack"]


def test_patterns_apply_by_id_by_the_beginning_of_it_or_to_all(whole):
    found = merged(whole)

    def ids(step):
        return [pattern.id for pattern in found.patterns_for(found.step(step))]

    assert ids("sft/train") == ["any", "late"]
    assert ids("rl/deep/dpo") == ["any", "deep"]
    assert ids("convert/pack") == ["any"]


def test_a_pattern_of_two_catalogs_is_noted(tmp_path, whole):
    other = make(tmp_path / "other")
    (other / "patterns").mkdir()
    (other / "patterns/late.md").write_text("---\nid: late\ntitle: Other\n---\n")
    found = catalog.load_only([whole.root, other], tmp_path)
    assert [one.title for one in found.patterns if one.id == "late"] == ["A title"]
    assert [one.where for one in found.shadowed] == ["other:patterns/late.md: id"]


def test_digests_name_the_catalog_and_the_file(whole):
    found = merged(whole)
    assert "catalog/own/sft/train/config/tiny.yaml" in found.digests
    assert len(found.digests) == len(found.catalogs[0].files)
