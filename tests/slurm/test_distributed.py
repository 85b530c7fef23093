"""Training on two nodes of a real cluster, two processes each: what one process learns."""

from __future__ import annotations

import json
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster import NODES, Cluster

from lockgate.config.training import Parameters
from lockgate.files import read_json, write_json
from lockgate.tools import get
from tiny_model import make_tiny_model

pytestmark = pytest.mark.slurm

ROOT = Path(__file__).parents[2]
SIZE = ("--nodes=2", "--ntasks=4", "--ntasks-per-node=2", "--gres=gpu:2", "--mem=6000")
WORDS = ("billing", "shipping", "account", "technical")
# What a job leaves of Slurm's variables to what it starts, where Snakemake runs it.
LEADER = """
import json, os, sys
from pathlib import Path

for name in [name for name in os.environ if name.startswith("SLURM_") and name != "SLURM_JOB_ID"]:
    del os.environ[name]
from lockgate.errors import LockgateError
from lockgate.launch import World
from lockgate.tools import get

job = json.loads(Path(sys.argv[1]).read_text())
paths = [Path(job[name]) for name in ("model", "train", "validation", "out")]
try:
    world = World(*job["world"])
    result = get("training", job["tool"], "").train(job["config"], *paths, world=world)
    Path(job["told"]).write_text(json.dumps({"result": result}))
except LockgateError as error:
    Path(job["told"]).write_text(json.dumps({type(error).__name__: error.what}))
"""


class Training:
    """A run in a directory that both nodes see."""

    def __init__(self, root: Path, tool: str, **parameters: Any) -> None:
        self.root, self.tool, self.adapter = root, tool, get("training", tool, "training.tool")
        make_tiny_model(root / "tiny", chat_template=True)
        self.inputs = [root / "tiny", self._rows("train", 14), self._rows("validation", 5)]
        settings: dict[str, Any] = {
            "epochs": 2,
            "learning_rate": 0.01,
            "max_length": 128,
            "lora_rank": 4,
            "lora_dropout": 0.0,
            "precision": "float32",
            "batch_size": 4,
            "checkpoint_steps": 2,
            **parameters,
        }
        run = {"parameters": Parameters(**settings).model_dump(), "seed": 0, "system_prompt": None}
        self.config = yaml.safe_load(yaml.safe_dump(self.adapter.render(run)))

    def _rows(self, name: str, count: int) -> Path:
        path = self.root / f"{name}.jsonl"
        rows = [
            {"prompt": f"Which team answers {'this ' * (n % 5)}ticket?", "completion": WORDS[n % 4]}
            for n in range(count)
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    def alone(self) -> dict[str, Any]:
        """What one process, in no job, makes of it."""
        return self.adapter.train(self.config, *self.inputs, self.root / "alone")

    def submit(self, cluster: Cluster, *options: str) -> str:
        """A job of two nodes, two processes each."""
        names = ("model", "train", "validation")
        job = {name: str(path) for name, path in zip(names, self.inputs, strict=True)}
        job |= {"config": self.config, "tool": self.tool, "world": [2, 2]}
        job |= {"out": str(self.root / "out"), "told": str(self.root / "told.json")}
        write_json(self.root / "job.json", job)
        (self.root / "leader.py").write_text(LEADER)
        (self.root / "told.json").unlink(missing_ok=True)
        script = f"cd {self.root}; export OMP_NUM_THREADS=1 PYTHONPATH={ROOT / 'scripts'}; "
        script += f"exec {sys.executable} leader.py job.json"
        return cluster.submit(script, *SIZE, *options)

    def end(self, cluster: Cluster, job: str, seconds: float = 240) -> dict[str, Any]:
        """What the job's leader told."""
        cluster.wait(job, "COMPLETED", "FAILED", "CANCELLED", seconds=seconds)
        until = time.monotonic() + 30  # one that is cancelled is still ending
        while not (self.root / "told.json").exists():
            assert time.monotonic() < until, cluster.log(job)
            time.sleep(0.2)
        return read_json(self.root / "told.json")


def curve(result: dict[str, Any]) -> list[float]:
    losses = result["losses"]
    return [value for one in losses for value in (one["loss"], one["validation"] or 0.0)]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)


def test_four_processes_on_two_nodes_learn_what_one_learns(
    cluster: Cluster, tmp_path: Path
) -> None:
    training = Training(tmp_path, "trl")
    job = training.submit(cluster)
    told = training.end(cluster, job)
    assert "result" in told, (told, cluster.log(job))
    # the order of sums differs: the last bits of float32, carried on over 8 steps
    assert curve(told["result"]) == pytest.approx(curve(training.alone()), rel=1e-5)
    assert told["result"]["steps"] == 8
    assert "--ntasks=4 --ntasks-per-node=2" in cluster.log(job)


