"""Check the built data design with its tool."""

from lockgate import jobs
from lockgate.data import generation
from lockgate.errors import entry

main = entry(generation.validate_data)

if __name__ == "__main__":
    main(**jobs.arguments(__doc__, "spec", "design", "models", "threads", "out"))
