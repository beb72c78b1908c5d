"""A sum tree on the device: draws leaves in proportion to their priorities in O(log capacity). Knows of no programs.

A perfect K-ary tree in one flat array: the root is node 0 and the children of node ``i`` are ``K*i + 1 .. K*i + K``, so
a leaf's ancestors follow by arithmetic. Every inner node is its children added from left to right. Updates recompute
parents from children (never by adding differences), so no rounding error builds up, and any sequence of updates ends in
the same bits as one :func:`build` from the leaves.

The proportional variant of prioritized replay, Schaul et al. (arXiv 1511.05952), section 3.3 and appendix B.2.1.
"""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax
from jax.experimental import checkify

MAX_PRIORITY = 2.0**100  # 2**27 leaves of it still add up to a finite float32
MIN_PRIORITY = 2.0**-100
_GRID = 2.0**-23  # spacing of the uniform float32 numbers that JAX draws


@struct.dataclass
class SumTree:
    """Priorities of ``capacity`` leaves and their partial sums.

    Attributes:
        nodes: ``[(K**(depth + 1) - 1) / (K - 1)]`` float32, level by level; the leaves beyond ``capacity`` stay 0.
        capacity: number of leaves (static).
        arity: children of a node, ``K`` (static).
    """

    nodes: jax.Array
    capacity: int = struct.field(pytree_node=False)
    arity: int = struct.field(pytree_node=False)

    @property
    def depth(self) -> int:
        """Levels below the root."""
        return _depth(self.capacity, self.arity)

    @property
    def first_leaf(self) -> int:
        """The node that is leaf 0."""
        return _first_node(self.depth, self.arity)

    @property
    def priorities(self) -> jax.Array:
        """The leaves, ``[capacity]`` float32."""
        return self.nodes[..., self.first_leaf : self.first_leaf + self.capacity]


def init(capacity: int, arity: int = 4) -> SumTree:
    """A tree of ``capacity`` leaves, all 0. Raises ValueError for less than 1 leaf or 2 children."""
    if capacity < 1 or arity < 2:
        raise ValueError(f"a sum tree needs capacity >= 1 and arity >= 2, not {capacity} and {arity}")
    nodes = jnp.zeros(_first_node(_depth(capacity, arity) + 1, arity), jnp.float32)
    return SumTree(nodes=nodes, capacity=capacity, arity=arity)


def build(priorities: jax.Array, arity: int = 4) -> SumTree:
    """The tree over ``priorities [capacity]`` (made sound as in :func:`update`), in one pass over all nodes."""
    tree = init(priorities.shape[0], arity)
    levels = [jnp.pad(_sound(priorities), (0, arity**tree.depth - tree.capacity))]
    while levels[-1].size > 1:
        levels.append(_running_sums(levels[-1].reshape(-1, arity))[:, -1])
    return replace(tree, nodes=jnp.concatenate(levels[::-1]))


