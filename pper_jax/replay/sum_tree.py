"""A sum tree on the device: draws leaves in proportion to their priorities in O(log capacity). Knows of no programs.

A perfect K-ary tree in one flat array: the root is node 0 and the children of node ``i`` are ``K*i + 1 .. K*i + K``, so
a leaf's ancestors follow by arithmetic; ``K - 1`` unused cells in front align the children of a node to one row of
``K``. Every inner node is its children added from left to right. Updates recompute parents from children (never by
adding differences), so no rounding error builds up, and any sequence of updates ends in the same bits as one
:func:`build` from the leaves.

The proportional variant of prioritized replay, Schaul et al. (arXiv 1511.05952), section 3.3 and appendix B.2.1.
Sums of two words are Knuth's TwoSum (The Art of Computer Programming, volume 2, section 4.2.2).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax
from jax.experimental import checkify

from pper_kernels.sum_tree.reference import descend, two_sum

MAX_PRIORITY = 2.0**100  # 2**27 leaves of it still add up to a finite float32
MIN_PRIORITY = 2.0**-100
MAX_BATCH = 2**24  # positions in a batch of updates, and strata of a draw, are exact in float32
DEFAULT_ARITY = {"cpu": 4, "gpu": 16, "tpu": 128}  # cpu: measured (pper_jax.bench.replay); others: a row a fetch
_DENSE = 4  # levels of at most so many nodes an updated leaf are summed whole: contiguous reads, no scatter

Target = Literal["exact", "dithered"]


@struct.dataclass
class SumTree:
    """Priorities of ``capacity`` leaves and their partial sums.

    Attributes:
        nodes: ``[K - 1 + (K**(depth + 1) - 1) / (K - 1)]`` float32, level by level after ``K - 1`` unused zeros; the
            leaves beyond ``capacity`` stay 0.
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
        """Where in ``nodes`` leaf 0 is."""
        return _place(self.depth, self.arity)

    @property
    def priorities(self) -> jax.Array:
        """The leaves, ``[capacity]`` float32."""
        return self.nodes[..., self.first_leaf : self.first_leaf + self.capacity]


def default_arity() -> int:
    """The number of children that suits the default backend."""
    return DEFAULT_ARITY.get(jax.default_backend(), 16)


def init(capacity: int, arity: int | None = None) -> SumTree:
    """A tree of ``capacity`` leaves, all 0; ``arity`` None takes :func:`default_arity`.

    Raises ValueError for less than 1 leaf, more than 2**27, or less than 2 children.
    """
    arity = default_arity() if arity is None else arity
    if not 1 <= capacity <= 2**27 or arity < 2:
        raise ValueError(f"a sum tree needs 1 <= capacity <= 2**27 and arity >= 2, not {capacity} and {arity}")
    return SumTree(jnp.zeros(_place(_depth(capacity, arity) + 1, arity), jnp.float32), capacity, arity)


def build(priorities: jax.Array, arity: int | None = None) -> SumTree:
    """The tree over ``priorities [capacity]`` (made sound as in :func:`update`), in one pass over all nodes."""
    tree = init(priorities.shape[0], arity)
    leaves = jnp.pad(_sound(priorities), (0, tree.arity**tree.depth - tree.capacity))
    return replace(tree, nodes=jnp.concatenate([jnp.zeros(tree.arity - 1), *levels(leaves, tree.arity)]))


