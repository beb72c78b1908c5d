from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pper_jax.evaluation import (
    agreeing_interval,
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


@given(n=st.integers(1, 500), value=st.floats(0, 1))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_tasks_that_all_agree_leave_an_interval_with_width(n, value):
    low, high = agreeing_interval(value, n, (0, 1))
    assert 0 <= low <= value <= high <= 1
    assert high - low > 0.5 / n
    assert agreeing_interval(1.0, n, (0, 1)) == pytest.approx(wilson_interval(n, n))
    assert agreeing_interval(0.0, n, (0, 1)) == pytest.approx(wilson_interval(0, n))
    figures = summarise(np.full(n, value), seed=0)
    assert figures["pass_rate_low"] <= figures["pass_rate"] <= figures["pass_rate_high"]
    assert figures["pass_rate_low"] < figures["pass_rate_high"]
    assert figures["accuracy_low"] < figures["accuracy_high"]


def test_three_of_three_is_wilsons_interval():
    figures = summarise(np.ones(3), seed=0)
    for name in ("pass_rate", "accuracy"):
        assert (round(figures[f"{name}_low"], 2), figures[f"{name}_high"]) == (0.44, 1.0)


def test_a_change_that_is_the_same_in_all_tasks_is_no_certainty():
    gain = compare(np.zeros(10), np.zeros(10), seed=0)["gain"]["pass_rate"]
    assert gain["difference"] == 0
    assert gain["low"] == -gain["high"] == pytest.approx(-wilson_interval(0, 10)[1])


def test_accuracy_of_several_programs_a_task_is_their_mean():
    figures = summarise(np.array([0.5, 0.75, np.nan]), seed=0, solved=np.array([0.0, 0.5, np.nan]))
    assert (figures["tasks"], figures["pass_rate"], figures["accuracy"]) == (2, 0.625, 0.25)
    assert figures["accuracy_low"] <= 0.25 <= figures["accuracy_high"]
