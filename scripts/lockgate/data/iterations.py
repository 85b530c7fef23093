"""Previews of the data, kept one by one, and what changed from one to the next."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from os.path import commonprefix
from pathlib import Path
from typing import Any

from lockgate.files import read_json, read_yaml

DOCUMENT, REVIEW = "data.yaml", "review.json"

_SHOWN = 200  # characters of a changed value
_BEFORE = 40  # characters that two long values share, shown before they differ


def place(root: Path, item: str) -> tuple[str, Path | None]:
    """Name of the iteration that a preview becomes, and the directory of the one before it.

    A preview of what the last iteration already shows takes its place.

    Args:
        root: directory of the iterations.
        item: name and digest of what is previewed.
    """
    _mend(root)
    # a copy that somebody made, like `001-good`, is none
    names = [path for path in root.glob("[0-9]*") if re.fullmatch("[0-9]+", path.name)]
    there = sorted(names, key=lambda path: int(path.name))
    if there and read_json(there[-1] / REVIEW)["item"] == item:
        return there[-1].name, there[-2] if len(there) > 1 else None
    last = int(there[-1].name) if there else 0
    return f"{last + 1:03d}", there[-1] if there else None


@contextmanager
def kept(root: Path, name: str) -> Iterator[Path]:
    """A directory to write an iteration to, which gets its name where the block ends well.

    One of that name is there until then.
    """
    new, old = root / f".{name}.{os.getpid()}.new", root / f".{name}.old"
    new.mkdir(parents=True)
    try:
        yield new
        if (root / name).exists():
            os.rename(root / name, old)
        os.rename(new, root / name)
    finally:
        _mend(root)


def _mend(root: Path) -> None:
    """Take away what a call that was killed left half done."""
    for old in root.glob(".*.old"):
        name = root / old.name[1:-4]
        if name.exists():
            shutil.rmtree(old)
        else:
            os.rename(old, name)
    for new in root.glob(".*.new"):
        shutil.rmtree(new)


def difference(
    previous: Path | None, document: dict[str, Any], review: dict[str, Any]
) -> dict[str, Any] | None:
    """What changed since an iteration; None: there is none.

    Args:
        previous: its directory.
        document: the built data document of this preview.
        review: its figures and estimate.

    Returns:
        `name` of the iteration; `keys` and `figures`, lists of `name`, `before` and `after`. A
        key is a dotted path, and its values are texts; a figure's are numbers. None: it is not
        there.
    """
    if previous is None:
        return None
    keys = _changed(_leaves(read_yaml(previous / DOCUMENT)), _leaves(document))
    if any(one["name"].startswith("design.") for one in keys):
        keys = [one for one in keys if one["name"] != "design_sha256"]
    return {
        "name": previous.name,
        "keys": [_shortened(one) for one in keys],
        "figures": _changed(headline(read_json(previous / REVIEW)), headline(review)),
    }


def headline(review: dict[str, Any]) -> dict[str, float]:
    """The figures by which previews are compared, by what they are called on the page."""
    figures, estimate = review["figures"], review["estimate"]
    seconds = None if estimate.get("at_most") else estimate["seconds_per_record"]
    rows, records = figures["rows"], figures["records"]
    found = {
        "records": records,
        "accepted share": figures["accepted"] / records if records else None,
        "seconds a record": seconds or None,
    }
    for axis in figures["axes"]:
        found[f"{axis['name']}: distance from what was asked"] = axis["distance"]
    for one in figures["validators"]:
        found[f"{one['column']}: valid share"] = one["rate"]
    for one in figures["judges"]:
        found[f"{one['column']}.{one['score']}: mean score"] = one["mean"]
    for column in figures["columns"]:
        if column["kind"] == "text" and column["words"]:
            found[f"{column['name']}: mean words"] = column["words"]["mean"]
            found[f"{column['name']}: distinct pairs of words"] = column["distinct_2"]
    if rows["count"]:
        found["rows with a near-duplicate prompt"] = rows["near_duplicates"]["rows"]
    return {name: value for name, value in found.items() if value is not None}


def _changed(before: dict[str, Any], after: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"name": name, "before": before.get(name), "after": after.get(name)}
        for name in {**before, **after}
        if before.get(name) != after.get(name)
    ]


def _leaves(value: Any, path: str = "") -> dict[str, Any]:
    """Every value within, by its dotted path; members of a list that have names go by them."""
    if isinstance(value, list) and any(isinstance(one, dict) for one in value):
        names = [one.get("name") if isinstance(one, dict) else None for one in value]
        own = len(set(names)) == len(names) and all(isinstance(name, str) for name in names)
        value = dict(zip(names if own else map(str, range(len(value))), value, strict=True))
    if not isinstance(value, dict) or not value:
        return {path: value}
    found = {}
    for key, inner in value.items():
        found.update(_leaves(inner, f"{path}.{key}" if path else str(key)))
    return found


def _shortened(change: dict[str, Any]) -> dict[str, Any]:
    """The change with its values as texts, from a little before where long ones differ."""
    texts = [_text(change["before"]), _text(change["after"])]
    start = 0
    if any(text and len(text) > _SHOWN for text in texts):
        start = max(0, len(commonprefix([text or "" for text in texts])) - _BEFORE)
    before, after = (_part(text, start) if text is not None else None for text in texts)
    return {"name": change["name"], "before": before, "after": after}


def _part(text: str, start: int) -> str:
    end = start + _SHOWN
    return ("…" if start else "") + text[start:end] + ("…" if len(text) > end else "")


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
