"""An experiment with files as its jobs write them, and commands of SLURM that answer from files."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import yaml

from lockgate import attempts, files, status, status_text
from lockgate.tools.trl import kept


class Standing:
    """What a test writes for the jobs of an experiment, and what `lockgate status` then tells.

    Args:
        source: path of the configuration; the working directory is the project's.
        binaries: the only directory on the PATH.
    """

    def __init__(self, source: str, binaries: Path) -> None:
        self.source, self.binaries = Path(source), binaries
        self.read()

    def read(self):
        """Read the configuration (anew, after an edit)."""
        self.experiment = status.read(self.source)
        self.results = Path(self.experiment.results)
        self.works = {work.name: work for work in status.works(self.experiment)}

    def edit(self, **changes):
        values = yaml.safe_load(self.source.read_text())
        for key, value in changes.items():
            values["training"]["parameters"][key] = value
        self.source.write_text(yaml.safe_dump(values))
        self.read()

    def tell(self):
        return status.collect(self.experiment, self.source)

    def text(self, capsys):
        status_text.write(self.tell())
        return capsys.readouterr().out

    def run(self, name):
        return next(run for run in self.tell()["runs"] if run["name"] == name)

    def phases(self):
        return {
            one["phase"]: (one["state"], one["done"], one["all"]) for one in self.tell()["phases"]
        }

    def plan(self):
        """Write the plan that waits for approval."""
        covers = self.experiment.gates.needed["plan"]
        document = {"fingerprint": self.experiment.fingerprint, "covers": covers}
        files.write_json(self.results / "plan/plan.json", document)
        files.write_text(self.results / "plan/plan.html", "")
        for path in ("resolve/resources.json", "learn/catalog.json"):
            files.write_json(self.results / path, {})

    def approve(self, gate):
        gates = self.experiment.gates
        files.write_text(gates.marker(gate), "")
        gates.record(gate)

    def build(self):
        for name, document in self.experiment.documents.items():
            files.write_yaml(self.results / "build" / f"{name}.yaml", document)
            place = "data" if name == "data/data" else name
            record = {"item": self.experiment.item(name), "status": "ok"}
            files.write_json(self.results / "validate" / f"{place}.json", record)

    def finish(self, *names):
        """Write the results of jobs, in this order, each a second newer than the one before."""
        start = time.time() - 1000 + len(list(self.results.rglob("*.json")))
        for number, name in enumerate(names):
            if name == "data":
                path, item = self.results / "data/manifest.json", self.experiment.item("data/data")
            else:
                path, item = self.works[name].out, self.works[name].item
            files.write_json(path, {"run": name, "item": item, "cells": []})
            os.utime(path, (start + number, start + number))

    def begin(self, name, *, job=None, pid=None, host=None, item=None, ago=10.0):
        """An attempt at a job begins; gives its time."""
        began = time.time() - ago
        owner = {"job": job, "host": host or socket.gethostname(), "pid": pid or os.getpid()}
        item = item or self.works[name].item
        entry = {"event": "begin", "item": item, "memory_mb": None, "minutes": None}
        self._append(name, {**entry, "time": began, **owner})
        return owner

    def end(self, name, owner, outcome, detail=""):
        entry = {"event": "end", "outcome": outcome, "detail": detail, "time": time.time()}
        self._append(name, {**entry, **owner})

    def _append(self, name, entry):
        path = attempts.place(self.works[name].out) / attempts.NAME
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a") as handle:
            handle.write(json.dumps(entry) + "\n")

    def log(self, name, text):
        files.write_text(self.works[name].log, text)

    def progress(self, name, step, steps, seconds=2.0, ago=0.0, key="0123456789ab"):
        """The adapter that the project uses tells how far a training is, so long ago."""
        out = self.works[name].out.parent / key
        out.mkdir(parents=True, exist_ok=True)
        kept.Progress(out).tell(step, steps, 1.5, seconds)
        told = out / "progress.json"
        files.write_json(told, json.loads(told.read_text()) | {"updated": time.time() - ago})

    def slurm(self, *jobs, fails=False):
        """Let `squeue` answer with jobs: number, state, reason, node, comment."""
        lines = {"queue": [], "jobs": []}
        name = "addition_method_2026-11-20_" + "0" * 8 + "-0000-4000-8000-" + "0" * 12
        for number, state, reason, node, comment, *where in jobs:
            where = where[0] if where else str(Path.cwd())
            lines["queue"].append(
                f"{number}|{state}|{reason}|{node}|1:00:00|{name}|{where}|{comment}"
            )
            whole = number.split("_")[0]
            lines["jobs"].append(
                f"{number}|{whole}|{state}|{reason}|{node}|1:00:00|2000M|{comment}"
            )
        for kind, told in lines.items():
            (self.binaries / kind).write_text("".join(f"{line}\n" for line in told))
        answer = "exit 1" if fails else 'case "$*" in *%j*) kind=queue;; *) kind=jobs;; esac\n'
        if not fails:
            answer += f'while IFS= read -r line; do echo "$line"; done < {self.binaries}/$kind'
        self.command("squeue", answer)

    def command(self, name, script):
        path = self.binaries / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)


def sleeper(*words):
    """A process that waits to be ended, with these words on its command line."""
    code = "import time; print(flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code, *words], stdout=subprocess.PIPE)
    process.stdout.readline()
    return process
