"""The command `lockgate`: where an experiment stands, and what the step catalogs offer."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from lockgate import catalog
from lockgate.catalog import Catalogs, show
from lockgate.catalog.discover import VARIABLE
from lockgate.catalog.files import nearest
from lockgate.catalog.model import Step
from lockgate.errors import LockgateError, entry

BUILTIN = Path(__file__).parents[2] / "workflow" / "catalog"


@entry
def main(arguments: list[str] | None = None) -> None:
    """Run one command; what is asked for goes to stdout, everything else to stderr.

    Args:
        arguments: the command line; None: the process's own.
    """
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, like `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lockgate", description="Look into experiments and step catalogs."
    )
    groups = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(group: Any, name: str, run: Any, text: str) -> argparse.ArgumentParser:
        command: argparse.ArgumentParser = group.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        command.add_argument(
            "--catalog",
            action="append",
            type=Path,
            default=[],
            metavar="PATH",
            help="use just this catalog (may be given again); none: all that are found",
        )
        return command

    steps = groups.add_parser("steps", help="steps of the catalogs").add_subparsers(
        required=True, metavar="COMMAND"
    )
    listed = add(steps, "list", _list_steps, "List the steps.")
    listed.add_argument("--category", help="of this category")
    listed.add_argument("--consumes", metavar="TYPE", help="that take this type")
    listed.add_argument("--produces", metavar="TYPE", help="that make what may stand for this")
    listed.add_argument("--tag", help="with this tag")
    listed.add_argument("--exact", action="store_true", help="compare types by name, without is_a")
    shown = add(steps, "show", _show_step, "Show everything about a step.")
    shown.add_argument("id")
    new = add(steps, "new", _new_step, "Begin a step of your own, like one that there is.")
    new.add_argument("id", metavar="CATEGORY/NAME")
    new.add_argument("--like", required=True, metavar="ID", help="the nearest step")
    new.add_argument(
        "--into", type=Path, default=Path("catalog"), metavar="DIR", help="the catalog to put it in"
    )
    patterns = groups.add_parser("patterns", help="advice across steps").add_subparsers(
        required=True, metavar="COMMAND"
    )
    advice = add(patterns, "list", _list_patterns, "List the patterns.")
    pattern = add(patterns, "show", _show_pattern, "Show a pattern.")
    pattern.add_argument("id")
    types = add(groups, "types", _list_types, "List the artifact types.")
    own = groups.add_parser("env", help="environments of tools that need their own")
    environments = own.add_subparsers(required=True, metavar="COMMAND")
    text = "Make a tool's environment, or make it anew where its requirements changed."
    made = environments.add_parser("create", help=text, description=text)
    made.add_argument("name", metavar="NAME")
    made.set_defaults(run=_create_environment)
    text = "List the environments, and where they lie."
    there = environments.add_parser("list", help=text, description=text)
    there.set_defaults(run=_list_environments)
    text = "Write the built experiment as a folder that runs without Lockgate."
    handover = groups.add_parser("scaffold", help=text, description=text)
    handover.set_defaults(run=_scaffold)
    handover.add_argument(
        "--into", type=Path, metavar="DIR", help="the folder (none: handover/<experiment>)"
    )
    text = "Show where an experiment stands: phases, gates, and each run."
    standing = groups.add_parser("status", help=text, description=text)
    standing.set_defaults(run=_status)
    text = "Cancel jobs of an experiment; what they have saved is kept."
    ended = groups.add_parser("cancel", help=text, description=text)
    ended.set_defaults(run=_cancel)
    ended.add_argument("runs", nargs="*", metavar="RUN", help="runs or stages (none: all jobs)")
    for command in (handover, standing, ended):
        command.add_argument(
            "--configfile", type=Path, default=Path("config/config.yaml"), metavar="FILE"
        )
    for command in (listed, shown, advice, pattern, types, standing):
        command.add_argument("--json", action="store_true", help="as JSON")
    return parser


def _load(paths: list[Path]) -> Catalogs:
    """The catalogs named, or all that are found; what is wrong with them goes to stderr."""
    found = catalog.load_only(paths, Path.cwd()) if paths else _all()
    for note in found.shadowed:
        print(f"Note: {note}", file=sys.stderr)
    for problem in found.problems:
        print(f"ERROR: {problem}", file=sys.stderr)
    counts = {"step": len(found.steps), "type": len(found.types), "error": len(found.problems)}
    told = (f"{count} {word}{'' if count == 1 else 's'}" for word, count in counts.items())
    print(", ".join(told), file=sys.stderr)
    return found


def _all() -> Catalogs:
    return catalog.load([], BUILTIN, os.environ.get(VARIABLE, ""), Path.cwd())


def _list_steps(options: argparse.Namespace) -> None:
    catalogs = _load(options.catalog)
    known = set(catalogs.types)
    for step in catalogs.steps.values():
        known |= {port.type for port in (*step.consumes, *step.produces)}
    for kind in (options.consumes, options.produces):
        if kind is not None and kind not in known:
            near = nearest(kind, known)
            raise LockgateError(
                f"there is no artifact type '{kind}'",
                where="lockgate steps list",
                hint=f"did you mean {' or '.join(near)}?" if near else "see `lockgate types`",
            )
    steps = list(catalogs.steps.values())
    for what, word, words in (
        ("category", options.category, {step.category for step in steps}),
        ("tag", options.tag, {tag for step in steps for tag in step.tags}),
    ):
        if word is not None and word not in words:
            raise LockgateError(
                f"no step has the {what} '{word}'",
                where="lockgate steps list",
                hint=f"there are: {', '.join(nearest(word, words) or sorted(words))}",
            )

    def fits(kind: str, asked: str) -> bool:
        return kind == asked if options.exact else catalogs.is_a(kind, asked)

    def wanted(step: Step) -> bool:
        return (
            options.category in (None, step.category)
            and (options.tag is None or options.tag in step.tags)
            and (
                options.consumes is None
                or any(fits(options.consumes, port.type) for port in step.consumes)
            )
            and (
                options.produces is None
                or any(fits(port.type, options.produces) for port in step.produces)
            )
        )

    steps = [step for step in steps if wanted(step)]
    if options.json:
        show.print_json([show.step_json(step) for step in steps])
        return
    rows = [
        [
            step.id,
            step.catalog,
            show.brief(step.consumes),
            show.brief(step.produces),
            show.short(step),
        ]
        for step in steps
    ]
    show.print_table(["STEP", "CATALOG", "CONSUMES", "PRODUCES", "WHAT IT DOES"], rows)


def _show_step(options: argparse.Namespace) -> None:
    step = _load(options.catalog).step(options.id, "lockgate steps show")
    if options.json:
        show.print_json(show.step_json(step, everything=True))
        return
    show.print_step(step)


def _new_step(options: argparse.Namespace) -> None:
    from lockgate.catalog.scaffold import new_step

    written = new_step(_load(options.catalog), options.id, options.like, options.into, _all())
    for path in written:
        print(path)
    own = options.into.resolve() == Path("catalog").resolve()
    found = "is found from this directory" if own else f"is found through {VARIABLE} or `catalogs`"
    print(
        f"It {found}, and runs as it is: see `lockgate steps show {options.id}`, then write its "
        f"work into step.py.",
        file=sys.stderr,
    )


def _scaffold(options: argparse.Namespace) -> None:
    from lockgate import scaffold

    folder, notes = scaffold.write(options.configfile, options.into)
    for note in notes:
        print(f"Note: {note}", file=sys.stderr)
    print(folder)
    print("Its README.md says how to run it.", file=sys.stderr)


def _status(options: argparse.Namespace) -> None:
    from lockgate import status, status_text

    told = status.collect(status.read(options.configfile), options.configfile)
    if options.json:
        show.print_json(told)
        return
    status_text.write(told)


def _cancel(options: argparse.Namespace) -> None:
    from lockgate import cancel, status

    told, acted = cancel.cancel(status.read(options.configfile), options.runs)
    for line in told or ["Nothing of this experiment runs or waits in a queue."]:
        print(line)
    if acted:
        print(
            "A Snakemake that runs reports these jobs as failed and goes on with the others; what\n"
            "was cancelled begins again in its next call.",
            file=sys.stderr,
        )


def _create_environment(options: argparse.Namespace) -> None:
    from lockgate import environments

    if environments.state(options.name) != "ready":
        print(f"Making the environment '{options.name}': minutes.", file=sys.stderr)
    path, done = environments.create(options.name)
    print(path)
    print("It is ready." if done else "It was there already.", file=sys.stderr)


def _list_environments(options: argparse.Namespace) -> None:
    from lockgate import environments

    rows = [
        [name, environments.state(name), str(environments.place(name))]
        for name in environments.names()
    ]
    for name in environments.names():
        rows += [[name, "old, can be deleted", str(path)] for path in environments.old(name)]
    show.print_table(["ENVIRONMENT", "STATE", "PATH"], rows)


def _list_patterns(options: argparse.Namespace) -> None:
    patterns = _load(options.catalog).patterns
    if options.json:
        show.print_json([show.pattern_json(pattern) for pattern in patterns])
        return
    rows = [
        [one.id, one.catalog, one.confidence, one.title, ", ".join(one.steps) or "any"]
        for one in patterns
    ]
    show.print_table(["PATTERN", "CATALOG", "CONFIDENCE", "TITLE", "STEPS"], rows)


def _show_pattern(options: argparse.Namespace) -> None:
    known = {pattern.id: pattern for pattern in _load(options.catalog).patterns}
    if options.id not in known:
        near = nearest(options.id, known)
        raise LockgateError(
            f"there is no pattern '{options.id}'",
            where="lockgate patterns show",
            hint=f"did you mean {' or '.join(near)}?" if near else "see `lockgate patterns list`",
        )
    pattern = known[options.id]
    if options.json:
        show.print_json(show.pattern_json(pattern))
        return
    print(f"{pattern.id}: {pattern.title} (confidence {pattern.confidence or 'not given'})")
    show.print_group("Triggers", pattern.triggers)
    show.print_group("Steps", pattern.steps or ["any"])
    print(f"\n{pattern.body}")


def _list_types(options: argparse.Namespace) -> None:
    types = sorted(_load(options.catalog).types.values(), key=lambda one: one.name)
    if options.json:
        show.print_json([one.model_dump(mode="json") for one in types])
        return
    rows = [
        [
            one.name,
            ", ".join(one.is_a) or "-",
            ", ".join(f"{kind} by {step}" for kind, step in one.convert_to.items()) or "-",
            one.description,
        ]
        for one in types
    ]
    show.print_table(["TYPE", "IS A", "CONVERTS TO", "WHAT IT IS"], rows)


if __name__ == "__main__":
    main()
