"""Make one shard of the records."""

from lockgate import jobs
from lockgate.data import generation
from lockgate.errors import entry

main = entry(generation.generate_data)

if __name__ == "__main__":
    main(**jobs.arguments(__doc__, "spec", "design", "models", "shard", "ledger", "threads", "out"))
