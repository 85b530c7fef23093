"""What was written for a stage is checked as it is on the disk, before anything runs."""

import dataclasses
import sys
from pathlib import Path

import pytest

from lockgate.catalog.model import Notes, Step
from lockgate.errors import LockgateError
from lockgate.stages import configs, validate
from lockgate.stages.model import RESULTS, Source, Stage

DEFAULT = """
train: {iters: 1000, path: /data/*.parquet}
save: /out
seq: {data: 4096, model: "${seq.data}"}
token: ${oc.env:SOME_TOKEN,''}
"""
NOTES = {
    "inputs": {"packed": {"key": "train.path", "glob": "train/*.parquet"}},
    "outputs": {"weights": {"key": "save", "iterations": "iter_*", "path": "model"}},
    "roles": {"steps": "train.iters", "sequence_length": ["seq.data", "seq.model"]},
}


def step(root, name="sft", notes=None):
    folder = root / name / "deep" / "config"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "default.yaml").write_text(DEFAULT)
    return Step(
        id=f"{name}/deep",
        catalog="mine",
        path=f"{name}/deep",
        directory=folder.parent,
        notes=Notes.model_validate(NOTES if notes is None else notes),
    )


class Written:
    """A stage, its two files, and a later stage that reads what it makes."""

    def __init__(self, root):
        self.root = root
        self.step = step(root)
        self.output = f"{RESULTS}/stages/sft/k1/weights"
        self.full = {"train.iters": 100, "save": self.output}
        self.reduced = {"train.iters": 2, "save": self.output.replace("stages", "preview/stages")}
        self.stage = Stage(name="sft", step=self.step, outputs={"weights": f"{self.output}/model"})
        source = Source("weights", f"{self.output}/model", stage="sft", iterations="iter_*")
        notes = {"inputs": {"weights": {"key": "train.path"}}}
        after = step(root, "dpo", notes)
        settings = {"train.path": source.path}
        self.later = Stage(
            name="dpo",
            step=after,
            inputs={"weights": source},
            settings=settings,
            config=configs.effective(after, settings),
        )

    def file(self, name, settings):
        path = self.root / name
        placed = {
            key: value.replace(RESULTS, str(self.root)) if isinstance(value, str) else value
            for key, value in settings.items()
        }
        path.write_text(configs.render(self.stage, placed, ["tool"]))
        return path

    def checks(self):
        full, reduced = self.file("full.yaml", self.full), self.file("smoke.yaml", self.reduced)
        return validate.check_written(self.stage, full, reduced, [self.later])


@pytest.fixture
def written(tmp_path):
    return Written(tmp_path)


def wrong(checks, code=None):
    return [one for one in checks if one.status == "warning" and code in (None, one.code)]


def test_what_the_plan_wrote_passes_every_check(written):
    checks = written.checks()
    assert wrong(checks) == []
    codes = {one.code for one in checks if one.status == "ok"}
    assert codes >= {
        "written.yaml",
        "written.keys",
        "written.inputs",
        "written.smoke",
        "written.apart",
        "config.secret",
        "config.unresolved",
        "length.match",
    }


@pytest.mark.parametrize("text", ["a: [1", "- a", "defaults: gone.yaml"])
def test_a_file_that_is_no_configuration_is_reported_with_the_other_still_checked(written, text):
    full, reduced = written.root / "full.yaml", written.file("smoke.yaml", written.reduced)
    full.write_text(text)
    checks = validate.check_written(written.stage, full, reduced, [])
    (fault,) = wrong(checks)
    assert fault.code == "written.yaml" and "full.yaml" in fault.compared
    assert any(one.code == "written.keys" and "smoke.yaml" in one.compared for one in checks)


def test_an_unknown_key_is_reported_with_the_nearest(written):
    written.full["train.itres"] = 5
    (fault,) = wrong(written.checks(), "written.keys")
    assert "full.yaml" in fault.compared and "train.itres" in fault.compared
    assert fault.fix == "train.itres: write train.iters"


def test_an_output_that_goes_elsewhere_does_not_reach_the_next_stage(written):
    written.full["save"] = "/mnt/elsewhere"
    (fault,) = wrong(written.checks(), "written.inputs")
    assert "/mnt/elsewhere" in fault.compared and fault.severity == "error"


def test_a_later_stage_that_looks_elsewhere_is_found(written):
    written.later = dataclasses.replace(written.later, config={"train": {"path": "/mnt/other"}})
    (fault,) = wrong(written.checks(), "written.inputs")
    assert "dpo reads train.path = /mnt/other" in fault.compared


