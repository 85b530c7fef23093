"""What a design of the data needs is in the folder."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lockgate.errors import LockgateError
from lockgate.files import read_jsonl

SCRIPT = """\
import sys

from data_designer.config import DataDesignerConfigBuilder

sys.path.insert(0, "mine")
from words import WORDS


def load_config_builder():
    number = {
        "name": "a",
        "column_type": "sampler",
        "sampler_type": "category",
        "params": {"values": [len(WORDS), "mine/names.csv", "mine/absent.csv"]},
    }
    return DataDesignerConfigBuilder.from_config({"columns": [number]})
"""


@pytest.fixture
def seeded(built, generated):
    """A function that hands over a design with seeds from a path."""

    def hand_over(path, **changes):
        seeds = {"source": {"seed_type": "local", "path": str(path)}}
        built.build(**{**generated, "data__design__seed_config": seeds, **changes})
        return built.hand_over()

    return hand_over


def test_seeds_of_the_project_keep_their_place(built, seeded):
    Path("mine").mkdir()
    for name in ("one", "two"):
        Path(f"mine/{name}.csv").write_bytes(b"name\r\nAda\r\n")
    for path in ("mine/one.csv", Path("mine/one.csv").absolute()):
        folder = seeded(path)
        assert (folder / "mine/one.csv").read_bytes() == b"name\r\nAda\r\n"
        assert not (folder / "mine/two.csv").exists()
        design = (folder / "data/design.py").read_text()
        assert '"path": "mine/one.csv"' in design and str(Path.cwd()) not in design
        assert built.notes == ["The rows are not made yet; README.md says how to make them."]
        shutil.rmtree(folder)
    folder = seeded("mine/*.csv")
    assert [path.name for path in sorted(folder.glob("mine/*"))] == ["one.csv", "two.csv"]
    assert '"path": "mine/*.csv"' in (folder / "data/design.py").read_text()


def test_seeds_from_elsewhere_are_told(built, seeded, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "names.csv"
    elsewhere.write_text("name\nAda\n")
    folder = seeded(elsewhere)
    note = "data/seeds/names.csv is not here: its file is outside the project. Bring it."
    assert note in built.notes and note in (folder / "README.md").read_text()
    design = (folder / "data/design.py").read_text()
    assert '"path": "data/seeds/names.csv"' in design
    assert not any(str(elsewhere.parent) in path.read_text() for path in folder.rglob("*.*"))


def test_seeds_where_the_folder_writes_its_rows_are_refused(built, seeded):
    Path("data").mkdir()
    Path("data/train.jsonl").write_text('{"name": "Ada"}\n')
    with pytest.raises(LockgateError, match="own commands write data/train.jsonl"):
        seeded("data/train.jsonl")


def test_a_script_brings_what_it_imports_and_names(built, generated):
    Path("mine").mkdir()
    Path("mine/design.py").write_text(SCRIPT)
    Path("mine/words.py").write_text("import numpy\n\nWORDS = numpy.zeros(1)\n")
    Path("words.py").write_text("WORDS = 2\n")
    Path("mine/names.csv").write_bytes(b"name\r\n")
    Path("mine/other.csv").write_text("name\n")
    built.build(**{**generated, "data__design": None, "data__script": "mine/design.py"})
    folder = built.hand_over()
    assert (folder / "data/design.py").read_text() == SCRIPT
    assert [path.name for path in sorted(folder.glob("mine/*"))] == ["names.csv", "words.py"]
    assert (folder / "mine/names.csv").read_bytes() == b"name\r\n"
    assert not (folder / "words.py").exists()
    assert any(
        "those that it names in full, within the project, are here" in x for x in built.notes
    )
    assert not any("No installed package" in note for note in built.notes)


@pytest.mark.slow
def test_the_commands_of_the_readme_make_rows_of_the_seeds(built, seeded, alone):
    Path("mine").mkdir()
    Path("mine/names.csv").write_text("name\n" + "".join(f"Ada{n}\n" for n in range(40)))
    folder = seeded(
        "mine/names.csv", data__rows={"prompt": "{{ name }} {{ a }}", "completion": "x"}
    )
    shutil.move(folder, "moved")
    (block,) = re.findall(
        r"## Make the rows.*?```\n(.*?)```", Path("moved/README.md").read_text(), re.S
    )
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euc", block],
        cwd="moved",
        env={**alone, "PATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [
        row
        for split in ("train", "validation", "test")
        for row in read_jsonl(f"moved/data/{split}.jsonl")
    ]
    assert len(rows) == 40 and {row["fields"]["name"] for row in rows} == {
        f"Ada{n}" for n in range(40)
    }


def test_a_script_that_is_no_python_is_refused(built, generated):
    Path("design.py").write_text("def load_config_builder(:\n")
    with pytest.raises(LockgateError, match="line 1: ") as caught:
        built.build(**{**generated, "data__design": None, "data__script": "design.py"})
    assert caught.value.where.endswith("design.py")
