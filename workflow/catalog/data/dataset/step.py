# /// script
# [tool.runspec]
# schema = "1"
# name = "steps/data/dataset"
#
# [tool.runspec.run]
# launch = "python"
#
# [tool.runspec.config]
# dir = "./config"
# default = "default"
#
# [tool.runspec.resources]
# nodes = 1
# gpus_per_node = 0
# ///
"""Rows of an existing file, and its splits."""

from lockgate.stages import builtin

if __name__ == "__main__":
    builtin.main(__file__, builtin.make_data, tool="dataset")
