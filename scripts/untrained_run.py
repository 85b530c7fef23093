"""Write the manifest of a run that is not trained: a model as it is."""

from pathlib import Path

from lockgate import jobs
from lockgate.errors import entry, log_to


@entry
def main(model: str, run: str, kind: str, manifest: str) -> None:
    jobs.untrained_manifest(Path(model), run, kind, Path(manifest))


if __name__ == "__main__":
    log_to(snakemake.log[0])
    main(
        snakemake.input.model,
        snakemake.wildcards.run,
        snakemake.params.kind,
        snakemake.output.manifest,
    )
