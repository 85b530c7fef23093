"""One catalog, read from its files."""

import json
from pathlib import Path

import pytest

from lockgate import catalog, tools
from lockgate.catalog import files
from lockgate.catalog.model import MARK
from lockgate.errors import LockgateError

ROOT = Path(__file__).parents[3]
REFERENCE = ROOT.parent / "shared/reference/nemotron"


def load(files):
    return catalog.load_catalog(files.root, "own")


def problems(files):
    return [(one.where, one.what, one.hint) for one in load(files).problems]


def test_every_part_of_a_manifest_is_read(whole):
    found = load(whole)
    assert found.problems == []
    assert [step.id for step in found.steps] == [
        "convert/pack",
        "convert/unpack",
        "rl/deep/dpo",
        "sft/train",
    ]
    step = found.steps[-1]
    assert (step.name, step.category, step.tags) == ("Train", "sft", ["a", "b"])
    assert step.description == "Trains."
    assert (step.catalog, step.path) == ("own", "sft/train")
    assert step.directory == whole.root / "sft/train"
    assert step.models[0].min_gpus == 8
    assert (step.parameters[0].default, step.parameters[0].choices) == (0.5, [0.5, 1.0])
    assert (step.strategies[0].when, step.errors[0].recovery) == ("few rows", "less")
    assert step.reference == {"docs": "https://example.org"}
    assert step.notes.inputs["rows"].key == ("data.path",)
    assert found.runner == "script"


def test_a_step_without_a_category_has_that_of_its_id(whole):
    assert load(whole).steps[2].category == "rl"


def test_notes_say_what_a_manifest_leaves_open(whole):
    step = load(whole).steps[-1]
    consumed = [(port.type, port.required, port.stated) for port in step.consumes]
    assert consumed == [("rows", True, True), ("model", True, False)]
    produced = [(port.type, port.required, port.stated) for port in step.produces]
    assert produced == [("model", True, True), ("log", False, None)]


def test_a_program_is_read_as_text_for_its_runspec(whole):
    step = load(whole).steps[-1]
    assert step.runspec == {
        "name": "steps/sft/train",
        "image": "registry/image:1",
        "launch": "torchrun",
        "config_dir": "sft/train/config",
        "default_config": "tiny",
        "resources": {"nodes": 2, "gpus_per_node": 8},
    }
    assert load(whole).steps[0].runspec is None


def test_a_program_without_a_header_has_no_runspec(whole):
    whole.write("sft/train/step.py", "print('a step')\n")
    assert load(whole).steps[-1].runspec is None
    assert load(whole).problems == []


def test_types_are_read_in_every_spelling(files):
    files.write(
        "types.toml",
        """
        [a]
        is_a = ["b", "c"]
        convert_to = [{ step = "x/y", to = "b" }, { step = "x/z", target = "c" }]
        [b]
        is_a = "c"
        convert_to = { c = { step = "x/z" } }
        [c]
        """,
    )
    a, b, c = load(files).types
    assert (a.is_a, a.convert_to) == (("b", "c"), {"b": "x/y", "c": "x/z"})
    assert (b.is_a, b.convert_to) == (("c",), {"c": "x/z"})
    assert (c.is_a, c.convert_to, c.description) == ((), {}, "")


def test_patterns_are_found_beside_the_steps_and_in_a_category(whole):
    whole.write("sft/patterns/own.md", "---\nid: own\nsteps:\n---\nText.\n")
    whole.write("patterns/README.md", "About patterns.\n")
    found = {pattern.id: pattern for pattern in load(whole).patterns}
    assert list(found) == ["any", "deep", "late", "own"]
    assert found["late"].body == "Do this.\n\n---\nAnd that."
    assert found["late"].triggers == ["It is late."]
    assert found["own"].path == "sft/patterns/own.md"
    assert found["own"].steps == []
    assert load(whole).problems == []


def test_front_matter_may_carry_advice(whole):
    whole.write(
        "patterns/own.md",
        "---\nid: own\nlockgate:\n  advice:\n    - {when: late, test: {rows: 1}}\n---\n",
    )
    (own,) = [pattern for pattern in load(whole).patterns if pattern.id == "own"]
    assert [(one.when, one.test) for one in own.advice] == [("late", {"rows": 1})]


def test_hidden_directories_hold_no_steps(whole):
    whole.write(".cache/step.toml", "broken")
    assert load(whole).problems == []


