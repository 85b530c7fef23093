"""Which prompts are alike, against a plain comparison of every pair."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from lockgate.data.similar import groups

ROOT = Path(__file__).parents[2]


def pieces(text):
    words = text.split()
    return {tuple(words[at : at + 3]) for at in range(len(words) - 2)}


def plainly(texts, similarity):
    """Groups by comparing each pair; the texts share no first and no last word."""
    label = list(range(len(texts)))
    for b, second in enumerate(texts):
        for a, first in enumerate(texts[:b]):
            one, two = pieces(first), pieces(second)
            long = min(len(first.split()), len(second.split())) >= 8
            if first == second or long and len(one & two) >= similarity * len(one | two) - 1e-9:
                low, high = sorted((label[a], label[b]))
                label = [low if at == high else at for at in label]
    return label


def made(seed):
    """Texts of a few kinds, each changed in a few places; some equal, some short."""
    draw = random.Random(seed)
    vocabulary = [f"w{number}" for number in range(30)]
    kinds = [draw.choices(vocabulary, k=draw.randint(5, 40)) for _ in range(8)]
    texts = []
    for _ in range(80):
        words = list(draw.choice(kinds))
        for _ in range(draw.choice([0, 0, 1, 1, 2])):
            words[draw.randrange(len(words))] = draw.choice(vocabulary)
        texts.append(" ".join(words[: draw.choice([None, -1])]))
    return ["first one", "another text", *texts]


@pytest.mark.parametrize("similarity", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("seed", range(8))
def test_every_alike_pair_is_found_and_no_other(seed, similarity):
    texts = made(seed)
    found = groups(texts, similarity)
    assert found == plainly(texts, similarity)
    assert len(set(found)) < len(set(texts))


def test_groups_do_not_depend_on_the_order():
    texts = made(1)
    turned = groups(texts[::-1], 0.8)[::-1]
    found = groups(texts, 0.8)
    pairs = [(a, b) for a in range(len(texts)) for b in range(a)]
    assert all((found[a] == found[b]) == (turned[a] == turned[b]) for a, b in pairs)


def test_groups_do_not_depend_on_the_interpreters_hashing():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import test_similar as t; "
        "print(t.groups(t.made(3), 0.8))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code, str(Path(__file__).parent)],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT / "scripts")},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1


def test_short_texts_are_alike_only_where_they_are_equal():
    texts = ["What is 2 + 3 ?", "What is 2 + 4 ?", "what  is 2 + 3 ?", "Why is it so ?"]
    assert groups(texts, 0.5) == [0, 1, 0, 3]


def test_what_a_template_repeats_in_every_text_does_not_make_them_alike():
    frame = " ".join(f"word{number}" for number in range(60))
    texts = [f"{frame} {number} {frame}" for number in range(5)]
    assert groups(texts, 0.8) == [0, 1, 2, 3, 4]


def test_a_chain_of_alike_texts_is_one_group():
    words = [f"w{number}" for number in range(60)]
    texts = [" ".join(words[at : at + 40]) for at in (0, 4, 8, 12)]
    assert groups(texts, 0.8) == [0, 0, 0, 0]
    assert groups([texts[0], texts[2]], 0.8) == [0, 1]


def test_texts_without_words_are_compared_too():
    assert groups([], 0.8) == []
    assert groups(["", " ", "a"], 0.8) == [0, 0, 2]
    assert groups(["one text"], 0.8) == [0]
