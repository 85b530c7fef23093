"""What all tests share: the environments of tools that have their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lockgate import environments


@pytest.fixture
def tune_environment() -> Path:
    """The interpreter of torchtune's, made by the documented command where it is not there.

    It is looked for in each test: some have a cache of their own.
    """
    if environments.state("torchtune") != "ready":
        command = [Path(sys.executable).with_name("lockgate"), "env", "create", "torchtune"]
        subprocess.run(command, check=True)
    return environments.python("torchtune")
