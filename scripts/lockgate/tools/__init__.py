"""The tools that Lockgate drives, one module an adapter, behind five small protocols.

An adapter module holds one object named `ADAPTER` that has one of the protocols' methods.
`render` and `inputs` run while the pipeline is being planned: they import nothing heavy and
depend on their arguments and the user's own files alone. Heavy imports belong inside the other
methods.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

from lockgate.catalog.model import Step
from lockgate.errors import LockgateError
from lockgate.launch import ALONE, World


@dataclass(frozen=True)
class Endpoint:
    """A running endpoint, OpenAI-compatible; the key stays in its environment variable.

    `protocol` is another where the data tool knows a vendor that speaks it.
    """

    url: str
    model: str
    api_key_env: str | None = None
    protocol: str = "openai"


@dataclass(frozen=True)
class Column:
    """What a design says of one column of its records.

    Attributes:
        name: the field in a record.
        role: `sampled` (drawn at random), `seed` (of a seed dataset), `written` (text of a
            model's), `structured` (an object of a model's), `judge`, `validator` or `derived`.
        asked: of a sampled category, the share of all records that each value should have; else
            None.
        passed: of a validator, the dotted path within its value to true or false.
        scores: of a judge, dotted path within its value to each score.
        schema: of a structured column, the JSON Schema of its value; else None.
        skipped: what stands in records for which the design leaves the column out.
    """

    name: str
    role: str
    asked: dict[str, float] | None = None
    passed: str = ""
    scores: dict[str, str] = field(default_factory=dict)
    schema: dict[str, Any] | None = None
    skipped: tuple[Any, ...] = ()


def share(records: int, shards: int, shard: int) -> int:
    """How many of a design's records a shard makes: the last one makes what is left over, too.

    A tool that cuts a seed dataset into parts may do the same, so that each row comes once.
    """
    return records // shards + (records % shards if shard == shards - 1 else 0)


class Adapter(Protocol):
    """What every adapter has."""

    kind: str
    """`data`, `training`, `evaluation`, `server` or `catalog`."""

    def versions(self) -> dict[str, str]:
        """Installed version of each package that shapes the result (distribution: version).

        Raises:
            LockgateError: with the command that installs it, if the tool is missing.
        """
        ...


class DataGenerator(Adapter, Protocol):
    """Makes records: from a design, or from files.

    One that knows endpoints by name has `endpoint(data)`: the one that `data["endpoint"]` names
    by `provider` or `gateway`. One that runs a command of its own has `program(data)`: which
    commands are here and which one is used, for the record. One that knows the columns before
    anything is built has `fields(data, root)`: these, or None where only the records will tell.
    One whose checks cannot tell everything has `notes(design, data)`: what was not checked, one
    sentence each. One that tells its pace has `pace(work)`: records, and the seconds that they took
    without the tool's start; or None.
    """

    design_name: str
    """File name of the built design, like `design.py`."""

    def render(self, data: dict[str, Any], root: Path) -> str:
        """Text of the design file, from the `data` section; `root` resolves relative paths.

        Raises:
            LockgateError: where the section does not fit the tool, naming the key.
        """
        ...

    def inputs(self, data: dict[str, Any], root: Path) -> list[Path]:
        """Files whose content shapes the records; they must exist."""
        ...

    def learn(self) -> dict[str, Any]:
        """JSON Schemas and names that the installed version offers."""
        ...

    def validate(
        self, design: Path, data: dict[str, Any], endpoint: Endpoint | None, work: Path
    ) -> None:
        """Check the built design with the tool itself, and that the endpoint's model answers."""
        ...

    def describe(self, design: Path, data: dict[str, Any]) -> list[Column]:
        """The columns of the built design, in its order; of a dataset: none.

        Raises:
            LockgateError: if the user's own script cannot be run.
        """
        ...

    def preview(
        self, design: Path, data: dict[str, Any], endpoint: Endpoint | None, out: Path
    ) -> list[dict[str, Any]]:
        """Make `data["preview_records"]` records; pages for a browser go to `out`."""
        ...

    def generate(
        self,
        design: Path,
        data: dict[str, Any],
        shard: int,
        endpoint: Endpoint | None,
        work: Path,
        told: Callable[[int], None] | None = None,
    ) -> list[dict[str, Any]]:
        """Make this shard's part of `data["records"]`; finished records in `work` are kept.

        Called again with more `records`, it keeps those that it made and makes the rest: their
        order stays, new ones are behind them. Every few seconds `told` is given the number of
        records made so far.
        """
        ...

    def usage(self, work: Path) -> dict[str, int] | None:
        """What making the records in `work` (or the preview in `out`) asked of the model:
        `requests`, `input_tokens`, `output_tokens`; None: nothing is known of it. Where there
        are `untold_calls` of the tool, which did not tell all, more was asked than these."""
        ...


