"""Projects that are prepared once a session and copied by each test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from project import Project

from tiny_model import make_tiny_model


def _tiny(config: dict[str, Any]) -> None:
    """The own-model example with adapters, two learning rates, and little to do."""
    config["training"]["parameters"] |= {"method": "lora", "lora_rank": 4, "epochs": 1}
    config["training"]["variables"] = {"learning_rate": [1e-3, 3e-3], "lora_rank": [4]}
    config["data"]["records"] = 60
    config["evaluation"]["tasks"] = config["evaluation"]["tasks"][1:]


@pytest.fixture(scope="session")
def tiny_new(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project on the tiny model and an existing dataset; nothing has run."""
    path = tmp_path_factory.mktemp("tiny") / "project"
    project = Project.create(path, "config/examples/own_model.yaml")
    make_tiny_model(path / "models" / "tiny", chat_template=False)
    project.edit(_tiny)
    return project


@pytest.fixture(scope="session")
def tiny_done(tiny_new: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The same project, run to its report."""
    project = tiny_new.copy(tmp_path_factory.mktemp("tiny-done") / "project")
    project.finish()
    return project


@pytest.fixture
def new(tiny_new: Project, tmp_path: Path) -> Project:
    return tiny_new.copy(tmp_path / "project")


@pytest.fixture
def done(tiny_done: Project, tmp_path: Path) -> Project:
    return tiny_done.copy(tmp_path / "project")


@pytest.fixture(scope="session")
def smoke_done(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The smoke example on real parts, run to its report."""
    path = tmp_path_factory.mktemp("smoke") / "project"
    project = Project.create(path, "config/examples/smoke.yaml")
    # two threads beside a busy neighbour are many times slower than one
    project.edit(lambda config: config["resources"].update(threads=1))
    project.finish()
    return project


@pytest.fixture
def smoke(smoke_done: Project, tmp_path: Path) -> Project:
    return smoke_done.copy(tmp_path / "project")
