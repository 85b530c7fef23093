"""Held-out rows among those to train on, found by other means than the splits are made."""

import random

import pytest

from lockgate.data import jaccard, leaks, splits

WORDS = [f"word{number}" for number in range(500)]
SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}


def rows(count=40):
    draw = random.Random(4)
    prompts = [" ".join(draw.choices(WORDS, k=20)) for _ in range(count)]
    return [{"id": f"{n:06d}", "prompt": one, "completion": "x"} for n, one in enumerate(prompts)]


def parts(rows, held_out=10):
    middle = len(rows) - held_out // 2
    return {
        "train": rows[:-held_out], "validation": rows[middle:], "test": rows[-held_out:middle],
    }  # fmt: skip


def jaccard_of(one, other):
    sets = [
        {tuple(words[at : at + 3]) for at in range(len(words) - 2)}
        for words in (text.split() for text in (one, other))
    ]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def test_the_nearest_is_told_although_it_is_allowed():
    made = rows()
    made[36]["prompt"] = f"other beginning {made[7]['prompt']}"
    found = leaks.find(parts(made), 0.95)
    near = jaccard_of(made[36]["prompt"], made[7]["prompt"])
    assert found == {
        "pairs": 0, "examples": [], "held_out": 10, "compared": 10,
        "nearest": {"similarity": round(near, 4), "rows": ["000007", "000036"]},
    }  # fmt: skip
    assert 0.85 < near < 0.95
    found = leaks.find(parts(made), 0.8)
    assert (found["pairs"], found["examples"]) == (1, [["000007", "000036"]])
    assert leaks.find(parts(made), 1)["pairs"] == 0


def test_equal_prompts_are_found_in_every_row(monkeypatch):
    monkeypatch.setattr(leaks, "COMPARED", 3)
    made = rows()
    made[35]["prompt"] = made[3]["prompt"].upper().replace(" ", "  ")
    found = leaks.find(parts(made), 1)
    assert (found["pairs"], found["examples"]) == (1, [["000003", "000035"]])
    assert (found["held_out"], found["compared"]) == (10, 3)


def test_short_prompts_are_looked_up_alone():
    made = [{**row, "prompt": f"What is {n}?"} for n, row in enumerate(rows())]
    found = leaks.find(parts(made), 0.8)
    assert (found["pairs"], found["compared"], found["nearest"]) == (0, 0, None)
    made[39]["prompt"] = "what is  5?"
    assert leaks.find(parts(made), 0.8)["examples"] == [["000005", "000039"]]


@pytest.mark.parametrize("seed", range(5))
def test_what_the_search_for_the_splits_misses_is_found(monkeypatch, seed):
    made = rows(60)
    for row in made[30:]:
        row["prompt"] = f"{made[int(row['id']) - 30]['prompt']} more"
    good = splits.split(made, SHARES, seed, 0.8)
    assert leaks.find(good, 0.8)["pairs"] == 0 and leaks.find(good, 0.8)["nearest"]
    monkeypatch.setattr(jaccard, "MOST_PAIRS", -1)
    monkeypatch.setattr(jaccard._Sets, "match_buckets", lambda self: None)
    found = leaks.find(splits.split(made, SHARES, seed, 0.8), 0.8)
    assert found["pairs"] > 0 and found["nearest"]["similarity"] > 0.8
