"""The user's own recipe, run by its path: its file's name may be that of any other module."""

import os
import runpy

if __name__ == "__main__":
    runpy.run_path(os.environ["LOCKGATE_RECIPE"], run_name="__main__")