@pytest.mark.parametrize(
    ("name", "text", "where", "what"),
    [
        ("x/y/step.toml", "[step", "x/y/step.toml", "not valid TOML"),
        ("x/y/step.toml", "[other]\n", "x/y/step.toml: step.id", "it has no [step] with an id"),
        ("x/y/step.toml", "step = 1\n", "x/y/step.toml: step.id", "it has no [step] with an id"),
        ("x/y/step.toml", "[step]\n", "x/y/step.toml: step.id", "it has no [step] with an id"),
        ("x/y/step.toml", '[step]\nid = "a:b"\n', "x/y/step.toml: step.id", "'a:b' is no id"),
        ("x/y/step.toml", "[step]\nid = 1\n", "x/y/step.toml: step.id", "1 is no id"),
        (
            "x/y/step.toml",
            '[step]\nid = "x/y"\ntags = 1\n',
            "x/y/step.toml: step.tags",
            "input should be a valid list",
        ),
        (
            "x/y/step.toml",
            '[step]\nid = "x/y"\n[[consumes]]\ndescription = "d"\n',
            "x/y/step.toml: consumes[0].type",
            "field required",
        ),
        (
            "x/y/step.toml",
            '[step]\nid = "x/y"\n[consumes]\ntype = "rows"\n',
            "x/y/step.toml: consumes",
            "input should be a valid list",
        ),
        (
            "x/y/step.toml",
            '[step]\nid = "x/y"\n[lockgate]\ngols = "a"\n',
            "x/y/step.toml: lockgate.gols",
            "there is no such note",
        ),
        (
            "x/y/step.toml",
            'lockgate = 1\n[step]\nid = "x/y"\n',
            "x/y/step.toml: lockgate",
            "it is not a table",
        ),
        (
            "x/y/step.toml",
            '[step]\nid = "x/y"\n[lockgate.inputs]\nrows = 1\n',
            "x/y/step.toml: lockgate.inputs.rows",
            "input should be",
        ),
        ("types.toml", "rows = 1\n", "types.toml: rows", "it is not a table"),
        ("types.toml", "[rows]\nis_a = 1\n", "types.toml: rows.is_a", "input should be"),
        (
            "types.toml",
            "[rows]\nconvert_to = 1\n",
            "types.toml: rows.convert_to",
            "it is not a table of type = step",
        ),
        (
            "types.toml",
            "[rows]\nconvert_to = { model = 1 }\n",
            "types.toml: rows.convert_to",
            "the step for 'model' is not text",
        ),
        ("types.toml", "[rows", "types.toml", "not valid TOML"),
        ("patterns/p.md", "Text.\n", "patterns/p.md", "it has no front matter"),
        ("patterns/p.md", "---\na: [\n---\n", "patterns/p.md", "its front matter is not valid"),
        ("patterns/p.md", "---\n- a\n---\n", "patterns/p.md", "its front matter is not a mapping"),
        ("patterns/p.md", "---\ntitle: a\n---\n", "patterns/p.md: id", "field required"),
        (
            "patterns/p.md",
            "---\nid: p\nlockgate: {advice: [{when: a}]}\n---\n",
            "patterns/p.md: lockgate.advice[0].test",
            "field required",
        ),
        (
            "patterns/p.md",
            "---\nid: p\nlockgate: {advice: 1}\n---\n",
            "patterns/p.md: lockgate",
            "it has no list `advice`",
        ),
    ],
)
def test_a_broken_file_is_named_with_its_key_and_the_rest_loads(whole, name, text, where, what):
    before = load(whole)
    whole.write(name, text)
    ((found_where, found_what, hint),) = problems(whole)
    assert found_where == where
    assert found_what.startswith(what)
    assert hint
    after = load(whole)
    assert [step.id for step in before.steps] == [
        step.id for step in after.steps if step.id != "x/y"
    ]


@pytest.mark.parametrize(
    ("header", "what"),
    [
        ("# tool = [", "its header is not valid TOML"),
        ("# [tool.runspec]\n# run = 1", "in its header run, config and resources must be tables"),
        ("# [tool.runspec.resources]\n# nodes = 0", "in its header nodes is 0, not a number"),
        ('# [tool.runspec.resources]\n# gpus_per_node = "8"', "in its header gpus_per_node is '8'"),
    ],
)
def test_a_broken_header_is_named(whole, header, what):
    whole.write("sft/train/step.py", f"# /// script\n{header}\n# ///\n")
    ((where, said, hint),) = problems(whole)
    assert where == "sft/train/step.py: tool.runspec"
    assert said.startswith(what)
    assert hint
    assert load(whole).steps[-1].runspec is None


def test_a_file_that_is_no_text_is_named(whole):
    (whole.root / "sft/train/step.toml").write_bytes(b"\xff")
    ((where, what, _),) = problems(whole)
    assert (where, what) == ("sft/train/step.toml", "it is not UTF-8 text")


