from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.experimental import checkify
from replay_stand_ins import chi_square_deviates

from pper_jax.replay import sum_tree

CAPACITY = 21  # three levels of four, not a power of the arity
BATCH = 6

update = jax.jit(sum_tree.update)
build = jax.jit(sum_tree.build, static_argnums=1)
sample = jax.jit(sum_tree.sample, static_argnames=("n", "stratified", "target"))

priority = st.one_of(
    st.floats(0, 100, width=32),
    st.sampled_from([0.0, -1.0, float("nan"), float("inf"), -float("inf"), 3e38, 1e-38, 2.0**-100, 2.0**-101]),
)
index = st.one_of(st.integers(0, CAPACITY - 1), st.sampled_from([-1, -CAPACITY, CAPACITY, 10**6, -(2**31), 2**31 - 1]))
batches = st.lists(st.lists(st.tuples(index, priority), min_size=BATCH, max_size=BATCH), max_size=6)


def sound(value: float) -> np.float32:
    value = np.float32(value)
    if not value >= np.float32(2.0**-100):  # NaN too
        return np.float32(0)
    return min(value, np.float32(2.0**100))


def sums(leaves: np.ndarray, arity: int) -> np.ndarray:
    """The nodes by the definition: padded leaves, and each parent its children added from the left in float32."""
    width = 1
    while width < leaves.size:
        width *= arity
    levels = [np.pad(leaves.astype(np.float32), (0, width - leaves.size))]
    while levels[0].size > 1:
        parents = np.zeros(levels[0].size // arity, np.float32)
        for child in range(arity):
            parents = parents + levels[0][child::arity]
        levels.insert(0, parents)
    return np.concatenate(levels)


@given(batches)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_updates_leave_the_leaves_of_a_plain_array_and_the_bits_of_a_fresh_build(batches):
    tree, model = sum_tree.init(CAPACITY), np.zeros(CAPACITY, np.float32)
    for batch in batches:
        where, values = zip(*batch, strict=True)
        tree = update(tree, np.array(where, np.int32), np.array(values, np.float32))
        for i, value in batch:
            if 0 <= i < CAPACITY:
                model[i] = sound(value)
    np.testing.assert_array_equal(tree.priorities, model)
    np.testing.assert_array_equal(tree.nodes[3:], sums(model, 4))
    np.testing.assert_array_equal(build(model, 4).nodes, tree.nodes)
    assert np.isfinite(sum_tree.total(tree))


@pytest.mark.parametrize(("capacity", "arity"), [(1, 4), (9, 2), (16, 16)])
def test_every_shape_of_tree_adds_up(capacity, arity):
    leaves = np.random.default_rng(capacity).random(capacity).astype(np.float32)
    tree = sum_tree.build(leaves, arity)
    np.testing.assert_array_equal(tree.nodes[arity - 1 :], sums(leaves, arity))
    np.testing.assert_array_equal(tree.priorities, leaves)
    by_update = update(sum_tree.init(capacity, arity), jnp.arange(capacity), leaves)
    np.testing.assert_array_equal(by_update.nodes, tree.nodes)
    drawn = sample(tree, jax.random.key(0), n=8, stratified=True)
    assert ((drawn >= 0) & (drawn < capacity)).all()


@pytest.mark.parametrize(("capacity", "arity"), [(0, 4), (8, 1)])
def test_a_tree_without_leaves_or_branches_is_refused(capacity, arity):
    with pytest.raises(ValueError, match=r"1 <= capacity <= 2\*\*27 and arity >= 2"):
        sum_tree.init(capacity, arity)


def test_an_update_of_nothing_changes_nothing():
    tree = build(np.arange(CAPACITY, dtype=np.float32), 4)
    same = update(tree, jnp.zeros(0, jnp.int32), jnp.zeros(0))
    np.testing.assert_array_equal(same.nodes, tree.nodes)


def test_only_the_last_of_equal_indices_is_kept():
    """The CPU writes duplicates in order, other devices need not."""
    kept = sum_tree.keep_last(jnp.array([3, 1, 3, -1, 9, 0, 1]), 7)
    assert kept.tolist() == [7, 7, 3, 7, 7, 0, 1]


def test_rounding_does_not_build_up():
    """Deltas would leave the residue of the huge value; recomputing does not."""
    tree = build(np.ones(CAPACITY, np.float32), 4)
    huge = update(tree, np.full(BATCH, 3, np.int32), np.full(BATCH, 1e30, np.float32))
    back = update(huge, np.full(BATCH, 3, np.int32), np.ones(BATCH, np.float32))
    assert sum_tree.total(back) == CAPACITY
    np.testing.assert_array_equal(back.nodes, tree.nodes)


def test_the_greatest_priorities_still_have_a_finite_sum():
    tree = build(np.full(4096, np.inf, np.float32), 4)
    assert sum_tree.total(tree) == 2.0**112
    assert (sample(tree, jax.random.key(0), n=65_536, stratified=False) >= 0).all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -1.0])
