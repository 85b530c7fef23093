"""Write the review."""

from pathlib import Path
from typing import Any

from lockgate import review
from lockgate.errors import entry, log_to
from lockgate.files import read_json


@entry
def main(
    data: str,
    examined: str,
    rows: str,
    train: list[str],
    evaluation: list[str],
    models: list[str],
    covers: list[str],
    workload: list[dict[str, Any]],
    limits: dict[str, Any],
    resolved: str,
    ledger: str,
    out: dict[str, str],
) -> None:
    review.write(
        Path(data),
        Path(examined),
        Path(rows),
        [Path(path) for path in train],
        [Path(path) for path in evaluation],
        [Path(path) for path in models],
        covers,
        workload,
        limits,
        read_json(resolved)["machine"],
        Path(ledger),
        Path(out["review"]),
        Path(out["html"]),
    )


if __name__ == "__main__":
    log_to(snakemake.log[0])
    main(
        snakemake.input.data,
        snakemake.input.examined,
        snakemake.input.rows,
        snakemake.input.train,
        snakemake.input.eval,
        snakemake.input.models,
        snakemake.params.covers,
        snakemake.params.workload,
        snakemake.params.limits,
        snakemake.params.resolved,
        snakemake.params.ledger,
        dict(snakemake.output.items()),
    )
