"""Run one stage of a chain."""

from lockgate import jobs
from lockgate.errors import entry
from lockgate.stages import run

main = entry(run.run_stage)

if __name__ == "__main__":
    main(**jobs.arguments(__doc__, "spec", "config", "ledger", "smoke", "threads", "out"))
