"""NVIDIA Nemotron: steps of a checkout or of the installed package, run by its own CLI."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

from lockgate.catalog.model import Step
from lockgate.launch import World, meeting, srun

_BELOW = Path("src/nemotron/steps")


class Nemotron:
    """Runs `nemotron steps run`, through `uv run` where only uv is there."""

    kind = "catalog"
    notes = Path(__file__).with_name("notes.toml")
    local_processes = 1
    inherits = True

    def steps(self, root: Path) -> Path | None:
        """Steps of a checkout, of the package's directory, or the directory of the steps."""
        places = [root / _BELOW]
        if root.name == "nemotron":
            places.append(root / "steps")
        if root.parts[-2:] == ("nemotron", "steps"):
            places.append(root)
        return next((place for place in places if (place / "types.toml").is_file()), None)

    def find(self, cwd: Path) -> list[Path]:
        """The checkout around the working directory, and the installed package."""
        found = []
        for root in (cwd, *cwd.parents):
            if (root / "pyproject.toml").is_file() and (root / _BELOW / "types.toml").is_file():
                found.append(root)
                break
        try:
            spec = importlib.util.find_spec("nemotron")
        except (ImportError, ValueError):
            spec = None
        for place in (spec.submodule_search_locations or []) if spec else []:
            package = Path(place)
            # another package of this name has no steps
            if (package / "steps" / "types.toml").is_file():
                checkout = package.parents[1]
                editable = (checkout / "pyproject.toml").is_file() and self.steps(checkout)
                found.append(checkout if editable else package)
        return found

    def command(self, step: Step, config: Path, profile: str, dry: bool) -> list[str]:
        """The CLI's command; `dry` compiles the configuration and runs nothing."""
        line = ["nemotron", "steps", "run", step.id, "-c", str(config)]
        line += ["-r", profile] if profile else []
        line += ["-d"] if dry else []
        project = _project(step)
        if not shutil.which("nemotron") and _uv() and project:
            return ["uv", "run", "--project", str(project), *line]
        return line

    def spread(self, step: Step, config: Path, world: World) -> list[str]:
        """Its own program under torch's launcher: that of the CLI is fixed to one process.

        A step that is not started by torch's launcher starts what it needs on its node by itself.

        Raises:
            LockgateError: for several nodes outside SLURM.
        """
        if not step.runspec or step.runspec["launch"] != "torchrun":
            return self.command(step, config, "", False)
        line = [*_python(step), "-m", "torch.distributed.run", *meeting(world)]
        line += [str(step.directory / "step.py"), "--config", str(config)]
        return [*srun(world.nodes, 1), *line] if world.nodes > 1 else line

    def alone(self, step: Step, world: World) -> str:
        """Empty if `spread` starts a step in a whole world; else why not."""
        if step.runspec is None or not (step.directory / "step.py").is_file():
            return "its step.py, or the header there that says how it is started, is missing"
        launch = step.runspec["launch"]
        if launch == "torchrun":
            return "" if _python(step) else "neither the Python of its CLI nor uv is found"
        told = f"its header says launch = {launch}, which is known on one node only"
        return "" if world.nodes == 1 else told

    def directory(self, step: Step, project: Path) -> Path:
        """The checkout, where its own CLI looks for its files."""
        return _project(step) or project

    def available(self, step: Step) -> str:
        """Empty if the CLI, or uv with the checkout, can run the step."""
        if shutil.which("nemotron"):
            return ""
        if not _uv():
            return "neither nemotron nor uv is on the PATH: install uv, then `uv sync` the checkout"
        if not _project(step):
            return "uv needs the checkout with its pyproject.toml: clone it, or install nemotron"
        return ""


def _python(step: Step) -> list[str]:
    """The interpreter that has the step's packages; empty: it is not known."""
    program = shutil.which("nemotron")
    beside = Path(program).resolve().with_name("python") if program else None
    if beside and beside.is_file():
        return [str(beside)]
    project = _project(step)
    return ["uv", "run", "--project", str(project), "python"] if project and _uv() else []


def _uv() -> bool:
    return shutil.which("uv") is not None


def _project(step: Step) -> Path | None:
    """The directory that uv runs a step from."""
    parents = step.directory.parents
    return next((root for root in parents if (root / "pyproject.toml").is_file()), None)


ADAPTER = Nemotron()
