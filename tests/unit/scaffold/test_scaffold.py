"""When a folder is written, and when none is."""

import json
from pathlib import Path

import pytest
import yaml

from lockgate import cli, scaffold
from lockgate.errors import LockgateError


def test_the_command_writes_it_and_says_where(built, capsys):
    cli.main(["scaffold", "--configfile", built.project.source])
    name = built.experiment.config.experiment.name
    assert capsys.readouterr().out == f"handover/{name}\n"
    assert Path("handover", name, "README.md").exists()
    assert [path.name for path in Path("handover").iterdir()] == [name]


def test_a_folder_that_has_files_is_left_alone(built):
    Path("out/folder").mkdir(parents=True)
    built.hand_over()
    with pytest.raises(LockgateError, match="it is there already, and not empty") as caught:
        built.hand_over()
    assert caught.value.where == "out/folder"


def test_nothing_is_left_of_a_folder_that_failed(built):
    (built.results / "build/data/design.yaml").write_text("files: other\n")
    with pytest.raises(LockgateError, match="the design was edited"):
        built.hand_over()
    assert list(Path("out").iterdir()) == []


def test_what_is_not_built_names_the_command_that_builds_it(built):
    command = f"snakemake --profile local --configfile {built.project.source}"

    def refused():
        with pytest.raises(LockgateError) as caught:
            built.hand_over()
        assert f"`{command}`" in caught.value.hint
        return caught.value

    (built.results / "build/eval/tiny_control.yaml").unlink()
    error = refused()
    assert error.what == "it is not built yet"
    assert error.where.endswith("build/eval/tiny_control.yaml")
    ledger = built.approvals / "ledger.jsonl"
    known = ledger.read_text()
    ledger.unlink()
    assert "the plan of this configuration is not approved" in refused().what
    built.build(training__seeds=[2])
    ledger.write_text(known)
    assert "the plan of this configuration is not approved" in refused().what


def test_what_was_built_before_a_change_is_not_handed_over(built):
    path = built.results / "build/train/tiny_epochs-1.yaml"
    document = yaml.safe_load(path.read_text())
    document["config"]["sft"]["learning_rate"] = 1.0
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(LockgateError, match="built from another configuration"):
        built.hand_over()


def test_a_chain_is_plain_already(project):
    values = {"experiment": project.original["experiment"], "stages": [{"goal": "evaluate"}]}
    Path("chain.yaml").write_text(json.dumps(values))
    with pytest.raises(LockgateError, match="a chain of stages is plain already") as caught:
        scaffold.write(Path("chain.yaml"), None)
    assert "build/configs" in caught.value.hint


def test_a_configuration_that_is_not_there_is_told(project):
    with pytest.raises(LockgateError, match="cannot read absent.yaml"):
        scaffold.write(Path("absent.yaml"), None)
