"""How exact the draws are, what a spoilt tree recovers from, and what the compiled program does not do."""

import math
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from replay_stand_ins import chi_square_deviates

from pper_jax.bench.replay import chi_square, pper
from pper_jax.replay import sum_tree

update = jax.jit(sum_tree.update)
donating = jax.jit(sum_tree.update, donate_argnums=0)
build = jax.jit(sum_tree.build, static_argnums=1)
sample = jax.jit(sum_tree.sample, static_argnames=("n", "stratified", "target"))
TARGETS = ("exact", "dithered")


@partial(jax.jit, static_argnames=("n", "steps", "stratified", "target"))
def counts(tree, key, n, steps, stratified=False, target="exact"):
    """How often each leaf comes in ``steps`` batches of ``n`` draws."""

    def step(found, key):
        drawn = sum_tree.sample(tree, key, n, stratified=stratified, target=target)
        return found.at[drawn].add(1), None

    return jax.lax.scan(step, jnp.zeros(tree.capacity, jnp.int32), jax.random.split(key, steps))[0]


class Independent:
    """Independent draws in batches of 2**20, as :func:`pper_jax.bench.replay.chi_square` asks for them."""

    def __init__(self, tree, target):
        self.tree, self.key, self.target = tree, jax.random.key(17), target

    def draw(self):
        self.key, key = jax.random.split(self.key)
        return sample(self.tree, key, n=2**20, stratified=False, target=self.target)


# ---------------------------------------------------------------- exactness


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("power", [1, 4])
def test_chi_square_of_a_hundred_million_draws_from_a_million_leaves(power, target):
    leaves = np.random.default_rng(5).random(2**20, np.float32) ** power
    figure = chi_square(Independent(build(leaves, 4), target), leaves, 1e8)
    print(f"priorities u^{power}, {target}: chi-square per degree of freedom {figure:.4f}")
    assert abs(figure - 1) < 0.01


@pytest.mark.parametrize("target", TARGETS)
def test_twenty_small_sets_of_priorities_and_one_probability_that_is_two_percent_off(target):
    """p-values are even over (0, 1): the test is sound; with one probability 2 % off each of the twenty fails."""
    rng, deviates, spoilt = np.random.default_rng(3), [], []
    for number in range(20):
        leaves = rng.gamma(1.0, size=64).astype(np.float32) + 0.01
        leaves[0] = leaves[1:].sum() / 3  # a probability of one quarter
        found = np.asarray(counts(build(leaves, 4), jax.random.key(number), 2**16, 4, target=target))
        p = leaves / leaves.sum(dtype=np.float64)
        deviates.append(chi_square_deviates(np.array([found[0], found[1:].sum()]), np.array([p[0], 1 - p[0]])))
        wrong = np.array([1.02 * p[0], 1 - 1.02 * p[0]])
        spoilt.append(chi_square_deviates(np.array([found[0], found[1:].sum()]), wrong))
        assert chi_square_deviates(found[1:], p[1:] / p[1:].sum()) < 4
    print(f"{target}: p-values", *(f"{0.5 * math.erfc(x / math.sqrt(2)):.2f}" for x in sorted(deviates)))
    assert max(deviates) < 3.5
    assert min(spoilt) > 3.5


