"""Where an experiment stands, as a person reads it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from lockgate.activity import DONE, FAILED, PENDING, STOPPED, WAITING
from lockgate.catalog import show

_MOST = 40
"""With more runs, those that are done or wait are only counted."""
_LOGS = 5
"""Of so many failed jobs the log is shown."""
_WIDTH = 60
"""Longest reason in the table, in characters."""


def write(told: dict[str, Any]) -> None:
    """Print what `lockgate.status.collect` gives."""
    runs, jobs = told["runs"], told["jobs"]
    print(f"{told['experiment']}  ({told['configuration']})")
    running = told["snakemake"]
    print(
        f"Snakemake runs here: process {running}."
        if running
        else "No Snakemake is seen on this machine."
    )
    if told["slurm"] is False:
        print("SLURM does not answer: its queue is not checked.")
    print()
    _phases(told["phases"])
    _gates(told)
    moving = [job for job in jobs if job["state"] not in (WAITING, DONE)]
    few = len(runs) <= _MOST
    shown = runs if few else [run for run in runs if run["state"] not in (WAITING, DONE, "trained")]
    word = "stage" if runs and runs[0]["kind"] == "stage" else "run"
    print(f"\n{_counted(len(runs), word)}: {_states(runs)}" if runs else f"\nno {word} yet")
    _table(moving, "JOB FOR", told["time"])
    _table(shown, word.upper(), told["time"])
    _queue(told["queue"])
    failed = [one for one in moving + runs if one["state"] == FAILED]
    for one in failed[:_LOGS]:
        print(f"\n{one['name']} failed: {one['reason']}\n  log: {one['log']}")
        for line in one["lines"]:
            print(f"  | {line[:200]}")
    if len(failed) > _LOGS:
        print(f"\n... and {len(failed) - _LOGS} more failed: see their logs")
    held = [one["job"] for one in moving + runs if one["state"] == PENDING and _held(one["reason"])]
    if held:
        print("\nSLURM holds jobs that will not start by themselves. Once the reason is mended:")
        print(f"  scontrol release {' '.join(dict.fromkeys(held))}")
    if not running and any(one["state"] in (FAILED, STOPPED) for one in moving + runs):
        print("\nRun the pipeline again: what is finished is kept, the rest continues.")


def _held(reason: str) -> bool:
    # JobHeldUser, JobHeldAdmin, "launch failed requeued held" and others
    return "held" in reason.partition(";")[0].lower()


def _phases(phases: list[dict[str, Any]]) -> None:
    done = [one["phase"] for one in phases if one["state"] == DONE]
    begun = [
        f"{one['phase']} {one['done']} of {one['all']}" for one in phases if one["state"] == "begun"
    ]
    ahead = [one["phase"] for one in phases if one["state"] == WAITING]
    for word, names in (("done", done), ("begun", begun), ("to come", ahead)):
        if names:
            print(f"{word + ':':<9}{', '.join(names)}")


def _gates(told: dict[str, Any]) -> None:
    for gate in told["gates"]:
        state = "open" if gate["open"] else f"closed: {gate['reason']}"
        print(f"{'gate:':<9}{gate['gate']} is {state}")
        if gate["approve"]:
            print(f"{'':<9}  review   {gate['review']}\n{'':<9}  approve  {gate['approve']}")
        if told["blocked"]:
            return  # the next one would say the same


def _table(entries: list[dict[str, Any]], head: str, now: float) -> None:
    """One line each; a column that says nothing is left out."""
    rows = [[head, "STATE", "JOB", "NODE", "STEP", "LEFT", "CELLS", "WHY"]]
    for one in entries:
        progress, cells = one["progress"], one.get("cells")
        state, job = one["state"], one["job"] or (f"pid {one['pid']}" if one["pid"] else "")
        if one.get("phase") == "eval" and state in (PENDING, STOPPED, FAILED):
            state += ", eval"
        if one["attempts"] > 1 and one["state"] != DONE:
            state += f" ({_nth(one['attempts'])})"
        step = left = ""
        if progress:
            step = f"{progress['step']}/{progress['steps']} {progress['percent']:.0f}%"
            left = duration(progress["seconds_left"])
        elif one["since"] and state.startswith(("running", "evaluating")):
            step = f"since {duration(max(0.0, now - one['since']))}"
        reason = one["reason"]
        if len(reason) > _WIDTH:
            reason = f"{reason[: _WIDTH - 4].rsplit(' ', 1)[0]} ..."
        of = f"{cells['done']}/{cells['all']}" if cells else ""
        rows.append([one["name"], state, job, one["node"] or "", step, left, of, reason])
    if entries:
        kept = [c for c in range(len(rows[0])) if any(row[c] for row in rows[1:])]
        table = [[row[column] for column in kept] for row in rows]
        print()
        show.print_table(table[0], table[1:])


def _queue(entries: list[dict[str, Any]]) -> None:
    """One line for the tasks of an array that are alike."""
    keys = ("rule", "state", "reason")
    alike = Counter(
        (entry["job"].split("_")[0], *(entry[key] for key in keys)) for entry in entries
    )
    for (job, rule, state, reason), count in alike.items():
        why = f" ({reason})" if reason else ""
        print(f"SLURM job {job}: {count} of {rule}, {state}{why}")


def _states(runs: list[dict[str, Any]]) -> str:
    counts = Counter(run["state"] for run in runs)
    return ", ".join(f"{count} {state}" for state, count in counts.most_common())


def _counted(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _nth(number: int) -> str:
    ends = {1: "st", 2: "nd", 3: "rd"}
    end = "th" if 10 < number % 100 < 14 else ends.get(number % 10, "th")
    return f"{number}{end} try"


def duration(seconds: float | None) -> str:
    """Seconds as a person reads them; empty where they are not known."""
    if seconds is None:
        return ""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
