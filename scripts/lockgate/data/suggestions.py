"""What to change where a figure of the records is poor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lockgate.data.acceptance import advice

ENOUGH = 20
"""Records from which on shares tell something."""

_ACCEPTED = 0.8
_PASSED = 0.8
_CHANCE = 0.01
_UNEVEN = 0.5
_ALIKE = 0.1
_REPEATED = 0.3
_TEXT = 200  # words of a column from which on its diversity is judged
_PROMPT = 3


def suggest(figures: Mapping[str, Any], section: Mapping[str, Any]) -> list[str]:
    """Sentences `what is poor (figure). Fix: what to change`, the gravest first.

    Args:
        figures: of `lockgate.data.quality.examine`.
        section: `data` of the configuration.
    """
    ours = not section.get("files")
    return [
        f"{poor}. Fix: {fix}."
        for part in (_acceptance, _answers, _checks, _axes, _diversity, _amount)
        for poor, fix in part(figures, section, ours)
    ]


Found = Iterator[tuple[str, str]]


def _acceptance(figures: Mapping[str, Any], section: Mapping[str, Any], ours: bool) -> Found:
    """Few records count; the limit on those that are made is in the way."""
    records, accepted = figures["records"], figures["accepted"]
    if not records or accepted >= _ACCEPTED * records:
        return
    reason, count = next(iter(figures["refused"].items()))
    most = (section.get("accept") or {}).get("most")
    far = ", too few for data.accept.most" if ours and most and accepted * most < records else ""
    yield (
        f"{accepted} of {records} records are accepted{far} (most are refused for: {reason}, "
        f"{count})",
        f"change {advice(reason)}",
    )


def _answers(figures: Mapping[str, Any], section: Mapping[str, Any], ours: bool) -> Found:
    """Answers that are refused, empty, cut off, or always the same."""
    total = figures["records"]
    for name, numbers in figures["refusals"].items():
        yield (
            f"{name} refuses to answer in {_of(len(numbers), total)} ({_places(numbers)})",
            f"reword the prompt of {name} in data.design, or use another model"
            if ours
            else "take these records out of the file",
        )
    # a field of a file may well be empty; a row that comes out empty is an error
    for name, numbers in figures["empty"].items() if ours else ():
        yield (
            f"{name} is empty in {_of(len(numbers), total)} ({_places(numbers)})",
            f"raise max_tokens of the model of {name} in data.design (one that thinks may spend "
            "them all before it answers), or reword its prompt",
        )
    for column in figures["columns"]:
        if total and column["skipped"] == total:
            yield (
                f"{column['name']} is skipped in all {total} records",
                "see skip.when in data.design, of it and of what it needs: a condition that fails "
                "counts as true",
            )
        cut = column.get("cut") or 0
        if column["role"] == "written" and cut >= max(3, 0.1 * column["present"]):
            yield (
                f"{column['name']} ends amid a sentence, near the length of the longest, in "
                f"{_of(cut, total)}",
                f"raise max_tokens of the model of {column['name']} in data.design, or ask for "
                "shorter answers",
            )
    rows = figures["rows"]
    if rows["count"] > 1 and rows["unique"]["completion"] == 1:
        yield (
            f"all {rows['count']} rows have the same completion",
            "let data.rows take a field that differs",
        )
    median = rows["prompt_words"]["median"]
    if rows["count"] and median < _PROMPT:
        yield (
            f"prompts are very short (half of them have at most {median:g} words)",
            "say in data.rows what is asked for, not the input alone",
        )


def _checks(figures: Mapping[str, Any], section: Mapping[str, Any], ours: bool) -> Found:
    """Validators that refuse much or say nothing; judges that do not tell records apart."""
    total = figures["records"]
    for one in figures["validators"]:
        name = one["column"]
        if total and not one["checked"]:
            yield (
                f"validator {name} says nothing of any record",
                "see that what it checks is not empty, and that it can run here",
            )
        elif total and one["rate"] < _PASSED:
            why = f", most often: {one['reasons'][0][0]}" if one["reasons"] else ""
            yield (
                f"validator {name} passes {_of(one['passed'], one['checked'])}{why}",
                "say in the prompt of what it checks what is valid, give an example there, or "
                "use a larger model",
            )
    for one in figures["judges"]:
        name = f"{one['column']}.{one['score']}"
        if none := total - one["count"] - one["skipped"]:
            yield (
                f"judge {name} gives no score for {_of(none, total)}",
                "set data.endpoint.constrain to true, which keeps answers to the schema, or use a "
                "larger model",
            )
        if one["count"] >= 8 and len(one["distribution"]) == 1:
            (score,) = one["distribution"]
            yield (
                f"judge {name} gives {score} to all {one['count']} records",
                "describe in its options in data.design what tells one score from the next, or "
                "judge with a larger model",
            )


def _axes(figures: Mapping[str, Any], section: Mapping[str, Any], ours: bool) -> Found:
    """Axes that are not what was asked for, or uneven."""
    if ours and not figures["axes"]:
        yield (
            "no field is an axis of diversity",
            "draw what should vary with a sampler in data.design, or name fields in data.axes",
        )
    refused = figures["accepted"] < figures["records"]
    for axis in figures["axes"]:
        name, count = axis["name"], axis["count"]
        if figures["accepted"] and not count:
            yield f"no record has the axis {name}", "name fields of the records in data.axes"
            continue
        # what chance alone would leave out once in twenty times is no finding
        asked = {one["value"]: one["asked"] for one in axis["values"]}
        never = [v for v in axis["missing"] if (1 - (asked.get(v) or 0.0)) ** count < 0.05]
        fix = (
            f"see for which values of {name} records are refused, or change its values"
            if refused
            else f"change the values and weights of {name} in data.design"
        )
        if axis["chance"] is not None and axis["chance"] < _CHANCE:
            yield (
                f"{name} is {axis['distance']:.0%} off what was asked (of draws of {count} "
                f"records {_under(axis['chance'])} are as far off)",
                fix,
            )
        if never:
            more = f" and {len(never) - 5} more" if len(never) > 5 else ""
            yield f"{name} is never {', '.join(never[:5])}{more} in {count} records", fix
        if axis["distance"] is None and count >= ENOUGH and axis["entropy"] < _UNEVEN:
            most = max(axis["values"], key=lambda one: one["count"])
            yield (
                f"{name} is uneven ({most['found']:.0%} are {most['value']}, evenness "
                f"{axis['entropy']:.2g})",
                f"draw {name} with a sampler in data.design, and name it in the prompts"
                if ours
                else "add records of the other kinds, or leave out some of this one",
            )


def _diversity(figures: Mapping[str, Any], section: Mapping[str, Any], ours: bool) -> Found:
    """Prompts that are alike, leaks, and columns that repeat themselves."""
    rows, leaks = figures["rows"], figures["leaks"]
    if leaks and leaks["pairs"]:
        trained, held_out = leaks["examples"][0]
        are = "rows are" if leaks["pairs"] > 1 else "row is"
        yield (
            f"{leaks['pairs']} held-out {are} like a row to train on (row {held_out} like "
            f"{trained})",
            "take them out of one of the splits, or raise data.similarity if they only look alike",
        )
    more = (
        "draw more of what the prompts say with samplers in data.design (more axes, more values), "
        "or raise the temperature of the model that writes them"
    )
    for count, what in (
        (rows["duplicates"], "repeat the prompt of another"),
        (rows["near_duplicates"]["rows"], "have nearly the prompt of another"),
    ):
        if count and count >= _ALIKE * rows["count"]:
            yield (
                f"{_of(count, rows['count'], 'rows')} {what}",
                more
                if ours
                else "take them out of the file, or raise data.similarity if they only look alike",
            )
    for column in figures["columns"]:
        name, said = column["name"], column.get("words")
        if column["role"] != "written" or not said or column["present"] < 5:
            continue
        pairs = column["distinct_2"]
        if said["mean"] >= 4 and column["unique"] <= column["present"] / 2:
            poor = f"{name} has {column['unique']} different texts in {column['present']} records"
        elif pairs is not None and said["mean"] * column["present"] >= _TEXT and pairs < _REPEATED:
            poor = f"{name} repeats itself ({pairs:.0%} of its pairs of words are different)"
        else:
            continue
        yield (
            poor,
            f"name more axes in the prompt of {name} in data.design, or raise the temperature of "
            "its model",
        )


def _amount(figures: Mapping[str, Any], section: Mapping[str, Any], ours: bool) -> Found:
    records = figures["records"]
    if ours and 0 < records < ENOUGH:
        least = 0.05 ** (1 / records)
        yield (
            f"{records} records tell little (what is true of all of them may be true of "
            f"{least:.0%} only)",
            f"raise data.preview_records to {ENOUGH} or more for shares to rely on",
        )
    elif not ours and 0 < records < ENOUGH:
        yield f"there are {records} records", "add records: so few are hardly learned from"


def _of(count: int, total: int, what: str = "records") -> str:
    return f"{count} of {total} {what}"


def _under(share: float) -> str:
    return f"{share:.1%}" if share else "none of a thousand"


def _places(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:5]))
    what = "record" if len(numbers) == 1 else "records"
    return f"{what} {shown}" + (f" and {len(numbers) - 5} more" if len(numbers) > 5 else "")
