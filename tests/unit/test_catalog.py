"""The catalog of steps."""

import tomllib

import pytest

from lockgate import catalog, tools
from lockgate.errors import LockgateError
from lockgate.matrix import CATALOG


def write(root, name, text):
    path = root / name / "step.toml"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


def test_every_tool_that_is_shipped_has_a_step_whose_types_exist():
    used = [name for kind in ("data", "training", "evaluation") for name in tools.names(kind)]
    steps = catalog.steps_of(used, CATALOG)
    assert [step["tool"] for step in steps.values()] == used
    types = tomllib.loads((CATALOG / "types.toml").read_text())
    known = {name for group in types.values() for name in group} | set(types)
    for step in steps.values():
        assert step["produces"]
        assert {item["type"] for item in [*step["consumes"], *step["produces"]]} <= known


def test_a_step_is_found_by_its_tool_and_changes_with_its_file(tmp_path):
    text = '[step]\nid = "x/y"\ntool = "y"\n[[produces]]\ntype = "t"\n'
    path = write(tmp_path, "x/y", text)
    write(tmp_path, "x/z", '[step]\nid = "x/z"\ntool = "z"\n')
    before = catalog.steps_of(["y"], tmp_path)
    assert list(before) == ["x/y"]
    assert before["x/y"]["produces"] == [{"type": "t"}]
    assert before["x/y"]["consumes"] == []
    path.write_text(text + "# changed\n")
    assert catalog.steps_of(["y"], tmp_path)["x/y"]["digest"] != before["x/y"]["digest"]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[step", "not valid TOML"),
        ("[other]\n", "it has no [step] with an id"),
        ('[step]\nname = "a"\n', "it has no [step] with an id"),
    ],
)
def test_a_broken_manifest_is_named(tmp_path, text, what):
    path = write(tmp_path, "x/y", text)
    with pytest.raises(LockgateError) as error:
        catalog.read_catalog(tmp_path)
    assert error.value.where == str(path)
    assert error.value.what.startswith(what)


def test_a_tool_without_a_step_is_named(tmp_path):
    with pytest.raises(LockgateError, match="no step uses the tool 'y'"):
        catalog.steps_of(["y"], tmp_path)
