"""The job of a stage, with real programs: what it refuses, what it runs, what it trusts."""

import json
from pathlib import Path

import pytest
import yaml

from lockgate.errors import LockgateError
from lockgate.files import digest, locked, read_json, write_text, write_yaml
from lockgate.stages import build, run

SFT = {"step": "sft/whole", "model": "small", "data": "chat.jsonl", "method": "full"}
PACK = {"step": "data_prep/pack", "data": "chat.jsonl", "with": {"tokenizer": "t"}}

READ = """
import json, os, pathlib, sys, yaml
config = yaml.safe_load(pathlib.Path(sys.argv[sys.argv.index("--config") + 1]).read_text())
out = pathlib.Path(config["out"])
"""
TRAIN = (
    READ
    + """
place = out / "model"
place.mkdir(parents=True, exist_ok=True)
(place / "config.json").write_text(json.dumps([config["data"], os.environ["OMP_NUM_THREADS"]]))
"""
)
WHOLE = READ + 'out.mkdir(parents=True)\n(out / "a.parquet").write_text(json.dumps(config))\n'
SHARD = (
    READ
    + """
for number in (2, 10):
    place = out / f"iter_{number:07d}"
    place.mkdir(parents=True)
    (place / "shard").write_text("x")
(out / "iter_0000011").mkdir()
"""
)
JOIN = READ + 'out.mkdir(parents=True)\n(out / "from.json").write_text(config["pieces"])\n'


class Jobs:
    """A shop whose stages are built, approved and run as the pipeline does it."""

    def __init__(self, shop, monkeypatch):
        self.shop = shop
        self.results = shop.root / "results/shop_rows_2026-11-21"
        self.ledger = self.results / "approvals/ledger.jsonl"
        monkeypatch.setenv(run.ROOTS, "catalog=catalog")

    def program(self, step, text):
        self.shop.write(f"catalog/{step}/step.py", text)

    def build(self, *items, approve=True):
        """Write each stage's document and configuration, and the approval of all of them."""
        self.chain = self.shop.read(*items)
        for name, document in self.chain.documents.items():
            kind, _, stage = name.partition("/")
            path = self.config(stage, kind == "smoke")
            write_text(path, build.configuration(self.chain, name, path))
            write_yaml(self.results / f"build/{name}.yaml", document)
        if approve:
            gates = self.chain.items.items()
            lines = [json.dumps({"gate": gate, "items": items}) for gate, items in gates]
            write_text(self.ledger, "\n".join(lines) + "\n")

    def config(self, stage, smoke=False):
        end = "_smoke" if smoke else ""
        return self.results / f"build/configs/shop_rows_2026-11-21_{stage}{end}.yaml"

    def item(self, name):
        return f"{name}:{digest(self.chain.documents[name])}"

    def run(self, name):
        """Run one document's job; its manifest."""
        kind, _, stage = name.partition("/")
        smoke = kind == "smoke"
        out = self.results / ("preview/stages" if smoke else "stages") / stage / "manifest.json"
        seen = "" if smoke else self.item(f"smoke/{stage}")
        spec = self.results / f"build/{name}.yaml"
        run.run_stage(spec, self.config(stage, smoke), self.ledger, seen, 3, out)
        return read_json(out)

    def refused(self, name):
        with pytest.raises(LockgateError) as error:
            self.run(name)
        assert not list(self.results.rglob("manifest.json"))
        return error.value


@pytest.fixture
def jobs(shop, monkeypatch):
    return Jobs(shop, monkeypatch)


def test_a_stage_runs_in_its_own_directory_and_its_manifest_tells_what_it_made(jobs):
    jobs.program("sft/whole", TRAIN)
    jobs.build(SFT)
    stage = jobs.chain.stages[0]
    manifest = jobs.run("stages/sft-whole")
    work = jobs.results / "stages/sft-whole" / stage.key
    assert (manifest["stage"], manifest["step"]) == ("sft-whole", "sft/whole")
    assert (manifest["item"], manifest["directory"]) == (jobs.item("stages/sft-whole"), str(work))
    (output,) = manifest["outputs"]
    assert output["path"] == str(work / "checkpoint_hf/model")
    assert (output["type"], output["files"], output["problems"]) == ("checkpoint_hf", 1, [])
    assert manifest["command"][-1] == str(work / "config.yaml")
    made = json.loads((work / "checkpoint_hf/model/config.json").read_text())
    assert made == [str(jobs.shop.root / "chat.jsonl"), "3"]


def test_the_reduced_run_needs_no_review_and_leaves_the_real_directory_alone(jobs):
    jobs.program("sft/whole", TRAIN)
    jobs.build(SFT)
    manifest = jobs.run("smoke/sft-whole")
    assert "/preview/stages/sft-whole/" in manifest["directory"]
    assert not (jobs.results / "stages").exists()


def test_nothing_runs_without_the_plans_approval(jobs):
    jobs.program("sft/whole", TRAIN)
    jobs.build(SFT, approve=False)
    error = jobs.refused("stages/sft-whole")
    assert error.what == f"'{jobs.item('stages/sft-whole')}' is not approved at gate 'plan'"
    assert not (jobs.results / "stages").exists()


def test_the_real_run_needs_the_approval_of_the_reduced_one(jobs):
    jobs.program("sft/whole", TRAIN)
    jobs.build(SFT)
    first = jobs.ledger.read_text().splitlines()[0]
    write_text(jobs.ledger, first + "\n")
    assert "is not approved at gate 'preview'" in jobs.refused("stages/sft-whole").what


