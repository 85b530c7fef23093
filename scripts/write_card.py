"""Write the data card."""

from pathlib import Path

from lockgate.data import card
from lockgate.errors import entry, log_to


@entry
def main(manifest: str, question: str, licence: str | None, out: str) -> None:
    card.write(Path(manifest), question, licence, Path(out))


if __name__ == "__main__":
    log_to(snakemake.log[0])
    main(
        snakemake.input.manifest,
        snakemake.params.question,
        snakemake.params.licence,
        snakemake.output.card,
    )
