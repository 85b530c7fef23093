"""Join the shards, split the rows, write the data card."""

from pathlib import Path

from lockgate.data import assembly
from lockgate.errors import entry, log_to


@entry
def main(spec: str, shards: list[str], experiment: str, manifest: str) -> None:
    assembly.assemble(
        Path(spec), [Path(path) for path in shards], experiment, Path(manifest).parent
    )


if __name__ == "__main__":
    log_to(snakemake.log[0])
    main(
        snakemake.input.spec,
        snakemake.input.shards,
        snakemake.params.experiment,
        snakemake.output.manifest,
    )
