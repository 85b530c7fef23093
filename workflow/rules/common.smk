"""
The experiment, read once: its files, its gates, and what the rules have in common.

Needs the configuration; makes nothing. All logic is in scripts/lockgate/pipeline.py.
"""

import os
import sys
from pathlib import Path

SCRIPTS = Path(workflow.basedir).parent / "scripts"
sys.path.insert(0, str(SCRIPTS))

from lockgate import pipeline

SOURCE = os.path.relpath(workflow.configfiles[-1])
PIPELINE = pipeline.read(
    config,
    source=SOURCE,
    main=workflow.is_main_process,
    dryrun=lambda: workflow.dryrun,
)
RESULTS = PIPELINE.results
EXPERIMENT = PIPELINE.config.experiment.name
RESOURCES = PIPELINE.resources

# This environment's Python and this checkout's code, wherever Snakemake was started from and
# whatever else is installed.
shell.prefix(
    f"export PATH='{Path(sys.executable).parent}':\"$PATH\" SCRIPTS='{SCRIPTS}' "
    f"PYTHONPATH='{SCRIPTS}' "
    + " ".join(f"{name}='{value}'" for name, value in PIPELINE.environment.items())
    + "; "
)


wildcard_constraints:
    run="[a-z0-9._-]+",
    shape="[a-z0-9._-]+",
    shard="[0-9]+",


def targets(wildcards):
    return PIPELINE.targets()


def heavy(gpus=RESOURCES.gpus):
    """Resources of a job that loads a model; `gpus` may be a function of its wildcards."""
    slurm = {"slurm_partition": RESOURCES.partition, "slurm_account": RESOURCES.account}
    return {
        "mem_mb": RESOURCES.memory_mb,
        "runtime": RESOURCES.runtime_minutes,
        **({"gpu": gpus} if gpus else {}),
        **{key: value for key, value in slurm.items() if value},
    }
