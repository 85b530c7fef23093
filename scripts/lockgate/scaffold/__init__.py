"""The built experiment as a plain folder, for people who must run it without Lockgate."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from lockgate import files, gates, jobs, matrix
from lockgate.config import ChainConfig, load
from lockgate.errors import LockgateError
from lockgate.matrix import Matrix
from lockgate.scaffold.folder import Folder

__all__ = ["write"]


def write(source: Path, into: Path | None, root: Path = Path(".")) -> tuple[Path, list[str]]:
    """Write the folder, whole or not at all.

    Args:
        source: the configuration's file.
        into: the folder; None: `handover/<experiment>`.
        root: the project; relative paths in the configuration start there.

    Returns:
        The folder, and what its reader has to know, one sentence each.

    Raises:
        LockgateError: if the folder has files already, or the experiment is not built and
            approved as the configuration describes it.
    """
    values = files.read_yaml(source)
    config = load(values, str(source))
    if isinstance(config, ChainConfig):
        raise LockgateError(
            "a chain of stages is plain already",
            where=str(source),
            hint=f"each stage's configuration is in {config.results / 'build' / 'configs'}, with "
            "the command that runs it by hand",
        )
    experiment = matrix.read(values, str(source), root)
    into = into or Path("handover") / experiment.config.experiment.name
    if into.exists() and (not into.is_dir() or any(into.iterdir())):
        raise LockgateError(
            "it is there already, and not empty",
            where=str(into),
            hint="name another folder with --into, or remove this one",
        )
    _check_built(experiment)
    into.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{into.name}.", dir=into.parent))
    try:
        notes = Folder(experiment, temporary, root).write()
        temporary.chmod(0o755)
        os.replace(temporary, into)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return into, notes


def _check_built(experiment: Matrix) -> None:
    """Each document is built, as the configuration has it now, and its plan is approved.

    Raises:
        LockgateError: naming what is not, with the command that builds it.
    """
    config = experiment.config
    command = f"snakemake --profile local --configfile {experiment.source}"
    store = gates.Gates(
        config.results,
        config.approvals,
        experiment.items,
        experiment.fingerprint,
        config.approvers,
    )
    if not set(experiment.items["plan"]) <= set(store.recorded("plan")):
        raise LockgateError(
            "the experiment is not built: the plan of this configuration is not approved",
            where=str(store.ledger),
            hint=f"run `{command}`: it says what to review and how to approve, and builds it then",
        )
    for name, document in experiment.documents.items():
        if name.startswith("smoke/"):
            continue
        path = config.results / "build" / f"{name}.yaml"
        built = files.digest(jobs.read_spec(path)) if path.exists() else None
        if built != files.digest(document):
            raise LockgateError(
                "it was built from another configuration" if built else "it is not built yet",
                where=str(path),
                hint=f"run `{command}`",
            )
