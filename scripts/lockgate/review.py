"""The review before the gate `preview`: sample records, and estimates from what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lockgate import estimates, gates, pages, prompts
from lockgate.data import duplicates
from lockgate.files import read_json, read_jsonl, write_json, write_text

SHOWN = 20


def write(
    summary: Path,
    rows: Path,
    train: list[Path],
    evaluation: list[Path],
    models: dict[str, str],
    covers: list[str],
    workloads: list[dict[str, Any]],
    ledger: Path,
    review: Path,
    html: Path,
) -> None:
    """Write review.json, last, and its page.

    Args:
        summary: of the data preview.
        rows: its rows.
        train: smoke training of each shape.
        evaluation: smoke evaluation of each shape.
        models: directory of each model, for its tokenizer.
        covers: items that an approval of the review covers.
        workloads: of each run.
        ledger: the approvals so far.
        review: review.json.
        html: the page.
    """
    data, samples = read_json(summary), read_jsonl(rows)
    trained = {item["shape"]: item for item in map(read_json, train)}
    evaluated = {item["shape"]: item for item in map(read_json, evaluation)}
    tokens = {name: count_tokens(samples, Path(path)) for name, path in models.items()}
    table = estimates.measured(workloads, data, trained, evaluated, tokens)
    hours = estimates.total_hours(table)
    approved = gates.approved_hours(ledger)
    warnings = []
    if approved is not None and hours > approved:
        warnings.append(
            f"WARNING: {hours:.2f} compute hours are expected now; up to {approved:g} were "
            "approved with the plan. Fix: fewer runs, records or epochs, or approve it knowingly."
        )
    if repeated := duplicates(samples):
        warnings.append(
            f"WARNING: {repeated} of {len(samples)} sample rows repeat another's prompt. "
            "Fix: more axes of diversity in the design."
        )
    document = {
        "covers": covers,
        "data": data,
        "tokens": tokens,
        "shapes": {shape: {"train": trained[shape], "eval": evaluated[shape]} for shape in trained},
        "estimates": table,
        "hours": hours,
        "warnings": warnings,
        "samples": len(samples),
    }
    page = pages.render(
        "review.html.j2", review=document, samples=samples[:SHOWN], pages=data["pages"]
    )
    write_text(html, page)
    write_json(review, document)


def count_tokens(samples: list[dict[str, Any]], model: Path) -> dict[str, float]:
    """Mean tokens of a training row (template included) and of its completion."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    rows = [prompts.tokenize(tokenizer, row["prompt"], row["completion"], None) for row in samples]
    return {
        "row": sum(len(ids) for ids, _ in rows) / len(rows),
        "completion": sum(len(ids) - prompt for ids, prompt in rows) / len(rows),
    }
