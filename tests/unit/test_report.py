"""The report says what came out, also where that is bad, missing or hostile."""

import csv
import html
import json
import re
import sys
from pathlib import Path

import pytest

import write_report
from lockgate import comparison, findings, report

HOSTILE = '<script>alert("x")</script> & $x$'


def cell(answers, task="routing", epoch=None, **more):
    """A scored cell; an answer is right where it is `yes`."""
    samples = [
        {"id": f"{i:06d}", "score": float(text == "yes"), "answer": text, "target": "yes"}
        for i, text in enumerate(answers)
    ]
    score = sum(s["score"] for s in samples) / len(samples)
    base = {"task": task, "epoch": epoch, "metric": "exact", "score": score, "n": len(samples)}
    return {**base, "samples": samples, "seconds": 2.0, "output_tokens": 40, "log": "x", **more}


def right(count, of=20):
    return ["yes"] * count + ["no"] * (of - count)


def estimate(run, phase, expected):
    seconds = {"low": expected / 2, "expected": expected, "high": expected * 2}
    return {
        "run": run, "phase": phase, "seconds": seconds, "memory_mb": 900, "disk_mb": None,
        "basis": "measured",
    }  # fmt: skip


def documents(control=right(4), tuned=right(18), runs=("small_lr-1e-3",)):  # noqa: B008
    """All inputs by name: one model, its control, tuned runs with one epoch each."""
    names = ["small_control", *runs]
    plan = {
        "data": {"licence": None},
        "experiment": {
            "name": "routing_lr_2026-11-20",
            "kind": "experiment",
            "question": "Does it learn?",
            "hypothesis": "It does.",
        },
        "config_digest": "abc123abc123",
        "config_source": "config/config.yaml",
        "runs": [
            {
                "name": name,
                "kind": "fine-tuned" if name in runs else "control",
                "model": "small",
                "seed": 1 if name in runs else None,
                "varied": {"learning_rate": 0.001} if name in runs else {},
                "parameters": {},
            }
            for name in names
        ],
        "cells": [
            {"run": name, "task": "routing", "epoch": 0 if name in runs else None} for name in names
        ],
        "tasks": [{"name": "routing", "split": "test"}],
        "estimates": [estimate(run, "train", 30.0) for run in runs],
        "versions": {"trainer": "1.0"},
        "prerequisites": [],
    }
    review = {
        "estimates": [
            estimate(None, "generate", 8.0),
            *(estimate(run, "train", 15.0) for run in runs),
            *(estimate(name, "eval", 5.0) for name in names),
        ]
    }
    data = {
        "records": 100, "rows": {"train": 70, "validation": 10, "test": 20}, "digest": "d" * 12,
        "seconds": 10.0, "duplicates": 3, "near_duplicates": {"rows": 4, "groups": 2},
        "tool": "maker", "versions": {"maker": "2.0"}, "made": 110, "refused": {"too short": 10},
        "origin": {"dataset": None, "model": "writer"},
        "statistics": {
            "leaks": {"pairs": 0, "examples": []},
            "rows": {"prompt_words": {"median": 12.0}, "completion_words": {"median": 1.5}},
            "axes": [
                {"name": "team", "values": [{"value": "ops", "asked": 0.5, "found": 0.4}]}
            ],
        },
    }  # fmt: skip
    model = {"name": "small", "digest": "m" * 12, "path": "/models/small"}
    losses: list[dict] = [{"step": s, "epoch": s / 10, "loss": 3 / s} for s in range(1, 11)]
    losses[4]["validation"] = None
    losses[9]["validation"] = 1.5
    trained = {
        name: {
            "run": name, "kind": "fine-tuned", "model": model, "digest": "k", "tool": "trainer",
            "versions": {"trainer": "1.0"}, "losses": losses, "steps": 10, "tokens": 5000,
            "checkpoints": [{"epoch": 0, "step": 10, "path": "k/epoch-0", "adapter": True}],
            "seconds": {"load": 2.0, "train": 17.0, "total": 20.0}, "peak_memory_mb": 1234,
            "trainable_parameters": 1000, "parameters": 100000, "truncated_rows": 0,
            "resumed_from_step": 0,
        }
        for name in runs
    }  # fmt: skip
    trained["small_control"] = {
        "run": "small_control", "kind": "control", "digest": "m", "model": model,
        "checkpoints": [], "losses": [], "versions": {}, "seconds": {"total": 0.0},
    }  # fmt: skip
    scores = {
        name: {
            "run": name, "kind": "fine-tuned" if name in runs else "control",
            "cells": [cell(tuned, epoch=0) if name in runs else cell(control)],
            "seconds": {"total": 4.0}, "peak_memory_mb": 800, "versions": {"evaluator": "3.0"},
        }
        for name in names
    }  # fmt: skip
    ledger = [
        {
            "gate": gate, "document": "0123456789ab", "covers": "c", "items": ["a", "b"],
            "marker": "m", "owner": "ada", "uid": 1000, "time": "2026-11-20T10:00:00+0000",
        }
        for gate in ("plan", "preview")
    ]  # fmt: skip
    return {
        "plan": plan, "review": review, "data": data, "summary": "# Summary\n", "rows": [],
        "trained": trained, "scores": scores, "ledger": ledger,
    }  # fmt: skip


