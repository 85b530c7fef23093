"""The `resources` section: what one heavy job may use."""

from __future__ import annotations

from pydantic import Field

from lockgate.config.section import Section


class Resources(Section):
    """What one heavy job (preview, generate, train, eval) may use."""

    threads: int = Field(
        default=2, ge=1, description="CPU threads of each process: a training has one a GPU."
    )
    memory_mb: int | None = Field(
        default=None,
        ge=100,
        description="Host memory in MB, a node (none: what is expected, with margin).",
    )
    nodes: int = Field(default=1, ge=1, description="Nodes of a training, or of a stage.")
    gpus: int = Field(
        default=0,
        ge=0,
        description="GPUs a node, of a training or a stage; any other job takes one.",
    )
    gpu: str | None = Field(
        default=None, description="Name of the GPU, like `H100`: its memory is compared."
    )
    runtime_minutes: int | None = Field(
        default=None,
        ge=1,
        description="Walltime in minutes (none: what is expected, with margin).",
    )
    partition: str | None = Field(
        default=None, min_length=1, description="SLURM partition (none: the cluster's own default)."
    )
    account: str | None = Field(
        default=None, min_length=1, description="SLURM account (none: the user's own default)."
    )
    qos: str | None = Field(default=None, min_length=1, description="SLURM quality of service.")
    constraint: str | None = Field(
        default=None, min_length=1, description="Features that a SLURM node must have."
    )

    def held(self, phase: str) -> tuple[int, int]:
        """Nodes, and GPUs on each, of a job: only a training has more than one process."""
        return (self.nodes, self.gpus) if phase == "train" else (1, min(1, self.gpus))
