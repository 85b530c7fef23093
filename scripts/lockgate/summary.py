"""The experiment's summary, for people and for programs: a draft until its plan is approved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lockgate import pages
from lockgate.files import write_text, write_yaml

_FIELDS = {
    "experiment": "experiment",
    "tools": "versions",
    "variables": "variables",
    "stages": "stages",
    "runs": "runs",
    "resources": "resources",
    "machine": "machine",
    "questions": "questions",
    "prerequisites": "prerequisites",
    "tasks": "tasks",
    "evaluations": "cells",
    "estimates": "estimates",
    "expected_hours": "hours",
    "places": "places",
}
"""Sections of experiment_summary.yaml, and the keys of the plan that they hold."""


def write(
    plan: dict[str, Any], approvals: list[dict[str, Any]], markdown: Path | str, data: Path | str
) -> None:
    """experiment_summary.md, and the same as YAML.

    Args:
        plan: plan.json.
        approvals: entries of the ledger that cover it; none: it is a draft.
        markdown, data: the files to write.
    """
    page = pages.render(
        "experiment_summary.md.j2", plan=plan, approvals=approvals, fixed=_fixed(plan)
    )
    write_text(markdown, page)
    summary = {
        "status": "approved" if approvals else "draft",
        "approvals": [
            {key: one[key] for key in ("owner", "time", "document")} for one in approvals
        ],
        "configuration": {"file": plan["config_source"], "digest": plan["config_digest"]},
        **{title: plan[key] for title, key in _FIELDS.items() if key in plan},
    }
    write_yaml(data, summary, f"Summary of {plan['experiment']['name']}; plan.json has everything.")


def _fixed(plan: dict[str, Any]) -> dict[str, Any]:
    """Parameters that all fine-tuned runs share."""
    runs = plan.get("runs") or []
    tuned = [run["parameters"] for run in runs if run["kind"] == "fine-tuned"]
    if not tuned:
        return {}
    first, *rest = tuned
    return {
        key: value
        for key, value in first.items()
        if value not in ({}, None) and all(one.get(key) == value for one in rest)
    }
