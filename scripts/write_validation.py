"""Write the validation report from its records."""

from pathlib import Path

from lockgate.errors import entry, log_to
from lockgate.files import read_json, write_json, write_text


@entry
def main(records: list[str], report: str, markdown: str) -> None:
    rows = [read_json(path) for path in records]
    table = "\n".join(f"| {row['item']} | {row['status']} |" for row in rows)
    notes = "".join(f"- {row['item']}: {note}\n" for row in rows for note in row.get("notes", []))
    write_text(
        Path(markdown),
        f"# Validation\n\n| built document | checked by its tool |\n|---|---|\n{table}\n"
        + (f"\n{notes}" if notes else ""),
    )
    write_json(report, {"records": rows})


if __name__ == "__main__":
    log_to(snakemake.log[0])
    main(snakemake.input.records, **dict(snakemake.output.items()))
