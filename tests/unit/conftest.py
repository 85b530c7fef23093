"""What unit tests share: an experiment of the user's own, in an empty project."""

import copy
import functools
import json
import shutil
import struct
from pathlib import Path

import pytest
import yaml

from lockgate import matrix

EXAMPLES = Path(__file__).parents[2] / "config" / "examples"


class Project:
    """A project that holds config/examples/own_model.yaml and what it points at."""

    source = "config/examples/own_model.yaml"
    model = Path("models/tiny/model.safetensors")
    records = Path("config/examples/data/addition.jsonl")
    task = Path("config/examples/tasks/closeness.py")

    def __init__(self, root: Path) -> None:
        shutil.copytree(
            EXAMPLES, root / "config/examples", ignore=shutil.ignore_patterns("__pycache__")
        )
        self.model.parent.mkdir(parents=True)
        # whole by its header: one matrix of 6 numbers
        header = json.dumps({"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}})
        self.model.write_bytes(struct.pack("<Q", len(header)) + header.encode() + bytes(24))
        for name in ("config.json", "tokenizer.json"):
            (self.model.parent / name).write_text("{}")
        self.original = yaml.safe_load(Path(self.source).read_text())

    def values(self, **changes):
        """The configuration; a change is named by its path, like `training__seeds=[1]`."""
        values = copy.deepcopy(self.original)
        for path, value in changes.items():
            *parents, key = path.split("__")
            section = functools.reduce(lambda at, name: at.setdefault(name, {}), parents, values)
            section[key] = value
        return values

    def read(self, **changes):
        """The experiment that the changed configuration describes."""
        return matrix.read(self.values(**changes), self.source)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The project, entered: paths in the configuration start at its root."""
    monkeypatch.chdir(tmp_path)
    return Project(tmp_path)
