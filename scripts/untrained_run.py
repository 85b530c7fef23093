"""Write the manifest of a control: the base model, untouched."""

from pathlib import Path

from lockgate import jobs
from lockgate.errors import entry, log_to


@entry
def main(model: str, run: str, manifest: str) -> None:
    jobs.control_manifest(Path(model), run, Path(manifest))


if __name__ == "__main__":
    log_to(snakemake.log[0])
    main(snakemake.input.model, snakemake.wildcards.run, snakemake.output.manifest)
