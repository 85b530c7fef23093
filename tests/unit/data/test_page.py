"""The review page of the data: what it shows, and that it stands alone."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from lockgate.data import page, quality
from lockgate.pages import number
from lockgate.tools import Column

COLUMNS = [
    Column("question", "written"),
    Column("kind", "sampled", asked={"easy": 0.45, "hard": 0.45, "odd": 0.1}),
    Column("size", "sampled"),
    Column("sql", "written"),
    Column("check", "validator", passed="is_valid"),
    Column("quality", "judge", scores={"relevance": "relevance.score"}),
]
RECORDS = [
    {
        "question": f"How large is the {thing} over there, and since when?" if thing else "",
        "kind": "easy" if number % 3 else "hard",
        "size": number / 2,
        "sql": "I'm sorry, I cannot help with that." if number == 3 else f"SELECT {number} FROM a",
        "check": {"is_valid": number != 3, "error_messages": "no FROM here" if number == 3 else ""},
        "quality": {"relevance": {"score": 3 + number % 2, "reasoning": "It asks."}},
    }
    for number, thing in enumerate(["house", "tree", "lamp", "lamp", "coat", "", "boat", "cup"])
]
VERDICTS = ["validator check says no" if n == 3 else "" for n in range(8)]


def rows(records):
    own = [{"prompt": one["question"], "completion": one["sql"], "fields": one} for one in records]
    return [{"id": f"{number:06d}", **row} for number, row in enumerate(own)]


ROWS = rows([one for one, why in zip(RECORDS, VERDICTS, strict=True) if not why])
FIGURES = quality.examine(
    RECORDS,
    ROWS,
    COLUMNS,
    axes=["kind", "size"],
    verdicts=VERDICTS,
    leaks={"train": ROWS[:4], "test": [{**ROWS[4], "prompt": ROWS[0]["prompt"]}, *ROWS[5:]]},
    alike=[0, 1, 2, 3, 0, 5, 6],
)
NOTHING = quality.examine([], [], COLUMNS, verdicts=[])
ESTIMATE = {
    "wanted": 1000,
    "records_to_make": 1143,
    "short": 0,
    "seconds": 5040.0,
    "input_tokens": 120_345,
    "output_tokens": 45_678,
    "cost": 1.23456,
    "at_least": False,
    "at_most": False,
    "start_seconds": 7.1234,
    "seconds_per_record": 4.40123,
    "accepted": 28,
    "made": 32,
    "shards": 2,
}
REVIEW = {
    "item": "data/data:1",
    "experiment": "demo_factor_2026-01-01",
    "iteration": "002",
    "files": None,
    "figures": FIGURES,
    "suggestions": ["Values of 'kind' are uneven (0.125). Fix: data.design."],
    "estimate": ESTIMATE,
    "difference": {
        "name": "001",
        "keys": [{"name": "design.columns.question.prompt", "before": "Ask.", "after": None}],
        "figures": [{"name": "accepted share", "before": 0.5, "after": 0.875}],
    },
    "command": [
        "mkdir -p approvals/demo && touch approvals/demo/preview.approved",
        "snakemake --profile local --configfile config/demo.yaml",
    ],
}


class Seen(HTMLParser):
    """Tags, and the text that a reader sees."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.text += " "
        given = dict(attrs)
        self.links += [given[name] for name in ("src", "href") if name in given]

    def handle_endtag(self, tag):
        self.text += " "

    def handle_data(self, data):
        if self.lasttag != "style":
            self.text += data


@pytest.fixture
def write(tmp_path):
    """Write a page; gives its source and what is seen."""

    def run(samples=(), **changes):
        path = tmp_path / "review.html"
        links = {
            name: tmp_path / name
            for name in ("records", "the tool's own pages", "the review of the whole experiment")
        }
        page.write(path, {**REVIEW, **changes}, list(samples), links)
        source = path.read_text()
        return source, Seen(source)

    return run


RECORD = {"question": "Wie groß ist das? 数 <script>alert(1)</script>", "kind": "easy", "size": 3}


def test_the_page_shows_every_figure(write):
    source, seen = write([(0, RECORD, ""), (1, RECORD, "validator check says no")])
    text = " ".join(seen.text.split())
    for told in (
        "7 accepted (87.5%)", "1 of 8 records do not count: validator check says no",
        "2 rows with a near-duplicate", "Values of 'kind' are uneven",
        "design.columns.question.prompt", "accepted share", "26.4% of the records would have to",
        "Never found: odd", "7 (87.5%)", "1 × no FROM here", "sql refuses to answer 1 3",
        "question empty 1 5", "1 of the held-out rows is nearly the same", "like 000004 and 000000",
        "Record 3 : refused: validator", "120,345", "45,678", "1.23", "4.4 s",
        "28 of 32 records were accepted", "2 of 2. The tool shows them",
    ):  # fmt: skip
        assert told in text, told
    assert "touch approvals/demo/preview.approved\nsnakemake --profile local" in seen.text
    assert source.count('<details class="record') == 2 and seen.tags.count("svg") == 6
    assert "quality relevance 8 3.5 3 4 4 4" in text


