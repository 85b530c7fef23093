"""Join the shards, split the rows, tell what they are."""

from pathlib import Path

from lockgate.data import assembly
from lockgate.errors import entry, log_to


@entry
def main(spec: str, design: str, shards: list[str], experiment: str, manifest: str) -> None:
    made = [Path(path) for path in shards]
    assembly.assemble(Path(spec), made, experiment, Path(manifest).parent, Path(design))


if __name__ == "__main__":
    log_to(snakemake.log[0])
    main(
        snakemake.input.spec,
        snakemake.input.design,
        snakemake.input.shards,
        snakemake.params.experiment,
        snakemake.output.manifest,
    )