def update(tree: SumTree, indices: jax.Array, priorities: jax.Array, *, debug: bool = False) -> SumTree:
    """Set leaves ``indices [n]`` (int) to ``priorities [n]``; of several values for one leaf the last counts.

    Indices outside ``0 .. capacity - 1``, negative ones too, are ignored. NaN and negative priorities count as 0, those
    above 2**100 (infinity too) as 2**100, those under 2**-100 as 0. With ``debug`` NaN, infinite and negative
    priorities are an error instead, thrown by ``jax.experimental.checkify``, which must wrap the call. Raises
    ValueError for more than 2**24 indices.
    """
    if debug:
        sound = jnp.isfinite(priorities) & (jnp.asarray(priorities) >= 0)
        checkify.check(jnp.all(sound), "priorities must be finite and not negative")
    indices, arity, count = jnp.asarray(indices), tree.arity, jnp.shape(indices)[0]
    if count > MAX_BATCH:
        raise ValueError(f"an update of {count} leaves is more than {MAX_BATCH}; split it")
    if count == 0:
        return tree
    inside = (indices >= 0) & (indices < tree.capacity)
    leaf = jnp.where(inside, indices, 0).astype(jnp.int32)
    place = jnp.where(inside, tree.first_leaf + leaf, tree.nodes.size)
    # Leaves are never negative, so the smallest of -1, -2, ... -n that is written to a leaf names the last of its
    # values; equal indices then write equal values, in whatever order a device does it.
    nodes = tree.nodes.at[place].min(-1.0 - jnp.arange(count, dtype=jnp.float32), mode="drop")
    last = (-1.0 - nodes.at[place].get(mode="clip")).astype(jnp.int32)
    nodes = nodes.at[place].set(_sound(priorities).at[last].get(mode="clip"), mode="drop")
    dense = min(tree.depth, _depth(_DENSE * count, arity))

    def level(_: int, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        nodes, node = carry
        node = (node - 1) // arity  # those ignored recompute the ancestors of leaf 0, which changes nothing
        children = nodes.reshape(-1, arity).at[node + 1].get(mode="promise_in_bounds")
        return nodes.at[node + arity - 1].set(_sum(children), mode="promise_in_bounds"), node

    node = leaf + tree.first_leaf - (arity - 1)
    nodes, _ = lax.fori_loop(0, tree.depth - dense, level, (nodes, node))
    lowest = lax.dynamic_slice(nodes, (_place(dense, arity),), (arity**dense,))
    above = levels(lowest, arity)[:-1]
    if above:
        nodes = nodes.at[arity - 1 : _place(dense, arity)].set(jnp.concatenate(above))
    return replace(tree, nodes=nodes)


def total(tree: SumTree) -> jax.Array:
    """Sum of all priorities, [] float32."""
    return tree.nodes[..., tree.arity - 1]


def sample(
    tree: SumTree,
    key: jax.Array,
    n: int,
    *,
    stratified: bool = True,
    target: Target = "exact",
    filled: jax.Array | None = None,
) -> jax.Array:
    """Draw ``n`` leaves with replacement in proportion to their priorities; ``[n]`` int32.

    ``stratified`` draws one leaf from each of ``n`` equal parts of the total (Schaul et al., appendix B.2.1): expected
    counts stay ``n * probability``, their variance falls, and the indices come sorted. Where all priorities are 0 the
    leaves marked in ``filled [capacity]`` bool are equally likely. A leaf of priority 0 is drawn in no other case; with
    nothing to draw from, the indices are -1. Raises ValueError for an unknown ``target`` or ``n`` above 2**24.

    One float32 a draw has 2**24 values, too few for 2**20 leaves: small ones would lie between two values. ``exact``
    goes down with a sum of two float32 (48 random bits), so that what limits a leaf's probability is the rounding of
    the sums: 2**-24 of a node's sum, at its edges. ``dithered`` is faster: it goes down with one float32 and adds the
    second once, half-way, where the node's sum is small enough to hold it.
    """
    if target not in get_args(Target) or n > MAX_BATCH:
        raise ValueError(f"a draw is exact or dithered and of at most {MAX_BATCH} leaves, not {target!r} and {n}")

    def draw(tree: SumTree) -> jax.Array:
        rows = tree.nodes.reshape(-1, tree.arity)
        down = start(tree, key, n, stratified=stratified, target=target)
        node, high, _ = descend(rows, down, tree.depth, halfway=tree.depth // 2 if target == "dithered" else None)
        return jnp.where(jnp.isnan(high), -1, node + tree.arity - 1 - tree.first_leaf)

    if filled is None:
        return draw(tree)

    def even() -> jax.Array:
        return draw(build(filled.astype(jnp.float32), tree.arity))

    return lax.cond(total(tree) > 0, lambda: draw(tree), even)


def start(
    tree: SumTree, key: jax.Array, n: int, *, stratified: bool, target: Target
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Root, high and low word of ``n`` random targets, each ``[n]``: where a descent begins.

    NaN goes down an empty tree: asking for the total again at the end would keep the old tree alive, and make a scan
    of draws and updates copy it each step. Exact draws take the first of two keys, as earlier versions did, so that a
    run draws what it drew then; dithered ones save that.
    """
    key = jax.random.split(key)[0] if target == "exact" else key
    high, low = targets(total(tree), key, n, stratified=stratified)
    return jnp.zeros(n, jnp.int32), jnp.where(total(tree) > 0, high, jnp.nan), low


def targets(total: jax.Array, key: jax.Array, n: int, *, stratified: bool) -> tuple[jax.Array, jax.Array]:
    """Random points ``[n]`` of ``[0, total)`` as sums of two float32 (high, low); one in each ``n``-th if stratified.

    Every product is of two 12-bit numbers, so it is exact and the bits do not depend on what the compiler fuses; sums
    are rounded only where that is below 2**-24 of a stratum.
    """
    # The data of keys is both words of each block of random bits (jax.random.bits would give one of the two).
    words = jax.random.key_data(jax.random.split(key, n))
    first, second = words[:, 0] ^ words[:, 1], words[:, 1]
    digits = [_digit(first, 20, 2.0**-12), _digit(first, 8, 2.0**-24)]
    digits += [_digit(second, 20, 2.0**-36), _digit(second, 8, 2.0**-48)]
    if stratified:
        stratum, total = jnp.arange(n, dtype=jnp.uint32), total / n
        digits = [_digit(stratum, 0, 1.0), *digits]
        if n > 4096:
            digits = [_digit(stratum, 12, 4096.0), *digits]
    a, b, c, d = digits[:4]
    bits = lax.bitcast_convert_type(total, jnp.uint32) & jnp.uint32(0xFFFFF000)
    coarse = lax.bitcast_convert_type(bits, jnp.float32)
    fine = total - coarse
    high, low = two_sum(a * coarse, a * fine + b * coarse)
    return two_sum(high, low + ((b * fine + c * coarse) + (c * fine + d * coarse)))


def levels(leaves: jax.Array, arity: int) -> list[jax.Array]:
    """The levels of the tree over ``leaves [K**depth]``, the root first."""
    levels = [leaves]
    while levels[-1].size > 1:
        levels.append(_sum(levels[-1].reshape(-1, arity)))
    return levels[::-1]


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


def _place(level: int, arity: int) -> int:
    """Where in the array the first node of ``level`` is."""
    return arity - 1 + (arity**level - 1) // (arity - 1)


def _sum(values: jax.Array) -> jax.Array:
    """Sums of the rows of ``values [n, K]``, added from the left: the order is fixed, so the bits are too."""
    sums = values[:, 0]
    for column in range(1, values.shape[1]):
        sums = sums + values[:, column]
    return sums


def _digit(words: jax.Array, shift: int, scale: float) -> jax.Array:
    """12 bits of ``words`` uint32 from bit ``shift`` on, as a float32 times ``scale``, a power of two."""
    return ((words >> shift) & 0xFFF).astype(jnp.float32) * scale


def _sound(priorities: jax.Array) -> jax.Array:
    priorities = jnp.asarray(priorities, jnp.float32)
    # NaN fails every comparison, so it ends as 0.
    return jnp.where(priorities >= MIN_PRIORITY, jnp.minimum(priorities, MAX_PRIORITY), 0.0)
