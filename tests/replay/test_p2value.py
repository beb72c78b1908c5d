import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replay_stand_ins import effective_sample_size, simulated

from pper_jax.replay import p2value

SIZE = 12
log_p2value = jax.jit(p2value.log_p2value)
ranks = jax.jit(p2value.ranks)
log_possibility = jax.jit(p2value.log_possibility, static_argnames="possibility")
priorities = jax.jit(p2value.priorities, static_argnames=("scheme", "omega", "uniform_mix", "age_decay"))

logs = st.one_of(st.floats(-3000, 0, width=32), st.sampled_from([-math.inf, 0.0, -2000.0, -1e-6]))
rates = st.one_of(st.floats(0, 1, width=32), st.sampled_from([0.0, 1.0]))


def column(values):
    return np.array(values, np.float32)


def full(size: int) -> np.ndarray:
    return np.ones(size, bool)


@given(
    st.lists(st.tuples(logs, rates), min_size=SIZE, max_size=SIZE),
    st.one_of(st.floats(0, 1, width=32), st.sampled_from([0.0, 1.0])),
)
@settings(max_examples=80, deadline=None, derandomize=True)
def test_p2value_is_the_papers_formula(rows, alpha):
    log_p, rate = (column(x) for x in zip(*rows, strict=True))
    found = np.asarray(log_p2value(log_p, rate, alpha))
    assert not np.isnan(found).any()
    expected = alpha * np.exp(log_p.astype(np.float64)) + (1 - alpha) * rate
    np.testing.assert_allclose(np.exp(found.astype(np.float64)), expected, rtol=2e-5, atol=1e-30)


def test_alpha_one_is_the_possibility_and_alpha_zero_the_pass_rate_also_where_they_are_zero():
    log_p, rate = column([-2.0, -math.inf, -2000.0, 0.0]), column([0.25, 0.5, 0.0, 1.0])
    np.testing.assert_array_equal(log_p2value(log_p, rate, 1.0), log_p)
    found = np.asarray(log_p2value(log_p, rate, 0.0))
    np.testing.assert_allclose(found[[0, 1, 3]], np.log([0.25, 0.5, 1.0]), atol=1e-6)
    assert found[2] == -math.inf


def test_nothing_underflows_at_a_log_probability_of_minus_2000():
    log_p, rate = column([-2000.0, -2001.0, -2000.5]), column([0.0, 0.0, 0.0])
    value = log_p2value(log_p, rate, 0.5)
    np.testing.assert_allclose(value, log_p + math.log(0.5), rtol=1e-6)
    assert ranks(value, log_p, jnp.arange(3), full(3)).tolist() == [1, 3, 2]
    drawn = priorities(value, ranks(value, log_p, jnp.arange(3), full(3)), full(3), scheme="proportional", omega=1.0)
    np.testing.assert_allclose(drawn, np.exp([0, -1, -0.5]), rtol=1e-3)


def test_unsound_inputs_count_as_zero_and_as_certain():
    log_p = log_possibility(column([math.nan, 0.5, -math.inf]), np.array([2, 2, 0]), full(3), possibility="joint")
    assert np.asarray(log_p).tolist() == [-math.inf, 0.0, -math.inf]
    rate = np.asarray(jnp.exp(log_p2value(column([-math.inf] * 3), column([math.nan, -1.0, 7.0]), 0.5)))
    np.testing.assert_allclose(rate, [0.0, 0.0, 0.5])


# ---------------------------------------------------------------- possibility


def test_joint_is_the_product_geomean_its_root_and_percentile_an_even_spread():
    tokens = [[0.5, 0.25], [0.9, 0.9, 0.9], [0.1]]
    logprob = column([np.log(t).sum() for t in tokens])
    count = np.array([len(t) for t in tokens])
    np.testing.assert_allclose(
        jnp.exp(log_possibility(logprob, count, full(3), possibility="joint")), [0.125, 0.729, 0.1]
    )
    geomean = jnp.exp(log_possibility(logprob, count, full(3), possibility="geomean"))
    np.testing.assert_allclose(geomean, [0.125**0.5, 0.9, 0.1], rtol=1e-6)
    percentile = jnp.exp(log_possibility(logprob, count, full(3), possibility="percentile"))
    np.testing.assert_allclose(percentile, [0.5, 2.5 / 3, 0.5 / 3], rtol=1e-6)