class Trainer(Adapter, Protocol):
    """Trains one run.

    One that rounds its optimizer steps in its own way also has `steps(rows, parameters)`: all
    optimizer steps over that many rows with the `training.parameters`. Without it, they are a
    ceiling in each epoch. One that does not save at each epoch's end and every `checkpoint_steps`
    has `saves(steps, parameters)`: how often, in so many steps. One that may take other rows than
    it is given has `capped(config, steps)`: what `render` gave, for so many optimizer steps at
    most, and `caveat(parameters)`: what an estimate from the given rows does not know, or an empty
    text. One that can start several processes for a run has `processes(config)`:
    how many, each with a batch of its own, for what `render` gave; those of a `World` share one
    batch and are not among them. One that tells how far it is has `progress(out)`: `step`, `steps`
    (in all), `seconds_per_step` (median of the last ones, or None), `loss` (or None) and `updated`
    (unix time); None where nothing is told yet.
    """

    def render(self, run: dict[str, Any]) -> dict[str, Any]:
        """The tool's own configuration for one run: `parameters`, `seed`, `system_prompt`.

        Raises:
            LockgateError: where a parameter does not fit the tool, naming the key.
        """
        ...

    def validate(self, config: dict[str, Any]) -> None:
        """Check a rendered configuration against the tool's real classes."""
        ...

    def train(
        self,
        config: dict[str, Any],
        model: Path,
        train: Path,
        validation: Path | None,
        out: Path,
        world: World = ALONE,
    ) -> dict[str, Any]:
        """Train in `out`, continuing from its last complete checkpoint.

        `batch_size * gradient_accumulation` rows make one optimizer step, however many processes
        share them: what is learned does not depend on the world. SIGTERM and SIGURG (see
        `launch.stop_signals`) end the training after the step in progress, with a checkpoint.

        Args:
            config: what `render` gave.
            model: directory of the base model (Hugging Face format).
            train: rows, JSON Lines of `id`, `prompt`, `completion`.
            validation: the same, for the loss after each epoch; None or empty: none.
            out: the run's own directory.
            world: the processes to train in, and what to divide the micro-batch by.

        Raises:
            Stopped: if it was told to stop; the next call continues from there.
            OutOfGpuMemory: if a smaller micro-batch (`world.divide` doubled) may fit.

        Returns:
            `checkpoints` (one an epoch: `epoch`, `step`, `path` relative to `out`, `adapter`
            true or false), `losses` (`step`, `epoch`, `loss`, `validation`), `steps`,
            `tokens` (counted in training, padding left out), `seconds` (`load`, `train`; where
            they are told apart, `save` and `validation` of this process),
            `step_seconds` (each step of this process), `trainable_parameters`, `parameters`,
            `truncated_rows`, `resumed_from_step`, and on a GPU `gpu_memory_mb` (the peak).
        """
        ...


