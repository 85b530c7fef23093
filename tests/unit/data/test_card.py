"""The data card: what it says, and that what it is written in reads back."""

import re

import pytest
from huggingface_hub import DatasetCard
from markdown_it import MarkdownIt

from lockgate.data import card
from lockgate.files import write_json


@pytest.fixture
def manifest():
    """Of 4 records that a model wrote, and one that was refused."""
    words = {"min": 1.0, "median": 2.5, "mean": 2.5, "p95": 4.0, "max": 4.0}
    column = {"present": 4, "empty": 0, "unique": 2}
    return {
        "experiment": "sums_2026-01-01",
        "item": "data/data:0123456789ab",
        "tool": "maker",
        "versions": {"maker-package": "1.2"},
        "lockgate": "0.1.0",
        "records": 4,
        "made": 5,
        "refused": {"validator *sum* says no": 1},
        "rows": {"train": 3, "validation": 0, "test": 1},
        "parts": ["completion", "fields", "id", "prompt"],
        "columns": ["kind", "text"],
        "duplicates": 1,
        "near_duplicates": {"rows": 2, "groups": 1},
        "statistics": {
            "columns": [
                {"name": "kind", "role": "sampled", "kind": "text", "words": words, **column,
                 "top": [["a|b", 3], ["<b>", 1]]},
                {"name": "size", "role": "derived", "kind": "number", "min": 1, "mean": 2.25,
                 "max": 4, "top": [], **column},
                {"name": "more", "role": "structured", "kind": "object", "top": [], **column},
            ],
            "axes": [
                {"name": "kind", "missing": ["c"], "values": [
                    {"value": "a|b", "asked": 0.5, "found": 0.75, "count": 3},
                    {"value": "c", "asked": 0.5, "found": 0.0, "count": 0},
                ]}
            ],
            "rows": {"prompt_words": words, "completion_words": words},
            "validators": [{"column": "sum", "passed": 4, "checked": 4}],
            "judges": [{"column": "quality", "score": "clear", "count": 4, "mean": 3.25,
                        "distribution": {"3": 3, "4": 1}}],
            "leaks": {"pairs": 0, "examples": [], "held_out": 2, "compared": 1,
                      "nearest": {"similarity": 0.25, "rows": ["000001", "000003"]}},
            "refusals": {},
            "empty": {"more": 2},
        },
        "accept": {
            "valid": True, "complete": False, "scores": {"quality": 3.0}, "when": "size > 0",
        },
        "checked": {"written": ["more"], "validators": ["sum"], "schemas": ["more"]},
        "splits": {"own": False, "shares": {}, "similarity": 0.8, "group": "kind"},
        "origin": {"design": "d" * 12, "script": None, "dataset": None,
                   "inputs": {"seeds.csv": "5" * 64}, "model": "writer", "weights": None,
                   "served_by": "api.example.org"},
        "usage": {"requests": 12, "input_tokens": 3400, "output_tokens": 560, "cost": 0.25},
        "licence": None,
        "seed": 7,
        "shards": 2,
        "seconds": 12.5,
        "continued": False,
        "peak_memory_mb": 300,
        "finished": "2026-01-01T10:00:00+0000",
        "files": {"train.parquet": {"bytes": 1234, "sha256": "f" * 64}},
        "as_text": ["fields.more"],
        "digest": "e" * 12,
    }  # fmt: skip


def shown(text):
    """What a reader of the rendered card sees."""
    page = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def test_all_that_is_known_is_told(manifest):
    text = card.card(manifest, "Does it add?")
    told = shown(text)
    for part in (
        "Does it add?",
        "made by maker with the language model writer: 4 were accepted of 5 made",
        "Made from seeds.csv, SHA-256",
        "Language model: writer, served by api.example.org",
        "maker-package 1.2; Lockgate 0.1.0",
        "Seed 7, 2 shard(s), finished 2026-01-01T10:00:00+0000",
        "asked 12 times: 3,400 tokens in, 560 out; at the prices of the configuration that cost",
        "Licence of the seed data: not stated",
        "more is there, and no refusal",
        "sum is a validator that finds",
        "more is what its JSON Schema wants",
        "The judge's score quality is at least 3.",
        "size &gt; 0 is true",
        "4 of 5 made count (80.0%)",
        "validator *sum* says no 1",
        "so are rows with the same kind",
        "with the prompt of an earlier row: 1 (kept)",
        "nearly the same prompt as another: 2, in 1 group(s)",
        "kind sampled text 4 0 2 1 to 4 words, median 2.5 a|b (3), &lt;b&gt; (1)",
        "size derived number 4 0 2 1 to 4, mean 2.25",
        "kind a|b 50.0% 75.0% 3",
        "like a row to train on: 0; the nearest of 1 that were compared with each of those has a "
        "similarity of 0.25",
        "Validator sum: 4 of 4 records that it checked pass",
        "Judge quality, clear: mean 3.25 of 4; 3: 3, 4: 1",
        "No record has kind c, which was asked for.",
        "more is empty in 2 record(s).",
        "hold JSON text, for their values are of several kinds: fields.more.",
        "With 1 test row(s) chance hides all but large differences.",
        "The licence is not stated",
        "train.parquet 1,234 " + "f" * 64,
    ):
        assert part in told, part
    assert "Text of the model" not in told  # accept.complete is off
    assert "\n\n\n" not in text


