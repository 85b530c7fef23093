"""The `resources` section: what one heavy job may use."""

from __future__ import annotations

from pydantic import Field

from lockgate.config.section import Section


class Resources(Section):
    """What one heavy job (preview, generate, train, eval) may use."""

    threads: int = Field(default=2, ge=1, description="CPU threads.")
    memory_mb: int = Field(default=4000, ge=500, description="Host memory in MB.")
    nodes: int = Field(default=1, ge=1, description="Nodes of a stage's job.")
    gpus: int = Field(default=0, ge=0, description="GPUs a node.")
    gpu: str | None = Field(
        default=None, description="Name of the GPU, like `H100`: its memory is compared."
    )
    runtime_minutes: int = Field(default=120, ge=1, description="Walltime limit in minutes.")
    partition: str | None = Field(default=None, description="SLURM partition.")
    account: str | None = Field(default=None, description="SLURM account.")
