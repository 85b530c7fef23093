"""The review and the report of a chain: each stage with what it made, its scores, safe pages."""

import json
import math
import re
from pathlib import Path

import pytest

from lockgate.journal import Journal
from lockgate.stages import outputs, pages, plan

SFT = {"goal": "sft", "model": "small", "data": "chat.jsonl", "method": "full"}
MACHINE = {"cpus": 8, "memory_mb": 64000, "free_disk_mb": 1, "gpus": [], "partitions": []}
HOSTILE = "<script>alert('x')</script> & <b>"


class Done:
    """A chain of two stages whose manifests are there."""

    def __init__(self, shop):
        self.root = shop.root
        chain = shop.read({**SFT, "with": {"epoch": 3}}, {"goal": "evaluate"})
        resources = {"prerequisites": [], "machine": MACHINE, "model_files": {}}
        document = plan.document(chain, resources, self.root / "none", Journal())
        self.plan = shop.write("plan.json", json.dumps(document))
        shop.write("made/model/config.json", "{}")
        self.rows = shop.write("made/model/rows.jsonl", '{"text": "one"}\n{"text": "two"}\n')
        self.scored([1] * 7 + [0] * 3)
        self.record = shop.write("record.json", json.dumps({"checks": []}))
        self.ledger = shop.root / "ledger.jsonl"

    def scored(self, values, task="sums"):
        marks = {"task": task, "metric": "exact", "samples": [{"score": one} for one in values]}
        path = self.root / "made/marks/scores.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"tasks": [marks]}))

    def manifest(self, stage, step, kind, path, seconds):
        made = {"type": kind, **outputs.describe(self.root / path)}
        document = {
            "stage": stage,
            "step": step,
            "command": ["run", stage],
            "directory": str(self.root / path),
            "outputs": [made],
            "seconds": seconds,
        }
        place = self.root / f"{step.replace('/', '-')}.json"
        place.write_text(json.dumps(document))
        return place

    def manifests(self, name="trained"):
        return [
            self.manifest(name, "sft/whole", "checkpoint_hf", "made/model", 30.0),
            self.manifest("measured", "eval/measure", "marks", "made/marks", 12.0),
        ]

    def review(self, name="trained", covers=("smoke/a:1",)):
        out, html = self.root / "review.json", self.root / "review.html"
        pages.review(self.plan, self.manifests(name), [self.record], list(covers), out, html)
        return json.loads(out.read_text()), html.read_text()

    def report(self, name="trained"):
        html = self.root / "report.html"
        pages.report(self.plan, self.manifests(name), self.ledger, html)
        return html.read_text()


@pytest.fixture
def done(shop):
    return Done(shop)


def cells(html):
    """Each row of each table as the texts of its cells."""
    rows = re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)
    return [re.findall(r"<td>(.*?)</td>", row, re.DOTALL) for row in rows]


def wilson(right, n, z=1.959963984540054):
    p, shrunk = right / n, 1 + z * z / n
    centre = (p + z * z / (2 * n)) / shrunk
    half = z / shrunk * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return centre - half, centre + half


@pytest.mark.parametrize(("right", "n"), [(7, 10), (0, 5), (5, 5), (1, 1000)])
def test_scores_of_right_or_wrong_have_the_wilson_interval(done, right, n):
    done.scored([1] * right + [0] * (n - right))
    (found,) = pages.scores(done.root / "made/marks")
    assert (found["task"], found["metric"], found["n"]) == ("sums", "exact", n)
    assert found["score"] == pytest.approx(right / n)
    assert (found["low"], found["high"]) == pytest.approx(wilson(right, n), abs=1e-9)


def test_scores_in_between_have_an_interval_around_them(done):
    done.scored([0.1, 0.4, 0.5, 0.6, 0.9] * 8)
    (found,) = pages.scores(done.root / "made")
    assert found["score"] == pytest.approx(0.5)
    assert 0.1 < found["low"] < 0.5 < found["high"] < 0.9


def test_a_task_without_samples_and_a_path_without_scores_give_none(done):
    done.scored([])
    assert pages.scores(done.root / "made") == []
    assert pages.scores(done.root / "gone") == []


