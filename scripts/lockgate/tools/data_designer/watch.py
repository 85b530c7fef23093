"""What the tool's `create` tells while it runs: how far it is, and whether it gets on at all.

The tool retries a request by itself, after pauses: status 502 to 504 and broken connections three
times, status 429 until it is answered (with fewer requests at a time), and then all of these and
500 twice more before it drops the record. That is good for bad minutes. With an endpoint that is
gone it goes through all records and drops each, so here it is ended, and the endpoint waited for.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from lockgate.errors import LockgateError
from lockgate.tools import Endpoint
from lockgate.tools.data_designer import command

LOOK = 5
"""Seconds between two looks."""
REFUSED, SILENT = 60, 300
"""The tool is ended when the endpoint has refused connections, or been silent, for so long."""
WAIT = 600
"""Seconds that an endpoint is waited for."""
IDLE = 900
"""Seconds without a new value in any record, before the tool is ended."""


class Watch:
    """Looks at the tool for as long as one call of it lasts.

    Args:
        rows: counts the rows of finished groups.
        log: what the tool prints to.
        endpoint: None: no model is asked.
        told: is given the number of records made so far, the unfinished group's about.
        idle: seconds without a new value, before the tool is ended.
    """

    def __init__(
        self,
        rows: Callable[[], int],
        log: Path,
        endpoint: Endpoint | None,
        told: Callable[[int], None] | None,
        idle: float = IDLE,
    ) -> None:
        self._rows, self._log, self._endpoint, self._told = rows, log, endpoint, told
        self._idle = idle
        self._state: tuple[int, list[int]] = (rows(), [])
        self._looked = self._moved = self._answered = time.monotonic()
        self._began = log.stat().st_size if log.exists() else 0

    def look(self) -> None:
        """To be called about every second.

        Raises:
            command.Unreachable: if the endpoint is gone.
            LockgateError: if nothing happens, or the endpoint refuses the key or the model.
        """
        now = time.monotonic()
        if now - self._looked < LOOK:
            return
        state = (self._rows(), _counts(self._log, self._began))
        if self._told:
            self._told(max(state[0], min(state[1], default=0)))
        if state[0] != self._state[0]:
            self._answered = now
        elif self._endpoint:
            self._ask(self._endpoint)
        if state != self._state:
            self._moved, self._state = now, state
        elif now - self._moved > self._idle:
            raise LockgateError(
                f"no value was made in {self._idle / 60:.0f} minutes",
                where="data.endpoint",
                hint=f"the tool was ended; what it said last is in {self._log}",
            )
        self._looked = time.monotonic()

    def _ask(self, endpoint: Endpoint) -> None:
        try:
            command.check_endpoint(endpoint)
        except command.Unreachable as error:
            cause = getattr(error.__cause__, "reason", None) or error.__cause__
            # a server at work may be slow to answer anything else
            patience = SILENT if isinstance(cause, TimeoutError) else REFUSED
            if time.monotonic() - self._answered > patience:
                raise
        else:
            self._answered = time.monotonic()


def wait_for(endpoint: Endpoint) -> None:
    """Wait until the endpoint answers, with growing pauses.

    Raises:
        command.Unreachable: if it does not for `WAIT` seconds.
        LockgateError: at once, if it refuses the key or the model.
    """
    began, pause = time.monotonic(), 1.0
    while True:
        try:
            command.check_endpoint(endpoint)
            break
        except command.Unreachable as error:
            left = WAIT - (time.monotonic() - began)
            if left <= 0:
                raise command.Unreachable(
                    f"{error.what}, for {WAIT / 60:.0f} minutes",
                    where=error.where,
                    hint=f"{error.hint} What was made is kept, and the next call goes on",
                ) from error
            if pause == 1:
                print(f"{error.what}: waited for, up to {WAIT / 60:.0f} min", flush=True)
            time.sleep(min(pause, left))
            pause = min(2 * pause, 30)
    if pause > 1:
        print(f"{endpoint.url} answers after {time.monotonic() - began:.0f} s", flush=True)


def causes(output: str) -> Counter[tuple[str, str]]:
    """Why the tool dropped records, as it said: column and cause, and how often."""
    found: Counter[tuple[str, str]] = Counter()
    for column, said in re.findall(
        r"failure on ([^\s\[]+)\[[^\]]*\]:\s*(.*(?:\n\s*\| Cause: .*)?)", output
    ):
        cause = said.rpartition("| Cause: ")[2].strip(" |-\n")
        cause = cause.replace(f" while running generation for column '{column}'", "")
        found[column, re.sub(r"\s+", " ", cause)] += 1
    return found


def blame(failures: Counter[tuple[str, str]]) -> tuple[str, str]:
    """The most frequent of `causes` as a sentence that names the column, and what to change."""
    (column, cause), count = failures.most_common(1)[0]
    what = f"column '{column}' could not be made ({count} times at last): {cause}"
    parsed = "parsed" in cause or "JSON" in cause
    return what, "set data.endpoint.constrain to true, or take a larger model" if parsed else ""


def usage(logs: list[Path]) -> dict[str, int] | None:
    """Requests and tokens that the tool's calls summed up at their ends; None: none did.

    A call that was killed tells nothing, and of several aliases of one model the tool tells one:
    such calls are counted in `untold_calls`.
    """
    text = "\n".join(log.read_bytes().decode(errors="replace") for log in logs)
    _, *calls = re.split(r"^\$ .*\b(?:create|preview)\b", text, flags=re.MULTILINE)
    tokens = re.findall(r"tokens: input=(\d+), output=(\d+)", text)
    requests = re.findall(r"requests: success=\d+, failed=\d+, total=(\d+)", text)
    if not requests:
        return None
    return {
        "requests": sum(map(int, requests)),
        "input_tokens": sum(int(given) for given, _ in tokens),
        "output_tokens": sum(int(made) for _, made in tokens),
        "untold_calls": sum(map(_is_untold, calls)),
    }


def pace(work: Path) -> tuple[int, float] | None:
    """Records of a call, and the seconds that they took without the tool's start, as it told.

    It tells none where no column asks a model: then they are those behind the first finished group.
    None: not known, as there was one group, or more than one call, each with its own start.
    """
    import pyarrow.parquet

    said = "".join(log.read_text("utf-8", "replace") for log in work.rglob("create.log"))
    if len(re.findall(r"^\$ .*\bcreate\b", said, flags=re.MULTILINE)) != 1:
        return None
    groups = sorted(
        (path.stat().st_mtime_ns, pyarrow.parquet.read_metadata(path).num_rows)
        for path in work.glob("*/dataset/parquet-files/batch_*.parquet")
    )
    rows = [count for _, count in groups]
    if (told := re.findall(r"Progress \[([\d.]+)s\]", said)) and sum(rows):
        return sum(rows), float(told[-1])  # it tells a last time at the end
    if not sum(rows[1:]):
        return None
    return sum(rows[1:]), (groups[-1][0] - groups[0][0]) / 1e9


def _is_untold(output: str) -> bool:
    _, *summary = output.split("Model usage summary:")
    aliases = len(set(re.findall(r"for model alias '(.*?)'", output)))
    told = summary[-1].count("-- model: ") if summary else 0
    return not summary or 0 < told < aliases


def _counts(log: Path, began: int) -> list[int]:
    """Values that each column has, as the tool told last."""
    try:
        with open(log, "rb") as handle:
            handle.seek(max(began, handle.seek(0, 2) - 16_384))
            text = handle.read().decode(errors="replace")
    except OSError:
        return []
    *_, last = ["", *text.split("Progress [")]
    return [int(count) for count in re.findall(r": (\d+)/\d+ \(", last)]
