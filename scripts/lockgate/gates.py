"""Gates: conditions on marker files that the user creates.

A gate reviews one document (JSON with `covers`, a list of items). It is open when every item
that the configuration needs now is covered by an approved document: one whose marker is not
older than it or names its digest, or one that the ledger already records.
"""

from __future__ import annotations

import argparse
import json
import os
import pwd
import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lockgate.errors import LockgateError
from lockgate.files import digest, file_digest, locked, read_json, read_yaml

ORDER = ("plan", "preview")
DOCUMENTS = {"plan": "plan/plan.json", "preview": "preview/review.json"}
HOURS = "compute hours up to"
UNWRITTEN, OUTDATED = "it is not written yet", "it has to be written again first"
PAGES = {"plan": "plan/plan.html", "preview": "preview/review.html"}
CALL = "LOCKGATE_CALL"
"""Variable that tells jobs which call of Snakemake goes on from the gate, see `again`."""


@dataclass(frozen=True)
class State:
    """Whether a gate is open; if not, why, and whether the user is to approve anything.

    `blocked`: no approval would open it, the configuration has to change.
    """

    gate: str
    open: bool
    reason: str = ""
    to_approve: bool = True
    blocked: bool = False


class Gates:
    """The gates of one experiment.

    Args:
        results: the experiment's results directory.
        approvals: the directory of its markers and its ledger.
        needed: for each gate the items that the configuration needs now.
        fingerprint: what the plan document must have been written from.
        approvers: user names whose markers count; None: anybody's.
        blocked: why the plan cannot be approved as it is; empty: it can.
    """

    def __init__(
        self,
        results: Path,
        approvals: Path,
        needed: dict[str, list[str]],
        fingerprint: str,
        approvers: list[str] | None = None,
        blocked: str = "",
    ) -> None:
        self.results, self.approvals, self.blocked = results, approvals, blocked
        self.needed, self.fingerprint, self.approvers = needed, fingerprint, approvers
        self.ledger = approvals / "ledger.jsonl"

    def marker(self, gate: str) -> Path:
        return self.approvals / f"{gate}.approved"

    def document(self, gate: str) -> Path:
        return self.results / DOCUMENTS[gate]

    def recorded(self, gate: str) -> list[str]:
        """Items that the ledger records as approved at this gate."""
        return [
            item
            for entry in read_ledger(self.ledger)
            if entry["gate"] == gate
            and (self.approvers is None or entry.get("owner") in self.approvers)
            for item in entry["items"]
        ]

    def state(self, gate: str) -> State:
        """Whether the gate is open now."""
        if self.blocked:
            return State(gate, False, self.blocked, to_approve=False, blocked=True)
        needed, recorded = set(self.needed[gate]), set(self.recorded(gate))
        document = self._read(gate)
        if gate == "plan" and (document or {}).get("fingerprint") != self.fingerprint:
            known = needed <= recorded
            reason = OUTDATED if document else UNWRITTEN
            return State(gate, False, reason, to_approve=not known)
        if document is not None:
            # what only the document knows: an estimate beyond the approved one
            needed |= {item for item in document["covers"] if item.startswith(HOURS)}
        if needed <= recorded:
            return State(gate, True)
        if document is None:
            return State(gate, False, UNWRITTEN)
        if not needed <= recorded | set(document["covers"]):
            return State(gate, False, OUTDATED)
        fault = self._fault(gate)
        return State(gate, not fault, fault)

    def record(self, gate: str) -> None:
        """Append the document that is approved now to the ledger, once."""
        document = self._read(gate)
        if document is None or self._fault(gate):
            return
        marker, path = self.marker(gate), self.document(gate)
        with locked(self.approvals / ".ledger.lock"):
            entries = read_ledger(self.ledger)
            told = digest(document["covers"]), file_digest(path)[:12]
            if told in [(entry.get("covers"), entry.get("document")) for entry in entries]:
                return
            status = marker.stat()
            told_by = _marker(marker)
            entry: dict[str, Any] = {
                "gate": gate,
                "document": told[1],
                "covers": told[0],
                "items": document["covers"],
                "marker": str(marker),
                "marker_mtime": status.st_mtime,
                "uid": status.st_uid,
                "owner": owner(marker),
                "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            }
            entry.update({key: str(told_by[key]) for key in ("by", "note") if key in told_by})
            cut = self.ledger.exists() and not self.ledger.read_bytes().endswith(b"\n")
            with open(self.ledger, "a", encoding="utf-8") as handle:
                handle.write(("\n" if cut else "") + json.dumps(entry, ensure_ascii=False) + "\n")
                handle.flush()
                os.fsync(handle.fileno())

    def advance(self) -> list[State]:
        """The gates in order up to the first closed one; open ones are recorded."""
        states = []
        for gate in ORDER:
            states.append(self.state(gate))
            if not states[-1].open:
                break
            self.record(gate)
        return states

    def message(self, state: State) -> str:
        """What a user reads at a closed gate: what to review and what to type."""
        page = (self.results / PAGES[state.gate]).resolve()
        reason = state.reason.rstrip(".")
        lines = [f"Gate '{state.gate}' is closed: {self.document(state.gate)}: {reason}."]
        if state.to_approve:
            lines += [
                f"  Review:   {page.as_uri()}",
                f"  Approve:  {approval(self.approvals, state.gate)}",
                "  Then run the same command again.",
            ]
        elif state.blocked:
            lines += [
                f"  Read:     {page.as_uri()}",
                "  Edit the configuration, then run the same command again.",
            ]
        else:
            lines += ["  It needs no new approval so far: run the same command again."]
        return "\n".join(lines)

    def _read(self, gate: str) -> dict[str, Any] | None:
        path = self.document(gate)
        if not path.exists():
            return None
        document: dict[str, Any] = read_json(path)
        return document

    def _fault(self, gate: str) -> str:
        """Why the marker does not approve the document; empty if it does."""
        marker, document = self.marker(gate), self.document(gate)
        if not marker.exists():
            return "it waits for your approval"
        if marker.is_symlink():
            return f"the marker {marker} is a link, which tells nobody's approval"
        try:
            named = _marker(marker).get("digest")
        except LockgateError as error:
            return f"the marker {marker} is neither empty nor YAML ({error.what.splitlines()[0]})"
        if named is not None and not (
            len(str(named)) >= 8 and file_digest(document).startswith(str(named))
        ):
            return f"the marker {marker} names another document ({named})"
        if named is None and marker.stat().st_mtime < document.stat().st_mtime:
            return f"the marker {marker} is older than the document"
        if self.approvers is not None and owner(marker) not in self.approvers:
            return (
                f"the marker {marker} belongs to {owner(marker)}, who is not among the approvers "
                f"({', '.join(self.approvers)})"
            )
        return ""


def approval(approvals: Path, gate: str) -> str:
    """The command that approves a gate's document.

    Args:
        approvals: the directory of the experiment's markers.
        gate: its name.
    """
    return f"mkdir -p {approvals} && touch {approvals / gate}.approved"


def again(arguments: list[str], config: str) -> str:
    """The call of Snakemake that goes on to the end, for a page that is read later.

    Args:
        arguments: of the call that is being made; what narrows it down is left out.
        config: the configuration's path.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in ("--profile", "--directory -d", "--snakefile -s", "--cores -c --jobs -j"):
        parser.add_argument(*name.split(), nargs="?", const="all")
    parser.add_argument("--configfile", "--configfiles", nargs="+", action="extend", default=[])
    parser.add_argument("--config", "-C", nargs="*", action="extend", default=[])
    known = vars(parser.parse_known_args(arguments)[0])
    files, values = known.pop("configfile") or [config], known.pop("config")
    given = [word for name, value in known.items() if value for word in (f"--{name}", value)]
    call = ["snakemake", *given, "--configfile", *files]
    return shlex.join([*call, "--config", *values] if values else call)


def read_ledger(path: Path) -> list[dict[str, Any]]:
    """Every approval recorded, oldest first; a line cut short by a crash is left out."""
    if not path.exists():
        return []
    entries = []
    for line in path.read_bytes().split(b"\n"):
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and {"gate", "items"} <= entry.keys():
            entries.append(entry)
    return entries


def require(ledger: Path, gate: str, item: str) -> None:
    """Refuse to spend anything on an item that no approval covers.

    A job calls it with the digest of its own built document: between the approval and the
    job, on another node, the configuration or the built file may have changed.

    Raises:
        LockgateError: if the ledger does not record the item at this gate.
    """
    approved = [entry for entry in read_ledger(ledger) if entry["gate"] == gate]
    if not any(item in entry["items"] for entry in approved):
        raise LockgateError(
            f"'{item}' is not approved at gate '{gate}'",
            where=str(ledger),
            hint="run the pipeline again; it says what to review and how to approve",
        )


def _ceilings(ledger: Path) -> list[float]:
    return [
        float(item.split()[-1])
        for entry in read_ledger(ledger)
        for item in entry["items"]
        if item.startswith(HOURS)
    ]


def approved_hours(ledger: Path) -> float | None:
    """The highest ceiling of compute hours approved so far."""
    return max(_ceilings(ledger), default=None)


def hours_item(ledger: Path, hours: float) -> str:
    """The item that approves compute hours: a ceiling of 1.5 times the estimate.

    A later estimate within an approved ceiling needs no new approval.
    """
    fitting = [ceiling for ceiling in _ceilings(ledger) if hours <= ceiling]
    return f"{HOURS} {min(fitting) if fitting else float(f'{1.5 * hours:.3g}'):g}"


def owner(path: Path) -> str:
    """User name of a file's owner (its number where it has no name)."""
    uid = path.stat().st_uid
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _marker(path: Path) -> dict[str, Any]:
    content = read_yaml(path)
    if content is not None and not isinstance(content, dict):
        raise LockgateError("it holds no mapping", where=str(path))
    return content or {}
