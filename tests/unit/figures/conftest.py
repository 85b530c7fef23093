"""A plan with scores, and the figures caught before they become files."""

import pytest

from lockgate import comparison
from lockgate.figures import style


class Table:
    """Runs of one model and their scored samples."""

    def __init__(self):
        self.runs, self.cells, self.scores, self.trained = [], [], {}, {}

    def add(self, name, samples, seed=1, epoch=0, task="exact", kind="fine-tuned", **varied):
        """A cell; `samples` are scores, or samples without their ids."""
        trained = kind == "fine-tuned"
        if name not in self.scores:
            self.runs.append(
                {
                    "name": name, "kind": kind, "model": "m", "seed": seed if trained else None,
                    "varied": varied, "parameters": varied, "base": "m",
                }
            )  # fmt: skip
            self.trained[name] = {
                "run": name, "kind": kind, "seconds": {"total": 1800.0 if trained else 0.0},
                "losses": [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}] * trained,
            }  # fmt: skip
        cell = {"task": task, "epoch": epoch if trained else None}
        self.cells.append({"run": name, **cell})
        full = [
            {"id": str(i), "answer": "", "target": "", **(s if isinstance(s, dict) else {})}
            | ({} if isinstance(s, dict) else {"score": float(s)})
            for i, s in enumerate(samples)
        ]
        found = self.scores.setdefault(name, {"run": name, "cells": []})
        found["cells"].append({**cell, "metric": "exact", "seconds": 1.0, "samples": full})

    def control(self, samples, task="exact"):
        self.add("control", samples, task=task, kind="control")

    def plan(self):
        tasks = dict.fromkeys(cell["task"] for cell in self.cells)
        return {
            "experiment": {"name": "e"},
            "config_source": "config.yaml",
            "runs": self.runs,
            "cells": self.cells,
            "tasks": [{"name": task, "split": "test"} for task in tasks],
        }

    def results(self):
        return comparison.compare(self.plan(), self.scores)


@pytest.fixture
def table():
    return Table()


@pytest.fixture
def caught(monkeypatch):
    """The last figure that was drawn, in place of its file."""
    figures = []

    def keep(figure):
        figure.draw_without_rendering()
        figures.append(figure)
        return b"png"

    monkeypatch.setattr(style, "png", keep)
    return figures
