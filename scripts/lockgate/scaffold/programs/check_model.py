"""Compare a model's files with those that the experiment was built with.

    python check_model.py DIR DIGEST

It prints a warning where they differ, and ends with status 0: a model downloaded in another way may
bring further files, and other weights give other results.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lockgate.errors import entry
from lockgate.weights import weights_digest


@entry
def main() -> None:
    """Read the command line and compare."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("digest", help="SHA-256 of its files; models.md has it")
    options = parser.parse_args()
    found = weights_digest(options.model)
    if found != options.digest:
        print(
            f"WARNING: {options.model} is not, file by file, the model that the experiment was "
            f"built with (SHA-256 of its files: {found}, not {options.digest}).",
            file=sys.stderr,
        )


if __name__ == "__main__":
    main()
