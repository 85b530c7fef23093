"""Environments of tools: made once, found by name, never half-made, made anew when they changed."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from lockgate import cli, environments
from lockgate.errors import LockgateError


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache and a directory of requirements of the test's own, with two small environments."""
    monkeypatch.setenv("LOCKGATE_CACHE", str(tmp_path / "cache"))
    requirements = tmp_path / "envs"
    requirements.mkdir()
    monkeypatch.setattr(environments, "REQUIREMENTS", requirements)
    # a package made here: nothing is asked of an index
    wheel = tmp_path / "tiny_one-1.2-py3-none-any.whl"
    _wheel(wheel)
    (requirements / "small.txt").write_text(f"# one package\n{wheel}\n")
    (requirements / "other.txt").write_text("")
    return tmp_path


def _wheel(path: Path) -> None:
    info = "tiny_one-1.2.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny_one.py", "x = 1\n")
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-one\nVersion: 1.2\n"
        )
        archive.writestr(f"{info}/entry_points.txt", "[console_scripts]\ntiny = builtins:print\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")


def test_an_environment_is_made_once_and_another_when_its_requirements_change(
    places: Path,
) -> None:
    with pytest.raises(LockgateError, match="the environment 'small' is missing") as caught:
        environments.python("small", "training.tool")
    assert caught.value.where == "training.tool"
    assert caught.value.hint == "lockgate env create small"
    path, made = environments.create("small")
    assert made and path == environments.place("small")
    assert path == places / f"cache/environments/small-{environments.digest('small')[:8]}"
    program = [environments.python("small"), "-c", "import tiny_one; print(tiny_one.x)"]
    assert subprocess.run(program, capture_output=True, text=True).stdout == "1\n"
    assert environments.versions("small", ["tiny-one"]) == {"tiny-one": "1.2"}
    with pytest.raises(LockgateError, match="lacks numpy"):
        environments.versions("small", ["tiny-one", "numpy"])
    (path / "kept").touch()
    assert environments.create("small") == (path, False)
    assert (path / "kept").exists()
    requirements = places / "envs" / "small.txt"
    requirements.write_text(requirements.read_text() + "# changed\n")
    assert environments.state("small") == "missing"
    new, made = environments.create("small")
    assert made and new != path and environments.state("small") == "ready"
    # a job that runs in the one before keeps it; whoever lists them may delete it
    assert (path / "kept").exists() and environments.old("small") == [path]
    path = new
    # the interpreter that it was made with was removed
    (path / "bin" / "python").unlink()
    assert environments.state("small") == "incomplete"


def test_a_half_made_one_is_never_taken_for_whole(places: Path) -> None:
    path = environments.place("other")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", path], check=True)
    assert environments.state("other") == "incomplete"
    with pytest.raises(LockgateError, match="incomplete"):
        environments.python("other")
    (path / "left-over").touch()
    assert environments.create("other") == (path, True)
    assert not (path / "left-over").exists()


def test_its_programs_outlive_a_link_that_led_to_it(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (places / "disk").mkdir()
    (places / "link").symlink_to(places / "disk")
    monkeypatch.setenv("LOCKGATE_CACHE", str(places / "link"))
    environments.create("small")
    (places / "link").unlink()
    monkeypatch.setenv("LOCKGATE_CACHE", str(places / "disk"))
    tiny = environments.python("small").with_name("tiny")
    assert subprocess.run([tiny]).returncode == 0
    # its programs cannot move with it
    (places / "disk").rename(places / "moved")
    monkeypatch.setenv("LOCKGATE_CACHE", str(places / "moved"))
    assert environments.state("small") == "incomplete"
    assert environments.create("small")[1]
    assert subprocess.run([environments.python("small").with_name("tiny")]).returncode == 0


def test_what_pip_says_comes_as_one_message(places: Path) -> None:
    (places / "envs" / "small.txt").write_text("./no-such-package.whl\n")
    with pytest.raises(LockgateError, match="cannot make the environment 'small'") as caught:
        environments.create("small")
    assert "no-such-package" in str(caught.value)
    assert environments.state("small") == "incomplete"


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(LockgateError, match="there is no environment 'smal'") as caught:
        environments.create("smal")
    assert caught.value.hint == "there are: other, small"
    with pytest.raises(LockgateError, match="no environment '../small'"):
        environments.state("../small")


def test_the_commands(places: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["env", "list"])
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()[1:]] == ["missing"] * 2
    cli.main(["env", "create", "other"])
    told = capsys.readouterr()
    assert told.out.strip() == str(environments.place("other")) and "It is ready" in told.err
    cli.main(["env", "create", "other"])
    assert "It was there already" in capsys.readouterr().err
    before = environments.home() / "other"
    before.mkdir()
    (environments.home() / "other-things").mkdir()
    cli.main(["env", "list"])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert rows == [
        ["other", "ready", str(environments.place("other"))],
        ["small", "missing", str(environments.place("small"))],
        ["other", *["old,", "can", "be", "deleted"], str(before)],
    ]
    with pytest.raises(SystemExit) as ended:
        cli.main(["env", "create", "nothing"])
    assert ended.value.code == 1
    assert "ERROR: there is no environment 'nothing'" in capsys.readouterr().err
