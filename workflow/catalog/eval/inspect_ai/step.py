# /// script
# [tool.runspec]
# schema = "1"
# name = "steps/eval/inspect_ai"
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
"""Evaluation on held-out rows with inspect-ai."""

from lockgate.stages import builtin

if __name__ == "__main__":
    builtin.main(__file__, builtin.evaluate, tool="inspect_ai")