def test_unsound_priorities_are_an_error_in_debug_mode(bad):
    checked = checkify.checkify(partial(sum_tree.update, debug=True))
    error, _ = checked(sum_tree.init(4), jnp.array([1]), jnp.array([bad]))
    with pytest.raises(checkify.JaxRuntimeError, match="finite and not negative"):
        error.throw()
    error, _ = checked(sum_tree.init(4), jnp.array([1]), jnp.array([0.5]))
    error.throw()


# ---------------------------------------------------------------- draws

LEAVES = np.array([5, 0, 1, 2, 0.5, 3, 0, 0, 4, 1, 1, 1, 0.25, 2, 0, 6, 1, 0, 3, 0.75, 2], np.float32)
DRAWS = 50_000


def counted(priorities: np.ndarray, *, stratified: bool, seed: int = 0) -> np.ndarray:
    drawn = sample(build(priorities, 4), jax.random.key(seed), n=DRAWS, stratified=stratified)
    return np.bincount(np.asarray(drawn), minlength=priorities.size)


def test_independent_draws_follow_the_priorities():
    counts, alive = counted(LEAVES, stratified=False), LEAVES > 0
    assert (counts[~alive] == 0).all()
    assert chi_square_deviates(counts[alive], LEAVES[alive] / LEAVES.sum()) < 4


def test_the_chi_square_test_notices_one_wrong_probability():
    wrong = LEAVES.copy()
    wrong[10] *= 1.3  # 1 of 33
    alive = LEAVES > 0
    assert chi_square_deviates(counted(LEAVES, stratified=False)[alive], wrong[alive] / wrong.sum()) > 4


def test_stratified_draws_hit_the_expected_counts_almost_exactly():
    counts = counted(LEAVES, stratified=True)
    # A leaf's interval cuts at most two strata, the others lie wholly inside or outside.
    np.testing.assert_array_less(np.abs(counts - DRAWS * LEAVES / LEAVES.sum()), 2.01)


def test_stratified_draws_come_one_from_each_part():
    drawn = np.asarray(sample(build(np.ones(CAPACITY, np.float32), 4), jax.random.key(5), n=DRAWS, stratified=True))
    part = np.arange(DRAWS) * CAPACITY / DRAWS
    assert ((drawn >= np.floor(part)) & (drawn <= np.floor(part + CAPACITY / DRAWS))).all()


@given(st.lists(st.booleans(), min_size=CAPACITY, max_size=CAPACITY), st.integers(0, 2**31))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_all_zero_priorities_mean_even_draws_over_the_filled_slots_only(filled, seed):
    filled = np.array(filled)
    tree = sum_tree.init(CAPACITY)
    drawn = np.asarray(sample(tree, jax.random.key(seed), n=DRAWS, stratified=True, filled=filled))
    if not filled.any():
        assert (drawn == -1).all()
        return
    counts = np.bincount(drawn, minlength=CAPACITY)
    assert (counts[~filled] == 0).all()
    np.testing.assert_allclose(counts[filled], DRAWS / filled.sum(), atol=2.01)


