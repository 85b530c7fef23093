"""Lockgate: model customization as one approval-gated Snakemake pipeline."""

__version__ = "0.1.0"
