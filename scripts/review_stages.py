"""Write the review of a chain: what its reduced run made."""

from pathlib import Path

from lockgate.errors import entry, log_to
from lockgate.stages import pages


@entry
def main(
    plan: str, manifests: list[str], records: list[str], covers: list[str], review: str, html: str
) -> None:
    pages.review(
        Path(plan),
        [Path(path) for path in manifests],
        [Path(path) for path in records],
        covers,
        Path(review),
        Path(html),
    )


if __name__ == "__main__":
    log_to(snakemake.log[0])
    main(
        snakemake.input.plan,
        snakemake.input.manifests,
        snakemake.input.records,
        snakemake.params.covers,
        **dict(snakemake.output.items()),
    )
