from collections import deque
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replay_stand_ins import WIDTH, chi_square_deviates, empty, items, simulated

from pper_jax import replay
from pper_jax.replay.diagnostics import alpha_correlation

CONFIG = replay.ReplayConfig(capacity=7)
UNIFORM = replace(CONFIG, scheme="uniform")
update = jax.jit(replay.update)


def assert_same(left, right):
    jax.tree.map(np.testing.assert_array_equal, left, right)


@pytest.fixture(scope="module")
def half_full():
    """Four programs in seven slots; by P2Value at alpha 0.5 (geomean): program 2, 0, 1, 3."""
    return replay.add(empty(CONFIG), items(4, logprob=[-2, -1, -0.2, -4], pass_rate=[0.75, 0.25, 1.0, 0.0]), CONFIG)


def test_rows_of_another_width_are_refused():
    with pytest.raises(ValueError, match=f"rows of 2 tokens, the buffer of {WIDTH}"):
        replay.add(empty(CONFIG), items(5, tokens=np.zeros((5, 2))), CONFIG)


# ---------------------------------------------------------------- storing


def stored_in_order_of_age(state):
    filled = np.asarray(state.filled)
    order = np.argsort(np.asarray(state.inserted_at)[filled])
    return np.asarray(state.items.program_id)[filled][order].tolist()


batch = st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.5, 1.0, float("nan")])), min_size=5, max_size=5)


@pytest.mark.parametrize("store", ["all", "failed", "solved"])
@given(st.lists(batch, max_size=5))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_the_buffer_keeps_the_newest_programs_that_it_admits(store, batches):
    config = replace(CONFIG, store=store)
    state, model, count = empty(config), deque(maxlen=config.capacity), 0
    for number, rows in enumerate(batches):
        valid, rate = (list(x) for x in zip(*rows, strict=True))
        state = replay.add(state, items(5, first=5 * number, valid=valid, pass_rate=rate), config)
        for row in range(5):
            if valid[row] and (store == "all" or (store == "solved") == (rate[row] == 1.0)):
                model.append(5 * number + row)
                count += 1
    assert stored_in_order_of_age(state) == list(model)
    assert state.filled.tolist() == [slot < len(model) for slot in range(config.capacity)]
    assert int(state.inserted) == count
    np.testing.assert_array_equal(state.items.tokens[:, 0], state.items.program_id)  # rows stay together
    probability = replay.probabilities(state)
    np.testing.assert_array_equal(probability > 0, state.filled)
    assert float(probability.sum()) == pytest.approx(1.0 if model else 0.0, abs=1e-6)


def test_of_more_programs_than_slots_the_last_stay_and_their_counters_start_anew(half_full):
    used, _ = replay.sample(half_full, jax.random.key(0), 64, CONFIG)
    used = update(used, jnp.arange(6), jnp.zeros(6), 9)
    state = replay.add(used, items(10, first=100), CONFIG)
    assert stored_in_order_of_age(state) == list(range(103, 110))
    assert state.inserted_at.tolist() == [7, 8, 9, 10, 11, 12, 13]  # 4 + 10 stored; slot = number modulo 7
    assert state.scored_at.tolist() == [-1] * 7
    assert state.times_drawn.tolist() == [0] * 7


def test_adding_nothing_changes_nothing(half_full):
    assert_same(replay.add(half_full, items(0), CONFIG), half_full)
    assert_same(replay.add(half_full, items(5, valid=[False] * 5), CONFIG), half_full)


# ---------------------------------------------------------------- priorities and draws


def test_ranks_and_probabilities_by_hand(half_full):
    assert half_full.rank.tolist() == [2, 3, 1, 4, 0, 0, 0]
    shares = np.array([2, 3, 1, 4]) ** -0.7
    np.testing.assert_allclose(replay.probabilities(half_full), [*(shares / shares.sum()), 0, 0, 0], rtol=1e-6)
    geomean = np.exp(np.array([-2, -1, -0.2, -4]) / 2)
    expected = 0.5 * geomean + 0.5 * np.array([0.75, 0.25, 1.0, 0.0])
    np.testing.assert_allclose(np.exp(half_full.log_p2value), [*expected, 0, 0, 0], rtol=1e-6)


