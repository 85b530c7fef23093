"""Numbers against known values, and honest answers where there is nothing to compute."""

import math

import pytest

from lockgate.statistics import averaged, holm, interval, paired_difference, spread


def test_wilson_of_eight_in_ten():
    low, high, method = interval([1.0] * 8 + [0.0] * 2)
    assert method == "Wilson"
    assert (low, high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))


def test_wilson_where_all_are_right_or_there_is_one():
    low, high, method = interval([1.0] * 10)
    assert (low, high) == (pytest.approx(0.7225, abs=1e-4), 1.0)  # 1 / (1 + z^2 / 10)
    low, high, method = interval([0.0])
    assert (low, high, method) == (0.0, pytest.approx(0.7935, abs=1e-4), "Wilson")


@pytest.mark.parametrize(
    ("scores", "why"),
    [([], "no samples"), ([0.5], "too few"), ([0.5] * 4, "too few"), ([0.2, 0.4, 0.6], "too few")],
)
def test_no_interval_is_invented(scores, why):
    low, high, method = interval(scores)
    assert low is None and high is None
    assert method.startswith("none: ") and why in method


def test_bootstrap_agrees_with_the_normal_interval_and_is_repeatable():
    scores = [index / 199 for index in range(200)]
    low, high, method = interval(scores)
    half = 1.96 * math.sqrt(sum((s - 0.5) ** 2 for s in scores) / 199 / 200)
    assert low == pytest.approx(0.5 - half, abs=0.005)
    assert high == pytest.approx(0.5 + half, abs=0.005)
    assert "bootstrap" in method
    assert interval(scores) == (low, high, method)


def test_mcnemar_counts_discordant_pairs_only():
    # 6 gained, 1 lost, 13 alike: 2 * (1 + 7) / 2^7
    tuned = {i: float(i < 6 or i >= 13) for i in range(20)}
    control = {i: float(i == 6 or i >= 13) for i in range(20)}
    found = paired_difference(tuned, control)
    assert found.test == "exact McNemar"
    assert found.p_value == pytest.approx(0.125)
    assert found.difference == pytest.approx(5 / 20)
    assert found.low is not None and found.high is not None
    assert found.low < 0.25 < found.high


def test_only_shared_samples_are_compared():
    found = paired_difference({1: 1.0, 2: 1.0, 3: 0.0}, {2: 0.0, 3: 0.0, 4: 1.0})
    assert found.n == 2
    assert found.difference == 0.5
    assert found.low is None and "too few" in found.interval_method


def test_nothing_shared():
    found = paired_difference({1: 1.0}, {2: 1.0})
    assert (found.n, found.difference, found.p_value) == (0, None, None)


def test_no_discordant_pair():
    same = {i: float(i % 2) for i in range(10)}
    found = paired_difference(same, same)
    assert (found.difference, found.p_value) == (0.0, 1.0)


def test_permutation_is_exact_for_few_pairs():
    # all 6 differences have one sign: 2 of the 2^6 sign patterns are as extreme
    found = paired_difference({i: 0.1 * i for i in range(6)}, {i: 0.1 * i + 0.3 for i in range(6)})
    assert found.test == "paired permutation"
    assert found.p_value == pytest.approx(2 / 64)
    assert found.difference == pytest.approx(-0.3)


def test_permutation_of_one_pair():
    assert paired_difference({1: 0.4}, {1: 0.3}).p_value == 1.0


def test_holm():
    assert holm([0.01, 0.04, 0.03, 0.005]) == [
        pytest.approx(0.03),
        pytest.approx(0.06),
        pytest.approx(0.06),
        pytest.approx(0.02),
    ]
    assert holm([None, 0.04, None]) == [None, 0.04, None]
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_equal_values_are_bounded_by_what_other_samples_could_be():
    # of n alike in n, the share that is alike is at least 0.025^(1/n)
    low, high, method = interval([0.5] * 9)
    share = 0.025 ** (1 / 9)
    assert low == pytest.approx(0.5 * share)
    assert high == pytest.approx(0.5 * share + 1 - share)
    assert method == "bound for 9 equal scores (Clopper-Pearson)"
    share = 0.025 ** (1 / 20)
    none = paired_difference(dict.fromkeys(range(20), 0.4), dict.fromkeys(range(20), 0.4))
    assert (none.low, none.high) == (pytest.approx(share - 1), pytest.approx(1 - share))
    every = paired_difference(dict.fromkeys(range(20), 1.0), dict.fromkeys(range(20), 0.0))
    assert (every.low, every.high) == (pytest.approx(2 * share - 1), pytest.approx(1))


def test_runs_are_averaged_sample_by_sample():
    runs = [{"a": 1.0, "b": 0.0, "c": 1.0}, {"b": 1.0, "a": 1.0}, {"a": 0.0, "b": 0.0, "d": 1.0}]
    assert averaged(runs) == {"a": pytest.approx(2 / 3), "b": pytest.approx(1 / 3)}
    assert averaged([]) == {}


def test_a_repeated_seed_adds_no_evidence():
    control = {i: float(i % 3 == 0) for i in range(40)}
    tuned = {i: float(i % 5 != 0) for i in range(40)}
    once, thrice = (paired_difference(averaged([tuned] * n), control) for n in (1, 3))
    assert thrice == once
    assert once.n == 40


def test_the_interval_across_seeds_is_that_of_the_samples_means():
    tuned = [{i: float((7 * i + seed) % 10 < 7) for i in range(100)} for seed in range(3)]
    control = {i: float(i % 4 == 0) for i in range(100)}
    found = paired_difference(averaged(tuned), control)
    gains = [sum(run[i] for run in tuned) / 3 - control[i] for i in range(100)]
    mean = sum(gains) / 100
    half = 1.96 * math.sqrt(sum((gain - mean) ** 2 for gain in gains) / 99 / 100)
    assert found.difference == pytest.approx(mean)
    assert found.low == pytest.approx(mean - half, abs=0.01)
    assert found.high == pytest.approx(mean + half, abs=0.01)


def test_spread_over_seeds():
    found = spread([0.2, 0.4, 0.9])
    assert (found.n, found.low, found.high) == (3, 0.2, 0.9)
    assert found.mean == pytest.approx(0.5)
    assert found.deviation == pytest.approx(math.sqrt((0.09 + 0.01 + 0.16) / 2))
    assert spread([0.3]).deviation is None
