# /// script
# [tool.runspec]
# schema = "1"
# name = "steps/sft/torchtune"
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
"""Supervised fine-tuning of all weights with torchtune."""

from lockgate.stages import builtin

if __name__ == "__main__":
    builtin.main(__file__, builtin.train, tool="torchtune", method="full")