def update(tree: SumTree, indices: jax.Array, priorities: jax.Array) -> SumTree:
    """Set leaves ``indices [n]`` (int) to ``priorities [n]``; of several values for one leaf the last counts.

    Indices outside ``0 .. capacity - 1``, negative ones too, are ignored. NaN and negative priorities count as 0, those
    above 2**100 (infinity too) as 2**100, those under 2**-100 as 0. Under ``checkify`` NaN, infinite and negative
    priorities are an error instead.
    """
    indices = keep_last(indices, tree.capacity)
    ignored = indices == tree.capacity
    nowhere = tree.nodes.size
    node = tree.first_leaf + indices

    def level(_: int, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        nodes, node = carry
        node = jnp.where(ignored, 0, (node - 1) // tree.arity)
        sums = _running_sums(nodes[_children(node, tree.arity)])[:, -1]
        return nodes.at[jnp.where(ignored, nowhere, node)].set(sums, mode="drop"), node

    leaves = tree.nodes.at[jnp.where(ignored, nowhere, node)].set(_sound(priorities), mode="drop")
    nodes, _ = lax.fori_loop(0, tree.depth, level, (leaves, node))
    return replace(tree, nodes=nodes)


def total(tree: SumTree) -> jax.Array:
    """Sum of all priorities, [] float32."""
    return tree.nodes[0]


def sample(
    tree: SumTree, key: jax.Array, n: int, *, stratified: bool = True, filled: jax.Array | None = None
) -> jax.Array:
    """Draw ``n`` leaves with replacement in proportion to their priorities; ``[n]`` int32.

    ``stratified`` draws one leaf from each of ``n`` equal parts of the total (Schaul et al., appendix B.2.1): expected
    counts stay ``n * probability``, their variance falls, and the indices come sorted. Where all priorities are 0 the
    leaves marked in ``filled [capacity]`` bool are equally likely. A leaf of priority 0 is drawn in no other case; with
    nothing to draw from, the indices are -1.

    One float32 a draw has 2**23 values, too few for a tree of 2**20 leaves: small ones would lie between two values. So
    randomness is refreshed on the way: each level replaces the bits below the grid by fresh ones, chooses a child, and
    hands on what remains, rescaled to [0, 1). The error of a leaf's probability is then about 2**-23 of its parent's
    (and so on upwards) instead of 2**-23 of the total.
    """
    if filled is not None:
        tree = lax.cond(total(tree) > 0, lambda: tree, lambda: build(filled.astype(jnp.float32), tree.arity))
    first, *fresh = jax.random.split(key, tree.depth + 1)
    rest = jax.random.uniform(first, (n,))
    if stratified:
        rest = (jnp.arange(n) + rest) / n
    keys = jnp.stack(fresh) if fresh else key[None]

    def level(depth: int, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        node, rest = carry
        below = _children(node, tree.arity)
        weights = tree.nodes[below]
        ends = _running_sums(weights)
        starts = jnp.pad(ends[:, :-1], ((0, 0), (1, 0)))
        coarse = jnp.floor(rest / _GRID) * _GRID
        fine = jax.random.uniform(keys[depth], (n,)) * _GRID
        # The difference of near numbers is exact, so the fine part goes in last.
        beyond = (coarse * ends[:, -1])[:, None] - starts + (fine * ends[:, -1])[:, None]
        reached = (beyond >= 0) & (weights > 0)
        child = tree.arity - 1 - jnp.argmax(reached[:, ::-1], axis=1)[:, None]
        beyond, weight = (jnp.take_along_axis(x, child, axis=1)[:, 0] for x in (beyond, weights))
        rest = jnp.where(weight > 0, beyond / jnp.where(weight > 0, weight, 1.0), 0.0)
        return jnp.take_along_axis(below, child, axis=1)[:, 0], jnp.clip(rest, 0.0, 1.0 - _GRID)

    start = (jnp.zeros(n, jnp.int32), jnp.clip(rest, 0.0, 1.0 - _GRID))
    node, _ = lax.fori_loop(0, tree.depth, level, start)
    return jnp.where(total(tree) > 0, node - tree.first_leaf, -1)


def keep_last(indices: jax.Array, capacity: int) -> jax.Array:
    """``indices [n]`` with ``capacity`` in place of those out of range and of all but the last of equal ones; int32.

    A scatter with ``mode="drop"`` at the result is well defined (XLA leaves the order of duplicate writes open).
    """
    indices = jnp.asarray(indices)
    indices = jnp.where((indices >= 0) & (indices < capacity), indices, capacity).astype(jnp.int32)
    order = jnp.argsort(indices, stable=True)
    ordered = indices[order]
    last = jnp.concatenate([ordered[1:] != ordered[:-1], jnp.ones(min(1, ordered.size), bool)])
    return jnp.zeros_like(indices).at[order].set(jnp.where(last, ordered, capacity))


def _depth(capacity: int, arity: int) -> int:
    depth = 0
    while arity**depth < capacity:
        depth += 1
    return depth


def _first_node(level: int, arity: int) -> int:
    return (arity**level - 1) // (arity - 1)


def _children(node: jax.Array, arity: int) -> jax.Array:
    return node[:, None] * arity + 1 + jnp.arange(arity, dtype=node.dtype)


def _running_sums(values: jax.Array) -> jax.Array:
    """Sums of ``values [n, K]`` from the left, ``[n, K]``; the order of additions is fixed, so the bits are too."""
    sums = [values[:, 0]]
    for column in range(1, values.shape[1]):
        sums.append(sums[-1] + values[:, column])
    return jnp.stack(sums, axis=1)


def _sound(priorities: jax.Array) -> jax.Array:
    priorities = jnp.asarray(priorities, jnp.float32)
    checkify.debug_check(
        jnp.all(jnp.isfinite(priorities) & (priorities >= 0)), "priorities must be finite and not negative"
    )
    # NaN fails every comparison, so it ends as 0.
    return jnp.where(priorities >= MIN_PRIORITY, jnp.minimum(priorities, MAX_PRIORITY), 0.0)
