"""A program of the package as one file."""

import subprocess
import sys
from pathlib import Path

import pytest

from lockgate.errors import LockgateError
from lockgate.scaffold import flatten as module
from lockgate.scaffold.flatten import flatten, imported

MAIN = "from __future__ import annotations\n{}\n\nif __name__ == '__main__':\n    main()\n"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A function that flattens `lockgate/program.py` of a package with these modules."""
    monkeypatch.setattr(module, "_PACKAGES", tmp_path)

    def write(program, instead=None, **modules):
        (tmp_path / "lockgate").mkdir(exist_ok=True)
        for name, text in modules.items():
            (tmp_path / "lockgate" / f"{name}.py").write_text(text)
        path = tmp_path / "lockgate" / "program.py"
        path.write_text('"""Does it."""\n' + MAIN.format(program))
        return flatten(path, instead)

    return write


def run(text):
    """What the file prints, run where nothing else is."""
    done = subprocess.run([sys.executable, "-I", "-c", text], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_is_used_is_copied_and_nothing_else(package):
    text = package(
        "from lockgate.a import one\ndef main():\n    print(one(2))",
        a="from lockgate.b import TWO\nimport json\nimport csv\n"
        "UNUSED = 1\n# what it adds\n_THREE: int = 3\n\n\n"
        "def one(n):\n    return json.dumps(n + TWO + _THREE)\ndef unused():\n    return csv",
        b="TWO = 2\nOTHER = 3\n",
    )
    assert run(text) == "7\n"
    assert text.startswith('"""Does it."""\n\nfrom __future__ import annotations\n')
    assert "# what it adds\n_THREE" in text and "import json" in text
    assert not any(word in text for word in ("lockgate", "UNUSED", "unused", "OTHER", "csv"))


def test_modules_and_imports_within_functions_are_followed(package):
    text = package(
        "from lockgate import a as other\ndef main():\n    print(other.one('ü', other.TWO))",
        a="TWO = 2\ndef one(a, b):\n    from lockgate.b import last\n    import math\n"
        "    return a + last(math.floor(b))",
        b="def last(n):\n    return str(n)",
    )
    assert run(text) == "ü2\n"


def test_a_package_and_its_module_have_one_name(package):
    text = package(
        "import os\nfrom lockgate.a import one\ndef main():\n    print(os.sep, one('b', 'c'))",
        a="import os\nimport os.path\ndef one(a, b):\n    return os.path.join(a, b)",
    )
    assert run(text) == "/ b/c\n"


def test_definitions_of_one_name_stay_apart(package):
    text = package(
        "from lockgate import a\nfrom lockgate.b import two\n_N = 1\n"
        "def main():\n    print(_N, a.one(), two())",
        a="_N = 2\ndef one():\n    return _N",
        b="_N = 3\ndef two():\n    return _N",
    )
    assert run(text) == "1 2 3\n"


def test_a_variable_does_not_hide_what_a_module_gives(package):
    text = package(
        "from lockgate import a\ndef main():\n    one = a.one()\n    print(one)",
        a="def one():\n    return 1 if one else 0",
    )
    assert run(text) == "1\n"


def test_a_definition_of_the_program_stands_for_another(package):
    text = package(
        "from lockgate.a import one\ndef own():\n    return 'own'\ndef main():\n    print(one())",
        instead=("lockgate.b", "two", "own"),
        a="from lockgate import b\ndef one():\n    two = b.two()\n    return two",
        b="def two():\n    return 'not stands_for'",
    )
    assert run(text) == "own\n"
    assert "stands_for" not in text


def test_what_cannot_be_copied_is_refused(package):
    with pytest.raises(LockgateError, match="imported under another name"):
        package("from lockgate.a import one as two\ndef main(): two()", a="def one(): pass")
    with pytest.raises(LockgateError, match="has a definition and a variable '_n'"):
        package(
            "from lockgate.a import one\n_n = 1\ndef main():\n    one(_n)",
            a="_n = 2\ntwo = _n\n\n\ndef one(_n):\n    return _n + two",
        )
    with pytest.raises(LockgateError, match="different things by 'log'"):
        package(
            "from lockgate.a import one\nfrom math import log\ndef main():\n    one(log)",
            a="from cmath import log\ndef one(n):\n    return log(n)",
        )


def test_errors_and_programs_name_no_product():
    text = flatten(Path(module.__file__).parent / "programs" / "check_model.py")
    assert "class ExperimentError(Exception)" in text
    assert "lockgate" not in text.lower()


def test_imports_are_found_wherever_they_are():
    program = "import os\nimport a.b\ndef f():\n    from c.d import e\n    from . import g\n"
    assert imported(program) == {"a", "c"}