def test_a_document_that_was_edited_is_not_approved(jobs):
    jobs.program("sft/whole", TRAIN)
    jobs.build(SFT)
    spec = jobs.results / "build/stages/sft-whole.yaml"
    spec.write_text(spec.read_text().replace("gpus: 8", "gpus: 9"))
    assert "is not approved at gate 'plan'" in jobs.refused("stages/sft-whole").what


def test_data_that_changed_since_is_refused(jobs):
    jobs.program("sft/whole", TRAIN)
    jobs.build(SFT)
    jobs.shop.rows("chat.jsonl", [{"prompt": "other", "completion": "rows"}])
    error = jobs.refused("stages/sft-whole")
    assert error.what == "chat.jsonl changed after this was built from it"
    assert error.where.endswith("build/stages/sft-whole.yaml")


def test_a_step_that_changed_since_is_refused(jobs):
    jobs.program("sft/whole", TRAIN)
    jobs.build(SFT)
    jobs.program("sft/whole", TRAIN + "print('more')\n")
    assert jobs.refused("stages/sft-whole").what == (
        "the step sft/whole changed after this was built"
    )


def test_a_file_of_the_users_that_is_not_here_is_refused_before_the_command(jobs):
    jobs.program("convert/join", "import pathlib\npathlib.Path('ran').touch()\n")
    jobs.build({"step": "convert/join", "inputs": {"checkpoint_sharded": "./gone"}})
    error = jobs.refused("stages/convert-join")
    assert error.what == "./gone is not here"
    assert error.hint == "put the checkpoint_sharded of stage convert-join there"
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    ("does", "told"),
    [
        ("", "is not there"),
        ('(out / "model").mkdir(parents=True)', "has no file with content"),
        (
            '(out / "model").mkdir(parents=True)\n(out / "model/log").write_text("done")',
            "config.json is not there",
        ),
    ],
)
def test_status_0_without_outputs_is_not_trusted(jobs, does, told):
    jobs.program("sft/whole", f"{READ}{does}\n")
    jobs.build(SFT)
    error = jobs.refused("stages/sft-whole")
    assert error.what.startswith("sft/whole ended with status 0, but checkpoint_hf: ")
    assert error.what.endswith(told)


def test_a_command_that_fails_tells_its_status(jobs):
    jobs.program("sft/whole", "raise SystemExit(7)\n")
    jobs.build(SFT)
    error = jobs.refused("stages/sft-whole")
    assert error.what == "sft/whole ended with status 7; its own words are above"
    assert error.where.endswith("/config.yaml")


def test_a_stage_that_failed_continues_in_its_directory(jobs):
    jobs.program("sft/whole", TRAIN + "mark = out / 'tried'\n"
        "if not mark.exists():\n    mark.touch()\n    raise SystemExit(1)\n")  # fmt: skip
    jobs.build(SFT)
    assert "status 1" in jobs.refused("stages/sft-whole").what
    assert jobs.run("stages/sft-whole")["outputs"][0]["problems"] == []


def test_a_directory_in_which_a_stage_runs_is_locked(jobs):
    jobs.program("sft/whole", TRAIN)
    jobs.build(SFT)
    with locked(jobs.results / "stages/sft-whole/.lock"):
        error = jobs.refused("stages/sft-whole")
    assert error.what.startswith("stage sft-whole is running (process ")
    assert jobs.run("stages/sft-whole")["stage"] == "sft-whole"


def test_the_newest_whole_checkpoint_of_an_earlier_stage_is_taken(jobs):
    jobs.program("convert/shard", SHARD)
    jobs.program("convert/join", JOIN)
    jobs.build({"step": "convert/shard", "model": "small"}, {"step": "convert/join"})
    first = jobs.run("stages/convert-shard")["outputs"][0]
    newest = f"{first['path']}/iter_0000010"
    assert first["iteration"] == newest
    second = jobs.run("stages/convert-join")
    assert Path(second["outputs"][0]["path"], "from.json").read_text() == newest
    final = yaml.safe_load(Path(second["directory"], "config.yaml").read_text())
    assert final["pieces"] == newest


def test_an_earlier_stage_that_left_nothing_is_named(jobs):
    jobs.program("convert/join", JOIN)
    jobs.build({"step": "convert/shard", "model": "small"}, {"step": "convert/join"})
    error = jobs.refused("stages/convert-join")
    assert error.what == "its checkpoint_sharded is not there"
    assert error.hint == "run the stage convert-shard again"


def test_a_list_of_data_sets_is_written_for_a_step_that_wants_one(jobs):
    jobs.program("data_prep/pack", WHOLE)
    jobs.build(PACK)
    manifest = jobs.run("stages/data-prep-pack")
    made = Path(manifest["outputs"][0]["path"], "a.parquet").read_text()
    blend = json.loads(made)["data"]["path"]
    assert blend == f"{manifest['directory']}/training_jsonl.blend.json"
    rows = str(jobs.shop.root / "chat.jsonl")
    assert read_json(blend) == {
        "datasets": [{"name": "training_jsonl", "path": rows, "weight": 1.0}]
    }


def test_a_job_that_is_not_told_where_the_catalog_is_says_so(jobs, monkeypatch):
    jobs.build(SFT)
    monkeypatch.setenv(run.ROOTS, "other=elsewhere")
    error = jobs.refused("stages/sft-whole")
    assert error.what == "where the catalog 'catalog' is, is not known here"
    assert "LOCKGATE_ROOTS=catalog=/path/to/it" in error.hint


def test_a_step_without_its_program_is_refused(jobs):
    (jobs.shop.root / "catalog/sft/whole/step.py").unlink()
    jobs.build(SFT)
    assert "sft/whole cannot run here: " in jobs.refused("stages/sft-whole").what