@pytest.mark.parametrize("how", ["warning", "scancel"])
def test_a_stop_saves_and_the_next_job_continues(
    cluster: Cluster, tmp_path: Path, how: str
) -> None:
    training = Training(tmp_path, "trl", epochs=30, learning_rate=1e-3)
    job = training.submit(cluster)
    until = time.monotonic() + 240
    while not (tmp_path / "out/checkpoint-2").exists():
        assert time.monotonic() < until, cluster.log(job)
        time.sleep(0.02)
    cluster.call("scancel", *(["--signal=URG"] if how == "warning" else []), job)
    told = training.end(cluster, job)
    assert told["Stopped"].startswith("training stopped at step "), (told, cluster.log(job))
    stopped = int(told["Stopped"].split()[4])
    assert not (tmp_path / "out/result.json").exists()
    job = training.submit(cluster)
    told = training.end(cluster, job)
    assert "result" in told, (told, cluster.log(job))
    assert told["result"]["resumed_from_step"] == stopped < 120
    assert curve(told["result"]) == pytest.approx(curve(training.alone()), rel=1e-3)


RANKS = """
import os, sys
from pathlib import Path
from torch import distributed

distributed.init_process_group("gloo")
rank, size = distributed.get_rank(), distributed.get_world_size()
Path(sys.argv[2]).with_name(f"rank-{rank}").write_text(
    f"{size} {os.environ['SLURMD_NODENAME']} {os.environ['LOCAL_RANK']}"
)
distributed.destroy_process_group()
"""
STEP = """
import os, subprocess, sys
from pathlib import Path

from lockgate.catalog.model import Step
from lockgate.launch import World
from lockgate.tools import get

step = Step(id="a/b", path="a/b", directory=Path("step").absolute(), runspec={"launch": "torchrun"})
runner = get("catalog", "nemotron", "")
assert runner.alone(step, World(2, 2)) == ""
sys.exit(subprocess.run(runner.spread(step, Path("c.yaml").absolute(), World(2, 2))).returncode)
"""


def test_a_step_that_torchrun_starts_runs_on_both_nodes(cluster: Cluster, tmp_path: Path) -> None:
    step = tmp_path / "step/step.py"
    step.parent.mkdir()
    step.write_text(RANKS)
    (tmp_path / "run.py").write_text(STEP)
    programs = tmp_path / "bin"  # its command line, with the Python that has its packages
    programs.mkdir()
    (programs / "nemotron").write_text("#!/bin/sh\n")
    (programs / "nemotron").chmod(0o755)
    (programs / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (programs / "python").chmod(0o755)
    script = f"cd {tmp_path}; export PATH={programs}:$PATH PYTHONPATH={ROOT / 'scripts'}; "
    script += f"exec {sys.executable} run.py"
    job = cluster.submit(script, *SIZE)
    state = cluster.wait(job, "COMPLETED", "FAILED", seconds=180)["JobState"]
    assert state == "COMPLETED", cluster.log(job)
    told = [(tmp_path / f"rank-{rank}").read_text().split() for rank in range(4)]
    assert {one[0] for one in told} == {"4"}
    assert sorted(one[1:] for one in told) == [[node, rank] for node in NODES for rank in "01"]


GLOO = textwrap.dedent(
    '''
    """The distributed recipe, on processors in place of GPUs."""
    import runpy, sys
    from pathlib import Path
    import torchtune
    from torchtune import config, training

    training.get_memory_stats = lambda *_, **__: {}
    training.log_memory_stats = lambda *_, **__: None
    training.cleanup_before_training = lambda: None
    source = Path(torchtune.__file__).parents[1] / "recipes" / "full_finetune_distributed.py"
    builtin = runpy.run_path(str(source))

    @config.parse
    def main(cfg):
        recipe = builtin["FullFinetuneRecipeDistributed"](cfg=cfg)
        recipe.setup(cfg=cfg)
        recipe.train()
        recipe.cleanup()

    if __name__ == "__main__":
        sys.exit(main())
    '''
)


def test_a_distributed_recipe_on_two_nodes_learns_what_one_process_learns(
    cluster: Cluster, tune_environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "gloo_recipe.py").write_text(GLOO)
    same: dict[str, Any] = {"method": "full", "learning_rate": 1e-3}
    training = Training(tmp_path, "torchtune", **same, extra={"recipe": "own/gloo_recipe.py"})
    job = training.submit(cluster)
    told = training.end(cluster, job)
    assert "result" in told, (told, cluster.log(job))
    alone = Training(tmp_path, "torchtune", **same).alone()
    assert told["result"]["steps"] == alone["steps"] == 6  # rows that fill no step are dropped
    assert curve(told["result"]) == pytest.approx(curve(alone), rel=1e-4)