def test_a_draw_tells_what_was_drawn_and_why(half_full):
    state, draw = replay.sample(half_full, jax.random.key(1), 64, CONFIG)
    slots = np.asarray(draw.indices)
    assert set(slots) == {0, 1, 2, 3}
    np.testing.assert_array_equal(draw.probability, replay.probabilities(half_full)[slots])
    np.testing.assert_array_equal(draw.rank, half_full.rank[slots])
    np.testing.assert_allclose(draw.p2value, np.exp(half_full.log_p2value)[slots], rtol=1e-6)
    np.testing.assert_array_equal(draw.log_possibility, half_full.log_possibility[slots])
    np.testing.assert_array_equal(draw.pass_rate, half_full.items.pass_rate[slots])
    assert (draw.weight == 1).all()
    np.testing.assert_array_equal(state.times_drawn, np.bincount(slots, minlength=7))
    assert_same(replace(state, times_drawn=half_full.times_drawn), half_full)
    assert (draw.times_drawn == 0).all()
    _, again = replay.sample(state, jax.random.key(2), 8, CONFIG)
    np.testing.assert_array_equal(again.times_drawn, state.times_drawn[again.indices])
    rows = replay.gather(state, draw.indices)
    np.testing.assert_array_equal(rows.program_id, slots)
    np.testing.assert_array_equal(rows.tokens, np.tile(slots[:, None], (1, WIDTH)))
    assert rows.valid.all()


def test_draws_follow_the_probabilities(half_full):
    config = replace(CONFIG, stratified=False)
    _, draw = replay.sample(half_full, jax.random.key(2), 20_000, config)
    counts = np.bincount(np.asarray(draw.indices), minlength=7)
    assert counts[4:].tolist() == [0, 0, 0]
    probability = np.asarray(replay.probabilities(half_full), np.float64)[:4]
    assert chi_square_deviates(counts[:4], probability / probability.sum()) < 4
    assert chi_square_deviates(counts[:4], np.full(4, 0.25)) > 4


def test_importance_weights_make_the_mean_over_draws_that_over_the_buffer(half_full):
    config = replace(CONFIG, beta=1.0)
    _, draw = replay.sample(half_full, jax.random.key(3), 4096, config)
    assert float(draw.weight.max()) == 1.0
    rate = np.average(draw.pass_rate, weights=draw.weight)
    assert rate == pytest.approx(0.5, abs=0.01)  # the mean of 0.75, 0.25, 1 and 0; unweighted it is higher
    assert np.mean(draw.pass_rate) > 0.55


def test_an_empty_buffer_draws_rows_that_train_nothing():
    state, draw = replay.sample(empty(CONFIG), jax.random.key(0), 64, CONFIG)
    assert draw.indices.tolist() == [-1] * 64
    assert draw.weight.tolist() == draw.probability.tolist() == draw.p2value.tolist() == [0] * 64
    rows = replay.gather(state, draw.indices)
    assert rows.length.tolist() == [0] * 64
    assert not rows.valid.any()
    assert_same(update(state, draw.indices[:6], jnp.full(6, -1.0), 1), state)
    assert state.times_drawn.tolist() == [0] * 7


def test_programs_without_any_p2value_are_drawn_evenly():
    config = replace(CONFIG, alpha=0.0, scheme="proportional")
    state = replay.add(empty(config), items(5), config)
    np.testing.assert_allclose(replay.probabilities(state), [0.2] * 5 + [0] * 2, rtol=1e-6)
    _, draw = replay.sample(state, jax.random.key(0), 5, config)
    assert draw.indices.tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(draw.probability, [0.2] * 5, rtol=1e-6)


