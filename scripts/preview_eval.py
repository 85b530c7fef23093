"""Measure a model's evaluation."""

from lockgate import jobs, preview
from lockgate.errors import entry

main = entry(preview.preview_eval)

if __name__ == "__main__":
    main(**jobs.arguments(__doc__, "spec", "model", "rows", "weights", "ledger", "threads", "out"))
