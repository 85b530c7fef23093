"""The reference says what the models say."""

import json
import shutil

import pytest
import yaml

from lockgate import tools
from lockgate.config import Config, reference
from lockgate.config.training import Training


@pytest.fixture
def copy(tmp_path):
    """A copy of both files, to be changed."""
    for name in (reference.SCHEMA, reference.README):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(reference.ROOT / name, tmp_path / name)
    return tmp_path


def drift(capsys, root):
    """What the command prints about files that have drifted."""
    with pytest.raises(SystemExit) as end:
        reference.main([], root)
    assert end.value.code == 1
    said = capsys.readouterr()
    assert "Hint: python -m lockgate.config.reference --fix" in said.err
    return said.out


def test_the_files_say_what_the_models_say(capsys):
    reference.main([])
    assert capsys.readouterr().out == ""


def test_a_changed_description_is_drift(copy, capsys, monkeypatch):
    monkeypatch.setattr(Training.model_fields["seeds"], "description", "Something new.")
    diff = drift(capsys, copy)
    assert "-| `seeds` | list of whole number | `[0]` | One replicate a seed. |" in diff
    assert "+| `seeds` | list of whole number | `[0]` | Something new. |" in diff


@pytest.mark.parametrize("name", [reference.SCHEMA, reference.README], ids=lambda path: path.name)
def test_a_file_changed_by_hand_is_drift_until_it_is_fixed(copy, capsys, name):
    text = (copy / name).read_text()
    (copy / name).write_text(text.replace("One replicate a seed.", "By hand."))
    diff = drift(capsys, copy)
    assert f"--- {name}\n" in diff
    assert "By hand." in diff
    reference.main(["--fix"], copy)
    assert (copy / name).read_text() == text


def test_what_is_written_by_hand_stays(copy):
    readme = copy / reference.README
    readme.write_text(f"Before.\n{reference.BEGIN}\nold\n{reference.END}\nAfter.\n")
    reference.main(["--fix"], copy)
    assert readme.read_text().startswith(f"Before.\n{reference.BEGIN}\n\n### Top level\n")
    assert readme.read_text().endswith(f"\n{reference.END}\nAfter.\n")


def test_every_key_of_every_section_is_described():
    text = reference.tables()
    for title in [
        "experiment",
        "data",
        "data.endpoint",
        "data.rows",
        "data.splits",
        "models.NAME",
        "training",
        "training.parameters",
        "evaluation",
        "evaluation.tasks[]",
        "resources",
    ]:
        assert f"\n### `{title}`\n" in text
    for key in Config.model_fields:
        assert f"\n| `{key}` | " in text
    assert "None |" not in text


def test_types_are_in_plain_words():
    text = reference.tables()
    for row in (
        '| `method` | "lora" or "full" | `"lora"` |',
        "| `learning_rate` | number > 0 | `0.0002` |",
        "| `lora_dropout` | number ≥ 0, < 1 | `0.0` |",
        '| `lora_targets` | "all-linear" or list of text | `"all-linear"` |',
        "| `records` | whole number ≥ 1 | none |",
        "| `approvers` | list of text | none |",
        "| `name` | text | required |",
    ):
        assert row in text


def test_adapters_are_named_under_the_section_that_chooses_one():
    parts = dict(part.split("`\n", 1) for part in reference.tables().split("### `")[1:])
    for kind in ("data", "training", "evaluation"):
        listed = ", ".join(f"`{name}`" for name in tools.names(kind))
        assert f"Adapters for `tool`: {listed}." in parts[kind]
    assert "Adapters" not in parts["training.parameters"]


def test_examples_point_an_editor_at_the_schema():
    schema = json.loads((reference.ROOT / reference.SCHEMA).read_text())
    kinds = [schema["$defs"][kind["$ref"].split("/")[-1]] for kind in schema["anyOf"]]
    assert [kind["additionalProperties"] for kind in kinds] == [False, False]
    for path in sorted((reference.ROOT / "config").rglob("*.yaml")):
        first = path.read_text().splitlines()[0]
        target = first.removeprefix("# yaml-language-server: $schema=")
        assert (path.parent / target).resolve() == reference.ROOT / reference.SCHEMA
        keys = set(yaml.safe_load(path.read_text()))
        assert any(keys <= set(kind["properties"]) for kind in kinds)
