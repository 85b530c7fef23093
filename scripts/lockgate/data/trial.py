"""Records made to be looked at and to take the time, and what all of them will take."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lockgate import process, tools

TIMED_RECORDS = 24
"""So many records time the generation, where twice the samples are not more."""


@dataclass(frozen=True)
class Trial:
    """What the tool made.

    Attributes:
        records: the samples; of a file, all.
        timed: made beside them to take the time, and not kept; of a file, none.
        start_seconds: of a generation, before its first record.
        seconds_per_record: from then on; `at_most`: the start may be in it.
        usage: what both together asked of the model; None: not known.
        pages: the tool's own, relative to the preview's directory; an index first.
    """

    records: list[dict[str, Any]]
    timed: list[dict[str, Any]]
    start_seconds: float
    seconds_per_record: float
    usage: dict[str, int] | None
    pages: list[str]
    at_most: bool = False


def make(
    adapter: Any,
    design: Path,
    document: dict[str, Any],
    records: int,
    running: tools.Endpoint | None,
    out: Path,
) -> Trial:
    """Make samples, and others in the way of the real job, to take the time; or read a file.

    Args:
        adapter: a `tools.DataGenerator`.
        design: the built design.
        document: the built data document.
        records: how many samples.
        running: the endpoint.
        out: the preview's directory.
    """
    started, work = process.seconds(), out / "timing"
    alone = {**document, "shards": 1}
    if document["files"]:
        found = adapter.generate(design, alone, 0, running, work)
        return Trial(found, [], process.seconds(), 0.0, None, [])
    shutil.rmtree(work, ignore_errors=True)  # a kept result would make it look quick
    made = adapter.preview(design, {**document, "preview_records": records}, running, out)
    shown, used = process.seconds() - started, adapter.usage(out)
    count = max(2 * records, min(TIMED_RECORDS, document["records"] // 5))
    count = min(count, document["records"])
    start = process.seconds()
    timed = adapter.generate(design, {**alone, "records": count}, 0, running, work)
    seconds = process.seconds() - start
    more = adapter.usage(work)
    paced = adapter.pace(work) if hasattr(adapter, "pace") else None
    shutil.rmtree(work, ignore_errors=True)
    per_record, at_most = rate((len(made), shown), (len(timed), seconds), paced)
    below = [path.relative_to(out) for path in sorted(out.rglob("*.html"), key=_order)]
    return Trial(
        made,
        timed,
        started + max(0.0, seconds - len(timed) * per_record),
        per_record,
        {key: used[key] + more[key] for key in used} if used and more else None,
        [str(path) for path in below if len(path.parts) > 1 and path.parts[0] != "iterations"],
        at_most,
    )


def _order(page: Path) -> tuple[bool, Path]:
    return page.name != "index.html", page


def rate(
    one: tuple[int, float], other: tuple[int, float], paced: tuple[int, float] | None = None
) -> tuple[float, bool]:
    """Seconds a record, and whether they are a bound, as a start is in them.

    What the tool tells of its pace counts; else the difference of two calls, where it is longer
    than two starts, for one may take twice as long as another.

    Args:
        one, other: records and seconds of two calls that both pay for the tool's start.
        paced: records and seconds without a start, see `tools.DataGenerator`; None: not known.
    """
    if paced:
        return paced[1] / paced[0], False
    (few, seconds_few), (many, seconds_many) = sorted([one, other])
    longer = seconds_many - seconds_few
    if many > few:
        each = longer / (many - few)
        if 0 <= 2 * (seconds_few - few * each) < longer:
            return each, False
    return seconds_many / max(1, many), True


def estimate(document: dict[str, Any], trial: Trial, accepted: int) -> dict[str, Any]:
    """What the full set takes, at the share of records that was accepted.

    Args:
        document: the built data document.
        trial: what the tool made.
        accepted: how many of the samples and the timed records together.

    Returns:
        `wanted` records, `records_to_make` for them (at most `accept.most` times as many), and
        how many are `short` then; `seconds` for all shards, one after the other (`shards`,
        `start_seconds`, `seconds_per_record`), a bound if `at_most`; `input_tokens`,
        `output_tokens` and `cost` (None: not known), which are least figures if `at_least`, as the
        tool did not tell of every request; `accepted` of `made` records.
    """
    made = len(trial.records) + len(trial.timed)
    wanted = to_make = made
    starts, short = 1, 0
    if not document["files"]:
        wanted, starts = document["records"], document["shards"]
        most = math.floor(document["accept"]["most"] * wanted)
        to_make = min(most, math.ceil(wanted * made / accepted)) if accepted else most
        short = max(0, wanted - to_make * accepted // made)
    price = (document["endpoint"] or {}).get("price")
    tokens: dict[str, int] | None = None
    if trial.usage is not None:
        tokens = {
            side: round(trial.usage[f"{side}_tokens"] * to_make / made)
            for side in ("input", "output")
        }
    return {
        "wanted": wanted,
        "records_to_make": to_make,
        "short": short,
        "seconds": starts * trial.start_seconds + to_make * trial.seconds_per_record,
        "input_tokens": tokens and tokens["input"],
        "output_tokens": tokens and tokens["output"],
        "cost": sum(price[side] * tokens[side] for side in tokens) / 1e6
        if price and tokens
        else None,
        "at_most": trial.at_most,
        "at_least": bool(trial.usage and trial.usage.get("untold_calls")),
        "accepted": accepted,
        "made": made,
        "shards": document["shards"],
        "start_seconds": trial.start_seconds,
        "seconds_per_record": trial.seconds_per_record,
    }
