"""The review page of the data: one HTML file that stands alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lockgate import pages
from lockgate.data.records import spread
from lockgate.files import write_text

SHOWN = 20
"""At most so many sample records are on the page."""

_FOLDED = 240  # characters of a longer text that are in sight
_LONGEST = 8000  # characters of a text on the page


def write(
    path: Path,
    review: dict[str, Any],
    samples: list[tuple[int, dict[str, Any], str]],
    links: dict[str, Path],
) -> None:
    """Write the page.

    Args:
        path: the page.
        review: what review.json holds.
        samples: records that can be read, each with its number before it and why it does not
            count behind it (empty: it does); `SHOWN`, evenly spread, are on the page.
        links: what else there is to read, and where it is or will be.
    """
    page = pages.render(
        "data_review.html.j2",
        review=review,
        figures=review["figures"],
        estimate=review["estimate"],
        worst=[{**one, "text": text(one["text"])} for one in review["figures"]["worst"]],
        samples=[
            {
                "number": number,
                "verdict": verdict,
                "fields": {str(name): text(value) for name, value in record.items()},
            }
            for number, record, verdict in spread(samples, SHOWN)
        ],
        count=len(samples),
        links=links,
    )
    write_text(path, page)


def text(value: Any) -> dict[str, Any]:
    """A value as it is shown: `whole` (cut where it is very long), its `start` if it is folded
    (else empty), and how many characters are `left` out."""
    own = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
    own = own.encode("utf-8", "replace").decode()  # half of a pair of surrogates is no text
    lines = own.count("\n")
    start = " ".join(own[: 2 * _FOLDED].split())[:_FOLDED]
    return {
        "whole": own[:_LONGEST],
        "start": start if len(own) > _FOLDED or lines > 6 else "",
        "left": max(0, len(own) - _LONGEST),
    }
