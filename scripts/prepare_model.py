"""Bring one model into a Hugging Face directory."""

from typing import Any

from lockgate import config as settings
from lockgate import models
from lockgate.errors import entry, log_to
from lockgate.files import write_json
from lockgate.process import limit_threads

SOURCE = "the configuration"


@entry
def main(config: dict[str, Any], name: str, threads: int, manifest: str) -> None:
    limit_threads(threads)
    chosen = settings.load(config, SOURCE)
    write_json(manifest, models.prepare(name, chosen.models, chosen.cache, SOURCE))


if __name__ == "__main__":
    log_to(snakemake.log[0])
    main(
        snakemake.config,
        snakemake.wildcards.model,
        snakemake.threads,
        snakemake.output.manifest,
    )
