"""Files of the user's own, found by following imports without importing anything."""

from pathlib import Path

import pytest

from lockgate.errors import LockgateError
from lockgate.imports import of_name, with_imports


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A small project with a package, entered."""
    monkeypatch.chdir(tmp_path)
    files = {
        "own/__init__.py": "",
        "own/loss.py": "import math, torch\nfrom own.parts import scale\nfrom . import more\n",
        "own/more.py": "from .deep.inner import x\n",
        "own/parts.py": "import own.loss\nimport alone\n",
        "own/deep/inner.py": "x = 1\n",
        "alone.py": "raise SystemExit('this was run')\n",
        "other/alone.py": "",
    }
    for name, text in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)


def names(paths):
    return [str(path) for path in paths]


def test_a_dotted_name_means_its_packages_and_its_module(project):
    here = [Path()]
    assert names(of_name("own.loss.Loss", here)) == ["own/__init__.py", "own/loss.py"]
    assert names(of_name("own.deep.inner.x", here)) == ["own/__init__.py", "own/deep/inner.py"]
    assert names(of_name("own.InThePackage", here)) == ["own/__init__.py"]
    assert of_name("torch.optim.AdamW", here) == []
    assert of_name("other.nothing", here) == []


def test_the_first_directory_that_has_a_name_counts(project):
    assert names(of_name("alone", [Path("other"), Path()])) == ["other/alone.py"]
    assert names(of_name("own.more", [Path("other"), Path()])) == ["own/__init__.py", "own/more.py"]


def test_imports_are_followed_within_the_project_and_in_a_circle(project):
    assert sorted(names(with_imports([Path("own/loss.py")], [Path()]))) == [
        "alone.py",
        "own/__init__.py",
        "own/deep/inner.py",
        "own/loss.py",
        "own/more.py",
        "own/parts.py",
    ]


def test_what_is_not_python_is_named(project):
    Path("own/parts.py").write_text("def (\n")
    with pytest.raises(LockgateError, match="line 1") as caught:
        with_imports([Path("own/loss.py")], [Path()])
    assert caught.value.where == "own/parts.py"
