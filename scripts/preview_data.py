"""Make the sample records."""

from lockgate import jobs
from lockgate.data import samples
from lockgate.errors import entry

main = entry(samples.preview_data)

if __name__ == "__main__":
    main(
        **jobs.arguments(
            __doc__, "spec", "design", "models", "records", "ledger", "threads", "summary", "rows"
        )
    )
