"""Child processes, and what a process used."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lockgate import process

SCRIPTS = Path(__file__).parents[2] / "scripts"


def python(code):
    """What a fresh process with that code prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
    )
    return done.stdout.strip()


def test_time_counts_from_the_processs_start():
    told = python(
        "import time; time.sleep(0.3)\nfrom lockgate import process\nprint(process.seconds())"
    )
    assert 0.3 < float(told) < 60


HOLD = """
import subprocess, sys, time
from lockgate import process
if {watch}:
    process.watch_memory()
hold = "import time; kept = b'x' * {size}; time.sleep(2.5)"
children = [subprocess.Popen([sys.executable, "-c", hold]) for _ in range(2)]
[child.wait() for child in children]
print(process.peak_memory_mb())
"""


def test_memory_of_the_process_that_started_this_one_does_not_count():
    held = b"x" * 200_000_000
    assert float(python("from lockgate import process; print(process.peak_memory_mb())")) < 150
    assert held


@pytest.mark.slow
def test_children_that_live_at_the_same_time_are_added_up():
    size = 120_000_000
    assert 240 < float(python(HOLD.format(watch=True, size=size))) < 400
    assert 120 < float(python(HOLD.format(watch=False, size=size))) < 240


def test_the_visible_gpus_count(monkeypatch, tmp_path):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\nprintf 'NVIDIA A\\nNVIDIA A\\n'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert process.gpus() == ["NVIDIA A", "NVIDIA A"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert process.gpus() == ["NVIDIA A"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert process.gpus() == []


def test_without_the_drivers_tool_there_is_no_gpu(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert process.gpus() == []


def test_a_directorys_size_counts_all_files_below(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_bytes(b"0" * 1_500_000)
    (tmp_path / "y").write_bytes(b"0" * 500_000)
    assert process.disk_mb(tmp_path) == 2


def test_a_childs_output_is_in_its_log_while_it_runs(tmp_path):
    log, seen = tmp_path / "log", []
    code = "import time; print('now', flush=True); time.sleep(1.5)"
    done = process.run(
        [sys.executable, "-c", code], log, look=lambda: seen.append("now\n" in log.read_text())
    )
    assert seen and seen[-1]
    assert (done.returncode, done.stdout) == (0, "now\n")


def test_only_its_own_output_is_returned(tmp_path):
    log = tmp_path / "log"
    for word in ("one", "two"):
        done = process.run([sys.executable, "-c", f"print({word!r})"], log)
        assert done.stdout == f"{word}\n"
    assert re.findall(r"^(one|two)$", log.read_text(), re.MULTILINE) == ["one", "two"]


def test_a_look_that_raises_ends_the_child(tmp_path):
    def look():
        raise ValueError("enough")

    started = time.monotonic()
    sleeping = [sys.executable, "-c", "import time; time.sleep(60)"]
    # the tests' SLURM cluster may be running as children of this process
    others = set(process.psutil.Process().children())
    with pytest.raises(ValueError, match="enough"):
        process.run(sleeping, tmp_path / "log", look=look)
    assert time.monotonic() - started < 30
    assert set(process.psutil.Process().children()) <= others
