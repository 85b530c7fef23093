"""Shards' records become splits, files, a manifest and a card."""

import json
from pathlib import Path

import pytest
from pyarrow import parquet

from lockgate import matrix, resolve, tools
from lockgate.config.data import Data
from lockgate.data import assembly, card
from lockgate.documents import RECIPE_VERSION
from lockgate.errors import LockgateError
from lockgate.files import file_digest, read_json, read_jsonl, write_json, write_yaml

OWN = {
    "train": [{"input": f"question {n}", "output": "a"} for n in range(5)],
    "test": [{"input": f"query {n}", "output": "a"} for n in range(3)],
}


def write(path, value):
    path.write_text(json.dumps(value))
    return path


def whole(project, content):
    """The experiment whose dataset has this content, and its data document and design, built."""
    path = write(project.records.parent / "own.json", content)
    values = project.values(data={"tool": "dataset", "files": str(path)})
    values["evaluation"]["tasks"] = [{"name": "exact", "scorer": "exact"}]
    made = matrix.read(values, project.source)
    write_yaml("build/data.yaml", made.documents["data/data"])
    Path("build/design.yaml").write_text(made.design)
    return made


def test_a_file_with_its_own_splits_goes_through_the_experiment(project, tmp_path):
    made = whole(project, OWN)
    (record,) = resolve._data(made)
    assert record["splits"] == {"train": 5, "validation": 0, "test": 3}
    adapter = tools.get("data", "dataset", "test")
    document = made.documents["data/data"]
    records = adapter.generate(Path("build/design.yaml"), document, 0, None, tmp_path)
    write_json(
        "shard.json", {"records": records, "versions": {}, "seconds": 1.0, "peak_memory_mb": 1}
    )
    assembly.assemble(Path("build/data.yaml"), [Path("shard.json")], "e", Path("data"))
    manifest = read_json("data/manifest.json")
    assert manifest["rows"] == {"train": 5, "validation": 0, "test": 3}
    assert manifest["columns"] == ["input", "output"]
    assert manifest["near_duplicates"] == {"rows": 0, "groups": 0}
    rows = read_jsonl("data/test.jsonl")
    assert [(row["prompt"], row["fields"]) for row in rows] == [
        (one["input"], one) for one in OWN["test"]
    ]
    assert [row["input"] for row in read_jsonl("data/records.jsonl")] == [
        one["input"] for part in OWN.values() for one in part
    ]
    card.write(Path("data/manifest.json"), "Does it?", None, Path("data/card.md"))
    text = Path("data/card.md").read_text()
    assert "8 records, in splits of its own" in text and "not stated" in text
    assert str(tmp_path) not in text


MADE = {"seconds": 2.0, "peak_memory_mb": 50, "versions": {"maker": "1"}}


def records(count, **more):
    return [{"q": f"question {n}", "a": "yes", "doc": n % 10, **more} for n in range(count)]


@pytest.fixture
def assembled(tmp_path):
    """A function that assembles shards' records; gives the directory and the manifest."""

    def run(*shards, **changes):
        section = {
            "tool": "dataset",
            "files": "rows.jsonl",
            "rows": {"prompt": "{{ q }}", "completion": "{{ a }}"},
            **changes,
        }
        left = {"preview_records", "train_rows", "train_files"}
        document = {
            "recipe_version": RECIPE_VERSION,
            **Data(**section).model_dump(exclude=left),
            "design_sha256": "d" * 12,
            "input_files": {},
            "model_identity": None,
        }
        write_yaml(tmp_path / "data/data.yaml", document)
        paths = [tmp_path / f"{number}.json" for number in range(len(shards))]
        for path, shard in zip(paths, shards, strict=True):
            write_json(path, {**MADE, **shard})
        out = tmp_path / "out"
        assembly.assemble(tmp_path / "data/data.yaml", paths, "e", out)
        return out, read_json(out / "manifest.json")

    return run


