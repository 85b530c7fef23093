"""What would fail on the cluster, found in the plan: each check with the values it compared.

A check is a function of the context that yields records, those that are well included. What a
step's notes say drives all of them; no step is known by its id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lockgate.stages.checks import alignment, artifacts, configuration, gpus, lineage, paths
from lockgate.stages.checks.context import Context, Types, generates
from lockgate.stages.model import Check

__all__ = ["CHECKS", "Context", "Types", "generates", "run"]

CHECKS: tuple[Callable[[Context], Iterator[Check]], ...] = (
    artifacts.chain,
    artifacts.rows,
    artifacts.benchmark,
    alignment.tokenizer,
    alignment.template,
    alignment.length,
    alignment.context_length,
    alignment.passes,
    lineage.from_sft,
    lineage.lora_base,
    lineage.teacher,
    lineage.evaluations,
    lineage.control,
    gpus.minimum,
    gpus.memory,
    gpus.model,
    gpus.divides,
    paths.present,
    paths.iteration,
    paths.overlap,
    paths.globs,
    configuration.secrets,
    configuration.artifact_reference,
    configuration.unresolved,
    configuration.kinds,
)
"""All checks, in the order of the report."""


def run(context: Context) -> list[Check]:
    """Every check's records: in the order of `CHECKS`, then of the stages."""
    return [record for check in CHECKS for record in check(context)]
