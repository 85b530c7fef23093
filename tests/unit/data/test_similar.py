"""Which prompts are alike, against a plain comparison of every pair."""

import os
import random
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from lockgate.data import jaccard, similar
from lockgate.data.similar import groups

ROOT = Path(__file__).parents[3]


def pieces(text):
    words = text.split()
    return {tuple(words[at : at + 3]) for at in range(len(words) - 2)}


@cache
def plain_groups(kind, seed, similarity):
    return plainly(kind(seed), similarity)


def plainly(texts, similarity):
    """Groups by comparing each pair; the texts share no first and no last word."""
    label = list(range(len(texts)))
    sets, sizes = [pieces(text) for text in texts], [len(text.split()) for text in texts]
    for b, second in enumerate(texts):
        for a, first in enumerate(texts[:b]):
            one, two = sets[a], sets[b]
            long = min(sizes[a], sizes[b]) >= 8
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


def framed(seed):
    """Texts of a long template with few values in four places, and free words at both ends."""
    draw = random.Random(seed)
    vocabulary = [f"w{number}" for number in range(200)]
    frame = [draw.choices(vocabulary, k=draw.randint(2, 12)) for _ in range(5)]
    texts = []
    for _ in range(80):
        free = [draw.choices(vocabulary, k=draw.randint(0, 2)) for _ in range(2)]
        words = [*free[0], *frame[0]]
        for number, part in enumerate(frame[1:]):
            words += [f"v{number}{draw.randint(0, 4)}", *part]
        texts.append(" ".join(words + free[1]))
    return ["first one", "another text", *texts]


@pytest.mark.parametrize("similarity", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", [made, framed])
def test_every_alike_pair_is_found_and_no_other(kind, seed, similarity, monkeypatch):
    monkeypatch.setattr(jaccard, "_BATCH", 50)
    texts = kind(seed)
    found = groups(texts, similarity)
    assert found == plain_groups(kind, seed, similarity)
    assert kind is framed or len(set(found)) < len(set(texts))


def together(labels):
    return {(a, b) for b, two in enumerate(labels) for a in range(b) if labels[a] == two}


@pytest.mark.parametrize("similarity", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("kind", [made, framed])
def test_of_very_many_candidates_minhash_finds_nearly_all_and_none_that_is_not_alike(
    kind, similarity, monkeypatch
):
    monkeypatch.setattr(jaccard, "MOST_PAIRS", -1)
    there, found = 0, 0
    for seed in range(4):
        texts = kind(seed)
        exact, drawn = (
            together(plain_groups(kind, seed, similarity)),
            together(groups(texts, similarity)),
        )
        assert drawn <= exact
        there, found = there + len(exact), found + len(drawn)
    assert groups(texts, similarity) == groups(texts, similarity)
    assert there and found >= 0.98 * there


@pytest.mark.parametrize("shared", [14, 18, 38, 62])
def test_minhash_finds_pairs_of_just_the_similarity_with_the_probability_that_it_says(
    shared, monkeypatch
):
    """600 pairs, each alone: `shared` pieces are the same, and two more in each text."""
    monkeypatch.setattr(jaccard, "MOST_PAIRS", -1)
    texts = []
    for pair in range(600):
        words = [f"p{pair}w{number}" for number in range(shared + 2)]
        texts += [" ".join([*words, f"p{pair}e{side}0", f"e{side}1"]) for side in "ab"]
    similarity = shared / (shared + 4)
    labels = groups(texts, similarity)
    found = sum(one == two for one, two in zip(labels[::2], labels[1::2], strict=True))
    assert len(set(labels)) == 1200 - found
    assert found >= 600 * 0.985  # 0.995 is promised
    assert len(set(groups(texts, similarity + 0.01))) == 1200


def test_a_band_is_as_narrow_as_the_similarity_needs():
    sizes = [jaccard.band_size(similarity) for similarity in (0.5, 0.6, 0.7, 0.8, 0.9, 0.99)]
    assert sizes == sorted(sizes) and sizes[0] >= 2
    missed = [(1 - 0.8**size) ** (128 // size) for size in (sizes[3], sizes[3] + 1)]
    assert missed[0] <= 0.005 < missed[1]


def test_a_bucket_that_all_texts_are_in_is_bounded(monkeypatch):
    monkeypatch.setattr(jaccard, "MOST_PAIRS", -1)
    monkeypatch.setattr(jaccard, "_BUCKETED", 100)
    texts = framed(2)
    assert together(groups(texts, 0.8)) <= together(plain_groups(framed, 2, 0.8))


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


def test_in_scripts_without_spaces_characters_are_the_words():
    text = "今天下午三点在市中心的图书馆有一个关于机器学习的讲座欢迎大家参加请提前十分钟到场"
    near, other = (
        text.replace("三", "四"),
        "明天早上我们去山里看日出记得带上热水和外套天气预报说会很冷",
    )
    assert groups([text, near, other], 0.8) == [0, 0, 2]
    assert groups([text, near, other], 0.9) == [0, 1, 2]
    assert similar.words("Zwölf Boxkämpfer\u00a0jagen\nViktor") == [
        "Zwölf",
        "Boxkämpfer",
        "jagen",
        "Viktor",
    ]
    assert similar.words("GPT是 什么?") == ["GPT", "是", "什", "么", "?"]
