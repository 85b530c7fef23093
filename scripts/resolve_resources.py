"""Find every tool and resource."""

from typing import Any

from lockgate import matrix, resolve
from lockgate.errors import entry, log_to
from lockgate.files import write_json
from lockgate.journal import Journal
from lockgate.stages import chain


@entry
def main(config: dict[str, Any], source: str, tools: str, resources: str, log: str) -> None:
    journal = Journal()
    if "stages" in config:
        found, needed = resolve.resolve_chain(chain.read(config, source), journal)
    else:
        experiment = matrix.read(config, source)
        found = resolve.resolve_tools(experiment, journal)
        needed = resolve.resolve_resources(experiment, found, journal)
    write_json(tools, found)
    write_json(resources, needed)
    journal.write(log)


if __name__ == "__main__":
    log_to(snakemake.log[0])
    main(snakemake.config, snakemake.params.source, **dict(snakemake.output.items()))