def test_the_header_is_what_the_hub_reads(manifest):
    header = DatasetCard(card.card(manifest, "?")).data.to_dict()
    assert header["license"] == "unknown"
    assert header["size_categories"] == ["n<1K"]
    assert header["tags"] == ["synthetic"]
    rows = header["configs"][0]["data_files"]
    assert [one["split"] for one in rows] == ["train", "test"], "an empty split is no split"


@pytest.mark.parametrize(
    ("licence", "license", "name"),
    [
        ("MIT", "mit", None),
        ("cc-by-4.0", "cc-by-4.0", None),
        ("Our own: ask", "other", "Our own: ask"),
    ],
)
def test_a_licence_is_told_twice(manifest, licence, license, name):
    text = card.card({**manifest, "licence": licence}, "?")
    header = DatasetCard(text).data.to_dict()
    assert (header["license"], header.get("license_name")) == (license, name)
    assert f"Licence of the seed data: {licence}" in shown(text)
    assert "not stated" not in text


@pytest.mark.parametrize(
    ("records", "size"),
    [(999, "n<1K"), (1000, "1K<n<10K"), (99_999, "10K<n<100K"), (5_000_000, "n>1M")],
)
def test_sizes_have_the_names_of_the_hub(manifest, records, size):
    header = DatasetCard(card.card({**manifest, "records": records}, "?")).data.to_dict()
    assert header["size_categories"] == [size]


def test_tokens_of_calls_that_did_not_tell_theirs_are_not_known(manifest):
    assert "was asked 12 times: 3,400 tokens in, 560 out" in card.card(manifest, "?")
    manifest["usage"]["untold_calls"] = 2
    text = card.card(manifest, "?")
    assert "was asked at least 12 times: at least 3,400 tokens in, at least 560 out" in text
    assert "that cost at least 0.25 (2 call(s) of the tool did not tell all of theirs)" in text


def test_rules_that_nothing_was_checked_by_are_not_told(manifest):
    manifest["accept"] = {"valid": True, "complete": True, "scores": {}, "when": None}
    manifest["checked"] = {"written": [], "validators": [], "schemas": []}
    assert "All that were made." in shown(card.card(manifest, "?"))
    manifest["checked"] = None
    assert "Not known: which columns were checked" in shown(card.card(manifest, "?"))


def test_a_rule_for_what_may_be_left_out_says_so(manifest):
    manifest["checked"] = {"written": ["answer", "note"], "skipped": ["note", "quality"]}
    manifest["accept"] |= {"scores": {"quality.clarity": 2, "other": 1}}
    text = card.card(manifest, "Why?")
    out = ", where the design does not leave it out."
    assert (
        f"note is there, and no refusal to answer (as far as one is known in English){out}" in text
    )
    assert f"quality.clarity is at least 2{out}" in text
    assert text.count(out) == 2


def test_an_existing_dataset_has_no_rules_and_no_model(manifest):
    origin = {**manifest["origin"], "dataset": "rows.jsonl", "model": None}
    changes = {"origin": origin, "accept": None, "usage": None, "refused": {}}
    splits = {**manifest["splits"], "own": True, "group": None}
    text = card.card({**manifest, **changes, "splits": splits}, "?")
    assert "An existing dataset, rows.jsonl: 4 records, in splits of its own." in text
    assert "Licence of the dataset: not stated" in text
    for absent in ("Which records count", "language model", "Tokens", "synthetic", "Design:"):
        assert absent not in text


def test_values_cannot_break_out_of_the_card(manifest):
    bad = "x\n\n# Title | <script>alert(1)</script> [a](http://b) `code` **bold**"
    manifest["statistics"]["columns"][0]["top"] = [[bad, 3]]
    manifest["refused"] = {bad: 1}
    manifest["experiment"] = bad
    text = card.card(manifest, bad)
    page = (
        MarkdownIt("commonmark", {"html": False}).enable("table").render(text.split("---\n", 2)[2])
    )
    assert "<h1>Title" not in page and "<script" not in page
    assert "<a " not in page and "<strong>" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 4
    assert page.count("**bold**") == 4


def test_the_card_is_written_as_a_page_too(manifest, tmp_path):
    write_json(tmp_path / "manifest.json", manifest)
    card.write(tmp_path / "manifest.json", "Does it add?", None, tmp_path / "card.md")
    page = (tmp_path / "card.html").read_text()
    assert "<h1>Data card: sums_2026-01-01</h1>" in page
    assert "pretty_name" not in page and "http" not in page
    assert (tmp_path / "card.md").read_text() == card.card(manifest, "Does it add?")
