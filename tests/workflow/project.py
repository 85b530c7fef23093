"""A project in a temporary directory, driven by real Snakemake as a user drives it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from lockgate import matrix

ROOT = Path(__file__).parents[2]
PARTS = ("workflow", "scripts", "profiles", "config", "local", "slurm")
LIGHT = {
    "all", "resolve", "learn", "plan", "build_summary", "review", "report", "validate_report",
    "review_stages", "report_stages",
}  # fmt: skip
"""Rules that only write down what is known; everything else spends time or decides a result."""


class Project:
    """A copy of the checkout with its own results, approvals and .snakemake folder.

    Args:
        path: its directory.
        config: path of the configuration within it.
    """

    def __init__(self, path: Path, config: str) -> None:
        self.path, self.config_path = path, path / config

    @classmethod
    def create(cls, path: Path, config: str) -> Project:
        path.mkdir(parents=True, exist_ok=True)
        for part in PARTS:
            source = ROOT / part
            if source.is_symlink():
                (path / part).symlink_to(os.readlink(source))
            else:
                ignore = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, path / part, ignore=ignore)
        return cls(path, config)

    def copy(self, path: Path) -> Project:
        """The whole project as it stands, with times of files and Snakemake's records."""
        subprocess.run(["cp", "-a", str(self.path), str(path)], check=True)
        return Project(path, str(self.config_path.relative_to(self.path)))

    @property
    def config(self) -> dict[str, Any]:
        return yaml.safe_load(self.config_path.read_text())

    def edit(self, change: Callable[[dict[str, Any]], None]) -> None:
        config = self.config
        change(config)
        self.config_path.write_text(yaml.safe_dump(config, sort_keys=False))

    @property
    def results(self) -> Path:
        return self.path / "results" / self.config["experiment"]["name"]

    @property
    def approvals(self) -> Path:
        return self.path / "approvals" / self.config["experiment"]["name"]

    def command(self, *arguments: str, profile: str = "local") -> list[str]:
        config = str(self.config_path.relative_to(self.path))
        snakemake = str(Path(sys.executable).with_name("snakemake"))
        # arguments first: --configfile takes every word that follows it
        return [snakemake, *arguments, "--profile", profile, "--configfile", config]

    def run(self, *arguments: str, profile: str = "local") -> Result:
        done = subprocess.run(
            self.command(*arguments, profile=profile),
            cwd=self.path,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            timeout=900,
            check=False,
        )
        return Result(done.returncode, done.stdout)

    def dry_run(self) -> Result:
        return self.run("-n")

    def approve(self, gate: str) -> Path:
        self.approvals.mkdir(parents=True, exist_ok=True)
        marker = self.approvals / f"{gate}.approved"
        marker.touch()
        return marker

    def pass_preview(self) -> None:
        """Record the approval of a preview, unseen: that of a training takes minutes."""
        experiment = matrix.read(self.config, str(self.config_path.relative_to(self.path)))
        entry = {"gate": "preview", "items": experiment.items["preview"]}
        with open(self.approvals / "ledger.jsonl", "a", encoding="utf-8") as ledger:
            ledger.write(json.dumps(entry) + "\n")

    def finish(self) -> Result:
        """Run to the end, approving what is to be approved."""
        for _ in range(4):
            result = self.run()
            assert result.status == 0, result.output
            gate = result.closed
            if gate is None:
                return result
            self.approve(gate)
        raise AssertionError(result.output)

    def kill_when(self, ready: Callable[[], bool], *arguments: str, timeout: float = 300) -> None:
        """Run; send SIGKILL to Snakemake alone once `ready()` holds."""
        log = open(self.path / "killed.log", "w")  # noqa: SIM115
        process = subprocess.Popen(
            self.command(*arguments),
            cwd=self.path,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + timeout
        try:
            while not ready():
                assert process.poll() is None, (self.path / "killed.log").read_text()
                assert time.monotonic() < deadline, "the moment to kill did not come"
                time.sleep(0.02)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
            log.close()

    def processes(self) -> list[str]:
        """Command lines of processes that still work in this project."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                here = os.readlink(entry / "cwd")
            except OSError:
                continue
            if str(self.path) in line or Path(here) == self.path:
                found.append(line)
        return found

    def wait_until_quiet(self, seconds: float = 15) -> None:
        """No process is left a few seconds after the parent's end."""
        deadline = time.monotonic() + seconds
        while self.processes() and time.monotonic() < deadline:
            time.sleep(0.2)
        assert self.processes() == []


class Result:
    """What a call of Snakemake printed, and its exit status."""

    def __init__(self, status: int, output: str) -> None:
        self.status, self.output = status, output

    @property
    def closed(self) -> str | None:
        """The gate that stopped the run and waits for an approval."""
        found = re.findall(r"Gate '(\w+)' is closed", self.output)
        return found[-1] if found else None

    @property
    def jobs(self) -> set[str]:
        """Each job as its rule, or as `rule:wildcard` where it has one."""
        jobs = set()
        for block in re.split(r"\n(?=(?:local)?rule )", "\n" + self.output)[1:]:
            rule = re.match(r"(?:local)?rule (\w+):", block)
            if not rule:
                continue
            values = re.search(r"\n    wildcards: (.*)", block)
            pairs = values[1].split(", ") if values else []
            jobs.add(":".join([rule[1], *(pair.split("=", 1)[1] for pair in pairs)]))
        return jobs

    @property
    def heavy(self) -> set[str]:
        """Jobs without those that only write down what is known."""
        return {job for job in self.jobs if job.split(":")[0] not in LIGHT}
