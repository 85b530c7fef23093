"""The adapter of Nemotron checkouts."""

import sys
import tomllib
from pathlib import Path

import pytest

from lockgate import catalog
from lockgate.catalog.model import Notes, Step
from lockgate.errors import LockgateError
from lockgate.launch import World
from lockgate.tools import get

RUNNER = get("catalog", "nemotron", "test")
REFERENCE = Path(__file__).parents[3].parent / "shared/reference/nemotron"


@pytest.fixture
def checkout(tmp_path):
    """A checkout with one step."""
    root = tmp_path / "checkout"
    steps = root / "src/nemotron/steps"
    (steps / "a/b").mkdir(parents=True)
    (steps / "types.toml").write_text("")
    (steps / "a/b/step.toml").write_text('[step]\nid = "a/b"\n')
    (root / "pyproject.toml").write_text("")
    return root


@pytest.fixture
def path(tmp_path, monkeypatch):
    """A function that puts programs, and nothing else, on the PATH."""

    def put(*names):
        folder = tmp_path / "bin"
        folder.mkdir()
        for name in names:
            (folder / name).write_text("#!/bin/sh\n")
            (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(folder))

    return put


def one(checkout):
    return catalog.load_catalog(checkout, "live").steps[0]


def test_a_checkout_its_package_and_its_steps_are_recognized(checkout):
    steps = checkout / "src/nemotron/steps"
    for root in (checkout, checkout / "src/nemotron", steps):
        assert RUNNER.steps(root) == steps
    assert RUNNER.steps(checkout / "src") is None
    (steps / "types.toml").unlink()
    assert RUNNER.steps(checkout) is None


def test_the_checkout_around_the_working_directory_is_found(checkout):
    assert RUNNER.find(checkout / "src/nemotron/steps/a") == [checkout]
    (checkout / "pyproject.toml").unlink()
    assert RUNNER.find(checkout / "src/nemotron/steps/a") == []


def test_the_installed_package_is_found_and_not_imported(checkout, tmp_path, monkeypatch):
    site = tmp_path / "site"
    package = site / "nemotron"
    (package / "steps").mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.setattr(sys, "path", [str(site), *sys.path])
    assert RUNNER.find(tmp_path) == []
    (package / "steps/types.toml").write_text("")
    assert RUNNER.find(tmp_path) == [package]
    assert "nemotron" not in sys.modules


def test_a_checkout_that_is_installed_is_found_as_a_checkout(checkout, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(checkout / "src"), *sys.path])
    assert RUNNER.find(tmp_path) == [checkout]


def test_the_catalog_is_named_after_the_adapter(checkout, tmp_path):
    basic = tmp_path / "basic"
    basic.mkdir()
    (basic / "types.toml").write_text("")
    found = catalog.load([], basic, str(checkout), tmp_path)
    assert [one.name for one in found.catalogs] == ["nemotron", "builtin"]
    assert found.step("a/b").path == "src/nemotron/steps/a/b"
    assert "notes:nemotron" in found.catalogs[0].files


def test_the_command_is_its_own(checkout, path):
    path("nemotron", "uv")
    step = one(checkout)
    plain = ["nemotron", "steps", "run", "a/b", "-c", "my.yaml"]
    assert RUNNER.command(step, Path("my.yaml"), "", dry=False) == plain
    assert RUNNER.command(step, Path("my.yaml"), "gpu", dry=True) == [*plain, "-r", "gpu", "-d"]
    assert RUNNER.available(step) == ""


def test_uv_runs_it_where_only_uv_is_there(checkout, path):
    path("uv")
    line = RUNNER.command(one(checkout), Path("my.yaml"), "", dry=False)
    assert line[:5] == ["uv", "run", "--project", str(checkout), "nemotron"]
    assert RUNNER.available(one(checkout)) == ""


def test_what_is_missing_is_named(checkout, path):
    path()
    step = one(checkout)
    assert RUNNER.command(step, Path("my.yaml"), "", dry=False)[0] == "nemotron"
    assert "install uv" in RUNNER.available(step)


def test_uv_needs_the_checkout(path):
    path("uv")
    step = Step(id="a/b", path="a/b", directory=Path("/nowhere/a/b"))
    assert "pyproject.toml" in RUNNER.available(step)
    assert RUNNER.command(step, Path("my.yaml"), "", dry=False)[0] == "nemotron"


HEADER = """# /// script
# [tool.runspec]
# name = "a/b"
# [tool.runspec.run]
# launch = "{launch}"
# ///
"""


def with_program(checkout, launch):
    program = checkout / "src/nemotron/steps/a/b/step.py"
    program.write_text(HEADER.format(launch=launch))
    return one(checkout), program


def test_a_torchrun_step_is_started_by_its_own_program_in_as_many_processes(checkout, path):
    path("uv")
    step, program = with_program(checkout, "torchrun")
    line = RUNNER.spread(step, Path("/my.yaml"), World(1, 4))
    assert line == [
        *("uv", "run", "--project", str(checkout), "python", "-m", "torch.distributed.run"),
        *("--standalone", "--nproc_per_node", "4", str(program), "--config", "/my.yaml"),
    ]
    assert RUNNER.alone(step, World(1, 4)) == ""


def test_the_python_of_its_command_line_has_its_packages(checkout, path, tmp_path):
    path("nemotron", "python", "uv")
    step, _ = with_program(checkout, "torchrun")
    line = RUNNER.spread(step, Path("/my.yaml"), World(1, 2))
    assert line[0] == str(tmp_path / "bin" / "python")


def test_several_nodes_need_a_job(checkout, path, monkeypatch):
    path("uv")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    step, _ = with_program(checkout, "torchrun")
    with pytest.raises(LockgateError, match="2 nodes need a job of SLURM"):
        RUNNER.spread(step, Path("/my.yaml"), World(2, 2))


def test_a_step_that_starts_its_own_processes_is_left_to_its_command_line(checkout, path):
    path("nemotron")
    step, _ = with_program(checkout, "ray")
    line = RUNNER.spread(step, Path("/my.yaml"), World(1, 8))
    assert line == RUNNER.command(step, Path("/my.yaml"), "", False)
    assert RUNNER.alone(step, World(1, 8)) == ""
    assert "launch = ray, which is known on one node only" in RUNNER.alone(step, World(2, 8))


def test_how_a_step_is_started_may_not_be_known(checkout, path):
    path("uv")
    assert "its step.py, or the header" in RUNNER.alone(one(checkout), World(1, 2))
    step, _ = with_program(checkout, "torchrun")
    assert RUNNER.alone(step, World(1, 2)) == ""
    (checkout / "pyproject.toml").unlink()
    assert "neither the Python of its CLI nor uv" in RUNNER.alone(step, World(1, 2))


def test_its_notes_fit():
    notes = tomllib.loads(RUNNER.notes.read_text())
    assert notes["steps"]
    for table in notes["steps"].values():
        assert set(Notes(**table).model_fields_set) == set(table)


@pytest.mark.skipif(not REFERENCE.exists(), reason="the reference data is not here")
def test_its_notes_are_about_steps_and_patterns_that_there_are():
    notes = tomllib.loads(RUNNER.notes.read_text())
    found = catalog.load_catalog(REFERENCE, "live")
    assert set(notes["steps"]) <= {step.id for step in found.steps}
    assert set(notes.get("patterns", {})) <= {pattern.id for pattern in found.patterns}