def test_how_near_held_out_rows_come_is_told(write):
    leaks = {"pairs": 0, "examples": [], "held_out": 4, "compared": 3, "nearest": None}
    _, seen = write(figures={**FIGURES, "leaks": leaks})
    text = " ".join(seen.text.split())
    assert "no held-out prompt is one to train on. How near they come was not compared" in text
    leaks["nearest"] = {"similarity": 0.6213, "rows": ["000001", "000006"]}
    _, seen = write(figures={**FIGURES, "leaks": leaks})
    assert (
        "Of 3 of the 4, compared with each of those, the nearest has a similarity of 0.621 "
        "(row 000006 to 000001; 1: equal)."
    ) in " ".join(seen.text.split())


def test_a_time_with_the_start_in_it_is_told_as_a_bound(write):
    source, _ = write()
    assert "at most" not in source
    source, _ = write(estimate={**ESTIMATE, "at_most": True})
    assert source.count("at most ") == 3 and "to tell their time from the tool's start" in source


def test_the_page_stands_alone_and_its_links_are_files(write):
    source, seen = write([(0, RECORD, "")])
    assert "script" not in seen.tags and "img" not in seen.tags
    assert {link.split(":")[0] for link in seen.links} == {"file", "data"}
    assert not re.search(r"url\(|@import|https?:", source)


def test_what_records_hold_is_text(write):
    bad = '</pre><script>alert(1)</script><img src="http://x.invalid/a.png" onerror="alert(2)">'
    columns = [
        Column(bad, "written", asked={bad: 1}),
        Column("check", "validator", passed="ok"),
        Column("judge", "judge", scores={bad: bad}),
    ]
    record = {bad: bad, "check": {"ok": False, "why": bad}, "judge": {bad: bad}}
    records = [record, {**record, bad: ""}, {**record, bad: "I'm sorry, I cannot help."}, record]
    made = [{"id": bad, "prompt": bad, "completion": bad, "fields": record}] * 3
    figures = quality.examine(records, made, columns, verdicts=["", "", "", bad])
    source, seen = write([(0, record, bad)], figures=figures, suggestions=[bad])
    assert seen.text.count("alert(1)") > 10
    assert "script" not in seen.tags and "img" not in seen.tags
    assert bad in seen.text and "<script" not in source


def test_a_long_text_is_folded_and_a_very_long_one_cut():
    short, long = page.text("a b"), page.text("word " * 100)
    assert (short["start"], short["whole"], short["left"]) == ("", "a b", 0)
    assert long["start"].startswith("word word") and len(long["start"]) <= 240
    huge = page.text("é" * 20_000)
    assert len(huge["whole"]) + huge["left"] == 20_000 and huge["left"] == 12_000
    assert page.text({"a": "ü"})["whole"] == '{\n  "a": "ü"\n}'


def test_half_a_surrogate_does_not_keep_the_page_from_being_written(write):
    assert "cut ?" in write([(0, {"text": "cut \ud83d"}, "")])[1].text


def test_a_column_that_is_skipped_here_and_there_is_told(write):
    columns = [Column("note", "written", skipped=(None,))]
    records = [{"note": "so it is"}, {"note": None}]
    row = {"id": "0", "prompt": "p", "completion": "c", "fields": {}}
    figures = quality.examine(records, [row] * 2, columns)
    assert "1 (1 skipped)" in " ".join(write(figures=figures)[1].text.split())


def test_many_columns_and_records_stay_readable(write):
    wide = {f"column {n}": "text " * 200 for n in range(60)}
    made = [{"id": "0", "prompt": "p", "completion": "c", "fields": {}}]
    figures = quality.examine([wide], made, [], verdicts=[""])
    source, seen = write([(n, wide, "") for n in range(1000)], figures=figures)
    assert source.count('<details class="record') == page.SHOWN
    assert "20 of 1,000." in seen.text and "Record 950" in seen.text
    assert len(source) < 4_000_000


@pytest.mark.parametrize("difference", [None, {"name": "001", "keys": [], "figures": []}])
def test_a_preview_without_any_record_has_a_page(write, difference):
    estimate = {**ESTIMATE, "accepted": 0, "short": 1000, "cost": None, "input_tokens": None}
    changes = {"figures": NOTHING, "suggestions": [], "estimate": estimate}
    text = " ".join(write(**changes, difference=difference)[1].text.split())
    assert "No figure of this preview is poor" in text and "would leave 1,000 of 1,000" in text
    assert "Tokens and cost are not known" in text
    assert ("This is the first one" in text) == (difference is None)


def test_tokens_that_are_not_all_told_are_least_figures(write):
    estimate = {**ESTIMATE, "at_least": True, "cost": None}
    text = " ".join(write(estimate=estimate)[1].text.split())
    assert "at least 120,345 at least 45,678 –" in text
    assert "did not tell the tokens of every request" in text and "data.endpoint.price" in text


def test_an_existing_dataset_needs_no_time(write):
    text = " ".join(write(files="data/own.jsonl")[1].text.split())
    assert "records read" in text and "The records are there already" in text
    assert "inference set-up" not in text


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), (0, "0"), (1234567, "1,234,567"), (0.123456, "0.123"), (12.3456, "12.3"),
     (1234.5, "1,230"), (0.0000123, "1.23e-05"), (99.96, "100"), (0.0, "0")],
)  # fmt: skip
def test_numbers_have_three_digits(value, shown):
    assert number(value) == shown
