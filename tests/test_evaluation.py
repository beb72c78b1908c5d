from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binom, binomtest, chi2

from pper_jax.evaluation import (
    agreeing_interval,
    bootstrap_interval,
    compare,
    holm,
    mcnemar,
    paired_bootstrap,
    pass_at_k,
    proportion_interval,
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


def test_a_bootstrap_of_zeros_and_ones_is_jeffreys_interval():
    low, high = bootstrap_interval(np.repeat([1.0, 0.0], [7, 23]), seed=0)
    assert (low, high) == pytest.approx(beta(7.5, 23.5).ppf([0.025, 0.975]), abs=0.01)  # 10,000 resamples


def test_next_to_0_and_1_wilsons_interval_is_corrected():
    # Brown, Cai and DasGupta 2001: -log(0.95) / n below 1 success of n, and Wilson's again from 3 (4 beyond 50) on
    assert proportion_interval(1, 20) == pytest.approx((-np.log(0.95) / 20, wilson_interval(1, 20)[1]))
    assert proportion_interval(19, 20) == pytest.approx((wilson_interval(19, 20)[0], 1 + np.log(0.95) / 20))
    assert proportion_interval(2, 50)[0] < wilson_interval(2, 50)[0]
    for successes, trials in ((0, 20), (3, 20), (17, 20), (20, 20), (4, 164), (0, 0)):
        assert proportion_interval(successes, trials) == pytest.approx(wilson_interval(successes, trials))
    assert proportion_interval(3, 164)[0] == pytest.approx(chi2.ppf(0.05, 6) / 2 / 164)


@given(n=st.integers(1, 60), data=st.data())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_intervals_hold_the_estimate_and_mirror(n, data):
    """Solved and unsolved are alike: what an interval says of a share it says of its complement."""
    c = data.draw(st.integers(0, n))
    low, high = proportion_interval(c, n)
    assert 0 <= low <= c / n <= high <= 1
    assert (1 - high, 1 - low) == pytest.approx(proportion_interval(n - c, n))
    values = np.array(data.draw(st.lists(st.integers(0, 5), min_size=n, max_size=n))) / 5
    low, high = bootstrap_interval(values, seed=0, resamples=200)
    assert 0 <= low <= values.mean() <= high <= 1
    difference, low, high = paired_bootstrap(values, values[::-1], seed=0, resamples=200)
    assert -1 <= low <= difference <= high <= 1


def test_values_outside_the_bounds_are_refused():
    with pytest.raises(ValueError, match="lie outside the bounds"):
        bootstrap_interval(np.array([0.5, 50.0]), seed=0)


def test_pairing_sees_a_small_gain_that_is_much_the_same_everywhere():
    before = np.linspace(0, 0.9, 40)
    difference, low, high = paired_bootstrap(before, before + np.tile([0.04, 0.06], 20), seed=0)
    assert difference == pytest.approx(0.05)
    assert 0.04 < low < 0.05 < high < 0.06
    with pytest.raises(ValueError, match="one shape"):
        paired_bootstrap(before, before[1:], seed=0)


def test_rounding_makes_no_difference_of_equal_changes():
    before = np.array([0.2, 0.6, 0.4])
    _, low, high = paired_bootstrap(before, before + 0.2, seed=0)
    assert (low, high) == pytest.approx(agreeing_interval(0.2, 3, (-1, 1)))


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
    assert bootstrap_interval(np.full(n, value), seed=0) == (low, high)
    assert agreeing_interval(1.0, n, (0, 1)) == pytest.approx(wilson_interval(n, n))
    assert agreeing_interval(0.0, n, (0, 1)) == pytest.approx(wilson_interval(0, n))
    figures = summarise(np.full(n, value), seed=0)
    assert figures["pass_rate_low"] <= figures["pass_rate"] <= figures["pass_rate_high"]
    assert figures["pass_rate_low"] < figures["pass_rate_high"]
    assert figures["accuracy_low"] < figures["accuracy_high"]


@pytest.mark.parametrize("trials", [5, 8, 11, 20, 30, 50, 51, 164])
def test_how_often_the_interval_of_a_proportion_covers_exactly(trials):
    """Over all shares: 95 to 97 % in the mean and never under 91.5 %, where Wilson's falls to 84 %."""
    shares = np.linspace(0.0005, 0.9995, 1999)[:, None]
    counts = np.arange(trials + 1)
    low, high = np.array([proportion_interval(int(count), trials) for count in counts]).T
    covered = (binom.pmf(counts, trials, shares) * ((low <= shares) & (shares <= high))).sum(1)
    assert 0.95 <= covered.mean() <= 0.97
    assert covered.min() >= 0.915
    assert trials < 50 or np.mean((covered >= 0.93) & (covered <= 0.97)) > 0.92


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


@given(gained=st.integers(0, 40), lost=st.integers(0, 40), same=st.integers(0, 5))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_mcnemars_test_is_the_binomial_one_of_the_tasks_that_changed(gained, lost, same):
    before = np.repeat([0.0, 1.0, 1.0], [gained, lost, same])
    after = np.repeat([1.0, 0.0, 1.0], [gained, lost, same])
    expected = binomtest(gained, gained + lost, 0.5).pvalue if gained + lost else 1.0
    assert mcnemar(before, after) == (gained, lost, pytest.approx(expected))


def test_mcnemars_test_written_out():
    # 8 tasks gained and 1 lost: 2 (C(9, 0) + C(9, 1)) / 2^9
    before, after = np.repeat([0.0, 1.0], [8, 1]), np.repeat([1.0, 0.0], [8, 1])
    assert mcnemar(before, after) == (8, 1, 20 / 512)
    assert mcnemar(after[:0], after[:0]) == (0, 0, 1.0)
    assert compare(before, after, seed=0)["mcnemar"] == {"gained": 8, "lost": 1, "p": 20 / 512}
    assert mcnemar(np.zeros(5000), np.ones(5000))[2] == 0.0  # 2^-4999 is less than a float holds


def test_holms_adjustment_written_out():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.01, 0.2))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_holms_adjustment_decides_as_the_step_down_rule(p_values, level):
    """Holm 1979: smallest first, each against level / (how many are left), until one fails."""
    rejected = set()
    for step, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[index] * (len(p_values) - step) > level:
            break
        rejected.add(index)
    assert {index for index, p in enumerate(holm(p_values)) if p <= level} == rejected


