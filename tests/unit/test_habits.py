"""Habits that keep the code small: who may name a tool, and what the linters say."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent

# Adapters' own places; the package that describes the protocols is not among them.
OWN_PLACES = (
    "scripts/lockgate/tools/",
    "workflow/catalog/",
    "workflow/envs/",
    "workflow/schemas/",
    "workflow/templates/design.py.j2",
)
NAMES = re.compile(
    r"(?<![a-z])(trl|torchtune|inspect[_-]ai|data[ _-]?designer|x?llama(?:cpp)?|smollm|tickets?"
    r"|routing|nemotron)(?![a-z])",
    re.IGNORECASE,
)


def sources():
    """Files of the pipeline, what is generated left out."""
    for top in ("scripts", "workflow"):
        for path in sorted((ROOT / top).rglob("*")):
            name = path.relative_to(ROOT)
            made = any(part.startswith((".", "__pycache__")) for part in name.parts)
            if path.is_file() and not made and ".egg-info" not in str(name):
                yield name


def named(text):
    return [found[0] for found in NAMES.finditer(text)]


def test_the_search_finds_names_and_nothing_else():
    text = "TRL, trl_run, inspect-ai inspect_ai Data Designer data_designer llama.cpp smollm2-135m"
    assert len(named(text)) == 8
    assert named("import inspect; ctrl, control, rerouting, redesigned data, designers") == []
    files = [str(path) for path in sources()]
    assert "workflow/Snakefile" in files
    assert "scripts/lockgate/matrix.py" in files


def test_no_tool_no_model_and_no_task_is_named_outside_its_own_place():
    """Only adapters and the configuration name them, so that each can be exchanged."""
    mentions = []
    for path in sources():
        own = str(path).startswith(OWN_PLACES) and path.parts[-2:] != ("tools", "__init__.py")
        lines = [] if own else (ROOT / path).read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, 1):
            mentions += [f"{path}:{number}: {name}" for name in named(line)]
    assert mentions == []


@pytest.mark.parametrize(
    "command",
    [
        "ruff check .",
        "ruff format --check .",
        "mypy",
        "snakefmt --check workflow",
        "snakemake --lint",
    ],
    ids=["lint", "format", "types", "workflow-format", "workflow-lint"],
)
def test_the_tools_find_nothing(command):
    program, *arguments = command.split()
    done = subprocess.run(
        [BIN / program, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def test_the_conda_environment_has_the_dependencies_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    environment = yaml.safe_load((ROOT / "workflow/envs/lockgate.yaml").read_text())
    assert environment["dependencies"][-1]["pip"] == project["dependencies"]
