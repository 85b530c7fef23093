"""Write the plan."""

import csv
from pathlib import Path
from typing import Any

from lockgate import matrix, plan
from lockgate.errors import entry, log_to
from lockgate.files import read_json
from lockgate.journal import Journal


@entry
def main(
    config: dict[str, Any], source: str, ledger: str, inputs: dict[str, str], out: dict[str, str]
) -> None:
    journal = Journal()
    with open(inputs["prior_runs"], encoding="utf-8") as handle:
        prior = list(csv.DictReader(handle))
    document = plan.build(
        matrix.read(config, source),
        read_json(inputs["resources"]),
        read_json(inputs["tools"]),
        prior,
        Path(ledger),
        journal,
    )
    journal.write(out["log"])
    plan.write(document, out, [inputs["resolve_log"], inputs["learn_log"], out["log"]])


if __name__ == "__main__":
    log_to(snakemake.log[0])
    main(
        snakemake.config,
        snakemake.params.source,
        snakemake.params.ledger,
        dict(snakemake.input.items()),
        dict(snakemake.output.items()),
    )
