"""Small chains for the tests of the checks: types, steps and stages in a line each."""

from lockgate.catalog.model import ArtifactType, Step
from lockgate.stages.checks import Context, run
from lockgate.stages.model import RESULTS, Source, Stage

IS_A = {
    "rows": (),
    "raw_rows": ("rows",),
    "translated_rows": ("rows",),
    "packed": (),
    "checkpoint_hf": (),
    "checkpoint_sharded": (),
    "checkpoint_lora": (),
    "benchmark": (),
    "exam": ("benchmark",),
}
CONVERT = {"checkpoint_hf": {"checkpoint_sharded": "convert/shard"}}


class Types:
    """The types above, with `is_a` over any number of steps."""

    def __init__(self):
        self.types = {
            name: ArtifactType(name=name, is_a=above, convert_to=CONVERT.get(name, {}))
            for name, above in IS_A.items()
        }

    def is_a(self, name, other):
        above = self.types[name].is_a if name in self.types else ()
        return name == other or any(self.is_a(one, other) for one in above)


def step(id, consumes=(), produces=(), **more):
    """A step; `consumes` holds types, optional ones with a question mark."""
    ports = [{"type": name.rstrip("?"), "required": not name.endswith("?")} for name in consumes]
    models = more.pop("models", {})
    resources = more.pop("resources", None)
    return Step(
        id=id,
        consumes=ports,
        produces=[{"type": name} for name in produces],
        models=[{"name": name, "min_gpus": least} for name, least in models.items()],
        runspec={"resources": resources} if resources else None,
        notes=more,
    )


def stage(name, step, inputs=None, **more):
    """A stage; `inputs` holds for each port a path, a stage before it, or a `Source`."""
    found = {}
    for kind, given in (inputs or {}).items():
        if isinstance(given, Stage):
            made = next(iter(given.outputs))
            given = Source(type=made, path=given.outputs[made], stage=given.name)
        found[kind] = given if isinstance(given, Source) else Source(type=kind, path=given)
    outputs = {port.type: f"{RESULTS}/stages/{name}/{port.type}" for port in step.produces}
    more.setdefault("outputs", outputs)
    return Stage(name=name, step=step, inputs=found, **more)


def checks(code, *stages, **more):
    """The records of one code (or of all that begin with it) for a chain."""
    context = Context(stages=list(stages), catalogs=Types(), **more)
    return [check for check in run(context) if check.code.startswith(code)]


def only(code, *stages, **more):
    """The one record of a code."""
    (check,) = checks(code, *stages, **more)
    return check
