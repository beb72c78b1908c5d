import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.stats import t as student
from scipy.stats import ttest_1samp

from pper_jax.evaluation import crossed_bootstrap, crossed_interval, wilson_interval

FIELDS = ("difference", "low", "high", "p", "least_effect")
fifths = st.integers(-5, 5).map(lambda passed: passed / 5)
studies = arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=fifths)
many = settings(max_examples=150, deadline=None, derandomize=True)


def fields(result):
    return [getattr(result, name) for name in FIELDS]


def study(rng, seeds=8, tasks=128, spread=0.03, effect=0.0):
    """Differences of rates of five tests: half of the tasks never change; each seed's run is shifted as a whole."""
    anew = (rng.binomial(5, 0.3, (seeds, tasks)) - rng.binomial(5, 0.3, (seeds, tasks))) / 5
    values = np.where(rng.random(tasks) < 0.5, 0.0, 0.8 * anew)
    return values + np.clip(rng.normal(effect, spread, (seeds, 1)), -0.2, 0.2)


@given(studies)
@many
def test_every_study_has_a_finite_interval_around_its_difference(values):
    result = crossed_interval(values)
    assert np.isfinite(fields(result)).all()
    assert -1 <= result.low <= result.difference <= result.high <= 1
    assert result.low < result.high
    assert 0 <= result.p <= 1
    assert result.least_effect > 0
    assert result.difference == pytest.approx(values.mean(), abs=1e-12)


@given(studies)
@many
def test_swapping_arm_and_reference_mirrors_the_interval(values):
    ours, theirs = crossed_interval(values), crossed_interval(-values)
    assert (theirs.difference, theirs.low, theirs.high) == (-ours.difference, -ours.high, -ours.low)
    assert (theirs.p, theirs.least_effect) == (ours.p, ours.least_effect)


@given(studies, st.floats(-0.5, 0.5))
@many
def test_a_shift_of_all_differences_shifts_the_interval_alone(values, shift):
    ours, theirs = crossed_interval(values / 4), crossed_interval(values / 4 + shift)
    assume(max(np.abs([ours.low, ours.high, theirs.low, theirs.high])) < 1)  # ends are cut there
    moved = (ours.difference + shift, ours.low + shift, ours.high + shift, ours.least_effect)
    assert (theirs.difference, theirs.low, theirs.high, theirs.least_effect) == pytest.approx(moved, abs=1e-9)


@given(studies, st.sampled_from([0.8, 0.9, 0.95, 0.99]))
@many
def test_p_is_small_exactly_where_the_interval_leaves_out_0(values, level):
    result = crossed_interval(values, level=level)
    assume(abs(result.p - (1 - level)) > 1e-9)
    assert (result.p < 1 - level) == (result.low > 0 or result.high < 0)


@given(studies, st.randoms(use_true_random=False))
@many
def test_the_order_of_seeds_and_of_tasks_is_nothing(values, random):
    seeds, tasks = (random.sample(range(size), size) for size in values.shape)
    shuffled = fields(crossed_interval(values[seeds][:, tasks]))
    assert shuffled == pytest.approx(fields(crossed_interval(values)), abs=1e-9)


@pytest.mark.parametrize("shape", [(1, 1), (1, 128), (8, 1), (8, 128)])
def test_equal_arms_differ_by_exactly_0_within_what_the_tasks_did_not_show(shape):
    result = crossed_interval(np.zeros(shape))
    assert (result.difference, result.p) == (0.0, 1.0)
    assert (-result.low, result.high) == pytest.approx((wilson_interval(0, shape[1])[1],) * 2, abs=1e-6)


def test_differences_that_all_agree_are_given_exactly():
    assert crossed_interval(np.full((8, 128), 0.1)).difference == 0.1
    assert crossed_interval(np.full((8, 128), 0.1)).p < 1e-6
    assert crossed_interval(np.full((8, 128), 1.0)).high == 1.0


def test_it_is_the_t_test_on_the_seeds_where_tasks_do_not_differ():
    # seeds' means -0.1, 0.1, 0.3, and every task the same
    values = np.repeat([[-0.1], [0.1], [0.3]], 40, axis=1)
    result, known = crossed_interval(values), ttest_1samp(values[:, 0], 0.0)
    assert result.p == pytest.approx(known.pvalue)
    assert (result.low, result.high) == pytest.approx(tuple(known.confidence_interval()))


@pytest.mark.parametrize("axis", [0, 1])
def test_one_seed_leaves_the_t_test_over_tasks_and_one_task_that_over_seeds(axis):
    values = np.random.default_rng(0).choice([-0.2, 0.0, 0.4], 20)
    result, known = crossed_interval(np.expand_dims(values, axis)), ttest_1samp(values, 0.0)
    assert result.p == pytest.approx(known.pvalue)
    assert (result.low, result.high) == pytest.approx(tuple(known.confidence_interval()))


def test_it_is_the_t_test_over_tasks_where_seeds_repeat_each_other():
    # S identical rows: no noise, no seeds; mean squares 0, S s^2, 0
    values = np.random.default_rng(0).choice([-0.2, 0.0, 0.4], 50)
    result, known = crossed_interval(np.tile(values, (5, 1))), ttest_1samp(values, 0.0)
    assert result.p == pytest.approx(known.pvalue)
    assert (result.low, result.high) == pytest.approx(tuple(known.confidence_interval()))


