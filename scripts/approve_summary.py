"""Write the experiment summary with who approved it."""

from pathlib import Path

from lockgate import pages
from lockgate.errors import entry, log_to
from lockgate.files import read_json, write_text
from lockgate.gates import read_ledger


@entry
def main(plan: str, ledger: str, summary: str) -> None:
    document = read_json(plan)
    approvals = [
        item
        for item in read_ledger(Path(ledger))
        if item["gate"] == "plan" and set(item["items"]) & set(document["covers"])
    ]
    write_text(
        summary, pages.render("experiment_summary.md.j2", plan=document, approvals=approvals)
    )


if __name__ == "__main__":
    log_to(snakemake.log[0])
    main(snakemake.input.plan, snakemake.params.ledger, snakemake.output.summary)
