"""Check one built configuration with its tool."""

from lockgate import jobs
from lockgate.errors import entry

main = entry(jobs.validate_config)

if __name__ == "__main__":
    main(**jobs.arguments(__doc__, "spec", "out"))
