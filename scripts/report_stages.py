"""Write the report of a chain: what each stage made."""

from pathlib import Path

from lockgate.errors import entry, log_to
from lockgate.stages import pages


@entry
def main(plan: str, manifests: list[str], ledger: str, html: str) -> None:
    pages.report(Path(plan), [Path(path) for path in manifests], Path(ledger), Path(html))


if __name__ == "__main__":
    log_to(snakemake.log[0])
    main(
        snakemake.input.plan,
        snakemake.input.manifests,
        snakemake.params.ledger,
        snakemake.output.html,
    )