def test_of_equal_programs_the_newer_ranks_first():
    state = replay.add(empty(CONFIG), items(5), CONFIG)
    assert state.rank.tolist() == [5, 4, 3, 2, 1, 0, 0]
    state = replay.add(state, items(5, first=5), CONFIG)  # slots 5, 6, then 0, 1, 2
    assert state.rank.tolist() == [3, 2, 1, 7, 6, 5, 4]


# ---------------------------------------------------------------- updates


def test_new_log_probabilities_move_the_ranks_with_the_next_refresh(half_full):
    state = update(half_full, jnp.array([3, 1, 3, -1, 7, 5]), jnp.array([-9.0, -0.5, 0.0, -7, -7, -7]), 12)
    np.testing.assert_allclose(state.items.logprob, [-2, -0.5, -0.2, 0, 0, 0, 0], rtol=1e-6)
    assert state.scored_at.tolist() == [-1, 12, -1, 12, 0, 0, 0]
    assert_same(state.tree, half_full.tree)
    state = replay.refresh(state, CONFIG)
    assert state.rank.tolist() == [2, 3, 1, 4, 0, 0, 0]
    np.testing.assert_allclose(np.exp(state.log_p2value)[3], 0.5, rtol=1e-6)  # P 1, pass rate 0; program 1: 0.5145
    state = replay.refresh(update(state, jnp.array([1, 1, 1, 1, 1, 1]), jnp.full(6, jnp.nan), 13), CONFIG)
    assert state.rank.tolist() == [2, 4, 1, 3, 0, 0, 0]  # a diverged model's NaN counts as impossible


# ---------------------------------------------------------------- transformations


def step(state, key, config):
    state, draw = replay.sample(state, key, 4, config)
    state = replay.update(state, draw.indices, draw.log_possibility - 0.5, 1)
    return replay.refresh(state, config), draw


stepped = jax.jit(step, static_argnames="config")


def test_scan_does_what_a_loop_does_and_keys_decide(half_full):
    keys = jax.random.split(jax.random.key(4), 3)
    scanned, draws = jax.jit(partial(jax.lax.scan, partial(step, config=CONFIG)))(half_full, keys)
    state = half_full
    for index, key in enumerate(keys):
        state, draw = stepped(state, key, CONFIG)
        assert_same(draws.indices[index], draw.indices)
    assert_same(scanned.rank, state.rank)
    assert_same(scanned.times_drawn, state.times_drawn)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6), scanned, state)


def test_vmap_serves_several_buffers_at_once(half_full):
    other = replay.add(half_full, items(5, first=50, pass_rate=[1, 0, 0.5, 0, 1]), CONFIG)
    both = jax.tree.map(lambda *x: jnp.stack(x), half_full, other)
    keys = jax.random.split(jax.random.key(5), 2)
    states, draws = jax.jit(jax.vmap(partial(step, config=CONFIG)))(both, keys)
    for index, state in enumerate((half_full, other)):
        expected, draw = stepped(state, keys[index], CONFIG)
        assert_same(draws.indices[index], draw.indices)
        assert_same(states.rank[index], expected.rank)


def test_a_donated_state_can_be_stepped_again_and_again(half_full):
    donating = jax.jit(step, static_argnames="config", donate_argnums=0)
    for start in (empty(CONFIG), jax.tree.map(jnp.copy, half_full)):
        state, _ = donating(start, jax.random.key(6), config=CONFIG)
        state, draw = donating(state, jax.random.key(7), config=CONFIG)
        assert draw.indices.shape == (4,)
        assert start.tree.nodes.is_deleted()


def test_a_state_saved_and_restored_draws_the_same(half_full):
    restored = jax.device_put(jax.device_get(half_full))
    assert_same(restored, half_full)
    for seed in range(3):
        before, after = (stepped(state, jax.random.key(seed), CONFIG) for state in (half_full, restored))
        assert_same(before, after)


