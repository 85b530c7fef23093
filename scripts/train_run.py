"""Train one run."""

from lockgate import jobs
from lockgate.errors import entry

main = entry(jobs.train_run)

if __name__ == "__main__":
    main(
        **jobs.arguments(
            __doc__,
            "spec",
            "model",
            "train",
            "validation",
            "test",
            "ledger",
            "smoke",
            "threads",
            "out",
        )
    )