def test_a_later_stage_needs_the_concrete_checkpoint_or_says_that_it_finds_it(written):
    source = dataclasses.replace(written.later.inputs["weights"], iterations="")
    written.later = dataclasses.replace(written.later, inputs={"weights": source})
    (fault,) = wrong(written.checks(), "written.inputs")
    assert "the directory above iter_*" in fault.compared
    notes = {"inputs": {"weights": {"key": "train.path", "parent": True}}}
    written.later = dataclasses.replace(written.later, step=step(written.root, "dpo", notes))
    assert wrong(written.checks(), "written.inputs") == []


def test_the_glob_of_a_reader_is_part_of_what_it_reads(written):
    notes = {"inputs": {"weights": {"key": "train.path", "glob": "*.parquet"}}}
    written.later = dataclasses.replace(written.later, step=step(written.root, "dpo", notes))
    (fault,) = wrong(written.checks(), "written.inputs")
    assert "not @results@/stages/sft/k1/weights/model/*.parquet" in fault.compared
    config = {"train": {"path": f"{written.output}/model/*.parquet"}}
    written.later = dataclasses.replace(written.later, config=config)
    assert wrong(written.checks(), "written.inputs") == []


def test_where_no_key_takes_the_output_it_is_not_checked(written):
    written.stage = dataclasses.replace(
        written.stage, step=step(written.root, notes={}), outputs={"weights": f"{written.output}"}
    )
    source = Source("weights", written.output, stage="sft")
    config = {"train": {"path": written.output}}
    written.later = dataclasses.replace(written.later, inputs={"weights": source}, config=config)
    (check,) = [one for one in written.checks() if one.code == "written.inputs"]
    assert check.status == "not checked" and "sft/deep" in check.fix


def test_a_reduced_run_that_is_larger_is_an_error_and_an_equal_one_a_warning(written):
    written.reduced["train.iters"] = 200
    (fault,) = wrong(written.checks(), "written.smoke")
    assert "train.iters: 100, here 200" in fault.compared and fault.severity == "error"
    written.reduced["train.iters"] = 100
    (fault,) = wrong(written.checks(), "written.smoke")
    assert fault.severity == "warning"


def test_a_reduced_run_may_not_write_where_the_real_one_does(written):
    written.reduced["save"] = written.full["save"]
    (fault,) = wrong(written.checks(), "written.apart")
    assert "save = " in fault.compared


def test_an_output_that_was_not_asked_for_keeps_its_default_in_both_runs(written):
    outputs = {**NOTES["outputs"], "optional": {"key": "train.path"}}
    written.stage = dataclasses.replace(
        written.stage, step=step(written.root, notes={**NOTES, "outputs": outputs})
    )
    assert wrong(written.checks()) == []


def test_values_are_checked_again_as_they_are_on_the_disk(written):
    written.full |= {"token": "hf_Abcdefgh12345678", "seq.model": 8192, "train.path": "???"}
    checks = written.checks()
    found = {one.code: one.compared for one in wrong(checks)}
    assert found.keys() == {"config.secret", "length.match", "config.unresolved"}
    assert all(text.startswith("full.yaml: ") for text in found.values())
    assert not any("hf_Abcdefgh" in str(one) for one in checks)


def test_a_step_without_a_default_says_what_is_taken(written):
    folder = written.step.directory / "config"
    (folder / "default.yaml").rename(folder / "cluster.yaml")
    (note,) = wrong(written.checks(), "written.base")
    assert "cluster.yaml" in note.compared and note.severity == "note"


class Runner:
    """A runner of one's own: a program in the step's folder is its tool."""

    kind = "catalog"
    notes = None

    def __init__(self, program, lacking=""):
        self.program, self.lacking = program, lacking

    def available(self, step):
        return self.lacking

    def command(self, step, config, profile, dry):
        if self.program is None:
            raise LockgateError("there is no dry run", hint="see its smoke run")
        return [sys.executable, "-c", self.program, str(config), profile, str(dry)]

    def directory(self, step, project):
        return step.directory


def dry(written, *arguments, **options):
    return validate.dry_run(Runner(*arguments), written.step, Path("mine.yaml"), **options)


