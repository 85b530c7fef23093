"""The review before the gate `preview`: sample records, and estimates from what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lockgate import estimates, gates, margins, measured, memory, offers, pages
from lockgate.config.resources import Resources
from lockgate.data import projection, splits, systems
from lockgate.data.records import spread
from lockgate.data.samples import MOST_ROWS
from lockgate.files import digest, read_json, read_jsonl, write_json, write_text
from lockgate.preview import token_counts

SHOWN = 20


def write(
    summary: Path,
    examined: Path,
    rows: Path,
    train: list[Path],
    evaluation: list[Path],
    models: list[Path],
    covers: list[str],
    workloads: list[dict[str, Any]],
    limits: dict[str, Any],
    machine: dict[str, Any],
    ledger: Path,
    review: Path,
    html: Path,
) -> None:
    """Write review.json, last, and its page.

    Args:
        summary: of the data preview.
        examined: what it found, data/review.json.
        rows: its rows.
        train: smoke training of each shape.
        evaluation: measured evaluation of each model.
        models: manifests of the models that runs start from.
        covers: items that an approval of the review covers.
        workloads: of each run.
        limits: of the configuration's `resources`, those of memory and walltime.
        machine: what resolve found, the cluster's partitions among it.
        ledger: the approvals so far.
        review: review.json.
        html: the page.
    """
    made, looked, samples = read_json(summary), read_json(examined), read_jsonl(rows)
    trained = {item["shape"]: item for item in map(read_json, train)}
    evaluated = {path.stem: read_json(path) for path in evaluation}
    known = {manifest["name"]: manifest for manifest in map(read_json, models)}
    systems.check_rows(samples, {work["system_prompt"] for work in workloads})
    tokens = count_tokens(workloads, samples, known)
    workloads = [{**work, "lengths": _own_lengths(work, known)} for work in workloads]
    table = measured.rows(workloads, made, trained, evaluated, tokens, known)
    hours = estimates.total_hours(table)
    approved = gates.approved_hours(ledger)
    warnings = []
    if approved is not None and hours > approved:
        warnings.append(
            f"WARNING: {hours:.2f} compute hours are expected now; up to {approved:g} were "
            "approved with the plan. Fix: fewer runs, records or epochs, or approve it knowingly."
        )
    if repeated := splits.duplicates(samples):
        warnings.append(
            f"WARNING: {repeated} of {len(samples)} sample rows repeat another's prompt. "
            "Fix: more axes of diversity in the design."
        )
    for one in workloads:
        counts = one["lengths"] or [whole for whole, _ in tokens[one["run"]]]
        cut = sum(count > one["max_length"] for count in counts) if one["shape"] else 0
        if cut:
            warnings.append(
                f"WARNING: rows of {one['run']}: {cut} of {len(counts)} are longer than "
                f"max_length {one['max_length']} and would be cut. Fix: raise it to "
                f"{max(counts)}, or have shorter rows."
            )
    by_name = {work["run"]: work for work in workloads}
    resources = Resources(**limits)
    partition = offers.chosen(resources, machine)
    most = memory.limit(limits, None, partition.memory_mb if partition else None)
    for job, compared, fix in offers.walltimes(resources, machine, table, made["shards"]):
        warnings.append(f"WARNING: {job}: {compared}. Fix: {fix}.")
    for item in table:
        if work := by_name.get(item["run"]):
            told = memory.advice(item, work, known[work["model"]], most)
            if told:
                what, fix = told
                warnings.append(
                    f"WARNING: memory of {item['phase']} {item['run']}: {what}. Fix: {fix}."
                )
    asked = margins.first(table, resources, partition, made["shards"], measured=True)
    document = {
        "covers": covers,
        "data": made,
        "tokens": {run: _summary(counts) for run, counts in tokens.items()},
        "shapes": trained,
        "evaluations": evaluated,
        "estimates": [{**item, "asks": one} for item, one in zip(table, asked, strict=True)],
        "totals": estimates.totals(table),
        "hours": hours,
        "warnings": warnings,
        "samples": len(samples),
    }
    page = pages.render(
        "review.html.j2",
        review=document,
        told=looked,
        samples=samples[:SHOWN],
        pages=made["pages"],
    )
    write_text(html, page)
    write_json(review, document)


def count_tokens(
    workloads: list[dict[str, Any]],
    samples: list[dict[str, Any]],
    models: dict[str, dict[str, Any]],
) -> dict[str, list[tuple[int, int]]]:
    """For each run, of each sample row as the run sees it: its tokens, and its completion's."""
    counted: dict[str, list[tuple[int, int]]] = {}
    found = {}
    for work in workloads:
        key = digest([work["model"], work["system_prompt"], work["rows"]])
        if key not in counted:
            own = projection.revise(samples, work["rows"], "the sample rows")
            path = models[work["model"]]["path"]
            counted[key] = token_counts(own, path, work["system_prompt"])
        found[work["run"]] = counted[key]
    return found


def _own_lengths(work: dict[str, Any], models: dict[str, dict[str, Any]]) -> list[int]:
    """Tokens of rows, evenly spread, of the dataset that a run alone is trained on."""
    if work["train_files"] is None:
        return []
    rows = projection.revise(projection.other_rows(work), work["rows"], work["train_files"])
    sample = spread(rows, MOST_ROWS)
    path = models[work["model"]]["path"]
    return [whole for whole, _ in token_counts(sample, path, work["system_prompt"])]


def _summary(counts: list[tuple[int, int]]) -> dict[str, float]:
    return {
        "row": sum(whole for whole, _ in counts) / len(counts),
        "longest": max(whole for whole, _ in counts),
        "completion": sum(answer for _, answer in counts) / len(counts),
    }
