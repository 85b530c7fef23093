"""The preview of the data: its files, with an existing dataset and with a real design."""

import json
from pathlib import Path

import pytest

from lockgate import gates
from lockgate.data import samples
from lockgate.errors import LockgateError
from lockgate.files import digest, read_json, read_jsonl, read_yaml, write_text, write_yaml

OUT = Path("results/preview/data")
LEDGER = Path("approvals/demo/ledger.jsonl")
DESIGN = {
    "columns": [
        {
            "name": "kind",
            "column_type": "sampler",
            "sampler_type": "category",
            "params": {"values": ["easy", "hard"]},
        },
        {
            "name": "number",
            "column_type": "sampler",
            "sampler_type": "uniform",
            "params": {"low": 0, "high": 1000},
        },
    ]
}
MADE = {
    "tool": "data_designer",
    "files": None,
    "records": 20,
    "design": DESIGN,
    "rows": {"prompt": "How hard is {{ number }}?", "completion": "{{ kind }}"},
    "seed": 3,
}


@pytest.fixture
def preview(project):
    """Preview the data of a configuration, approved; gives the summary and the review."""

    def run(count=8, **changes):
        data = {**project.original["data"], **changes}
        matrix = project.read(data={name: value for name, value in data.items() if value})
        document = matrix.documents["data/data"]
        design = Path("build/data") / ("design.py" if document["design"] else "design.yaml")
        write_yaml(Path("build/data/data.yaml"), document)
        write_text(design, matrix.design)
        entry = {"gate": "plan", "items": [f"data/data:{digest(document)}"]}
        write_text(LEDGER, json.dumps(entry) + "\n")
        samples.preview_data(
            Path("build/data/data.yaml"), design, [], count, LEDGER, 1,
            OUT / "summary.json", OUT / "rows.jsonl",
        )  # fmt: skip
        return read_json(OUT / "summary.json"), read_json(OUT / "review.json")

    return run


def test_a_dataset_is_examined_whole_and_its_rows_are_spread(preview, monkeypatch):
    monkeypatch.setattr(samples, "MOST_ROWS", 100)
    monkeypatch.setenv(gates.CALL, "snakemake --profile local --configfile my.yaml")
    summary, review = preview()
    assert summary["splits"] == {"train": 210, "validation": 30, "test": 60}
    assert (summary["records"], summary["accepted"], summary["acceptance"]) == (300, 300, 1)
    assert (summary["records_planned"], summary["records_to_make"]) == (300, 300)
    assert (summary["seconds_per_record"], summary["timed"]) == (0, 300)
    assert summary["peak_memory_mb"] > 50
    rows, records = read_jsonl(OUT / "rows.jsonl"), read_jsonl(OUT / "records.jsonl")
    assert len(rows) == len(records) == summary["rows"] == 100
    assert [row["id"] for row in rows][:2] == ["000000", "000003"]
    assert review["figures"]["records"] == 300 and review["figures"]["leaks"]["pairs"] == 0
    assert review["command"] == [
        "mkdir -p approvals/demo && touch approvals/demo/preview.approved",
        "snakemake --profile local --configfile my.yaml",
    ]
    assert review["difference"] is None
    page = (OUT / "review.html").read_text()
    assert "records read" in page and Path("config").resolve().as_uri() in page
    kept = OUT / "iterations/001"
    assert sorted(path.name for path in kept.iterdir()) == [
        "data.yaml", "design.yaml", "records.jsonl", "review.html", "review.json", "summary.json",
    ]  # fmt: skip
    assert read_json(kept / "review.json") == review
    assert read_yaml(kept / "data.yaml") == read_yaml("build/data/data.yaml")
    assert "iterations/001/records.jsonl" in (kept / "review.html").read_text()


def test_what_changed_in_a_dataset_is_told(preview):
    preview()
    assert preview()[1]["difference"] is None  # the same again
    review = preview(similarity=0.6)[1]
    assert (review["iteration"], review["difference"]["name"]) == ("002", "001")
    assert review["difference"]["keys"] == [{"name": "similarity", "before": "0.8", "after": "0.6"}]
    assert sorted(path.name for path in (OUT / "iterations").iterdir()) == ["001", "002"]
    assert "similarity" in (OUT / "review.html").read_text()


def test_a_broken_iteration_is_told_before_anything_is_made(preview, monkeypatch):
    (OUT / "iterations/001").mkdir(parents=True)
    monkeypatch.setattr(samples.trial, "make", lambda *_: pytest.fail("it was made"))
    with pytest.raises(LockgateError, match="iterations/001/review.json"):
        preview()


@pytest.mark.slow
def test_a_design_is_sampled_timed_and_compared(preview):
    summary, review = preview(**MADE, accept={"when": "kind == 'easy'", "most": 10})
    accepted = [one for one in read_jsonl(OUT / "records.jsonl") if one["kind"] == "easy"]
    assert summary["records"] == 8 and summary["accepted"] == len(accepted) == summary["rows"]
    rows = read_jsonl(OUT / "rows.jsonl")
    assert [row["fields"] for row in rows] == accepted
    assert review["figures"]["refused"] == {"accept.when is not true": 8 - len(accepted)}
    estimate = review["estimate"]
    assert estimate["made"] == 8 + summary["timed"] == 24
    assert summary["records_to_make"] == -(-20 * 24 // estimate["accepted"]) > 20
    assert summary["seconds_per_record"] > 0 and summary["start_seconds"] > 1
    assert summary["pages"] and (OUT / "browser/index.html").exists()
    assert not any("iterations" in page for page in summary["pages"])
    assert not (OUT / "timing").exists()

    with pytest.raises(LockgateError) as error:
        preview(**{**MADE, "records": 1000}, accept={"when": "number < 0"})
    assert error.value.where == "data.accept"
    assert error.value.what == "no sample record is accepted: accept.when is not true (8 of 8)"
    kept = (OUT / "iterations/002").resolve()
    assert (kept / "review.html").as_uri() in error.value.hint
    assert len(read_jsonl(kept / "records.jsonl")) == 8
    told = read_json(kept / "review.json")
    assert {change["name"] for change in told["difference"]["keys"]} == {
        "accept.when",
        "accept.most",
        "records",
    }
    assert told["estimate"]["short"] == 1000
    # of 24 records the tool tells its pace; a record takes a few milliseconds, a start seconds
    assert not told["estimate"]["at_most"] and 0 < told["estimate"]["seconds_per_record"] < 0.1
    page = (kept / "review.html").read_text()
    assert "8 of 8 records do not count: accept.when is not true" in page
