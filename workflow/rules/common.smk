"""
The experiment, read once: its files, its gates, and what the rules have in common.

Needs the configuration; makes nothing. All logic is in scripts/lockgate/pipeline/.
"""

import os
import sys
from pathlib import Path

SCRIPTS = Path(workflow.basedir).parent / "scripts"
sys.path.insert(0, str(SCRIPTS))

from lockgate import gates, pipeline
from lockgate.attempts import warning_seconds
from lockgate.margins import placement

SOURCE = os.path.relpath(workflow.configfiles[-1])


def executor():
    """Name of Snakemake's executor; none: nothing runs, it only reports."""
    return workflow.executor_plugin and workflow.executor_plugin.name


def slurm():
    """Settings of the executor that submits to SLURM; None: another one runs the jobs."""
    return workflow.executor_settings if executor() == "slurm" else None


PIPELINE = pipeline.read(
    config,
    source=SOURCE,
    main=workflow.is_main_process,
    dryrun=lambda: workflow.dryrun,
    slurm=slurm,
)
RESULTS = PIPELINE.results
EXPERIMENT = PIPELINE.config.experiment.name
RESOURCES = PIPELINE.resources

if workflow.is_main_process:
    os.environ[gates.CALL] = gates.again(sys.argv[1:], SOURCE)  # for the jobs' pages

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


SLURM = {
    "slurm_partition": RESOURCES.partition,
    "slurm_account": RESOURCES.account,
    "qos": RESOURCES.qos,
    "constraint": RESOURCES.constraint,
}
PLACED = "world gpu nodes gres tasks tasks_per_node tasks_per_gpu mpi".split()


def heavy(rule, wildcard=None, spread=None):
    """Resources of a job that loads a model.

    Memory and walltime are those of the plan's estimates, asked anew for each attempt. A job
    whose processes may be spread over GPUs and nodes has `spread`: a function of its wildcards
    that gives the nodes and the GPUs of each.
    """

    def room(wildcards):
        return spread(wildcards) if spread else RESOURCES.held(rule)

    def name(wildcards):
        return wildcards.get(wildcard) if wildcard else ""

    def memory(wildcards, attempt):
        return PIPELINE.allocation.memory_mb(rule, name(wildcards), attempt)

    def minutes(wildcards, attempt):
        return PIPELINE.allocation.minutes(rule, name(wildcards), attempt)

    def extra(wildcards, attempt):
        nodes, gpus = room(wildcards)
        before = warning_seconds(minutes(wildcards, attempt))
        nice = PIPELINE.allocation.nice(rule, name(wildcards), attempt, nodes * gpus)
        # the signal is ignored by default: only what can save before the walltime's end reacts
        return f"--signal=URG@{before} --nice={nice}"

    def placed(key):
        def value(wildcards):
            nodes, gpus = room(wildcards)
            shared = executor() == "local"
            return placement(nodes, gpus, spread is not None, shared).get(key)

        return value

    return {
        "attempt": lambda wildcards, attempt: attempt,
        "mem_mb": memory,
        "runtime": minutes,
        "slurm_extra": extra,
        **{key: placed(key) for key in PLACED},
        **{key: value for key, value in SLURM.items() if value},
    }


def apart(wildcards):
    """Where the processes of a run's training go."""
    return RESOURCES.held("train")
