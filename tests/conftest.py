"""What all tests share: a cache, environments of tools, and which of them run in one process."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lockgate import environments

WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if WORKERS > 1:  # they share the cores: two busy threads on each core collapse
    cores = len(os.sched_getaffinity(0))
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // WORKERS)))

TOGETHER = {
    "tests/slurm/": "cluster",
    "tests/workflow/test_gates.py": "finished project",
    "tests/workflow/test_reruns.py": "finished project",
}
"""Files whose tests share something that takes minutes to prepare; other files stand alone."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Where several processes share the tests (`pytest -n 3`), each takes whole files."""
    from xdist.scheduler import LoadScopeScheduling

    class Files(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            name = nodeid.split("::")[0]
            return next((TOGETHER[part] for part in TOGETHER if name.startswith(part)), name)

    return Files(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest starts first, so that all processes end at about the same time."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    if WORKERS > 1:
        folders = ("slurm", "workflow")
        items.sort(
            key=lambda item: (
                *(folder not in item.path.parts for folder in folders),
                item.path not in slow,
            )
        )


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache for this session and all its processes (or `LOCKGATE_CACHE`, where it is set).

    Converted models are new; environments are those that are there already, for they are large.
    """
    if "LOCKGATE_CACHE" in os.environ:
        yield
        return
    there = environments.home()
    there.mkdir(parents=True, exist_ok=True)
    base = tmp_path_factory.getbasetemp()
    path = (base.parent if WORKERS > 1 else base) / "cache"
    path.mkdir(exist_ok=True)
    with contextlib.suppress(FileExistsError):  # another process was first
        (path / there.name).symlink_to(there)
    os.environ["LOCKGATE_CACHE"] = str(path)
    yield
    del os.environ["LOCKGATE_CACHE"]


@pytest.fixture
def tune_environment() -> Path:
    """The interpreter of torchtune's, made by the documented command where it is not there.

    It is looked for in each test: some have a cache of their own.
    """
    if environments.state("torchtune") != "ready":
        command = [Path(sys.executable).with_name("lockgate"), "env", "create", "torchtune"]
        subprocess.run(command, check=True)
    return environments.python("torchtune")