def pass_at_k_written_out(n, c, k):
    """1 - (n - c)/n (n - c - 1)/(n - 1) ...: the probability that k programs drawn without replacement all fail."""
    missed = 1.0
    for drawn in range(k):
        missed *= max(0, n - c - drawn) / (n - drawn)
    return 1 - missed


def verdict_tables():
    """100 tables: for each task of one, how many programs were written and how many pass; and a k."""
    rng = np.random.default_rng(0)
    for _ in range(100):
        k = int(rng.integers(1, 21))
        n = rng.integers(k, 201, rng.integers(1, 165))
        yield n, rng.binomial(n, rng.beta(0.3, 1, len(n))), k


def test_pass_at_k_of_100_tables_is_the_product():
    for n, c, k in verdict_tables():
        expected = [pass_at_k_written_out(*counts, k) for counts in zip(n, c, strict=True)]
        np.testing.assert_allclose(pass_at_k(n, c, k), expected, rtol=0, atol=1e-12)


@pytest.mark.slow
def test_pass_at_k_of_100_tables_is_evalplus():
    theirs = pytest.importorskip("evalplus.eval", reason="evalplus is in the extra bench")
    for n, c, k in verdict_tables():
        np.testing.assert_allclose(pass_at_k(n, c, k), theirs.estimate_pass_at_k(n, c, k), rtol=0, atol=1e-12)
