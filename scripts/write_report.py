"""Write the report: the results table, the figures and the page."""

from pathlib import Path
from typing import Any

from lockgate import report
from lockgate.errors import entry, log_to


@entry
def main(
    plan: str,
    review: str,
    data: str,
    summary: str,
    manifests: list[str],
    scores: list[str],
    ledger: str,
    rows: list[str],
    out: dict[str, str],
) -> None:
    report.write(
        Path(plan),
        Path(review),
        Path(data),
        Path(summary),
        [Path(path) for path in manifests],
        [Path(path) for path in scores],
        Path(ledger),
        [Path(path) for path in rows],
        {name: Path(path) for name, path in out.items()},
    )


if "snakemake" in globals():
    job: Any = globals()["snakemake"]
    log_to(job.log[0])
    main(
        job.input.plan,
        job.input.review,
        job.input.data,
        job.input.summary,
        job.input.manifests,
        job.input.scores,
        job.params.ledger,
        job.input.get("rows", []),
        dict(job.output.items()),
    )