class Evaluator(Adapter, Protocol):
    """Evaluates one run's cells.

    One whose last batch waits to be filled also has `batch_wait`: for how many seconds.
    """

    def render(self, evaluation: dict[str, Any]) -> dict[str, Any]:
        """The tool's own configuration for a list of tasks.

        It has the `batch_size`, and `tasks` with at least `name`, `split`, `limit`, `max_tokens`.
        """
        ...

    def inputs(self, evaluation: dict[str, Any], root: Path) -> list[Path]:
        """Files (the user's own tasks) whose content shapes the scores; they must exist."""
        ...

    def validate(self, config: dict[str, Any], root: Path) -> None:
        """Check a rendered configuration with the tool itself (the user's tasks import)."""
        ...

    def evaluate(
        self,
        config: dict[str, Any],
        weights: Path,
        base: Path,
        rows: dict[str, Path],
        logs: Path,
        root: Path,
    ) -> list[dict[str, Any]]:
        """Evaluate all tasks with the model loaded once; finished samples in `logs` are kept.

        Args:
            config: what `render` gave.
            weights: directory of a model or of its adapter.
            base: directory of the base model (tokenizer, chat template).
            rows: each split's file (`test`, `validation`).
            logs: directory of this weights' logs, one below it a task.
            root: resolves relative paths in the configuration.

        Returns:
            For each task `task`, `metric`, `seconds` (from the first question to the last
            answer), `answered` (seconds after the first question at which each sample was done,
            ascending), `output_tokens`, `log` (path), `metrics` (see `lockgate.measures.of`) and
            `samples`: `id`, `score` (0 to 1), `answer`, `target`, and by the scorer: numeric
            `value` (number or None), choice `option` (that the answer names, or None),
            probabilities `probabilities` (by option).

        Raises:
            LockgateError: before the model is loaded, for a row that a task cannot ask or score
                (see `lockgate.scoring.check_targets`); for samples that failed; for a judge
                that gives no grade.
        """
        ...


class Server(Adapter, Protocol):
    """Serves a model on a loopback port."""

    def serve(
        self, weights: Path, model: str, threads: int, log: Path
    ) -> AbstractContextManager[Endpoint]:
        """Serve until the block ends; the server dies with this process, however it ends."""
        ...


class StepRunner(Protocol):
    """Knows one kind of step catalog: where its steps are, and how one is run."""

    kind: str
    notes: Path | None
    """TOML file with the `lockgate` tables of steps (`[steps."ID"]`) and the advice of patterns
    (`[patterns."ID"]`) that this kind of catalog does not carry itself; None: there is none."""

    def steps(self, root: Path) -> Path | None:
        """Directory of the steps below a checkout; None: it is not a catalog of this kind."""
        ...

    def find(self, cwd: Path) -> list[Path]:
        """Checkouts that are there without being named: around the working directory, or
        installed as a package. Nothing is imported."""
        ...

    def command(self, step: Step, config: Path, profile: str, dry: bool) -> list[str]:
        """Command line that runs a step with a configuration; `dry`: the tool's own dry run.

        Raises:
            LockgateError: if `dry` is asked of a runner that has none.
        """
        ...

    inherits: bool
    """Its steps read `defaults:` in a configuration; where not, one is written whole."""

    local_processes: int | None
    """Processes that it starts for a job without a profile; None: the step decides.

    One with a number also has `spread(step, config, world)`, the command that starts a step in a
    whole world with its whole configuration, and `alone(step, world)`: empty, or why `spread`
    cannot.
    """

    def directory(self, step: Step, project: Path) -> Path:
        """Working directory of the command; `project` is where the pipeline was started."""
        ...

    def available(self, step: Step) -> str:
        """Empty if the command can be run here; else what is missing and what installs it."""
        ...


def installed(packages: Iterable[str], where: str, hint: str) -> dict[str, str]:
    """Versions of installed distributions, for an adapter's `versions`.

    Raises:
        LockgateError: naming the first that is missing, with the hint that installs it.
    """
    try:
        return {name: version(name) for name in packages}
    except PackageNotFoundError as error:
        raise LockgateError(
            f"the Python package '{error.name}' is not installed", where=where, hint=hint
        ) from None


def names(kind: str) -> list[str]:
    """Names of the adapters of one kind."""
    modules = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return [name for name in modules if _load(name).kind == kind]


def get(kind: str, name: str, where: str) -> Any:
    """The adapter of that name.

    Args:
        kind: `data`, `training`, `evaluation`, `server` or `catalog`.
        name: what the configuration says.
        where: file and key, for the message.

    Raises:
        LockgateError: if there is none, with the nearest name.
    """
    known = names(kind)
    if name in known:
        return _load(name)
    near = difflib.get_close_matches(name, known, 1)
    raise LockgateError(
        f"there is no {kind} tool '{name}'",
        where=where,
        hint=f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(known)}",
    )


def _load(name: str) -> Any:
    return importlib.import_module(f"{__name__}.{name}").ADAPTER
