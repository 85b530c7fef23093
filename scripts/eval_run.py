"""Evaluate all cells of one run."""

from lockgate import jobs
from lockgate.errors import entry

main = entry(jobs.eval_run)

if __name__ == "__main__":
    main(
        **jobs.arguments(
            __doc__, "spec", "trained", "test", "validation", "ledger", "threads", "out"
        )
    )
