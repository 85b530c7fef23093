"""Read the catalog, the data tool's schemas and the prior runs."""

from pathlib import Path
from typing import Any

from lockgate import catalog, estimates, matrix
from lockgate import tools as adapters
from lockgate.errors import entry, log_to
from lockgate.files import write_json, write_text
from lockgate.journal import Journal


@entry
def main(
    config: dict[str, Any], source: str, catalog_out: str, schemas: str, prior: str, log: str
) -> None:
    experiment, journal = matrix.read(config, source), Journal()
    steps = catalog.read_catalog(matrix.CATALOG)
    journal.add("read the step catalog", input="workflow/catalog", result=f"{len(steps)} steps")
    name = experiment.config.data.tool
    offered = adapters.get("data", name, source).learn()
    journal.add("learn the data tool's schemas", input=name, result=f"{len(offered)} groups")
    own = experiment.config.results
    rows = estimates.prior_runs(own.parent, own)
    journal.add("collect prior runs", input=str(own.parent), result=f"{len(rows)} runs")
    write_json(catalog_out, steps)
    write_json(schemas, offered)
    write_text(prior, estimates.to_csv(rows, estimates.PRIOR_FIELDS))
    journal.write(Path(log))


if __name__ == "__main__":
    log_to(snakemake.log[0])
    main(
        snakemake.config,
        snakemake.params.source,
        snakemake.output.catalog,
        snakemake.output.schemas,
        snakemake.output.prior_runs,
        snakemake.output.log,
    )