def test_the_filled_mask_changes_nothing_while_a_priority_is_left():
    tree, key = build(LEAVES, 4), jax.random.key(3)
    plain = sample(tree, key, n=DRAWS, stratified=True)
    np.testing.assert_array_equal(sample(tree, key, n=DRAWS, stratified=True, filled=LEAVES >= 0), plain)


@given(
    st.lists(st.one_of(st.just(0.0), st.floats(2.0**-100, 2.0**100, width=32)), min_size=CAPACITY, max_size=CAPACITY),
    st.integers(0, 2**31),
    st.booleans(),
)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_a_leaf_of_priority_zero_is_never_drawn(leaves, seed, stratified):
    leaves = np.array(leaves, np.float32)
    drawn = np.asarray(sample(build(leaves, 4), jax.random.key(seed), n=64, stratified=stratified))
    if leaves.any():
        assert (leaves[drawn] > 0).all()
    else:
        assert (drawn == -1).all()


@pytest.mark.parametrize("stratified", [True, False])
def test_small_leaves_of_a_large_tree_keep_their_share(stratified):
    """Of 2**20 leaves the odd ones lie between two values of a single float32, which would never draw them."""
    capacity, draws = 2**20, 32_768
    leaves = jnp.tile(jnp.array([63 / 64, 1 / 64]), capacity // 2)  # the values of one float32 lie 1/16 apart
    drawn = np.asarray(sample(build(leaves, 4), jax.random.key(11), n=draws, stratified=stratified))
    odd = np.count_nonzero(drawn % 2)
    assert abs(odd - draws / 64) < 4 * np.sqrt(draws * (1 / 64) * (63 / 64))
    quarters = np.bincount(drawn // (capacity // 4), minlength=4)
    assert chi_square_deviates(quarters, np.full(4, 0.25)) < 4


@pytest.mark.parametrize("target", ["exact", "dithered"])
@pytest.mark.parametrize("bits", [0, 2**32 - 1])
def test_the_ends_of_the_random_numbers_hit_the_outermost_positive_leaves(monkeypatch, bits, target):
    words = jnp.array([[0, bits]], jnp.uint32)
    monkeypatch.setattr(jax.random, "key_data", lambda _: words)
    rng = np.random.default_rng(1)
    leaves = (rng.random((2000, CAPACITY)) * (rng.random((2000, CAPACITY)) < 0.4) + 1e-3 * np.eye(CAPACITY)[7]).astype(
        "f4"
    )
    draw = jax.jit(
        jax.vmap(
            lambda row: sum_tree.sample(sum_tree.build(row), jax.random.key(0), 1, stratified=False, target=target)[0]
        )
    )
    drawn = np.asarray(draw(leaves))
    assert (leaves[np.arange(2000), drawn] > 0).all()
    outermost = (leaves > 0).argmax(1) if bits == 0 else CAPACITY - 1 - (leaves[:, ::-1] > 0).argmax(1)
    np.testing.assert_array_equal(drawn, outermost)


def test_every_leaf_is_reachable():
    leaves = np.ones(4096, np.float32)
    drawn = sample(build(leaves, 4), jax.random.key(2), n=65_536, stratified=False)
    assert np.unique(drawn).size == leaves.size  # misses one with probability 4096 * exp(-16)


def test_equal_keys_give_equal_draws_with_and_without_jit_and_under_vmap():
    tree, keys = build(LEAVES, 4), jax.random.split(jax.random.key(9), 3)
    draw = partial(sum_tree.sample, n=32, stratified=True, filled=LEAVES >= 0)
    one_by_one = [sample(tree, key, n=32, stratified=True, filled=LEAVES >= 0) for key in keys]
    np.testing.assert_array_equal(jax.jit(jax.vmap(draw, (None, 0)))(tree, keys), one_by_one)
    np.testing.assert_array_equal(sample(tree, keys[0], n=32, stratified=True, filled=LEAVES >= 0), one_by_one[0])
    np.testing.assert_array_equal(draw(tree, keys[0]), one_by_one[0])
    assert not np.array_equal(one_by_one[0], one_by_one[1])
