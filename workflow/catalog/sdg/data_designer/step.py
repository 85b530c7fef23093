# /// script
# [tool.runspec]
# schema = "1"
# name = "steps/sdg/data_designer"
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
"""Synthetic rows with NeMo Data Designer."""

from lockgate.stages import builtin

if __name__ == "__main__":
    builtin.main(__file__, builtin.make_data, tool="data_designer")