def test_rows_and_records_are_the_same_in_both_forms(assembled):
    given = records(40, more={"x": [1, 2]})
    out, manifest = assembled({"records": given[:25]}, {"records": given[25:]})
    assert read_jsonl(out / "records.jsonl") == given
    assert parquet.read_table(out / "records.parquet").to_pylist() == given
    for name, count in manifest["rows"].items():
        rows = read_jsonl(out / f"{name}.jsonl")
        assert parquet.read_table(out / f"{name}.parquet").to_pylist() == rows
        assert len(rows) == count > 0
    assert manifest["shards"] == 2 and manifest["seconds"] == 4.0
    assert manifest["columns"] == ["a", "doc", "more", "q"]
    assert manifest["as_text"] == []
    for name, file in manifest["files"].items():
        assert file["sha256"] == file_digest(out / name)
        assert file["bytes"] == (out / name).stat().st_size
    assert len(manifest["files"]) == 8


def test_mixed_values_are_told_and_lose_nothing(assembled):
    given = [{**one, "mixed": n if n % 2 else {"n": n}} for n, one in enumerate(records(20))]
    out, manifest = assembled({"records": given})
    assert manifest["as_text"] == ["fields.mixed"]
    found = parquet.read_table(out / "records.parquet")["mixed"].to_pylist()
    assert [json.loads(text) for text in found] == [one["mixed"] for one in given]
    assert read_jsonl(out / "records.jsonl") == given


def test_counts_of_all_shards_are_added(assembled):
    usage = {"requests": 10, "input_tokens": 1_000_000, "output_tokens": 500}
    shard = {"records": records(20), "made": 25, "refused": {"x is empty": 4, "y": 1}}
    endpoint = {"url": "http://host:8/v1", "model": "m"}
    endpoint["price"] = {"input": 2.0, "output": 10.0}
    design = {"files": None, "design": {}, "endpoint": endpoint}
    both = [{**shard, "usage": usage}, {**shard, "refused": {"y": 5}, "usage": usage}]
    both[1]["versions"] = {"maker": "2"}
    _, manifest = assembled(*both, **design)
    assert (manifest["made"], manifest["records"]) == (50, 40)
    assert manifest["refused"] == {"y": 6, "x is empty": 4}
    assert manifest["usage"] == {
        "requests": 20,
        "input_tokens": 2_000_000,
        "output_tokens": 1000,
        "cost": pytest.approx(4.01),
    }
    assert manifest["versions"] == {"maker": "1 and 2"}
    assert (manifest["origin"]["served_by"], manifest["origin"]["model"]) == ("host", "m")
    _, manifest = assembled({**shard, "usage": usage}, {**shard, "usage": None}, **design)
    assert manifest["usage"] is None, "what one shard does not know is not known of all"


def test_groups_stay_together_from_the_configuration_on(assembled):
    out, manifest = assembled({"records": records(100)}, group="doc")
    parts = {name: {row["fields"]["doc"] for row in read_jsonl(out / f"{name}.jsonl")}
             for name in ("train", "validation", "test")}  # fmt: skip
    assert sum(map(len, parts.values())) == 10
    assert manifest["rows"] == {"train": 80, "validation": 10, "test": 10}
    assert manifest["splits"]["group"] == "doc"
    with pytest.raises(LockgateError, match="record 1 has no field 'document'"):
        assembled({"records": records(20)}, group="document")


def test_no_path_of_this_machine_is_told(assembled, tmp_path):
    _, manifest = assembled({"records": records(20)}, files=str(tmp_path / "rows.jsonl"))
    assert manifest["origin"]["dataset"] == "rows.jsonl"
    assert str(tmp_path) not in json.dumps(manifest)


def test_the_whole_of_it_loads_as_a_dataset(assembled, tmp_path):
    import datasets

    given = [{**one, "mixed": n if n % 2 else None} for n, one in enumerate(records(40))]
    out, manifest = assembled({"records": given})
    card.write(out / "manifest.json", "Does it?", None, out / "README.md")
    found = datasets.load_dataset(str(out), "rows", cache_dir=str(tmp_path / "cache"))
    assert {name: len(part) for name, part in found.items()} == manifest["rows"]
    assert found["test"][0] == read_jsonl(out / "test.jsonl")[0]
    found = datasets.load_dataset(str(out), "records", cache_dir=str(tmp_path / "cache"))
    assert found["train"].to_list() == given