def test_the_tools_own_dry_run_decides(written):
    mine = str(Path("mine.yaml").resolve())  # it is run from another directory
    accepts = f"import sys; sys.exit(sys.argv[1:] != [{mine!r}, 'slurm', 'True'])"
    assert dry(written, accepts, profile="slurm", stage="sft").status == "ok"
    refuses = "print('first'); print('unknown key: itres'); raise SystemExit(3)"
    fault = dry(written, refuses)
    assert (fault.status, fault.severity) == ("warning", "error")
    assert "status 3" in fault.compared and "unknown key: itres" in fault.compared


def test_only_the_last_lines_of_a_long_output_are_shown(written):
    fault = dry(written, "for i in range(100): print('line', i)\nraise SystemExit(1)")
    assert "line 99" in fault.compared and "line 50\n" not in fault.compared


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("", "uv is not installed"), "uv is not installed"),
        ((None,), "there is no dry run; see its smoke run"),
    ],
)
def test_without_a_dry_run_it_is_not_checked_and_says_why(written, arguments, why):
    check = dry(written, *arguments)
    assert (check.status, check.fix) == ("not checked", why)


def test_a_tool_that_does_not_end_is_stopped(written):
    check = dry(written, "import time; time.sleep(600)", timeout_s=0.5)
    assert check.status == "not checked" and "more than 0.5 s" in check.fix


def test_a_tool_that_cannot_be_started_is_not_checked(written):
    runner = Runner("")
    runner.command = lambda step, config, profile, dry: ["/no/such/program"]
    check = validate.dry_run(runner, written.step, Path("mine.yaml"))
    assert check.status == "not checked" and "cannot be started" in check.fix


def python(written, text, **files):
    (written.step.directory / "step.py").write_text(text)
    for name, content in files.items():
        (written.step.directory / f"{name}.py").write_text(content)
    return validate.check_python(written.step, "sft")


def test_a_program_that_compiles_and_whose_imports_are_there_passes(written):
    text = "import json\nimport os.path\nfrom helper import one\nfrom yaml import safe_load\n"
    checks = python(written, text, helper="one = 1")
    assert {(one.code, one.status) for one in checks} == {
        ("python.compiles", "ok"),
        ("python.imports", "ok"),
    }


@pytest.mark.parametrize("text", ["def f(:\n", "return 1\n", "x = '\0'\n"])
def test_a_program_that_does_not_compile_is_reported(written, text):
    (fault,) = wrong(python(written, text))
    assert fault.code == "python.compiles" and "sft/deep/step.py" in fault.compared


def test_an_import_that_is_not_there_is_reported_wherever_it_is(written):
    checks = python(written, "import helper", helper="def f():\n    import nowhere_to_be_found.x")
    (fault,) = wrong(checks)
    assert fault.compared == "sft/deep/helper.py imports nowhere_to_be_found: not found"


def test_an_import_that_may_fail_or_is_for_types_is_left_out(written):
    text = (
        "from typing import TYPE_CHECKING\n"
        "try:\n    import nowhere_one\nexcept ImportError:\n    nowhere_one = None\n"
        "if TYPE_CHECKING:\n    import nowhere_two\n"
    )
    assert wrong(python(written, text)) == []


def test_a_program_cannot_import_relative_to_a_package(written):
    assert wrong(python(written, "from . import helper", helper="")) != []


def test_nothing_of_a_program_is_executed(written):
    target = written.root / "touched"
    python(written, f"open({str(target)!r}, 'w')")
    assert not target.exists()


def test_imports_are_left_to_a_runner_with_an_environment_of_its_own(written):
    written.step = written.step.model_copy(update={"runspec": {"name": "x"}})
    checks = python(written, "import nowhere_to_be_found")
    assert [one.status for one in checks if one.code == "python.imports"] == ["not checked"]


def test_without_a_program_it_is_not_checked(written):
    (check,) = validate.check_python(written.step)
    assert (check.code, check.status) == ("python.compiles", "not checked")


def test_commands_in_a_readme_name_configurations_that_are_there(written):
    readme = written.step.directory / "README.md"
    readme.write_text(
        "```\npython step.py --config config/default.yaml\ntool run -c default\n"
        "tool run -c <yours>\npython -c 'print(1)'\n```\n"
    )
    checks = [one for one in validate.check_python(written.step) if "readme" in one.code]
    assert [one.status for one in checks] == ["ok"]
    readme.write_text("Run `python step.py --config=config/gone.yaml` or `tool run -c tiny`.\n")
    (fault,) = wrong(validate.check_python(written.step))
    assert "config/gone.yaml, tiny; config/ has default" in fault.compared