def test_percentile_counts_equal_ones_half_and_unfilled_ones_not_at_all():
    logprob, filled = column([-1, -1, -3, 0, -2]), np.array([True, True, True, False, True])
    found = log_possibility(logprob, np.ones(5, np.int32), filled, possibility="percentile")
    np.testing.assert_allclose(jnp.exp(found), [0.75, 0.75, 0.125, 0.0, 0.375], rtol=1e-6)


def test_no_tokens_do_not_divide_by_zero():
    assert log_possibility(column([0.0]), np.array([0]), full(1), possibility="geomean").tolist() == [0.0]


# ---------------------------------------------------------------- ranks


@given(
    st.lists(
        st.tuples(st.sampled_from([-math.inf, -1.0, -0.5, 0.0]), st.sampled_from([-9.0, -1.0, 0.0]), st.booleans()),
        min_size=SIZE,
        max_size=SIZE,
    ),
    st.permutations(range(SIZE)),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_ranks_order_by_p2value_then_possibility_then_newest_first(rows, ages):
    value, log_p, filled = zip(*rows, strict=True)
    found = ranks(column(value), column(log_p), np.array(ages, np.int32), np.array(filled))
    order = sorted((i for i in range(SIZE) if filled[i]), key=lambda i: (-value[i], -log_p[i], -ages[i]))
    expected = np.zeros(SIZE, int)
    expected[order] = np.arange(1, len(order) + 1)
    assert found.tolist() == expected.tolist()


# ---------------------------------------------------------------- priorities


def test_each_scheme_by_hand():
    value, rank, filled = np.log(column([0.2, 0.8, 0.4, 1.0])), np.array([3, 1, 2, 0]), np.array([1, 1, 1, 0], bool)
    np.testing.assert_allclose(priorities(value, rank, filled, omega=0.5), [3**-0.5, 1, 2**-0.5, 0], rtol=1e-6)
    found = priorities(value, rank, filled, scheme="proportional", omega=2.0)
    np.testing.assert_allclose(found, [1 / 16, 1, 1 / 4, 0], rtol=1e-5)
    assert priorities(value, rank, filled, scheme="uniform").tolist() == [1, 1, 1, 0]
    for scheme in ("rank", "proportional"):
        assert priorities(value, rank, filled, scheme=scheme, omega=0.0).tolist() == [1, 1, 1, 0]


def test_mixing_in_uniform_draws_adds_their_share():
    value, rank, filled = np.log(column([0.2, 0.8, 0.4, 1.0])), np.array([3, 1, 2, 0]), np.array([1, 1, 1, 0], bool)
    found = priorities(value, rank, filled, omega=1.0, uniform_mix=0.25)
    np.testing.assert_allclose(found, [0.75 * s / 11 + 0.25 / 3 for s in (2, 6, 3)] + [0], rtol=1e-6)
    hopeless = column([-math.inf] * 4)
    found = priorities(hopeless, rank, filled, scheme="proportional", omega=1.0, uniform_mix=0.25)
    np.testing.assert_allclose(found, [1 / 3] * 3 + [0], rtol=1e-6)


def test_p2values_of_zero_get_no_share_and_no_nan():
    value, rank = column([-math.inf, -1.0]), np.array([2, 1])
    assert priorities(value, rank, full(2), scheme="proportional", omega=1.0).tolist() == [0.0, 1.0]
    assert priorities(column([-math.inf] * 2), rank, full(2), scheme="proportional").tolist() == [0.0, 0.0]


# ---------------------------------------------------------------- importance weights


def test_importance_weights_undo_the_priorities():
    p = column([0.5, 0.25, 0.125])
    np.testing.assert_allclose(p2value.importance_weights(p, 8, 1.0), [0.25, 0.5, 1.0], rtol=1e-6)
    np.testing.assert_allclose(p2value.importance_weights(p, 8, 0.5), [0.5, 2**-0.5, 1.0], rtol=1e-6)
    assert p2value.importance_weights(p, 8, 0.0).tolist() == [1.0, 1.0, 1.0]
    assert p2value.importance_weights(column([0.0, 0.5]), 8, 1.0).tolist() == [0.0, 1.0]
    assert p2value.importance_weights(column([0.0, 0.0]), 0, 1.0).tolist() == [0.0, 0.0]


# ---------------------------------------------------------------- what is known about the paper's formula


def order(possibility: str, alpha: float) -> np.ndarray:
    s = simulated()
    filled = full(s["logprob"].size)
    log_p = log_possibility(s["logprob"], s["num_tokens"], filled, possibility=possibility)
    return np.asarray(ranks(log_p2value(log_p, s["pass_rate"], alpha), log_p, np.arange(filled.size), filled))


def test_with_the_joint_probability_alpha_changes_nothing_with_the_geomean_it_does():
    assert np.corrcoef(order("joint", 0.2), order("joint", 0.8))[0, 1] > 0.9999
    assert 0.5 < np.corrcoef(order("geomean", 0.2), order("geomean", 0.8))[0, 1] < 0.95
    assert 0.5 < np.corrcoef(order("percentile", 0.2), order("percentile", 0.8))[0, 1] < 0.95


def test_the_joint_probability_measures_length_the_geomean_does_not():
    s = simulated()
    log_length = np.log(s["num_tokens"])
    assert np.corrcoef(s["logprob"], log_length)[0, 1] < -0.6
    geomean = log_possibility(s["logprob"], s["num_tokens"], full(3000), possibility="geomean")
    assert abs(np.corrcoef(geomean, log_length)[0, 1]) < 0.1


@pytest.mark.parametrize(("omega", "share"), [(1.0, 0.015), (0.7, 0.129)])
def test_effective_sample_size_of_rank_sampling(omega, share):
    found = priorities(np.zeros(3000, np.float32), np.arange(1, 3001), full(3000), omega=omega)
    assert effective_sample_size(found) == pytest.approx(share, abs=5e-4)


def test_proportional_sampling_by_the_geomean_is_nearly_uniform():
    s = simulated()
    log_p = log_possibility(s["logprob"], s["num_tokens"], full(3000), possibility="geomean")
    found = priorities(
        log_p2value(log_p, s["pass_rate"], 0.8), np.zeros(3000, int), full(3000), scheme="proportional", omega=1.0
    )
    assert effective_sample_size(found) > 0.9


# ---------------------------------------------------------------- a task's programs, age, and an order that is kept


def test_task_softmax_is_the_share_among_the_filled_programs_of_a_task():
    logprob, task = column([-1.0, -2.0, -500.0, -501.0, -3.0]), np.array([7, 7, 2, 2, 7], np.int32)
    filled = np.array([True, True, True, True, False])
    found = np.exp(log_possibility(logprob, np.ones(5, np.int32), filled, task, possibility="task_softmax"))
    first = 1 / (1 + math.exp(-1))
    np.testing.assert_allclose(found, [first, 1 - first, first, 1 - first, 0], rtol=1e-5)


def test_age_decay_divides_the_priority_by_e_every_so_many_rounds():
    value, rank, rounds = np.zeros(3, np.float32), np.array([1, 1, 0]), np.array([5, 3, 9], np.int32)
    found = priorities(value, rank, np.array([True, True, False]), omega=1.0, rounds=rounds, age_decay=2.0)
    np.testing.assert_allclose(found, [1, math.exp(-1), 0], rtol=1e-6)  # the unfilled slot's round plays no part
    np.testing.assert_array_equal(priorities(value, rank, full(3), omega=1.0, rounds=rounds), [1, 1, 1])


keys = st.tuples(st.sampled_from([-math.inf, -1.0, -0.5, 0.0]), st.sampled_from([-9.0, -1.0, 0.0]))
reranked = jax.jit(p2value.reranked)


@given(
    st.lists(st.tuples(keys, st.booleans()), min_size=SIZE, max_size=SIZE),
    st.permutations(range(SIZE)),
    st.lists(st.tuples(st.integers(-2, SIZE + 2), keys), min_size=4, max_size=4),
)
@settings(max_examples=80, deadline=None, derandomize=True)
def test_keeping_the_order_gives_the_ranks_of_a_sort_from_scratch(rows, ages, changes):
    both, filled = zip(*rows, strict=True)
    value, log_p = (column(x) for x in zip(*both, strict=True))
    ages, filled = np.array(ages, np.int32), np.array(filled)
    before = ranks(value, log_p, ages, filled)
    for slot, (new_value, new_log_p) in changes:
        if 0 <= slot < SIZE:
            value[slot], log_p[slot] = new_value, new_log_p
    changed = np.array([slot for slot, _ in changes], np.int32)
    found = reranked(before, value, log_p, ages, filled, changed)
    np.testing.assert_array_equal(found, ranks(value, log_p, ages, filled))
