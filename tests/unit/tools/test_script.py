"""The adapter of catalogs whose steps are programs."""

import sys
from pathlib import Path

import pytest

from lockgate.catalog.model import Step
from lockgate.errors import LockgateError
from lockgate.tools import get

RUNNER = get("catalog", "script", "test")


def step(directory):
    return Step(id="a/b", catalog="own", path="a/b", directory=directory)


def test_a_directory_with_types_or_with_steps_is_a_catalog(tmp_path):
    assert RUNNER.steps(tmp_path) is None
    assert RUNNER.steps(tmp_path / "missing") is None
    (tmp_path / "step.toml").write_text("")
    assert RUNNER.steps(tmp_path) is None
    deep = tmp_path / "a/b/c/step.toml"
    deep.parent.mkdir(parents=True)
    deep.write_text("")
    assert RUNNER.steps(tmp_path) == tmp_path
    assert RUNNER.steps(tmp_path / "a/b") == tmp_path / "a/b"
    deep.unlink()
    (tmp_path / "types.toml").write_text("")
    assert RUNNER.steps(tmp_path) == tmp_path


def test_steps_in_hidden_directories_make_no_catalog(tmp_path):
    (tmp_path / ".venv/a").mkdir(parents=True)
    (tmp_path / ".venv/a/step.toml").write_text("")
    assert RUNNER.steps(tmp_path) is None


def test_the_catalog_of_the_working_directory_is_found(tmp_path):
    assert RUNNER.find(tmp_path) == []
    (tmp_path / "catalog").mkdir()
    assert RUNNER.find(tmp_path) == []
    (tmp_path / "catalog/types.toml").write_text("")
    assert RUNNER.find(tmp_path) == [tmp_path / "catalog"]


def test_a_step_is_run_as_a_program(tmp_path):
    (tmp_path / "step.py").write_text("")
    line = RUNNER.command(step(tmp_path), Path("my.yaml"), "", dry=False)
    assert line == [sys.executable, str(tmp_path / "step.py"), "--config", "my.yaml"]
    assert RUNNER.available(step(tmp_path)) == ""


def test_a_step_without_a_program_is_named(tmp_path):
    assert RUNNER.available(step(tmp_path)).startswith("a/b/step.py is missing")


@pytest.mark.parametrize(
    ("profile", "dry", "what"), [("", True, "no dry run"), ("slurm", False, "knows no profile")]
)
def test_there_is_no_dry_run_and_no_profile(tmp_path, profile, dry, what):
    with pytest.raises(LockgateError, match=what) as error:
        RUNNER.command(step(tmp_path), Path("my.yaml"), profile, dry)
    assert error.value.hint
