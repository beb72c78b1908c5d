from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pper_jax.evaluation import (
    bootstrap_interval,
    compare,
    paired_bootstrap,
    pass_at_k,
    summarise,
    wilson_interval,
)


@given(n=st.integers(1, 8), data=st.data())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_pass_at_k_is_the_share_of_draws_with_a_right_program(n, data):
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    right = [True] * c + [False] * (n - c)
    draws = [any(draw) for draw in combinations(right, k)]
    assert pass_at_k(n, c, k) == pytest.approx(np.mean(draws), abs=1e-12)


def test_pass_at_k_of_many_tasks_and_large_counts():
    np.testing.assert_allclose(pass_at_k(np.array([10, 10]), np.array([0, 10]), 3), [0, 1])
    assert 0 < pass_at_k(10_000, 1, 100) == pytest.approx(0.01)


@pytest.mark.parametrize(("n", "c", "k"), [(3, 1, 4), (3, 4, 1), (3, -1, 1), (3, 1, 0)])
def test_pass_at_k_refuses_what_has_no_meaning(n, c, k):
    with pytest.raises(ValueError, match="pass@"):
        pass_at_k(n, c, k)


def test_wilson_interval_matches_a_published_value():
    # 15 of 148: Newcombe 1998 (Statist. Med. 17), table II: 0.0624 to 0.1605
    low, high = wilson_interval(15, 148)
    assert (round(low, 4), round(high, 4)) == (0.0624, 0.1605)
    assert wilson_interval(0, 0) == (0.0, 1.0)
    assert wilson_interval(0, 20)[0] == 0.0


def test_the_bootstrap_interval_covers_the_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(100):
        low, high = bootstrap_interval(rng.beta(1, 2, 60), seed=seed, resamples=400)
        hits += low <= 1 / 3 <= high
    assert 86 <= hits <= 100


def test_pairing_sees_a_small_gain_that_is_the_same_everywhere():
    before = np.linspace(0, 0.9, 40)
    difference, low, high = paired_bootstrap(before, before + 0.05, seed=0)
    assert difference == pytest.approx(low) == pytest.approx(high) == pytest.approx(0.05)
    with pytest.raises(ValueError, match="one shape"):
        paired_bootstrap(before, before[1:], seed=0)


def test_figures_leave_out_faults_of_the_harness():
    figures = summarise(np.array([1.0, 0.5, np.nan, 0.0]), seed=0)
    assert (figures["tasks"], figures["pass_rate"], figures["accuracy"]) == (3, 0.5, 1 / 3)
    assert figures["pass_rate_low"] <= 0.5 <= figures["pass_rate_high"]
    assert summarise(np.array([np.nan]), seed=0)["pass_rate"] is None
    both = compare(np.array([0.0, 1.0, np.nan]), np.array([1.0, 1.0, 1.0]), seed=0)
    assert both["tasks"] == 2
    assert both["gain"]["pass_rate"]["difference"] == 0.5


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(1).random(30)
    assert bootstrap_interval(values, seed=5) == bootstrap_interval(values, seed=5)


def test_without_tasks_figures_are_unknown_and_keep_their_names():
    empty, one = summarise(np.array([]), seed=0), summarise(np.array([1.0]), seed=0)
    assert empty.keys() == one.keys()
    assert {value for name, value in empty.items() if name != "tasks"} == {None}
    none = compare(np.array([np.nan, 1.0]), np.array([1.0, np.nan]), seed=0)
    assert none["tasks"] == 0
    assert np.isnan(none["before"]["pass_rate"])
    assert all(np.isnan(value) for figure in none["gain"].values() for value in figure.values())


def test_a_lower_level_gives_a_narrower_interval():
    values = np.random.default_rng(2).normal(size=50)
    wide = paired_bootstrap(np.zeros(50), values, seed=3, level=0.99)
    narrow = paired_bootstrap(np.zeros(50), values, seed=3, level=0.5)
    assert wide[0] == narrow[0] == pytest.approx(values.mean())
    assert wide[1] < narrow[1] < values.mean() < narrow[2] < wide[2]
    # for a mean of many values the bootstrap agrees with the normal approximation
    half = 2.576 * values.std() / np.sqrt(50)
    assert wide[2] - wide[1] == pytest.approx(2 * half, rel=0.1)