def test_a_table_worked_by_hand():
    # means of seeds 0.2, 0.5; of tasks 0.25, 0.3, 0.5; of all 0.35. Mean squares: seeds 3 (0.15^2 + 0.15^2) = 0.135,
    # tasks 2 (0.1^2 + 0.05^2 + 0.15^2) / 2 = 0.035, noise 2 (0.1^2 + 0.05^2 + 0.05^2) / 2 = 0.015
    result = crossed_interval(np.array([[0.0, 0.2, 0.4], [0.5, 0.4, 0.6]]))
    variance = 0.135 + 0.035 - 0.015
    freedom = variance**2 / (0.135**2 / 1 + 0.035**2 / 2 + 0.015**2 / 2)
    error = np.sqrt(variance / 6)
    assert result.difference == pytest.approx(0.35)
    assert result.p == pytest.approx(2 * student.sf(0.35 / error, freedom))
    assert result.least_effect == pytest.approx((student.ppf(0.975, freedom) + student.ppf(0.8, freedom)) * error)
    assert result.low == pytest.approx(0.35 - student.ppf(0.975, freedom) * error)
    assert result.high == 1.0  # 1.6 is no difference of pass rates


def test_seeds_that_agree_by_chance_leave_a_quarter_of_the_noise():
    # each seed's and each task's mean is 0; noise's mean square is 4 / ((2 - 1) (2 - 1))
    result = crossed_interval(0.1 * np.array([[1.0, -1.0], [-1.0, 1.0]]))
    assert result.high == pytest.approx(student.ppf(0.975, 1) * np.sqrt(0.25 * 4 * 0.1**2 / 4))


def test_tasks_that_differ_by_less_than_the_noise_leave_the_seeds():
    # means of seeds 0.2, 0, of tasks 0.1, 0.1: mean squares of seeds 0.04, of tasks 0, of noise 0.04
    assert crossed_interval(np.array([[0.3, 0.1], [-0.1, 0.1]])).p == pytest.approx(2 * student.sf(0.1 / 0.1, 1))


def test_degrees_of_freedom_are_at_least_those_of_the_seeds():
    # each seed's mean is 0; mean squares of tasks 0.03, of noise 0.01; Satterthwaite's formula would give 0.84
    noise = np.array([[0.1, -0.1, 0.0], [-0.1, 0.1, 0.0], [0.0, 0.0, 0.0]])
    result = crossed_interval(np.array([0.1, 0.0, -0.1]) + noise)
    assert result.high == pytest.approx(student.ppf(0.975, 2) * np.sqrt(0.02 / 9))


def test_a_task_that_one_seed_lacks_is_left_out_for_all():
    values = study(np.random.default_rng(0))
    lacking = values.copy()
    lacking[3, 5] = lacking[:, 9] = np.nan
    assert crossed_interval(lacking) == crossed_interval(np.delete(values, [5, 9], axis=1))
    assert crossed_bootstrap(lacking, seed=0) == crossed_bootstrap(np.delete(values, [5, 9], axis=1), seed=0)


@pytest.mark.parametrize("values", [np.zeros((8, 0)), np.zeros((0, 8)), np.full((3, 4), np.nan)])
def test_without_tasks_all_figures_are_nan(values):
    assert np.isnan(fields(crossed_interval(values))).all()
    assert np.isnan(crossed_bootstrap(values, seed=0)).all()


@pytest.mark.parametrize("judge", [crossed_interval, lambda values: crossed_bootstrap(values, seed=0)])
def test_what_are_no_differences_of_pass_rates_is_refused(judge):
    with pytest.raises(ValueError, match=r"axes \[seeds, tasks\], not the shape \(8,\)"):
        judge(np.zeros(8))
    with pytest.raises(ValueError, match=r"lie in -1\.\.1; these go from 0 to 40"):
        judge(np.array([[0.0, 40.0]]))


def test_a_planted_effect_is_found():
    result = crossed_interval(study(np.random.default_rng(0), effect=0.1))
    assert 0 < result.low < 0.1 < result.high
    assert result.p < 0.001
    assert result.least_effect < 0.1


def test_many_tasks_do_not_make_up_for_seeds_that_differ():
    rng = np.random.default_rng(0)
    few, more = (crossed_interval(study(rng, 4, tasks, 0.1)).least_effect for tasks in (1000, 16_000))
    assert more > 0.5 * few
    assert crossed_interval(study(rng, 64, 1000, 0.1)).least_effect < 0.25 * few


def test_200_studies_are_covered():
    # 3.3 standard errors of a share of 0.95 in 200; tests/test_crossed_slow.py asks for more
    rng, hits = np.random.default_rng(0), 0
    for _ in range(200):
        result = crossed_interval(study(rng, effect=0.05))
        hits += result.low <= 0.05 <= result.high
    assert 180 <= hits <= 199


def test_the_bootstrap_depends_on_its_seed_alone_and_knows_seeds_and_tasks():
    rng = np.random.default_rng(0)
    values = study(rng)
    assert crossed_bootstrap(values, seed=1) == crossed_bootstrap(values, seed=1) != crossed_bootstrap(values, seed=2)
    # all tasks alike: means of 8 seeds drawn again, in the order of a plain bootstrap's
    alike = np.repeat(rng.normal(0, 0.1, (8, 1)), 30, axis=1)
    plain = np.quantile(rng.choice(alike[:, 0], (20_000, 8)).mean(1), [0.025, 0.975])
    assert crossed_bootstrap(alike, seed=0, resamples=20_000) == pytest.approx(tuple(plain), abs=0.003)
    assert crossed_bootstrap(alike.T, seed=0, resamples=20_000) == pytest.approx(tuple(plain), abs=0.003)
