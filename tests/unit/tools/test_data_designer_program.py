"""Which command runs a design: found, recorded with its verbs, and checked against the package."""

import sys
from pathlib import Path

import pytest

from lockgate.errors import LockgateError
from lockgate.tools import get
from lockgate.tools.data_designer import program

TOOL = get("data", "data_designer", "test")


def command(path, says):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """A project without any of the commands."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    return tmp_path


def test_the_environments_own_command_is_recorded():
    found = TOOL.program({})
    own = found["data-designer"]
    assert own["path"] == str(Path(sys.executable).parent / "data-designer")
    assert own["version"] == TOOL.versions()["data-designer"]
    assert own["verbs"]["check_models"] == "data-designer check-models DESIGN"
    assert found["used"]["command"] == own["path"]
    assert "resumes" in found["used"]["why"]


def test_places_are_looked_through_in_order(bare):
    places = ["path", ".venv/bin", "bin", "mine"]
    for place in places:
        made = command(bare / place / program.NAME, "0.9.6")
        configured = str(made) if place == "mine" else None
        assert program.command(configured) == made
    # the other command is looked for beside a configured one
    assert program.command(str(command(bare / "mine" / "nemo", "x"))) == made


@pytest.mark.parametrize(
    ("version", "generation", "preview"),
    [
        ("nemo version 0.3.0", "local", "nemo data-designer preview run DESIGN"),
        ("nemo version 0.4.0", "local", "nemo data-designer preview run DESIGN"),
        ("nemo version 0.5.0", "platform", "nemo data-designer preview DESIGN"),
        ("nemo version 1.0", "platform", "nemo data-designer preview DESIGN"),
    ],
)
def test_both_generations_of_the_platforms_command_are_known(bare, version, generation, preview):
    command(bare / "bin" / program.NAME, TOOL.versions()["data-designer"])
    command(bare / "path" / "nemo", version)
    found = program.record()["nemo"]
    assert found["generation"] == generation
    assert found["verbs"]["preview"].startswith(preview)
    local = "--execution-context local" in found["verbs"]["validate"]
    assert local == (generation == "local")


def test_a_version_that_cannot_be_told_is_not_guessed(bare):
    command(bare / "bin" / program.NAME, TOOL.versions()["data-designer"])
    command(bare / "path" / "nemo", "hello")
    found = program.record()["nemo"]
    assert (found["version"], found["generation"], found["verbs"]) == (None, None, {})


def test_without_any_command_the_stop_names_what_installs_it(bare):
    with pytest.raises(LockgateError, match="not installed") as error:
        program.record()
    assert error.value.hint == program.INSTALL
    command(bare / "path" / "nemo", "nemo version 0.3.0")
    with pytest.raises(LockgateError, match="only .*nemo is here") as error:
        program.record()
    assert error.value.hint == program.INSTALL


@pytest.mark.parametrize(
    ("configured", "what"),
    [("none/data-designer", "no command none/data-designer"), ("bin/python", "neither")],
)
def test_a_configured_path_must_be_one_of_the_commands(bare, configured, what):
    with pytest.raises(LockgateError, match=what) as error:
        program.record(configured)
    assert error.value.where == "data.command"


def test_another_version_than_the_package_is_refused(bare):
    command(bare / "bin" / program.NAME, "0.1.2")
    with pytest.raises(LockgateError, match="0.1.2") as error:
        program.record()
    assert "data-designer==0.1.2" in error.value.hint


def test_jobs_run_the_configured_command(bare):
    """The stand-in says yes to everything: what it was called with is in the log."""
    made = bare / "mine" / program.NAME
    command(made, "called")
    data = {"script": "mine.py", "command": str(made)}
    TOOL.validate(bare / "design.py", data, None, bare / "work")
    assert "called" in (bare / "work" / "validate.log").read_text()
