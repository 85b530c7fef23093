"""What is written for a stage past the plan's gate: documents, configurations, installed files."""

import shlex
import sys
from pathlib import Path

import pytest
import yaml

import build_stage
from lockgate.errors import LockgateError
from lockgate.files import digest, read_yaml
from lockgate.stages import build

SFT = {"step": "sft/whole", "model": "small", "data": "chat.jsonl", "method": "full"}
DRAWN = {**SFT, "step": "live:sft/whole"}


def outputs(chain, stage):
    base = chain.config.results / "build"
    return {
        "spec": base / f"stages/{stage}.yaml",
        "smoke_spec": base / f"smoke/{stage}.yaml",
        "config": base / f"configs/{chain.config.experiment.name}_{stage}.yaml",
        "smoke_config": base / f"configs/{chain.config.experiment.name}_{stage}_smoke.yaml",
    }


def built(shop, stage, *items, **more):
    """The paths of what the job of the rule `build_stage` writes for a stage."""
    chain = shop.read(*items, **more)
    names = [f"{kind}/{stage}" for kind in ("stages", "smoke")]
    covered = [f"{name}:{digest(chain.documents[name])}" for name in names]
    out = outputs(chain, stage)
    values = shop.values(*items, **more)
    build_stage.main.__wrapped__(values, covered, {key: str(path) for key, path in out.items()})
    return out


def test_the_documents_are_those_of_the_chain_and_say_their_item(shop):
    out = built(shop, "sft-whole", SFT)
    chain = shop.read(SFT)
    assert read_yaml(out["spec"]) == chain.documents["stages/sft-whole"]
    assert read_yaml(out["smoke_spec"]) == chain.documents["smoke/sft-whole"]
    item = f"stages/sft-whole:{digest(chain.documents['stages/sft-whole'])}"
    assert (
        out["spec"]
        .read_text()
        .startswith(f"# Built by Lockgate; edit the configuration instead. Item: {item}\n")
    )


def test_a_configuration_has_a_header_with_the_command_that_runs_it(shop):
    out = built(shop, "sft-whole", SFT)
    chain = shop.read(SFT)
    text = out["config"].read_text()
    assert text.startswith("# Written by Lockgate: stage sft-whole, step sft/whole of the catalog")
    (line,) = [line for line in text.splitlines() if "--config" in line]
    command = shlex.split(line.removeprefix("#"))
    program = str(shop.root / "catalog/sft/whole/step.py")
    assert command == [sys.executable, program, "--config", str(out["config"].resolve())]
    assert command == build.command_line(chain.stages[0], chain)


def test_a_whole_configuration_has_every_key_and_the_paths_of_this_machine(shop):
    out = built(shop, "sft-whole", {**SFT, "with": {"steps": 77}})
    stage = shop.read({**SFT, "with": {"steps": 77}}).stages[0]
    made = read_yaml(out["config"])
    assert set(made) == set(yaml.safe_load(
        (shop.root / "catalog/sft/whole/config/default.yaml").read_text()
    ))  # fmt: skip
    results = shop.root / "results/shop_rows_2026-11-21"
    assert made["out"] == f"{results}/stages/sft-whole/{stage.key}/checkpoint_hf"
    assert made["data"] == str(shop.root / "chat.jsonl")
    assert made["model"] == str(shop.root / "models/small")
    assert (made["steps"], made["rate"], made["warmup"]) == (77, 0.01, 5)


def test_the_reduced_configuration_is_small_and_writes_elsewhere(shop):
    out = built(shop, "sft-whole", SFT)
    full, smoke = read_yaml(out["config"]), read_yaml(out["smoke_config"])
    assert (full["steps"], smoke["steps"]) == (1000, 2)
    assert smoke["out"] == full["out"].replace("/stages/", "/preview/stages/")
    assert "_smoke.yaml" in out["smoke_config"].read_text()


def test_a_hub_id_and_a_word_stay_as_they_are(shop):
    out = built(shop, "sft-whole", {**SFT, "model": "other", "with": {"note": "chat.jsonl here"}})
    made = read_yaml(out["config"])
    assert (made["model"], made["note"]) == ("org/other", "chat.jsonl here")


def test_building_again_changes_nothing(shop):
    catalogs = shop.checkout("sft/whole")
    more = {"catalogs": catalogs, "install_configs": True}

    def texts():
        built(shop, "sft-whole", DRAWN, **more)
        return {path: path.read_text() for path in shop.root.rglob("*.yaml")}

    assert texts() == texts()


def test_a_step_that_inherits_gets_what_differs_and_the_name_of_its_base(shop):
    out = built(shop, "sft-whole", DRAWN, catalogs=shop.checkout("sft/whole"))
    made = read_yaml(out["config"])
    folder = shop.root / "checkout/src/nemotron/steps/sft/whole/config"
    assert made["defaults"] == str(folder / "default.yaml")
    assert "steps" not in made and made["model"] == str(shop.root / "models/small")
    assert [path.name for path in folder.iterdir()] == ["default.yaml"]


def test_installing_places_new_files_beside_the_shipped_one(shop):
    catalogs = shop.checkout("sft/whole")
    folder = shop.root / "checkout/src/nemotron/steps/sft/whole/config"
    shipped = (folder / "default.yaml").read_text()
    before = shop.read(DRAWN, catalogs=catalogs).documents
    built(shop, "sft-whole", DRAWN, catalogs=catalogs, install_configs=True)
    names = ["shop_rows_2026-11-21_sft-whole.yaml", "shop_rows_2026-11-21_sft-whole_smoke.yaml"]
    assert sorted(path.name for path in folder.iterdir()) == ["default.yaml", *names]
    assert (folder / "default.yaml").read_text() == shipped
    assert read_yaml(folder / names[0])["defaults"] == "default.yaml"
    # what was placed is no part of the step: it closes no gate
    assert shop.read(DRAWN, catalogs=catalogs).documents == before


def test_a_file_that_is_not_ours_is_never_overwritten(shop):
    catalogs = shop.checkout("sft/whole")
    name = "checkout/src/nemotron/steps/sft/whole/config/shop_rows_2026-11-21_sft-whole.yaml"
    shop.write(name, "mine: true\n")
    with pytest.raises(LockgateError, match="never overwritten") as error:
        built(shop, "sft-whole", DRAWN, catalogs=catalogs, install_configs=True)
    assert error.value.where.endswith(name)
    assert (shop.root / name).read_text() == "mine: true\n"


def test_a_document_that_changed_while_the_pipeline_ran_is_refused(shop):
    chain = shop.read(SFT)
    out = {key: str(path) for key, path in outputs(chain, "sft-whole").items()}
    covered = ["stages/sft-whole:000000000000", "smoke/sft-whole:000000000000"]
    with pytest.raises(LockgateError, match="'stages/sft-whole' changed while the pipeline ran"):
        build_stage.main.__wrapped__(shop.values(SFT), covered, out)
    assert not [path for path in out.values() if Path(path).exists()]


def test_what_was_written_is_checked_and_an_edit_is_told(shop):
    out = built(shop, "sft-whole", SFT)
    chain = shop.read(SFT)
    found = build.validate_stage(chain, "sft-whole", out["config"], out["smoke_config"])
    assert "written.smoke" in [one["code"] for one in found if one["status"] == "ok"]
    out["config"].write_text(out["config"].read_text().replace("steps: 1000", "stepz: 1000"))
    with pytest.raises(LockgateError, match="stepz") as error:
        build.validate_stage(chain, "sft-whole", out["config"], out["smoke_config"])
    assert "write steps" in error.value.hint
