"""Plans of goal-only configurations against the real catalog, compared with reviewed ones.

The reviewed plans in tests/data/plans say what was decided, never what the catalog says in prose.
`python tests/unit/stages/test_golden.py` writes them anew, to be read before they are kept.
"""

import json
import os
import tempfile
from pathlib import Path

import pytest
import yaml

from lockgate.journal import Journal
from lockgate.stages import chain, plan

ROOT = Path(__file__).parents[3]
REFERENCE = ROOT.parent / "shared/reference/nemotron"
PLANS = ROOT / "tests/data/plans"
EXAMPLES = sorted((ROOT / "config/examples/chains").glob("*.yaml"))
MACHINE = {"cpus": 8, "memory_mb": 64000, "free_disk_mb": 1, "gpus": [], "partitions": []}

needs_reference = pytest.mark.skipif(
    not REFERENCE.is_dir(), reason="the reference catalog is not beside the checkout"
)


UNSUPPORTED = {
    "experiment": {
        "name": "pairs_encoder_2026-11-21",
        "question": "Can a model that reads and writes with two parts be tuned?",
        "hypothesis": "No catalog has a step for it.",
    },
    "models": {"two-parts": {"path": "models/two-parts"}},
    "stages": [{"goal": "sft", "model": "two-parts", "data": "config/examples/data/chat.jsonl"}],
    "resources": {"gpus": 8, "gpu": "H100"},
}


def planned(config, name, catalogs=()):
    """plan.json of a configuration, planned against these and the built-in catalog."""
    found = chain.read({**config, "catalogs": list(catalogs)}, name, Path("."))
    files = {"models/tiny": {"architecture": "LlamaForCausalLM", "context_length": 512}}
    resources = {"prerequisites": [], "machine": MACHINE, "model_files": files}
    return plan.document(found, resources, Path("none"), Journal())


def brief(document):
    """What a plan decided, as text that a reviewer reads."""
    lines = [f"asked: {', then '.join(document['asked'])}"]
    if document["missing"]:
        lines.append(f"missing: {document['missing']}")
    for stage in document["stages"]:
        lines += [
            "",
            f"{stage['name']}: {stage['step']}" + (" (inserted)" if stage["inserted"] else ""),
        ]
        lines.append(f"  why: {stage['why']}")
        lines += [
            f"  in:  {item['type']} from {item['stage'] or item['path']}"
            + (f" ({item['iterations']})" if item["iterations"] else "")
            for item in stage["inputs"]
        ]
        lines += [f"  out: {item['type']}" for item in stage["outputs"]]
        lines += [
            f"  {item['key']} = {json.dumps(item['value'])} ({item['origin']})"
            for item in stage["settings"]
        ]
        lines.append(f"  job: {stage['nodes']} x {stage['gpus']} GPUs")
        followed = [one for one in stage["strategies"] if one["status"] in ("followed", "applies")]
        lines.append(
            f"  strategies: {len(followed)} apply; patterns: "
            + (", ".join(one["id"] for one in stage["patterns"] if one["matched"]) or "none")
        )
    for title, status in (("warnings", "warning"), ("not checked", "not checked")):
        found = [one for one in document["checks"] if one["status"] == status]
        lines += ["", f"{title}: {len(found)}"]
        lines += [
            f"  {one['code']} {one['stage']}: {one['compared']} -> {one['fix']}" for one in found
        ]
    fine = {one["code"] for one in document["checks"] if one["status"] == "ok"}
    lines += ["", f"ok: {', '.join(sorted(fine))}"]
    lines += ["", f"questions: {len(document['questions'])}"]
    lines += [
        f"  {one['stage']} {one['key']}: default {one['default']}" for one in document["questions"]
    ]
    lines += ["", "considered:"] + [
        f"  {one['item']}: {one['step']}: {one['verdict']}" for one in document["considered"]
    ]
    return "\n".join(lines).replace(str(ROOT), "ROOT") + "\n"


def enter(root):
    """A project at `root`: the shipped configurations, and models that a plan can look at."""
    os.chdir(root)
    Path("config").symlink_to(ROOT / "config")
    for name, kind in (("tiny", "LlamaForCausalLM"), ("two-parts", "T5ForConditionalGeneration")):
        Path("models", name).mkdir(parents=True)
        Path("models", name, "config.json").write_text(json.dumps({"architectures": [kind]}))


def of_example(path):
    catalogs = [{"name": "reference", "path": str(REFERENCE)}]
    return brief(planned(yaml.safe_load(path.read_text()), path.name, catalogs))


def of_built_in():
    path = ROOT / "config/examples/chain.yaml"
    return brief(planned(yaml.safe_load(path.read_text()), path.name))


def of_unsupported():
    return brief(planned(UNSUPPORTED, "unsupported.yaml"))


@pytest.mark.parametrize(
    ("name", "found"), [("built_in", of_built_in), ("unsupported_model", of_unsupported)]
)
def test_the_plan_on_built_in_steps_is_the_reviewed_one(name, found, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOCKGATE_CATALOGS", raising=False)
    enter(tmp_path)
    assert found() == (PLANS / f"{name}.txt").read_text()


@needs_reference
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_plan_of_each_example_is_the_reviewed_one(path, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOCKGATE_CATALOGS", raising=False)
    enter(tmp_path)
    assert of_example(path) == (PLANS / f"{path.stem}.txt").read_text()


if __name__ == "__main__":
    enter(tempfile.mkdtemp())
    PLANS.mkdir(parents=True, exist_ok=True)
    (PLANS / "built_in.txt").write_text(of_built_in())
    (PLANS / "unsupported_model.txt").write_text(of_unsupported())
    for example in EXAMPLES if REFERENCE.is_dir() else []:
        (PLANS / f"{example.stem}.txt").write_text(of_example(example))
