"""Write the experiment summary with who approved it."""

from pathlib import Path

from lockgate.errors import entry, log_to
from lockgate.files import read_json
from lockgate.gates import read_ledger
from lockgate.summary import write


@entry
def main(plan: str, ledger: str, summary: str, data: str) -> None:
    document = read_json(plan)
    approvals = [
        item
        for item in read_ledger(Path(ledger))
        if item["gate"] == "plan" and set(item["items"]) & set(document["covers"])
    ]
    write(document, approvals, summary, data)


if __name__ == "__main__":
    log_to(snakemake.log[0])
    outputs = snakemake.output
    main(snakemake.input.plan, snakemake.params.ledger, outputs.summary, outputs.summary_data)