def test_two_steps_or_patterns_of_one_id_are_named_and_the_first_is_used(whole):
    whole.write("sft/other/step.toml", '[step]\nid = "sft/train"\nname = "Other"\n')
    whole.write("sft/patterns/other.md", "---\nid: late\ntitle: Other\n---\n")
    said = problems(whole)
    assert [where for where, _, _ in said] == [
        "sft/train/step.toml: step.id",
        "sft/patterns/other.md: id",
    ]
    assert "there are two steps 'sft/train'" in said[0][1]
    assert [step.name for step in load(whole).steps if step.id == "sft/train"] == ["Other"]
    assert [one.title for one in load(whole).patterns if one.id == "late"] == ["A title"]


@pytest.mark.parametrize(
    "name",
    ["sft/train/step.toml", "sft/train/step.py", "sft/train/config/tiny.yaml"],
)
def test_a_changed_file_changes_the_digest_of_its_step_alone(whole, name):
    before = load(whole)
    path = whole.root / name
    path.write_text(path.read_text() + "# changed\n")
    after = load(whole)
    assert {key for key in before.files if before.files[key] != after.files[key]} == {name}
    pairs = zip(before.steps, after.steps, strict=True)
    assert [old.id for old, new in pairs if old.digest != new.digest] == ["sft/train"]


def test_a_configuration_that_was_placed_in_a_steps_folder_changes_nothing(whole):
    before = load(whole)
    folder = before.steps[0].directory / "config"
    folder.mkdir(exist_ok=True)
    (folder / "placed.yaml").write_text(f"{MARK}: stage sft.\nvalue: 1\n")
    after = load(whole)
    assert (after.files, after.steps) == (before.files, before.steps)
    (folder / "own.yaml").write_text("value: 1\n")
    changed = load(whole)
    assert len(changed.files) == len(before.files) + 1 and changed.steps != before.steps


def test_digests_cover_every_file_and_do_not_depend_on_where_the_catalog_is(whole, tmp_path):
    before = load(whole)
    assert set(before.files) == {
        path.relative_to(whole.root).as_posix() for path in whole.root.rglob("*") if path.is_file()
    }
    whole.root = whole.root.rename(tmp_path / "moved")
    after = load(whole)
    assert after.files == before.files
    assert [step.digest for step in after.steps] == [step.digest for step in before.steps]


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_a_directory_that_is_no_catalog_is_refused(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(LockgateError) as error:
        catalog.load_catalog(tmp_path / name, "own")
    assert error.value.where == str(tmp_path / name)
    assert "types.toml" in error.value.hint


def test_the_commit_is_read_from_a_checkout_in_each_of_its_forms(whole, tmp_path):
    sha, git = "1" * 40, whole.root / ".git"
    assert load(whole).commit is None
    whole.write(".git/HEAD", sha + "\n")
    assert load(whole).commit == sha
    whole.write(".git/HEAD", "ref: refs/heads/main\n")
    assert load(whole).commit is None
    whole.write(".git/packed-refs", f"# pack-refs\n{sha} refs/heads/main\n")
    assert load(whole).commit == sha
    whole.write(".git/refs/heads/main", "2" * 40 + "\n")
    assert load(whole).commit == "2" * 40
    moved = git.rename(tmp_path / "store")
    tree = moved / "worktrees/tree"
    tree.mkdir(parents=True)
    (tree / "HEAD").write_text("ref: refs/heads/main\n")
    (tree / "commondir").write_text("../..\n")
    whole.write(".git", f"gitdir: {tree}\n")
    assert load(whole).commit == "2" * 40
    assert files.commit(whole.root / "below" / "it") == "2" * 40


def test_a_step_as_json_does_not_say_where_it_is_on_this_machine(whole):
    for step in load(whole).steps:
        values = catalog.as_json(step)
        assert values["id"] == step.id
        assert str(whole.root) not in json.dumps(values)


def test_every_tool_that_is_shipped_has_a_built_in_step():
    found = catalog.merge([catalog.load_catalog(ROOT / "workflow/catalog", "own")])
    assert found.problems == []
    used = {name for kind in ("data", "training", "evaluation") for name in tools.names(kind)}
    assert used <= {step.tool for step in found.steps.values()}


@pytest.mark.skipif(not REFERENCE.exists(), reason="the reference data is not here")
def test_the_reference_catalog_loads_without_a_problem():
    found = catalog.merge([catalog.load_catalog(REFERENCE, "reference")])
    assert found.problems == []
    assert (len(found.steps), len(found.types), len(found.patterns)) == (24, 16, 27)
    assert sum(len(step.strategies) for step in found.steps.values()) == 93
    assert sum(len(step.errors) for step in found.steps.values()) == 94
    assert all(step.runspec is None and step.reference for step in found.steps.values())
