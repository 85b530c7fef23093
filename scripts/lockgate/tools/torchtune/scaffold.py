"""Training without Lockgate: the same training as a program of its own, around `tune run`."""

from __future__ import annotations

import shlex
from pathlib import Path

import yaml

from lockgate import environments
from lockgate.errors import LockgateError
from lockgate.files import read_text
from lockgate.handover import Handover, Job, PlainRun
from lockgate.scaffold.flatten import flatten

_PACKAGE = Path(__file__).parent
_HEADER = "# Settings of the training (torchtune's recipe and its options), for train.py.\n"
_ENVIRONMENT = "torchtune"
_SETUP = """\
python -m venv tune
tune/bin/pip install -r requirements-torchtune.txt
export TUNE_PYTHON="$PWD/tune/bin/python"
"""


def scaffold(runs: list[PlainRun], root: Path) -> Handover:
    """See `Handover`.

    Raises:
        LockgateError: if a run uses a recipe or a component outside the project.
    """
    # there it is an environment that Lockgate made
    own = ("lockgate.environments", "python", "own_python")
    files = {"train.py": flatten(_PACKAGE / "program.py", instead=own)}
    for name in (
        "architectures.toml",
        "config.yaml.j2",
        "component/lockgate_torchtune.py",
        "component/lockgate_recipe.py",
    ):
        files[name] = read_text(_PACKAGE / name)
    pinned = environments.REQUIREMENTS / f"{_ENVIRONMENT}.txt"
    lines = read_text(pinned).splitlines(keepends=True)
    files["requirements-torchtune.txt"] = "".join(one for one in lines if one[0] != "#")
    jobs = {}
    users: dict[str, Path] = {}
    for run in runs:
        files[run.path] = _HEADER + yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True)
        for path in run.config["recipe"]["files"]:
            if Path(path).is_absolute() or ".." in Path(path).parts:
                raise LockgateError(
                    f"{path} is outside the project: it cannot be handed over",
                    where="training.parameters.extra",
                    hint="move it into the project",
                )
            users[path] = root / path
        path, data, out = map(shlex.quote, (run.path, run.data, f"{run.out}/train"))
        jobs[run.name] = Job(
            command=f'"$PYTHON" train.py {path} --model "$MODEL" --data {data} --out {out}',
            result=f"{run.out}/train/result.json",
            inputs=(run.path, f"{run.data}/train.jsonl", f"{run.data}/validation.jsonl"),
            checkpoints=tuple(
                f"{run.out}/train/epoch-{epoch}"
                for epoch in range(int(run.config["settings"]["epochs"]))
            ),
        )
    apart = (*(name for name in files if name.startswith("component/")), *users)
    return Handover(files, jobs, setup=_SETUP, own=users, apart=apart)
