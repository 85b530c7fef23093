"""Write one built document (and the design that belongs to the data's)."""

from typing import Any

from lockgate import matrix
from lockgate.errors import LockgateError, entry, log_to
from lockgate.files import digest, write_text, write_yaml


@entry
def main(config: dict[str, Any], item: str, spec: str, design: str = "") -> None:
    experiment = matrix.read(config, "the configuration")
    name, _, expected = item.rpartition(":")
    document = experiment.documents[name]
    if digest(document) != expected:
        raise LockgateError(
            f"'{name}' changed while the pipeline ran",
            where="the configuration",
            hint="run it again",
        )
    if design:
        write_text(design, experiment.design)
    write_yaml(spec, document, f"Built by Lockgate; edit the configuration instead. Item: {item}")


if __name__ == "__main__":
    log_to(snakemake.log[0])
    main(
        snakemake.config,
        snakemake.params.item,
        **dict(snakemake.output.items()),
    )