def test_both_pages_show_each_stage_with_its_outputs_and_scores(done):
    low, high = wilson(7, 10)
    for html in (done.review()[1], done.report()):
        rows = cells(html)
        assert ["trained", "sft/whole", "checkpoint_hf", "2", "0.0 MB", "2", "30 s"] in rows
        assert ["measured", "eval/measure", "marks", "1", "0.0 MB", "", "12 s"] in rows
        assert ["sums", "exact", "10", "0.700", f"{low:.3f} to {high:.3f}"] in rows
        assert "<code>run trained</code>" in html
        assert "<pre>{&#34;text&#34;: &#34;one&#34;}\n</pre>" in html


def test_too_few_scores_for_an_interval_give_none(done):
    done.scored([0.5, 0.25])
    (found,) = pages.scores(done.root / "made")
    assert (found["score"], found["low"], found["high"]) == (0.375, None, None)
    (row,) = [row for row in cells(done.report()) if row[:1] == ["sums"]]
    assert row[:4] == ["sums", "exact", "2", "0.375"] and "None" not in row[4]


def test_the_review_covers_the_reduced_documents_and_adds_up_the_time(done):
    document, html = done.review(covers=["smoke/a:1", "smoke/b:2"])
    assert document["covers"] == ["smoke/a:1", "smoke/b:2"]
    assert [stage["stage"] for stage in document["stages"]] == ["trained", "measured"]
    assert document["seconds"] == 42.0 and "in 42 s" in html
    (output,) = document["stages"][0]["outputs"]
    assert [one["text"] for one in output["samples"]] == ['{"text": "one"}\n', '{"text": "two"}\n']


def test_warnings_of_the_checks_and_what_was_not_checked_are_shown(done):
    check = {"code": "some.code", "stage": "s", "compared": "2 and 3", "fix": "mend it"}
    checks = [{**check, "status": "warning"}, {**check, "status": "not checked", "code": "dry"}]
    done.record.write_text(json.dumps({"checks": checks}))
    _, html = done.review()
    assert "WARNING: some.code (s): 2 and 3. Fix: mend it." in html
    assert "<li>dry (s): 2 and 3: mend it</li>" in html
    done.record.write_text(json.dumps({"checks": []}))
    assert "<li>nothing</li>" in done.review()[1]


def test_the_report_tells_question_warnings_approvals_and_catalogs(done):
    entry = {"gate": "plan", "items": [], "owner": "me", "time": "today", "document": "abc"}
    done.ledger.write_text(json.dumps(entry) + "\n")
    html = done.report()
    assert "<p>Does it plan?</p>" in html and "Expected: It does." in html
    assert "<li>plan: me, today (document abc)</li>" in html
    assert f"<li>catalog: {done.root / 'catalog'}" in html
    assert "The plan warned: config.keys (sft-whole): sft/whole has no epoch." in html


def test_names_rows_and_tasks_are_text_and_never_markup(done):
    done.rows.write_text(json.dumps({"text": HOSTILE}) + "\n")
    done.scored([1, 0, 1], task=HOSTILE)
    for html in (done.review(HOSTILE)[1], done.report(HOSTILE)):
        assert "<script" not in html and "<b>" not in html
        assert html.count("&lt;script&gt;") >= 3


def test_a_page_stands_alone(done):
    for html in (done.review()[1], done.report()):
        linked = re.findall(r'(?:href|src|action)="([^"]*)"', html)
        assert linked == [path.as_uri() for path in _directories(done)]
        assert not re.search(r"@import|url\(|<link|<script|<iframe|https?://", html)


def _directories(done):
    return [Path(done.root, name).resolve() for name in ("made/model", "made/marks")]


def test_only_the_first_rows_are_shown_and_long_ones_are_cut(done):
    done.rows.write_text("".join(json.dumps({"n": n, "text": "x" * 999}) + "\n" for n in range(9)))
    shown = pages.samples(done.root / "made")
    assert [json.dumps({"n": n})[:-1] in one["text"] for n, one in enumerate(shown)] == [True] * 3
    assert {len(one["text"]) for one in shown} == {600}
    assert pages.samples(done.rows) == shown
    assert pages.samples(done.root / "made/model/config.json") == []
