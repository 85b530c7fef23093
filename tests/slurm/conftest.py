"""Real clusters, started once a session each; tests leave them as they found them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Cluster


def _cluster(accounting: bool) -> Iterator[Cluster]:
    # the path of a socket is short: pytest's own directories are too deep for some systems
    with (
        tempfile.TemporaryDirectory(prefix="cluster-") as directory,
        Cluster(Path(directory), accounting) as cluster,
    ):
        yield cluster


@pytest.fixture(scope="session")
def _squeue_only() -> Iterator[Cluster]:
    yield from _cluster(accounting=False)


@pytest.fixture(scope="session")
def _with_sacct() -> Iterator[Cluster]:
    yield from _cluster(accounting=True)


def _enter(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    for name, value in cluster.environment().items():
        monkeypatch.setenv(name, value)
    yield cluster
    cluster.clear()


@pytest.fixture
def cluster(_squeue_only: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """The cluster without accounting, as this test's own: its commands are on the PATH."""
    yield from _enter(_squeue_only, monkeypatch)


@pytest.fixture
def accounting_cluster(_with_sacct: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """The cluster with accounting, as this test's own: its commands are on the PATH."""
    yield from _enter(_with_sacct, monkeypatch)
