"""The review: what was measured, what is expected of it, and what does not fit."""

from dataclasses import asdict
from pathlib import Path

import pytest

from lockgate import review
from lockgate.cluster import Partition
from lockgate.data import quality
from lockgate.files import read_json, write_json, write_jsonl
from lockgate.tools import Column
from smoke_parts import ANSWERED, CONTROL, DATA, SMOKE, TUNED
from tiny_model import make_tiny_model

pytestmark = pytest.mark.slow
"""Tokens are counted with a real tokenizer."""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    make_tiny_model(path, chat_template=True)
    return path


@pytest.fixture
def write(tmp_path, model):
    """Write a review; gives review.json and the page."""

    def run(
        memory_mb=4000,
        minutes=120,
        hours=None,
        prompts=("one", "two and three"),
        epochs=2,
        partitions=(),
        short=False,
    ):
        made = {**DATA, "records_to_make": 150} if short else DATA
        write_json(tmp_path / "data.json", {**made, "pages": ["browser/index.html"]})
        rows = [{"id": str(n), "prompt": p, "completion": "ok"} for n, p in enumerate(prompts)]
        write_jsonl(tmp_path / "rows.jsonl", rows)
        records = [{"text": row["prompt"]} for row in rows]
        columns = [Column("text", "written", asked={"one": 1.0})]
        told = {
            "figures": quality.examine(records, rows, columns),
            "suggestions": ["Texts are <alike>. Fix: data.design."],
            "estimate": {"records_to_make": 150, "wanted": 100},
            "difference": {"name": "001", "keys": [], "figures": []},
        }
        write_json(tmp_path / "examined.json", told)
        smoke = {**SMOKE, "shape": "shape", "longest": 40}
        write_json(tmp_path / "shape.json", smoke)
        write_json(tmp_path / "tiny_float32.json", {**ANSWERED, "model": "tiny"})
        manifest = {"name": "tiny", "path": str(model), "parameters": 200_000}
        write_json(tmp_path / "tiny.json", manifest)
        items = [] if hours is None else [f"compute hours up to {hours}"]
        ledger = tmp_path / "ledger.jsonl"
        write_jsonl(ledger, [{"gate": "plan", "items": items}])
        more = {"system_prompt": None, "rows": {}}
        out = tmp_path / "review.json", tmp_path / "review.html"
        review.write(
            tmp_path / "data.json",
            tmp_path / "examined.json",
            tmp_path / "rows.jsonl",
            [tmp_path / "shape.json"],
            [tmp_path / "tiny_float32.json"],
            [tmp_path / "tiny.json"],
            ["data/data:1"],
            [{**CONTROL, **more}, {**TUNED, **more, "epochs": epochs}],
            {"memory_mb": memory_mb, "gpus": 0, "gpu": None, "runtime_minutes": minutes},
            {"partitions": list(partitions)},
            ledger,
            *out,
        )
        return read_json(out[0]), Path(out[1]).read_text()

    return run


def test_every_job_is_estimated_and_all_are_added_up(write):
    found, page = write()
    jobs = [(row["phase"], row["run"]) for row in found["estimates"]]
    assert jobs == [("generate", None), ("eval", "control"), ("train", "tuned"), ("eval", "tuned")]
    total = sum(row["seconds"]["expected"] for row in found["estimates"])
    assert found["totals"]["seconds"]["expected"] == pytest.approx(total)
    assert found["totals"]["disk_mb"] == 14
    assert found["hours"] == pytest.approx(total / 3600)
    assert found["warnings"] == [] and "WARNING" not in page
    assert "train tuned" in page and "peak memory" in page and "browser/index.html" in page
    assert [row["asks"] for row in found["estimates"]][:2] == [
        {"memory_mb": 4000, "minutes": 120},
        {"memory_mb": 4000, "minutes": 120},
    ]


def test_the_page_tells_the_key_figures_of_the_data(write):
    _, page = write()
    assert "Texts are &lt;alike&gt;. Fix: data.design." in page
    assert 'href="data/review.html"' in page and 'href="data/browser/index.html"' in page
    assert "since preview 001" in page and "<b>2 of 2</b>" in page and "<b>150</b>" in page
    assert "<b>50%</b>of text off what was asked" in page


def test_records_that_will_be_refused_take_their_time_too(write):
    (generate, *_), page = write(short=True)[0]["estimates"], write(short=True)[1]
    assert generate["seconds"]["expected"] == 2 * 10 + 150 * 0.5
    assert "150 are to be made to accept 100" in page


def test_a_job_asks_for_what_was_measured_where_nothing_is_given(write):
    found, page = write(memory_mb=None, minutes=None)
    asks = {(row["phase"], row["run"]): row["asks"] for row in found["estimates"]}
    assert asks["train", "tuned"] == {"memory_mb": 2000, "minutes": 10}
    assert "<td>2000 MB, 10 min</td>" in page and found["warnings"] == []


def test_tokens_are_counted_as_the_run_sees_its_rows(write):
    tokens = write()[0]["tokens"]["tuned"]
    assert tokens["row"] > 20  # the template's default system prompt among them
    assert tokens["longest"] >= tokens["row"] and 0 < tokens["completion"] < 5


def test_memory_that_is_too_small_is_a_warning_with_its_fix(write):
    found, page = write(memory_mb=960)
    (warning,) = found["warnings"]
    assert warning.startswith("WARNING: memory of train tuned: 1108 MB expected, a job has 960 MB")
    assert "batch_size: 2 with gradient_accumulation: 4" in warning and warning in page


def test_a_job_that_takes_longer_than_it_may_is_a_warning(write):
    # 70 s of generation are two shards of 35 s; the training takes longer
    (warning,) = write(minutes=1, epochs=4)[0]["warnings"]
    assert warning.startswith("WARNING: walltime of train tuned:")
    assert "Fix: raise resources.runtime_minutes; training continues" in warning


def test_more_than_the_partition_gives_is_a_warning(write):
    small = Partition("small", True, True, 1, 2, 8, 960, 0)
    large = Partition("large", False, True, None, 2, 8, 9600, 0)
    partitions = [asdict(small), asdict(large)]
    found = write(memory_mb=None, minutes=None, epochs=4, partitions=partitions)[0]
    memory, walltime = sorted(found["warnings"])
    assert memory.startswith("WARNING: memory of train tuned: 1108 MB expected, a job has 960 MB")
    assert "the partition allows 60 s" in walltime
    assert walltime.endswith("what its tool saved last.") and "partition: large" in walltime
    asks = {(row["phase"], row["run"]): row["asks"] for row in found["estimates"]}
    assert asks["train", "tuned"] == {"memory_mb": 960, "minutes": 1}


def test_more_hours_than_were_approved_are_a_warning(write):
    (warning,) = write(hours=0.001)[0]["warnings"]
    assert "up to 0.001 were approved" in warning


def test_prompts_that_repeat_are_a_warning(write):
    (warning,) = write(prompts=("one", "One"))[0]["warnings"]
    assert "1 of 2 sample rows repeat another's prompt" in warning


def test_rows_that_would_be_cut_are_a_warning(write):
    (warning,) = write(prompts=("one two " * 30, "two"))[0]["warnings"]
    assert "rows of tuned: 1 of 2 are longer than max_length 40 and would be cut" in warning
