"""Measure a shape's training."""

from lockgate import jobs, preview
from lockgate.errors import entry

main = entry(preview.preview_train)

if __name__ == "__main__":
    main(**jobs.arguments(__doc__, "spec", "model", "rows", "ledger", "threads", "out"))