@pytest.fixture
def write(tmp_path):
    """Write the documents, run the entry; gives the page (tags left out) and the table."""

    def put(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return str(path)

    def run(given):
        lines = "".join(json.dumps(entry) + "\n" for entry in given["ledger"])
        rows = "".join(json.dumps(row) + "\n" for row in given["rows"])
        out = {
            "html": tmp_path / "report" / "report.html",
            "results": tmp_path / "report" / "results.csv",
            "groups": tmp_path / "report" / "groups.csv",
            "estimates": tmp_path / "report" / "estimates.csv",
            "figures": tmp_path / "report" / "figures",
        }
        write_report.main(
            put("plan.json", json.dumps(given["plan"])),
            put("review.json", json.dumps(given["review"])),
            put("data.json", json.dumps(given["data"])),
            put("summary.md", given["summary"]),
            [put(f"train/{k}/manifest.json", json.dumps(v)) for k, v in given["trained"].items()],
            [put(f"eval/{k}/scores.json", json.dumps(v)) for k, v in given["scores"].items()],
            put("ledger.jsonl", lines),
            [put("test.jsonl", rows)] if rows else [],
            {name: str(path) for name, path in out.items()},
        )
        page = out["html"].read_text(encoding="utf-8")
        body = page[page.index("</style>") :]
        text = " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())
        with open(out["results"], encoding="utf-8") as handle:
            table = list(csv.DictReader(handle))
        assert not list((tmp_path / "report").glob(".*"))
        for name in ("scores", "losses"):
            assert (out["figures"] / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        return page, text, table

    return run


def test_a_better_run_is_reported_with_its_evidence(write):
    _, text, table = write(documents())
    assert "Fine-tuning helped on routing" in text
    assert "scores 0.900, its untouched control 0.200: +0.700 (95% interval" in text
    assert "p < 0.001" in text
    assert "Incomplete" not in text
    control, tuned = table
    assert (tuned["score"], tuned["n"], tuned["epoch"]) == ("0.9", "20", "0")
    assert tuned["interval_method"] == "Wilson"
    assert float(tuned["low"]) == pytest.approx(0.6990, abs=1e-4)
    assert float(tuned["p_value"]) == pytest.approx(2**-13, rel=1e-4)  # 14 gained, none lost
    assert tuned["p_holm"] == tuned["p_value"]
    assert (tuned["learning_rate"], control["learning_rate"]) == ("0.001", "")
    assert (tuned["control"], control["control"]) == ("small_control", "")
    assert (tuned["train_seconds"], control["train_seconds"]) == ("20.0", "")
    assert control["epoch"] == ""


def test_the_data_are_told_with_a_link_to_their_card(write):
    page, text, _ = write(documents())
    assert "100 records accepted of 110 made; refused: too short (10)." in text
    assert "Licence: not stated." in text
    assert "team: ops 40% (asked 50%)" in text
    assert 'href="../card.html"' in page  # the test's manifest is above the report
    given = documents()
    given["plan"]["data"]["licence"] = "MIT"
    given["data"] |= {"origin": {"dataset": "a <b>.jsonl", "model": None}}
    page, text, _ = write(given)
    assert "An existing dataset, a <b>.jsonl : 100 records. Licence: MIT." in text


def test_a_worse_run_is_reported_as_worse(write):
    _, text, table = write(
        documents(control=right(18), tuned=right(4), runs=("small_a", "small_b"))
    )
    assert "Fine-tuning made routing worse" in text
    assert "\N{MINUS SIGN}0.700" in text
    assert "2 worse. Worse than the untouched model: small_a, epoch 0 (routing); small_b" in text
    assert "helped" not in text
    assert float(table[1]["difference"]) == -0.7


def test_a_small_difference_is_inconclusive(write):
    _, text, _ = write(documents(control=right(10), tuned=right(11)))
    assert "Inconclusive on routing" in text
    assert "helped" not in text


def test_an_interval_without_zero_is_not_enough():
    # 5 gained of 20: the bootstrap leaves out 0, the exact test gives 0.0625
    given = documents(control=right(5), tuned=right(10))
    result = comparison.compare(given["plan"], given["scores"])[1]
    assert result.difference.low > 0
    assert result.verdict == "inconclusive"


def test_holm_counts_all_comparisons(write):
    runs = ("small_a", "small_b", "small_c")
    given = documents(control=right(4), tuned=right(10), runs=runs)  # p = 2 / 2^6 each
    _, text, table = write(given)
    assert {row["p_value"] for row in table[1:]} == {"0.03125"}
    assert {row["p_holm"] for row in table[1:]} == {"0.09375"}
    assert "the best of 3 fine-tuned results" in text
    assert "3 inconclusive" in text


def test_equal_differences_have_a_bound_in_place_of_a_bootstrap(write):
    page, text, table = write(documents(control=right(0), tuned=right(20)))
    assert "Fine-tuning helped" in text
    assert "bound for 20 equal differences (Clopper-Pearson)" in text
    low = 2 * 0.025 ** (1 / 20) - 1
    assert float(table[1]["difference_low"]) == pytest.approx(low, rel=1e-5)
    assert "nan" not in page.lower().replace("finance", "")[: page.index("base64")].lower()


def test_missing_cells_and_runs_are_said_loudly(write):
    given = documents(runs=("small_a", "small_b", "small_c"))
    given["scores"]["small_a"]["cells"] = []
    del given["scores"]["small_b"], given["trained"]["small_b"]
    given["scores"]["small_c"]["cells"] = [cell(right(9, of=12), epoch=0)]
    _, text, table = write(given)
    assert "Incomplete or not as planned (4)" in text
    assert "small_a, epoch 0 has no score on routing, though it was planned." in text
    assert "Run small_b has no training manifest." in text
    assert "Run small_b was not evaluated: it has no scores." in text
    assert "small_c, epoch 0 answered 12 of 20 samples of routing." in text
    missing = [row for row in table if row["score"] == ""]
    assert [row["run"] for row in missing] == ["small_a", "small_b"]
    assert missing[0]["interval_method"] == "none: this cell is missing"


def test_without_a_control_nothing_is_claimed(write):
    given = documents()
    given["plan"]["runs"].pop(0)
    given["plan"]["cells"].pop(0)
    del given["scores"]["small_control"], given["trained"]["small_control"]
    _, text, table = write(given)
    assert "Nothing to compare on routing" in text
    assert "has no control on routing" in text
    assert table[0]["difference"] == ""


def test_nothing_was_scored(write):
    given = documents()
    given["scores"], given["trained"] = {}, {}
    _, text, _ = write(given)
    assert "No result on routing: no fine-tuned run has scores." in text
    assert "No fine-tuned run has scores." in text


def test_hostile_text_is_escaped(write):
    given = documents(tuned=[HOSTILE, *right(10, of=19)])
    for key in ("question", "hypothesis"):
        given["plan"]["experiment"][key] = HOSTILE
    given["plan"]["tasks"][0]["name"] = HOSTILE
    for planned in given["plan"]["cells"]:
        planned["task"] = HOSTILE
    for scores in given["scores"].values():
        for each in scores["cells"]:
            each["task"] = HOSTILE
    given["ledger"][0]["note"] = HOSTILE
    given["summary"] = HOSTILE
    given["rows"] = [{"id": "000000", "prompt": HOSTILE, "completion": "yes"}]
    page, text, _ = write(given)
    assert "<script" not in page
    assert text.count(HOSTILE) >= 8


def test_the_page_needs_nothing_else(write):
    page, _, _ = write(documents())
    assert page.lstrip().startswith("<!doctype html>")
    sources = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert [s for s in sources if not s.startswith("data:image/png;base64,")] == [
        "../card.html",
        "../build/experiment_summary.md",
    ]
    assert "http" not in page and "@import" not in page


def test_estimates_are_held_against_what_happened(write):
    _, text, _ = write(documents())
    # train: planned 30 s, revised 15 s, actual 20 s; generate: revised 8 s, actual 10 s
    row = "train small_lr-1e-3 30 s (15 s to 60 s) 15 s (8 s to 30 s) 20 s +50%"
    assert f"{row} \N{MINUS SIGN}25% 1,234 MB (estimate 900)" in text
    assert "generate not estimated 8 s (4 s to 16 s) 10 s \N{MINUS SIGN}20%" in text
    assert "No job continued" in text


@pytest.mark.parametrize(
    "change", [{"resumed_from_step": 7}, {"seconds": {"train": 50, "total": 20}}]
)
def test_a_resumed_run_gives_no_error(write, change):
    given = documents()
    given["trained"]["small_lr-1e-3"].update(change)
    _, text, _ = write(given)
    assert "20 s last attempt only 1,234 MB" in text
    assert "those of the last attempt" in text


def test_examples_show_failures_first():
    control = right(15, of=30)
    tuned = ["no", "no"] + ["yes"] * 20 + ["no"] * 8
    from lockgate import report

    given = documents(control=control, tuned=tuned)
    results = comparison.compare(given["plan"], given["scores"])
    (table,) = report.examples(results, given["plan"], {})
    assert [row["outcome"] for row in table["rows"]] == [
        *["tuned worse"] * 2,
        *["neither right"] * 2,
        *["tuned better"] * 2,
        *["both right"] * 2,
    ]
    assert (table["n"], table["rows"][0]["control"]) == (30, "yes")


def test_approvals_and_their_absence(write):
    given = documents()
    _, text, _ = write(given)
    assert "plan ada 2026-11-20T10:00:00+0000 0123456789ab 2" in text
    given["ledger"] = given["ledger"][:1]
    _, text, _ = write(given)
    assert "The ledger records no approval at the gate preview." in text


def test_package_versions_that_differ(write):
    given = documents()
    given["trained"]["small_lr-1e-3"]["versions"] = {"trainer": "1.1"}
    _, text, _ = write(given)
    assert "Package trainer had several versions: 1.0, 1.1." in text


def test_a_score_out_of_range_stops(write, capsys):
    given = documents()
    given["scores"]["small_control"]["cells"][0]["samples"][0]["score"] = float("nan")
    with pytest.raises(SystemExit):
        write(given)
    assert "a score is not between 0 and 1" in capsys.readouterr().err


def test_a_sanity_check_says_that_it_is_one(write):
    given = documents()
    given["plan"]["experiment"]["kind"] = "sanity_check"
    assert "its scores answer no scientific question" in write(given)[1]


def test_the_best_is_the_highest_score():
    given = documents(runs=("small_a", "small_b"))
    given["scores"]["small_b"]["cells"] = [cell(right(19), epoch=0)]
    results = comparison.compare(given["plan"], given["scores"])
    best = findings.best_tuned(results, "routing")
    assert best is not None and best.run["name"] == "small_b"
    assert findings.best_tuned(results, "other") is None


def test_no_model_is_loaded_for_the_report():
    assert Path(write_report.__file__).name == "write_report.py"
    assert "matplotlib.pyplot" not in sys.modules


def rule(**changes):
    """A rule about the hypothesis as plan.json has it."""
    base = {"task": None, "runs": {}, "against": "control", "expect": "better", "at_least": 0.1}
    return {**base, **changes}


def decided(write, *rules, **given):
    """The page's text after the rules are stated, up to its next section."""
    pages = documents(**given)
    pages["plan"]["experiment"]["decision"] = list(rules)
    page, text, _ = write(pages)
    return page, text[: text.index("Question")]


def test_without_a_rule_there_is_no_verdict_on_the_hypothesis(write):
    for given in (None, []):
        pages = documents()
        pages["plan"]["experiment"]["decision"] = given
        told = "No verdict on the hypothesis: no rule was stated beforehand (experiment.decision)."
        assert told in write(pages)[1]


def test_a_supported_hypothesis_is_told_with_its_numbers(write):
    # every one of 20 samples gained: between 2 * 0.025^(1/20) - 1 and 1
    page, text = decided(write, rule(), control=right(0), tuned=right(20))
    assert "The hypothesis is supported, by the rule stated beforehand." in text
    assert (
        "Supported: on routing, the fine-tuned runs score on average better than their controls, "
        "by at least 0.1. The mean difference is +1.000 over 20 samples, 1 run against 1 run "
        "(95% interval +0.663 to +1.000 by bound for 20 equal differences (Clopper-Pearson); "
        "all of the interval is as expected)." in text
    )
    assert '<div class="headline supported">' in page


def test_a_contradicted_and_an_undecided_hypothesis(write):
    page, text = decided(write, rule(expect="worse"))
    assert "The hypothesis is contradicted" in text
    assert "none of the interval is as expected" in text
    assert '<div class="headline contradicted">' in page
    _, text = decided(write, rule(), control=right(9), tuned=right(11))
    assert "The verdict on the hypothesis is inconclusive, by the rule" in text
    assert "Inconclusive: on routing, " in text
    assert "the interval does not decide" in text


def test_all_rules_have_to_hold(write):
    page, text = decided(write, rule(), rule(expect="equal"))
    assert "The hypothesis is contradicted, by the 2 rules, all of which must hold" in text
    assert page.count("<li>Supported: ") == page.count("<li>Contradicted: ") == 1


def test_a_rule_with_a_missing_run_is_not_decided(write):
    pages = documents(runs=("small_a", "small_b"))
    pages["plan"]["experiment"]["decision"] = [rule()]
    del pages["scores"]["small_b"]
    text = write(pages)[1]
    assert "The verdict on the hypothesis is inconclusive" in text
    assert "No score of small_b, epoch 0: this cannot be decided." in text


def test_too_few_samples_decide_nothing(write):
    _, text = decided(write, rule(), control=right(0, of=3), tuned=right(3, of=3))
    assert "over 3 samples, 1 run against 1 run (no interval: too few" in text
    assert "hypothesis is inconclusive" in text


def test_runs_that_differ_in_their_seed_are_shown_together(write):
    pages = documents(runs=("small_seed-1", "small_seed-2", "small_seed-3"))
    for seed, run in enumerate(pages["plan"]["runs"][1:], 1):
        run["seed"] = seed
        pages["scores"][run["name"]]["cells"] = [cell(right(10 + 2 * seed), epoch=0)]
    # 0.6, 0.7, 0.8 against 0.2
    row = "routing small 0.001 0 3 (1, 2, 3) 0.700 0.100 0.600 to 0.800 +0.500 +0."
    assert row in write(pages)[1]
    pages["scores"]["small_seed-2"]["cells"] = []
    text = write(pages)[1]
    assert "routing small 0.001 0 2 of 3 (1, 3) 0.700 0.141 0.600 to 0.800 +0.500" in text


def test_one_seed_makes_no_table_across_seeds(write):
    assert "Across seeds" not in write(documents())[1]


def test_results_are_shown_by_group(write):
    given = documents()
    given["plan"]["groups"] = ["team"]
    given["rows"] = [
        {"id": f"{n:06d}", "prompt": "?", "completion": "yes",
         "fields": {"team": "billing" if n < 14 else HOSTILE}}
        for n in range(20)
    ]  # fmt: skip
    page, text, _ = write(given)
    assert "By group team routing: team run epoch n score" in text
    assert "billing small_control 14 0.286" in text
    assert "small_lr-1e-3 0 14 1.000" in text
    assert f"{HOSTILE} small_control 6 few 0.000" in text
    assert "few have fewer than 10 samples: their intervals are wide" in text
    assert "corrected by Holm's method over all comparisons of one field's tables" in text
    assert "<script" not in page
    assert "sample outcome team prompt target" in text, "the answers name their group"


def test_groups_are_a_table_too(write, tmp_path):
    given = documents()
    given["rows"] = [
        {"id": f"{n:06d}", "prompt": "?", "fields": {"team": n % 2}} for n in range(20)
    ]  # fmt: skip
    _, text, _ = write(given)
    assert "By group" not in text
    with open(tmp_path / "report/groups.csv") as handle:
        assert list(csv.DictReader(handle)) == []
    given["plan"]["groups"] = ["team"]
    write(given)
    with open(tmp_path / "report/groups.csv") as handle:
        rows = list(csv.DictReader(handle))
    assert [(row["value"], row["run"], row["n"]) for row in rows] == [
        ("0", "small_control", "10"), ("0", "small_lr-1e-3", "10"),
        ("1", "small_control", "10"), ("1", "small_lr-1e-3", "10"),
    ]  # fmt: skip
    assert (rows[1]["score"], rows[1]["difference"], rows[1]["learning_rate"]) == (
        "0.9", "0.7", "0.001",
    )  # fmt: skip
    assert rows[0]["difference"] == ""


def test_a_group_that_no_row_has_stops_before_anything_is_written(write, capsys, tmp_path):
    given = documents()
    given["plan"]["groups"] = ["taem"]
    given["rows"] = [{"id": "000000", "prompt": "?", "fields": {"team": "a"}}]
    with pytest.raises(SystemExit):
        write(given)
    assert "evaluation.groups[0]: no row has the field 'taem'" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


def test_further_metrics_stand_in_the_table(write):
    given = documents()
    for name, value in (("small_control", None), ("small_lr-1e-3", 0.125)):
        given["scores"][name]["cells"][0]["metrics"] = {"ece": value, "auc": None, "seed": 2.0}
    _, text, table = write(given)
    assert "95% interval ece seed small_control" in text
    assert "0.125 2" in text and "auc" not in text
    assert [row["ece"] for row in table] == ["", "0.125"]
    assert [row["metric_seed"] for row in table] == ["2.0", "2.0"], "a column of its own"


def test_tables_are_sorted_by_what_varied(write):
    runs = ("small_r-16", "small_r-8", "small_r-8_s2", "small_r-128")
    given = documents(runs=runs)
    for run, rank, seed in zip(
        given["plan"]["runs"][1:], (16, 8, 8, 128), (1, 2, 1, 1), strict=True
    ):
        run["varied"], run["seed"] = {"rank": rank}, seed
        run["parameters"] = {"rank": rank}
    given["plan"]["runs"].reverse()
    _, _, table = write(given)
    assert [(row["rank"], row["seed"]) for row in table] == [
        ("", ""), ("8", "1"), ("8", "2"), ("16", "1"), ("128", "1"),
    ]  # fmt: skip


def test_several_epochs_of_a_run(write):
    given = documents()
    given["plan"]["cells"].insert(1, {"run": "small_lr-1e-3", "task": "routing", "epoch": 1})
    given["scores"]["small_lr-1e-3"]["cells"].append(cell(right(12), epoch=1))
    page, text, table = write(given)
    assert [(row["run"], row["epoch"]) for row in table] == [
        ("small_control", ""), ("small_lr-1e-3", "0"), ("small_lr-1e-3", "1"),
    ]  # fmt: skip
    assert "Score by epoch" in text and "Across seeds" not in text
    assert "the best of 2 fine-tuned results, small_lr-1e-3, epoch 0" in text


def test_a_resumed_run_is_said_at_the_top(write):
    given = documents()
    given["trained"]["small_lr-1e-3"]["resumed_from_step"] = 7
    page, text, _ = write(given)
    assert "Incomplete or not as planned (1)" in text
    assert "Run small_lr-1e-3 was resumed, after step 7" in text
    assert text.index("was resumed") < text.index("Question")


def test_fewer_samples_than_the_split_has_are_said(write):
    given = documents(control=right(4, of=18), tuned=right(9, of=18))
    given["plan"]["tasks"][0].update(scorer="exact", limit=None)
    _, text, _ = write(given)
    assert "small_lr-1e-3, epoch 0 answered 18 of 20 samples of routing." in text
    assert "small_control answered 18 of 20 samples of routing." in text
    given["plan"]["tasks"][0]["limit"] = 18
    assert "Incomplete" not in write(given)[1]
    given["plan"]["tasks"][0].update(scorer=None, limit=None)  # a task of the user's own
    assert "Incomplete" not in write(given)[1]


def test_a_run_that_could_not_start_is_said_once(write):
    given = documents(runs=("small_a", "small_b"))
    given["plan"]["runs"][2]["blocked"] = "models.small: nothing is there"
    del given["scores"]["small_b"], given["trained"]["small_b"]
    _, text, _ = write(given)
    assert "Incomplete or not as planned (1)" in text
    assert "Run small_b did not start: models.small: nothing is there." in text


def test_a_checkpoint_is_no_fine_tuned_run(write):
    given = documents()
    old = {
        **given["plan"]["runs"][0],
        "name": "old_eval-only",
        "kind": "eval-only",
        "base": "small",
    }
    given["plan"]["runs"].append({**old, "model": "old"})
    given["plan"]["cells"].append({"run": "old_eval-only", "task": "routing", "epoch": None})
    given["scores"]["old_eval-only"] = {
        **given["scores"]["small_control"], "run": "old_eval-only", "cells": [cell(right(20))],
    }  # fmt: skip
    given["trained"]["old_eval-only"] = {
        **given["trained"]["small_control"], "run": "old_eval-only",
    }  # fmt: skip
    _, text, table = write(given)
    assert "the fine-tuned run, small_lr-1e-3, epoch 0, scores 0.900" in text
    assert "Incomplete" not in text
    assert [row["run"] for row in table] == ["small_control", "old_eval-only", "small_lr-1e-3"]
    assert (table[1]["control"], table[1]["difference"]) == ("small_control", "0.8")


def test_figures_of_an_earlier_report_are_removed(write, tmp_path):
    old = tmp_path / "report/figures/by_rank.png"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"old")
    write(documents())
    assert not old.exists() and (old.parent / "scores.png").exists()


@pytest.mark.slow
def test_a_hundred_runs_make_a_page_of_a_few_megabytes(write, tmp_path):
    names = [f"small_lr-{n}" for n in range(100)]
    given = documents(runs=tuple(names))
    given["plan"]["groups"] = ["team"]
    given["rows"] = [
        {"id": f"{n:06d}", "prompt": "?", "fields": {"team": n % 4}} for n in range(20)
    ]  # fmt: skip
    for number, run in enumerate(given["plan"]["runs"][1:]):
        run["varied"] = {"learning_rate": 10 ** (-6 + number // 10), "rank": number % 10}
    page, text, table = write(given)
    assert len(page) < 2_000_000 and len(table) == 101
    assert "8 of 404 rows" in text


def test_an_example_shows_what_was_said_before_its_question():
    history = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}]
    row = {"prompt": "Which?", "history": history, "fields": {}}
    shown = report._asked({"prompt": "{{ prompt }} Say it."}, row)
    assert shown == "Hi.\n\nHello.\n\nWhich? Say it."
