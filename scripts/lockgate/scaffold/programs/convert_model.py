"""Make a Hugging Face directory of a `.gguf` file.

python convert_model.py FILE DIR
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lockgate.errors import LockgateError, entry
from lockgate.weights import convert_gguf


@entry
def main() -> None:
    """Read the command line and convert."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    if options.out.exists():
        raise LockgateError(
            "it is there already", where=str(options.out), hint="name a new directory"
        )
    convert_gguf(options.file, options.out.absolute())


if __name__ == "__main__":
    main()