def test_leaves_that_one_float32_cannot_tell_apart_keep_their_share():
    """Every other leaf is 2**-30 of the total: between two values of a single float32."""
    leaves = np.tile(np.array([1, 2.0**-10], np.float32), 2**19)
    for target in TARGETS:
        found = np.asarray(counts(build(leaves, 4), jax.random.key(8), 2**18, 16, target=target))
        small, expected = found[1::2].sum(), found.sum() * 2.0**-10 / (1 + 2.0**-10)
        assert abs(small - expected) < 4 * np.sqrt(expected)
        assert np.unique(np.flatnonzero(found[1::2]) // 2**15).size == 16


@pytest.mark.parametrize("n", [1, 5, 100, 4097, 10_000])
def test_strata_tile_the_total_exactly(n):
    """The i-th draw lies in the i-th n-th, whatever n; with n leaves of equal weight that is leaf i."""
    drawn = np.asarray(sample(build(np.ones(n, np.float32), 4), jax.random.key(n), n=n))
    edge = np.abs(drawn - np.arange(n))
    assert edge.max() <= 1  # a target within rounding of its stratum's end
    assert np.count_nonzero(edge) <= 1


# ---------------------------------------------------------------- capacities and recovery


@pytest.mark.parametrize("capacity", [1, 2, 3, 1_000, 4_097, 1_000_003])
def test_any_capacity(capacity):
    leaves = np.random.default_rng(capacity).random(capacity, np.float32) + 0.5
    tree = build(leaves, 4)
    assert float(sum_tree.total(tree)) == pytest.approx(leaves.sum(dtype=np.float64), rel=1e-6)
    tree = update(tree, jnp.array([capacity - 1, capacity, -1, 0]), jnp.array([3.0, 9.0, 9.0, 2.0]))
    leaves[0], leaves[-1] = 2.0, 3.0  # in this order: of a single leaf the last value counts, which is 2
    leaves[0] = 2.0
    np.testing.assert_array_equal(tree.priorities, leaves)
    np.testing.assert_array_equal(build(leaves, 4).nodes, tree.nodes)
    for target in TARGETS:
        drawn = np.asarray(sample(tree, jax.random.key(0), n=4096, target=target))
        assert ((drawn >= 0) & (drawn < capacity)).all()
        only = sum_tree.init(capacity, 4)
        only = update(only, jnp.array([capacity - 1]), jnp.array([1e-20]))
        assert (np.asarray(sample(only, jax.random.key(0), n=256, target=target)) == capacity - 1).all()


def test_a_spoilt_tree_is_bit_for_bit_the_old_one_once_repaired():
    leaves = np.random.default_rng(2).random(4096, np.float32) + 0.25
    tree, where = build(leaves, 4), jnp.array([7, 1000, 2048, 4095])
    spoilt = update(tree, where, jnp.array([jnp.nan, jnp.inf, -1.0, 1e12]))
    assert spoilt.priorities[where].tolist() == [0, 2.0**100, 0, np.float32(1e12)]
    repaired = update(spoilt, where, leaves[np.asarray(where)])
    np.testing.assert_array_equal(repaired.nodes, tree.nodes)
    found = np.asarray(counts(repaired, jax.random.key(1), 2**16, 2))
    assert (found > 0).all()  # 32 draws a leaf are expected; one is missed with probability 4096 * exp(-16)


def churn(capacity, batch, steps):
    """A tree after ``steps`` batches of updates by random amounts over ten orders of magnitude."""

    @jax.jit
    def run(tree, key):
        def step(tree, key):
            where, what = jax.random.split(key)
            indices = jax.random.randint(where, (batch,), 0, capacity)
            return sum_tree.update(tree, indices, 10.0 ** jax.random.uniform(what, (batch,), minval=-5, maxval=5)), None

        return jax.lax.scan(step, tree, jax.random.split(key, steps))[0]

    return run(sum_tree.init(capacity, 4), jax.random.key(0))


@pytest.mark.parametrize("updates", [10**5, pytest.param(10**7, marks=pytest.mark.slow)])
def test_after_many_updates_the_tree_is_its_rebuild_and_zeroed_leaves_are_never_drawn(updates):
    capacity, batch = 10_000, 1000
    tree = churn(capacity, batch, updates // batch)
    np.testing.assert_array_equal(build(tree.priorities, 4).nodes, tree.nodes)
    exact = np.asarray(tree.priorities, np.float64).sum()
    assert float(sum_tree.total(tree)) == pytest.approx(exact, rel=1e-6)
    zeroed = np.random.default_rng(4).permutation(capacity)[: capacity * 99 // 100]
    tree = update(tree, zeroed, np.zeros(zeroed.size, np.float32))
    for target in TARGETS:
        found = np.asarray(counts(tree, jax.random.key(2), 2**16, 4, target=target))
        assert found[zeroed].sum() == 0


# ---------------------------------------------------------------- a slow model beside it

CAPACITY, MOST = 11, 5
values = st.one_of(st.floats(0, 50, width=32), st.sampled_from([0.0, float("nan"), float("inf"), -2.0, 1e12, 1e-38]))


class TreeAndModel(RuleBasedStateMachine):
    """A ring of slots, written, updated, drawn from, evicted, saved and restored, beside a float64 array."""

    @initialize(arity=st.sampled_from([2, 4, 16]))
    def start(self, arity):
        self.tree, self.model, self.next, self.saved = sum_tree.init(CAPACITY, arity), np.zeros(CAPACITY), 0, None

    def write(self, indices, priorities):
        padded = np.full(MOST, -1, np.int32)  # one shape, so one compilation
        padded[: len(indices)] = indices
        given = np.zeros(MOST, np.float32)
        given[: len(indices)] = priorities
        self.tree = update(self.tree, padded, given)
        for i, value in zip(indices, priorities, strict=True):
            if 0 <= i < CAPACITY:
                value = float(np.float32(value))
                self.model[i] = min(value, 2.0**100) if value >= 2.0**-100 else 0.0

    @rule(new=st.lists(values, min_size=1, max_size=MOST))
    def add_and_wrap_around(self, new):
        self.write([(self.next + i) % CAPACITY for i in range(len(new))], new)
        self.next += len(new)

    @rule(pairs=st.lists(st.tuples(st.integers(-2, CAPACITY + 2), values), max_size=MOST))
    def update_some(self, pairs):
        self.write([i for i, _ in pairs], [value for _, value in pairs])

    @rule(slots=st.lists(st.integers(0, CAPACITY - 1), max_size=MOST))
    def evict(self, slots):
        self.write(slots, [0.0] * len(slots))

    @rule(seed=st.integers(0, 2**31), how=st.sampled_from(TARGETS))
    def draw(self, seed, how):
        drawn = np.asarray(sample(self.tree, jax.random.key(seed), n=32, target=how))
        if not self.model.any():
            assert (drawn == -1).all()
            return
        assert (self.model[drawn] > 0).all()
        # One draw from each of 32 equal parts: a leaf's part of the total is hit as often, give or take its ends.
        share = 32 * self.model / self.model.sum()
        np.testing.assert_array_less(np.abs(np.bincount(drawn, minlength=CAPACITY) - share), 2.01)

    @rule(arity=st.sampled_from([2, 4, 16]))
    def checkpoint(self, arity):
        self.saved = (np.asarray(self.tree.priorities), self.model.copy(), self.next, arity)

    @precondition(lambda self: self.saved is not None)
    @rule()
    def restore_onto_another_arity(self):
        leaves, model, self.next, arity = self.saved
        self.tree, self.model = build(leaves, arity), model.copy()

    def teardown(self):
        np.testing.assert_array_equal(self.tree.priorities, self.model.astype(np.float32))
        np.testing.assert_array_equal(build(self.tree.priorities, self.tree.arity).nodes, self.tree.nodes)
        assert float(sum_tree.total(self.tree)) == pytest.approx(self.model.sum(), rel=1e-6)


TreeAndModel.TestCase.settings = settings(max_examples=30, stateful_step_count=25, deadline=None, derandomize=True)
TestTreeAgainstTheModel = TreeAndModel.TestCase


# ---------------------------------------------------------------- what the compiled program does


def stepping(target, filled=None):
    def step(tree, key):
        drawn = sum_tree.sample(tree, key, 64, target=target, filled=filled)
        return sum_tree.update(tree, drawn, jnp.full(64, 0.5)), drawn

    return step


@pytest.mark.parametrize("filled", [None, np.ones(5000, bool)], ids=["plain", "filled"])
@pytest.mark.parametrize("target", TARGETS)
def test_a_scan_of_draws_and_updates_copies_the_tree_once_not_each_step(target, filled):
    tree = build(np.ones(5000, np.float32), 4)
    scan = jax.jit(lambda tree, key: jax.lax.scan(stepping(target, filled), tree, jax.random.split(key, 7)))
    text = scan.lower(tree, jax.random.key(0)).compile().as_text()
    whole = rf"f32\[({tree.nodes.size}|{tree.nodes.size // 4},4)\]\S* copy\("
    inside = [
        line
        for body in re.split(r"\n}\n", text)
        if "ENTRY" not in body  # the caller's tree is not donated here, so one copy before the loop is right
        for line in body.splitlines()
        if re.search(whole, line)
    ]
    assert inside == []


@pytest.mark.parametrize("target", TARGETS)
def test_same_bytes_with_and_without_jit_under_vmap_and_in_a_scan(target):
    tree = build(np.random.default_rng(6).random(300, np.float32), 4)
    keys, step = jax.random.split(jax.random.key(4), 3), stepping(target)
    loop, drawn = tree, []
    for key in keys:
        loop, indices = step(loop, key)
        drawn.append(np.asarray(indices))
    scanned, in_scan = jax.jit(partial(jax.lax.scan, step))(tree, keys)
    np.testing.assert_array_equal(in_scan, drawn)
    np.testing.assert_array_equal(scanned.nodes, loop.nodes)
    trees, mapped = jax.jit(jax.vmap(step, (None, 0)))(tree, keys)
    for row, key in enumerate(keys):
        one, indices = step(tree, key)
        np.testing.assert_array_equal(mapped[row], indices)
        np.testing.assert_array_equal(trees.nodes[row], one.nodes)


def test_a_donated_tree_is_updated_in_place():
    tree = jax.tree.map(jnp.copy, build(np.ones(1000, np.float32), 4))
    address = tree.nodes.unsafe_buffer_pointer()
    tree = donating(tree, jnp.arange(8), jnp.full(8, 2.0))
    assert tree.nodes.unsafe_buffer_pointer() == address


def test_the_bench_times_and_judges_the_draws_that_it_says():
    leaves = np.arange(1, 65, dtype=np.float32)
    ours = pper(leaves, 64, "exact")
    assert set(np.asarray(ours.draw())) <= set(range(64))
    assert chi_square(Independent(build(leaves, 4), "exact"), leaves, 1e6) == pytest.approx(1, abs=4 * np.sqrt(2 / 63))
    assert chi_square(Independent(build(leaves[::-1].copy(), 4), "exact"), leaves, 1e6) > 100