# ---------------------------------------------------------------- description


def filled_with(count=None, config=UNIFORM, **fields):
    count = count or len(next(iter(fields.values())))
    config = replace(config, capacity=count)
    return replay.add(empty(config), items(count, **fields), config), config


def test_an_empty_buffer_can_be_described():
    figures = replay.describe(empty(CONFIG), CONFIG)
    assert figures["size"] == figures["effective_sample_size"] == figures["zero_pass_share"] == 0
    assert sum(figures["p2value_hist"]["counts"]) == sum(figures["pass_rate_hist"]["counts"]) == 0
    assert figures["warnings"] == []


def test_the_description_by_hand(half_full):
    figures = replay.describe(half_full, CONFIG)
    shares = np.array([2, 3, 1, 4]) ** -0.7
    shares /= shares.sum()
    assert figures["size"] == 4
    assert figures["effective_sample_size"] == pytest.approx(1 / np.sum(shares**2) / 4, rel=1e-6)
    assert figures["zero_pass_share"] == pytest.approx(shares[3], rel=1e-6)
    assert figures["pass_rate_hist"]["edges"] == [i / 10 for i in range(11)]
    assert figures["pass_rate_hist"]["counts"] == [1, 0, 1, 0, 0, 0, 0, 1, 0, 1]
    assert len(figures["p2value_hist"]["edges"]) == 21
    counts = np.array(figures["p2value_hist"]["counts"])  # P2Values 0.559, 0.428, 0.952 and 0.068
    assert np.flatnonzero(counts).tolist() == [1, 8, 11, 19]
    assert counts.sum() == 4
    assert figures["warnings"] == []


def test_many_draws_of_programs_that_pass_nothing_are_warned_of():
    state, config = filled_with(pass_rate=[0, 0, 0, 1])
    figures = replay.describe(state, config)
    assert figures["zero_pass_share"] == pytest.approx(0.75)
    assert figures["effective_sample_size"] == pytest.approx(1.0)
    (warning,) = figures["warnings"]
    assert warning.startswith("75 % of the draws go to programs that pass no test")
    state, config = filled_with(pass_rate=[0, 0, 1, 1])
    assert replay.describe(state, config)["warnings"] == []


def test_draws_from_few_programs_are_warned_of():
    s = simulated(400)
    fields = {"logprob": s["logprob"], "length": 1 + s["num_tokens"], "pass_rate": s["pass_rate"]}
    state, config = filled_with(config=replace(CONFIG, omega=2.0), **fields)
    figures = replay.describe(state, config)
    assert figures["effective_sample_size"] < 0.05
    assert [w for w in figures["warnings"] if "effectively" in w and "lower replay.omega" in w]
    state = replay.refresh(state, replace(config, omega=0.7))
    assert replay.describe(state, replace(config, omega=0.7))["warnings"] == []


def test_an_alpha_without_effect_is_warned_of():
    s = simulated(400)
    fields = {"logprob": s["logprob"], "length": 1 + s["num_tokens"], "pass_rate": s["pass_rate"]}
    joint = replace(CONFIG, possibility="joint")
    state, config = filled_with(config=joint, **fields)
    assert alpha_correlation(state) > 0.999
    assert [w for w in replay.describe(state, config)["warnings"] if w.startswith("replay.alpha has no measurable")]
    for other in ({"possibility": "geomean"}, {"scheme": "uniform"}, {"alpha": 1.0}):
        unlike = replace(config, **other)
        warnings = replay.describe(replay.refresh(state, unlike), unlike)["warnings"]
        assert not [w for w in warnings if "alpha has" in w], other
    assert alpha_correlation(replay.refresh(state, replace(config, possibility="geomean"))) < 0.95
    assert np.isnan(alpha_correlation(filled_with(1)[0]))
