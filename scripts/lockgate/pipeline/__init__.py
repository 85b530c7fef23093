"""What the Snakefile needs to know: the experiment's files, its gates and its targets.

Modules: `base` (the gates, and the one call that runs), `matrix` and `chain` (the two kinds of
experiment).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lockgate.errors import LockgateError
from lockgate.pipeline.base import Call, Pipeline, fail
from lockgate.pipeline.chain import ChainPipeline
from lockgate.pipeline.matrix import MatrixPipeline

__all__ = ["Call", "ChainPipeline", "MatrixPipeline", "Pipeline", "read"]


def read(
    values: Any,
    source: str,
    main: bool,
    dryrun: Callable[[], bool],
    slurm: Callable[[], Any] = lambda: None,
) -> Pipeline:
    """The experiment that a configuration describes; ends with one message if it is wrong."""
    kind = ChainPipeline if isinstance(values, dict) and "stages" in values else MatrixPipeline
    try:
        return kind(values, source, Call(main, dryrun, slurm))
    except LockgateError as error:
        fail(error)
