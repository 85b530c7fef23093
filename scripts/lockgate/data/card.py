"""The data card: a manifest as Markdown, with what the Hub reads at the top, and as a page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lockgate import pages
from lockgate.data.records import NAMES
from lockgate.files import read_json, write_text

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_FEW = 30  # held-out rows


def write(manifest: Path, question: str, licence: str | None, out: Path) -> None:
    """Write the card to `out` (Markdown), and beside it as a page that stands alone.

    Args:
        manifest: of the data, see `lockgate.data.assembly`.
        question: the experiment's.
        licence: of what the data rests on; None: not stated.
        out: the Markdown file.
    """
    found = {**read_json(manifest), "licence": licence}
    text = card(found, question)
    write_text(out, text)
    body = text.split("---\n", 2)[2]
    write_text(out.with_suffix(".html"), pages.as_html(f"Data card: {found['experiment']}", body))


def card(manifest: Mapping[str, Any], question: str) -> str:
    """The card, as Markdown with a YAML header such as dataset cards on the Hub have."""
    text = pages.render(
        "data_card.md.j2",
        m=manifest,
        question=question,
        front=yaml.safe_dump(_front(manifest), sort_keys=False, allow_unicode=True),
        rules=_rules(manifest["accept"], manifest.get("checked")) if manifest["accept"] else [],
        limits=_limits(manifest),
        text=escape,
    )
    return re.sub(r"\n{3,}", "\n\n", text)


def escape(value: Any) -> str:
    """A value as Markdown that shows it as it is, on one line."""
    return re.sub(r"([\\`*_\[\]<>|~&$#!])", r"\\\1", " ".join(str(value).split()))


def _front(manifest: Mapping[str, Any]) -> dict[str, Any]:
    licence = manifest["licence"]
    header: dict[str, Any] = {"pretty_name": manifest["experiment"], "license": "unknown"}
    if licence and re.fullmatch(r"[A-Za-z0-9.-]+", licence):
        header["license"] = licence.lower()
    elif licence:
        header |= {"license": "other", "license_name": licence}
    count = manifest["records"]
    header["size_categories"] = [next((name for top, name in _SIZES if count < top), "n>1M")]
    if not manifest["origin"]["dataset"]:
        header["tags"] = ["synthetic"]
    used = [name for name in NAMES if manifest["rows"][name]]
    files = [{"split": name, "path": f"{name}.parquet"} for name in used]
    return header | {
        "configs": [
            {"config_name": "rows", "default": True, "data_files": files},
            {"config_name": "records", "data_files": "records.parquet"},
        ]
    }


def _rules(accept: Mapping[str, Any], checked: Mapping[str, list[str]] | None) -> list[str]:
    """What a record had to be, a sentence each; `checked` None: not known of which columns."""
    found = []
    if checked is None:
        found.append("Not known: which columns were checked (the script says no more what it has).")
        checked = {}
    skipped = set(checked.get("skipped", []))

    def unless(name: str) -> str:
        return ", where the design does not leave it out" if name in skipped else ""

    for what, told in (
        ("written", "there, and no refusal to answer (as far as one is known in English)"),
        ("validators", "a validator that finds the record valid"),
        ("schemas", "what its JSON Schema wants"),
    ):
        for name in checked.get(what, []):
            found.append(f"{escape(name)} is {told}{unless(name)}.")
    for name, least in accept.get("scores", {}).items():
        known = f"The judge's score {escape(name)} is at least {least:g}"
        found.append(f"{known}{unless(name.partition('.')[0])}.")
    if accept.get("when"):
        found.append(f"`{accept['when'].replace('`', ' ')}` is true.")
    return found


def _limits(manifest: Mapping[str, Any]) -> list[str]:
    """What a reader has to know before they use the data."""
    statistics, found = manifest["statistics"], []
    if manifest["origin"]["model"]:
        found.append(
            "A language model wrote text of these records: it may be wrong, and repeat what that "
            "model is biased to. Nobody is known to have checked each record."
        )
    if not manifest["licence"]:
        found.append("The licence is not stated (`data.licence`): ask before you pass it on.")
    if manifest["rows"]["test"] < _FEW:
        found.append(
            f"With {manifest['rows']['test']} test row(s) chance hides all but large differences."
        )
    for what, told in (("empty", "is empty"), ("refusals", "seems to refuse to answer")):
        for name, count in statistics[what].items():
            found.append(f"{escape(name)} {told} in {count} record(s).")
    for axis in statistics["axes"]:
        if axis["missing"]:
            values = ", ".join(map(escape, axis["missing"]))
            found.append(f"No record has {escape(axis['name'])} {values}, which was asked for.")
    if manifest["as_text"]:
        names = ", ".join(map(escape, manifest["as_text"]))
        found.append(
            f"In the Parquet files these columns hold JSON text, for their values are of several "
            f"kinds: {names}."
        )
    if manifest["near_duplicates"]["rows"]:
        found.append("Near-duplicates are kept, see above; they count more than other rows.")
    return found or ["None is known."]
