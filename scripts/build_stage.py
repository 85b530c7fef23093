"""Write one stage's documents and its configurations, the real one and the smoke one."""

from pathlib import Path
from typing import Any

from lockgate.errors import LockgateError, entry, log_to
from lockgate.files import digest, write_text, write_yaml
from lockgate.stages import build, chain


@entry
def main(config: dict[str, Any], items: list[str], out: dict[str, str]) -> None:
    planned = chain.read(config, "the configuration")
    for item, spec, written in zip(
        items, ("spec", "smoke_spec"), ("config", "smoke_config"), strict=True
    ):
        name, _, expected = item.rpartition(":")
        document = planned.documents.get(name)
        if digest(document) != expected:
            raise LockgateError(
                f"'{name}' changed while the pipeline ran",
                where="the configuration",
                hint="run it again",
            )
        text = build.configuration(planned, name, Path(out[written]))
        write_text(out[written], text)
        header = f"Built by Lockgate; edit the configuration instead. Item: {item}"
        write_yaml(out[spec], document, header)


if __name__ == "__main__":
    log_to(snakemake.log[0])
    main(
        snakemake.config,
        snakemake.params.documents,
        dict(snakemake.output.items()),
    )
