"""Splits in which alike prompts stay together, and the counts of alike rows."""

from __future__ import annotations

import hashlib
from typing import Any

from lockgate.data import similar
from lockgate.errors import LockgateError


def split_sizes(records: int, splits: dict[str, float]) -> dict[str, int]:
    """Rows in each split."""
    sizes = {name: round(records * splits[name]) for name in ("validation", "test")}
    return {"train": records - sum(sizes.values()), **sizes}


def split(
    rows: list[dict[str, Any]], shares: dict[str, float], seed: int, similarity: float = 1.0
) -> dict[str, list[dict[str, Any]]]:
    """Deterministic splits in which rows with alike prompts stay together.

    A held-out prompt, or nearly the same one, is never trained on. No row is left out. Rows whose
    file put them in a split (`split`) stay there.

    Args:
        rows: with `prompt`.
        shares: of the rows, by split.
        seed: another one draws other splits.
        similarity: of prompts that are alike, see `lockgate.similar`; 1: equal ones alone.

    Raises:
        LockgateError: if train or test has no row, or a file's own splits leak.
    """
    labels = similar.groups([row["prompt"] for row in rows], similarity)
    if any("split" in row for row in rows):
        return _kept(rows, labels)
    groups: dict[int, list[dict[str, Any]]] = {}
    for row, label in zip(rows, labels, strict=True):
        groups.setdefault(label, []).append(row)

    def drawn(group: list[dict[str, Any]]) -> bytes:
        text = min(similar.normal(row["prompt"]) for row in group)
        return hashlib.sha256(f"{seed}:{text}".encode()).digest()

    sizes = split_sizes(len(rows), shares)
    parts: dict[str, list[list[dict[str, Any]]]] = {"test": [], "validation": [], "train": []}
    filled = dict.fromkeys(parts, 0)
    for group in sorted(groups.values(), key=drawn):
        fits = (n for n in ("test", "validation") if filled[n] + len(group) <= sizes[n])
        name = next(fits, "train")
        parts[name].append(group)
        filled[name] += len(group)
    for name in ("test", "validation"):
        # every group is larger than the split: it gets the smallest
        if sizes[name] and not parts[name] and len(parts["train"]) > 1:
            smallest = min(parts["train"], key=len)
            parts["train"].remove(smallest)
            parts[name].append(smallest)
    for name in ("train", "test"):
        if not parts[name]:
            alike = len(groups) < len(rows)
            raise LockgateError(
                f"{len(rows)} records leave nothing for the {name} split",
                where="data.splits",
                hint=f"their prompts are near-duplicates, {len(groups)} group(s) in all, and each "
                "group stays in one split: add records of another kind, or raise data.similarity "
                "if they only look alike (1: only equal prompts stay together)"
                if alike
                else "add records, or change the shares",
            )
    return {name: [row for group in part for row in group] for name, part in parts.items()}


def _kept(rows: list[dict[str, Any]], labels: list[int]) -> dict[str, list[dict[str, Any]]]:
    """The splits that the file made.

    Raises:
        LockgateError: if a held-out prompt, or nearly the same one, is trained on.
    """
    result: dict[str, list[dict[str, Any]]] = {"test": [], "validation": [], "train": []}
    trained: dict[int, int] = {}
    places = []
    for row, label in zip(rows, labels, strict=True):
        result[row["split"]].append(row)
        places.append(len(result[row["split"]]))
        if row["split"] == "train":
            trained.setdefault(label, places[-1])
    for name in ("test", "validation"):
        leaks = [
            (place, trained[label])
            for row, label, place in zip(rows, labels, places, strict=True)
            if row["split"] == name and label in trained
        ]
        if leaks:
            shown = ", ".join(f"{name} row {own} as train row {other}" for own, other in leaks[:3])
            raise LockgateError(
                f"{len(leaks)} of {len(result[name])} {name} rows have the prompt of a train row, "
                f"or nearly the same: {shown}{', ...' if len(leaks) > 3 else ''}",
                where="data.files",
                hint="remove them from one of the two: what was trained on cannot be tested. If "
                "they only look alike, raise data.similarity (1: only equal prompts count)",
            )
    return result


def check_apart(
    trained: list[dict[str, Any]],
    held_out: list[dict[str, Any]],
    similarity: float,
    where: str,
    hint: str,
) -> None:
    """Refuse rows to train on whose prompts are like those of held-out rows.

    Args:
        trained, held_out: rows with `prompt` and `id`.
        similarity: of prompts that are alike, see `lockgate.similar`; 1: equal ones alone.
        where: file or key, for the message.
        hint: what to do about it.

    Raises:
        LockgateError: saying how many, and one of them.
    """
    labels = similar.groups([row["prompt"] for row in [*trained, *held_out]], similarity)
    known = set(labels[: len(trained)])
    kept = zip(held_out, labels[len(trained) :], strict=True)
    leaks = [row for row, label in kept if label in known]
    if leaks:
        raise LockgateError(
            f"{len(leaks)} of {len(held_out)} held-out rows have the prompt of a train row, or "
            f"nearly the same, like row {leaks[0]['id']}",
            where=where,
            hint=hint,
        )


def duplicates(rows: list[dict[str, Any]]) -> int:
    """Rows whose prompt an earlier row has already."""
    return len(rows) - len({similar.normal(row["prompt"]) for row in rows})


def near_duplicates(rows: list[dict[str, Any]], similarity: float) -> dict[str, int]:
    """Number of `groups` of rows whose prompts are alike but not all equal, and their `rows`."""
    groups: dict[int, list[str]] = {}
    prompts = [row["prompt"] for row in rows]
    for prompt, label in zip(prompts, similar.groups(prompts, similarity), strict=True):
        groups.setdefault(label, []).append(similar.normal(prompt))
    found = [len(group) for group in groups.values() if len(set(group)) > 1]
    return {"rows": sum(found), "groups": len(found)}
