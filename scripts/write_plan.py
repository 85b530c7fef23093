"""Write the plan."""

import csv
from pathlib import Path
from typing import Any

from lockgate import matrix, plan
from lockgate.errors import entry, log_to
from lockgate.files import read_json
from lockgate.journal import Journal
from lockgate.stages import chain
from lockgate.stages import plan as stages_plan


@entry
def main(
    config: dict[str, Any], source: str, ledger: str, inputs: dict[str, str], out: dict[str, str]
) -> None:
    journal, resources = Journal(), read_json(inputs["resources"])
    logs: list[Path | str] = [inputs["resolve_log"], inputs["learn_log"], out["log"]]
    if "stages" in config:
        planned = chain.read(config, source)
        document = stages_plan.document(planned, resources, Path(ledger), journal)
        journal.write(out["log"])
        stages_plan.write(document, planned, out, logs)
        return
    with open(inputs["prior_runs"], encoding="utf-8") as handle:
        prior = list(csv.DictReader(handle))
    document = plan.build(
        matrix.read(config, source),
        resources,
        read_json(inputs["tools"]),
        prior,
        Path(ledger),
        journal,
    )
    journal.write(out["log"])
    plan.write(document, out, logs)


if __name__ == "__main__":
    log_to(snakemake.log[0])
    main(
        snakemake.config,
        snakemake.params.source,
        snakemake.params.ledger,
        dict(snakemake.input.items()),
        dict(snakemake.output.items()),
    )
