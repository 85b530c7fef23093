"""A built experiment, as the pipeline leaves it behind its first gate."""

import json
import os
import sys
from pathlib import Path

import pytest
import yaml

from lockgate import matrix, scaffold, tools
from lockgate.data import assembly
from lockgate.files import digest, write_json, write_text, write_yaml


class Built:
    """The experiment of the project, built and approved with changes of its configuration."""

    def __init__(self, project):
        self.project = project

    def build(self, **changes):
        """Write the configuration and everything that the phase build does of it."""
        values = self.project.values(**changes)
        Path(self.project.source).write_text(yaml.safe_dump(values, sort_keys=False))
        self.experiment = matrix.read(values, self.project.source)
        config = self.experiment.config
        self.results, self.approvals = config.results, config.approvals
        for name, document in self.experiment.documents.items():
            write_yaml(self.results / "build" / f"{name}.yaml", document)
        design = tools.get("data", config.data.tool, "").design_name
        write_text(self.results / "build/data" / design, self.experiment.design)
        entry = {
            "gate": "plan",
            "items": self.experiment.items["plan"],
            "owner": "ada",
            "by": "Ada",
            "note": "go on",
            "time": "2026-11-21T10:00:00+0000",
            "document": "0123456789ab",
        }
        write_text(self.approvals / "ledger.jsonl", json.dumps(entry) + "\n")
        return self

    def item(self, name):
        """What a result has to name to count as one of this configuration."""
        return f"{name}:{digest(self.experiment.documents[name])}"

    def result(self, name, content):
        write_json(self.results / name, content)

    def assemble(self, records):
        """The data, as the pipeline makes it of these records."""
        made = {"records": records, "seconds": 0.0, "versions": {}, "peak_memory_mb": 1}
        write_json("0.json", made)
        spec = self.results / "build/data/data.yaml"
        assembly.assemble(spec, [Path("0.json")], "name", self.results / "data")

    def hand_over(self):
        """The folder; the notes are in `notes`."""
        folder, self.notes = scaffold.write(Path(self.project.source), Path("out/folder"))
        return folder


@pytest.fixture
def built(project):
    """The example experiment with its own model, built."""
    return Built(project).build()


@pytest.fixture
def generated():
    """Changes of the configuration: its records are not there, a design makes them."""
    column = {"column_type": "sampler", "sampler_type": "uniform"}
    between = {"params": {"low": 0, "high": 99}}
    return {
        "data__tool": "data_designer",
        "data__files": None,
        "data__design": {"columns": [{"name": name, **column, **between} for name in ("a", "b")]},
        "data__records": 40,
        "data__rows": {"prompt": "{{ a }} or {{ b }}?", "completion": "{{ b }}"},
    }


@pytest.fixture(scope="session")
def alone(tmp_path_factory):
    """An environment in which nothing of Lockgate can be imported."""
    block = tmp_path_factory.mktemp("block")
    (block / "sitecustomize.py").write_text("import sys\nsys.modules['lockgate'] = None\n")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MODEL_")}
    return {**kept, "PYTHONPATH": str(block), "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
