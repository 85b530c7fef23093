"""What a chain of stages needs: found, not checked, or a numbered prerequisite."""

import json
import socket
import struct
from pathlib import Path

import pytest

from lockgate import resolve
from lockgate.errors import LockgateError
from lockgate.journal import Journal
from lockgate.stages import chain

TYPES = "[raw_jsonl]\n[checkpoint_hf]\n[marks]\n"
TRAIN = """
[step]
id = "sft/plain"
category = "sft"
[[consumes]]
type = "raw_jsonl"
[[consumes]]
type = "checkpoint_hf"
[[produces]]
type = "checkpoint_hf"
[lockgate]
gpus = 0
inputs.raw_jsonl = { key = "data" }
inputs.checkpoint_hf = { key = "model" }
outputs.checkpoint_hf = { key = "out" }
"""
MEASURE = """
[step]
id = "eval/plain"
category = "eval"
[[produces]]
type = "marks"
[lockgate]
gpus = 0
roles = { endpoint_url = "url", endpoint_model = "name" }
outputs.marks = { key = "out" }
"""
SFT = {"step": "sft/plain", "model": "mine", "data": "chat.jsonl"}


class Place:
    """A project, entered, with two steps, rows and a whole model of 6 numbers."""

    def __init__(self, root):
        self.root = root
        self.write("catalog/types.toml", TYPES)
        for name, manifest in (("sft/plain", TRAIN), ("eval/plain", MEASURE)):
            self.write(f"catalog/{name}/step.toml", manifest)
            self.write(f"catalog/{name}/step.py", "print('hello')\n")
        self.write("catalog/sft/plain/config/default.yaml", "data: ???\nmodel: ???\nout: ???\n")
        self.write("catalog/eval/plain/config/default.yaml", "out: ???\nurl: ???\nname: ???\n")
        self.write("chat.jsonl", '{"prompt": "1?", "completion": "1."}\n')
        config = {"architectures": ["MineForCausalLM"], "max_position_embeddings": 32}
        self.write("models/mine/config.json", json.dumps(config))
        self.write("models/mine/tokenizer.json", "{}")
        header = json.dumps({"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}})
        weights = struct.pack("<Q", len(header)) + header.encode() + bytes(24)
        (root / "models/mine/model.safetensors").write_bytes(weights)

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def resolve(self, *stages, **more):
        values = {
            "experiment": {
                "name": "shop_rows_2026-11-21",
                "question": "Is it here?",
                "hypothesis": "It is.",
            },
            "models": {"mine": {"path": "models/mine"}},
            "stages": list(stages),
            "cache_dir": str(self.root / "cache"),
            **more,
        }
        found = chain.read(values, "chain.yaml", Path("."), Path("catalog"))
        self.journal = Journal()
        return resolve.resolve_chain(found, self.journal)

    def records(self, *stages, **more):
        """Each resource by its kind and name."""
        _, found = self.resolve(*stages, **more)
        return {(one["kind"], one["name"]): one for one in found["resources"]}


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOCKGATE_CATALOGS", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))  # no command of this machine
    return Place(tmp_path)


def served(url, **more):
    return {"step": "eval/plain", "endpoint": {"url": url, "model": "m", **more}}


def test_where_everything_is_here_nothing_is_a_prerequisite(place):
    _, found = place.resolve(SFT)
    assert {(one["kind"], one["name"]): one["status"] for one in found["resources"]} == {
        ("step", "sft/plain"): "found",
        ("model", "mine"): "found",
        ("data file", "chat.jsonl"): "found",
    }
    assert found["prerequisites"] == []
    assert found["machine"]["cpus"] >= 1 and found["machine"]["cpu_gflops"] > 0


def test_commands_are_told_with_path_and_version_where_they_are(place):
    place.write("bin/sbatch", "#!/bin/sh\necho slurm 22.05\n")
    (place.root / "bin/sbatch").chmod(0o755)
    tools, _ = place.resolve(SFT)
    nothing = {"path": None, "version": None}
    assert tools["commands"] == {
        "snakemake": nothing,
        "sbatch": {"path": str(place.root / "bin/sbatch"), "version": "slurm 22.05"},
        "nvidia-smi": nothing,
    }


def test_what_the_cluster_does_not_offer_is_a_prerequisite(place):
    place.write("bin/sinfo", "#!/bin/sh\necho 'main*|up|1:00:00|2|8|16000|gpu:a100:4(S:0-1)'\n")
    place.write("bin/sbatch", "#!/bin/sh\n")
    for name in ("sinfo", "sbatch"):
        (place.root / "bin" / name).chmod(0o755)
    _, found = place.resolve({**SFT, "gpus": 8}, resources={"partition": "main", "threads": 1})
    (partition,) = found["machine"]["partitions"]
    assert (partition["name"], partition["gpus"], partition["minutes"]) == ("main", 4, 60)
    (lacking,) = found["prerequisites"]
    assert (lacking["number"], lacking["name"]) == (1, "8 GPUs a node")
    assert lacking["detail"] == "partition main has at most 4"


def test_a_batch_that_the_gpus_cannot_share_is_a_prerequisite(project):
    asked = {"resources__gpus": 3}
    records = resolve._shared(project.read(**asked))
    tuned = [run.name for run in project.read().runs.values() if run.trained]
    assert [one["name"] for one in records] == tuned and tuned
    assert "which 3 processes (1 nodes x 3) cannot share equally" in records[0]["detail"]
    enough = {"training__parameters__gradient_accumulation": 3}
    assert resolve._shared(project.read(**asked, **enough)) == []
    assert resolve._shared(project.read()) == []


def test_every_record_is_in_the_journal(place):
    _, found = place.resolve(SFT)
    told = [one["input"] for one in place.journal.entries if one["action"] == "verify a resource"]
    assert told == [f"{one['kind']}: {one['name']}" for one in found["resources"]]


def test_what_a_models_files_say_is_kept_by_the_path_that_stages_use(place):
    _, found = place.resolve(SFT)
    facts = found["model_files"]["models/mine"]
    assert (facts["parameters"], facts["context_length"]) == (6, 32)
    assert facts["architecture"] == "MineForCausalLM"


def test_a_step_that_cannot_run_here_is_a_prerequisite(place):
    (place.root / "catalog/sft/plain/step.py").unlink()
    _, found = place.resolve(SFT)
    (lacking,) = found["prerequisites"]
    assert (lacking["number"], lacking["kind"], lacking["name"]) == (1, "step", "sft/plain")
    assert "sft/plain/step.py is missing" in lacking["detail"]


def test_a_step_that_comes_twice_is_looked_at_once(place):
    _, found = place.resolve(SFT, SFT)
    assert [one["name"] for one in found["resources"] if one["kind"] == "step"] == ["sft/plain"]


def test_a_data_file_that_is_missing_is_a_prerequisite_and_a_hub_id_is_not_checked(place):
    gone = place.records({**SFT, "data": "gone.jsonl"})["data file", "gone.jsonl"]
    assert gone == {
        "kind": "data file",
        "name": "gone.jsonl",
        "status": "missing",
        "detail": "it is not here",
        "fix": "put it there",
        "number": 1,
    }
    hub = place.records({**SFT, "data": "org/rows"})["data file", "org/rows"]
    assert (hub["status"], "number" in hub) == ("not checked", False)


def test_a_model_without_weights_is_a_prerequisite_and_a_hub_model_is_not_checked(place):
    (place.root / "models/mine/model.safetensors").unlink()
    lacking = place.records(SFT)["model", "mine"]
    assert (lacking["status"], lacking["fix"]) == (
        "missing",
        "complete models/mine",
    )
    assert "has no .safetensors weights" in lacking["detail"]
    hub = place.records(SFT, models={"mine": {"hub": "org/mine"}})["model", "mine"]
    assert (hub["status"], hub["detail"]) == (
        "not checked",
        "org/mine is fetched from the hub by its own job",
    )


def test_prerequisites_are_numbered_in_order(place):
    (place.root / "catalog/sft/plain/step.py").unlink()
    (place.root / "models/mine/tokenizer.json").unlink()
    _, found = place.resolve({**SFT, "data": "gone.jsonl"}, served("http://127.0.0.1:1/v1"))
    told = [(one["number"], one["kind"]) for one in found["prerequisites"]]
    assert told == [(1, "step"), (2, "model"), (3, "data file"), (4, "endpoint")]


def test_an_endpoint_that_does_not_answer_names_its_key(place):
    found = place.records(served("http://127.0.0.1:1/v1"))["endpoint", "http://127.0.0.1:1/v1"]
    assert (found["status"], found["number"]) == ("missing", 1)
    assert found["detail"].startswith("no connection to 127.0.0.1:1 (")
    assert found["fix"] == "start the endpoint, or mend stages[0].endpoint.url"
    second = place.records(SFT, served("http://127.0.0.1:1/v1"))
    assert second["endpoint", "http://127.0.0.1:1/v1"]["fix"].endswith("stages[1].endpoint.url")


def test_an_endpoint_that_listens_is_found(place):
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/v1"
        assert place.records(served(url))["endpoint", url]["status"] == "found"


def test_the_variable_of_an_endpoints_key_must_be_set_and_is_not_shown(place, monkeypatch):
    url = "http://127.0.0.1:1/v1"
    monkeypatch.delenv("PLACE_KEY", raising=False)
    lacking = place.records(served(url, api_key_env="PLACE_KEY"))["endpoint", url]
    assert lacking["detail"] == "the environment variable PLACE_KEY is not set"
    monkeypatch.setenv("PLACE_KEY", "very-hidden-0123456789")
    _, found = place.resolve(served(url, api_key_env="PLACE_KEY"))
    assert "very-hidden" not in json.dumps([found, place.journal.entries])


def test_a_scorer_that_cannot_score_a_row_and_an_unknown_group_are_told_before_the_plan(project):
    tasks = [{"name": "choice", "scorer": "choice", "options": ["yes", "no"]}]
    with pytest.raises(LockgateError, match=r"own_model.yaml: evaluation.tasks\[0\]"):
        resolve._data(project.read(evaluation__tasks=tasks))
    (record,) = resolve._data(project.read(evaluation__groups=["a"]))
    assert record["fields"] == ["a", "b", "sum"]
    with pytest.raises(LockgateError, match=r"evaluation.groups\[0\]: no row has the field 'c'"):
        resolve._data(project.read(evaluation__groups=["c"]))


def test_a_task_that_does_not_import_is_a_prerequisite_and_stops_no_plan(project):
    records = {one["name"]: one for one in resolve._tasks(project.read())}
    assert [one["status"] for one in records.values()] == ["found", "found"]
    project.task.write_text("import no_such_module\n")
    records = {one["name"]: one for one in resolve._tasks(project.read())}
    assert records["exact"]["status"] == "found"
    assert records["closeness"]["status"] == "missing"
    assert "no_such_module" in records["closeness"]["detail"]


def test_a_model_that_is_not_here_is_a_prerequisite(project):
    matrix = project.read(models__far={"path": "models/far"}, training__model="tiny")
    record = resolve._model("far", matrix)
    assert record["status"] == "missing" and record["fix"]
    assert record["detail"] == "models/far is neither a model directory nor a .gguf file"


def test_rows_that_one_run_is_trained_on_are_read_and_counted(project):
    Path("more.jsonl").write_text('{"a": 1, "b": 2, "sum": 3}\n{"a": 100, "b": 200, "sum": 300}\n')
    matrix = project.read(training__variables={"data.train_files": ["more.jsonl"]})
    record = {one["name"]: one for one in resolve._data(matrix)}["more.jsonl"]
    assert record["rows_to_train_on"] == 2 and "rows" not in record
    chat = [{"role": "system", "content": "Add."}, {"role": "user", "content": "1?"}]
    chat.append({"role": "assistant", "content": "1"})
    Path("more.jsonl").write_text(json.dumps({"messages": chat}))
    changes = {"data__rows": None, "data__files": "rows.jsonl"}
    Path("rows.jsonl").write_text(
        "".join(json.dumps({"prompt": f"{n}?", "completion": "x"}) + "\n" for n in range(40))
    )
    matrix = project.read(training__variables={"data.train_files": ["more.jsonl"]}, **changes)
    with pytest.raises(LockgateError, match="have the system message 'Add.', and the runs have"):
        resolve._data(matrix)


def test_a_dataset_is_checked_however_its_path_is_written(project):
    (record,) = resolve._data(project.read(data__files=f"./{project.records}"))
    assert record["rows"] == 300


# --- a data design ---------------------------------------------------------------------------

COLOUR = {
    "name": "colour",
    "column_type": "sampler",
    "sampler_type": "category",
    "params": {"values": ["red", "green"]},
}
DESIGN = {
    "tool": "data_designer",
    "records": 4,
    "design": {"columns": [COLOUR]},
    "rows": {"prompt": "{{ colour }}", "completion": "x"},
}


def designed(project, **changes):
    return project.read(data={**DESIGN, **changes})


def test_the_data_tools_commands_are_recorded(project):
    found = resolve.resolve_tools(designed(project), Journal())["adapters"]["data"]
    assert found["status"] == "found"
    used = found["program"]["used"]["command"]
    assert found["program"]["data-designer"]["path"] == used


def test_a_data_tool_whose_command_is_missing_is_a_prerequisite(project):
    matrix = designed(project, command="none/data-designer")
    found = resolve.resolve_tools(matrix, Journal())["adapters"]["data"]
    assert (found["status"], found["fix"]) == ("missing", "correct the path")


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"axes": ["color"]}, "data.axes[0]"),
        ({"rows": {"prompt": "{{ color }}", "completion": "x"}}, "data.rows.prompt"),
        ({"accept": {"scores": {"mark": 1}}}, "data.accept.scores"),
        (
            {"design": {"columns": [{**COLOUR, "params": {}}]}},
            "data.design.columns[0].params.values",
        ),
    ],
)
def test_a_mistake_in_a_design_is_told_before_the_plan(project, changes, key):
    with pytest.raises(LockgateError) as error:
        resolve._check_columns(designed(project, **changes))
    assert error.value.where == f"{project.source}: {key}"


def test_a_group_of_the_evaluation_must_be_a_column(project):
    with pytest.raises(LockgateError, match=r"evaluation.groups\[0\]"):
        resolve._check_columns(project.read(data=DESIGN, evaluation__groups=["color"]))
    resolve._check_columns(project.read(data=DESIGN, evaluation__groups=["colour"]))


def test_a_vendors_unset_key_is_a_prerequisite(project, monkeypatch):
    matrix = designed(project, endpoint={"provider": "openai", "model": "m"})
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    record = resolve._running(matrix)
    assert record["status"] == "missing"
    assert "OPENAI_API_KEY" in record["detail"]


def test_an_unknown_vendor_is_a_prerequisite(project):
    record = resolve._running(designed(project, endpoint={"provider": "opnai", "model": "m"}))
    assert (record["status"], record["name"]) == ("missing", "opnai")
    assert "'openai'" in record["fix"]
