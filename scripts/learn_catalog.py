"""Read the catalogs, the data tool's schemas and the prior runs."""

from pathlib import Path
from typing import Any

from lockgate import catalog, estimates, matrix, prior
from lockgate import tools as adapters
from lockgate.config import editor
from lockgate.errors import entry, log_to
from lockgate.files import write_json, write_text
from lockgate.journal import Journal
from lockgate.stages import chain


@entry
def main(
    config: dict[str, Any],
    source: str,
    catalog_out: str,
    schemas: str,
    editor_out: str,
    prior_out: str,
    log: str,
) -> None:
    journal = Journal()
    experiment = (chain if "stages" in config else matrix).read(config, source)
    catalogs = experiment.catalogs
    for one in catalogs.catalogs:
        journal.add(
            "read a step catalog",
            input=str(one.root),
            result=f"{len(one.steps)} steps, {len(one.types)} types, commit {one.commit}",
        )
    for problem in [*catalogs.problems, *catalogs.shadowed]:
        journal.add("read a step catalog", input=problem.where, result=problem.what)
        print(f"WARNING: {problem}")
    if schemas:
        name = experiment.config.data.tool
        offered = adapters.get("data", name, source).learn()
        journal.add("learn the data tool's schemas", input=name, result=f"{len(offered)} groups")
        write_json(schemas, offered)
        write_json(editor_out, editor.schema(offered.get("design")))
    own = experiment.config.results
    rows = prior.runs(own.parent, own)
    journal.add("collect prior runs", input=str(own.parent), result=f"{len(rows)} runs")
    write_json(catalog_out, {name: catalog.as_json(step) for name, step in catalogs.steps.items()})
    write_text(prior_out, estimates.to_csv(rows, prior.FIELDS))
    journal.write(Path(log))


if __name__ == "__main__":
    log_to(snakemake.log[0])
    main(
        snakemake.config,
        snakemake.params.source,
        snakemake.output.catalog,
        snakemake.output.get("schemas", ""),
        snakemake.output.get("editor", ""),
        snakemake.output.prior_runs,
        snakemake.output.log,
    )
