"""The sum tree split over the devices of a mesh axis, with the draws of one tree, bit for bit.

The tree is cut below its top levels into subtrees, which the devices share out. An update needs no communication. A
draw takes two collectives, whatever the capacity: the subtrees' sums are gathered (4 bytes each, at most K times as
many as devices), every device goes down the same few top levels for all ``n`` draws, each goes on with those that end
in its own subtrees, and the leaves found are added up (4 bytes a draw).
"""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pper_jax.errors import UserError
from pper_jax.replay import sum_tree
from pper_jax.replay.sum_tree import SumTree, Target
from pper_kernels.sum_tree.reference import descend


@struct.dataclass
class ShardedTree:
    """A sum tree of ``capacity`` leaves as a row of subtrees, sharded over ``mesh``'s axis ``axis``.

    Attributes:
        subtrees: its ``nodes`` are ``[S, nodes]`` float32, a row a subtree.
        capacity: number of leaves (static); subtree ``s`` holds those from ``s * subtrees.capacity`` on.
        mesh: the devices (static).
        axis: name of the mesh axis (static).
    """

    subtrees: SumTree
    capacity: int = struct.field(pytree_node=False)
    mesh: Mesh = struct.field(pytree_node=False)
    axis: str = struct.field(pytree_node=False)

    @property
    def priorities(self) -> jax.Array:
        """The leaves, ``[capacity]`` float32, the same on every device."""

        def whole(subtrees: SumTree) -> jax.Array:  # gathered first: under explicit axes no split one can be reshaped
            return lax.all_gather(subtrees.priorities, self.axis, tiled=True)

        split, out = PartitionSpec(self.axis), PartitionSpec()
        run = jax.shard_map(whole, mesh=self.mesh, in_specs=(split,), out_specs=out, check_vma=False)
        return run(self.subtrees).reshape(-1)[: self.capacity]


def build(priorities: jax.Array, mesh: Mesh, *, axis: str = "data", arity: int | None = None) -> ShardedTree:
    """The sharded tree over ``priorities [capacity]``, made sound as in :func:`pper_jax.replay.sum_tree.update`.

    Raises:
        UserError: no level of the tree has a multiple of the axis's devices as nodes.
    """
    capacity, devices = priorities.shape[0], mesh.shape[axis]
    arity = sum_tree.default_arity() if arity is None else arity
    depth = sum_tree.init(capacity, arity).depth
    levels = [level for level in range(depth + 1) if arity**level % devices == 0]
    if not levels:
        raise UserError(
            f"a sum tree of {capacity} leaves and arity {arity} cannot be split over the {devices} devices of mesh "
            f"axis {axis!r}; take a power of two of devices, or more leaves"
        )
    rows = jnp.pad(priorities, (0, arity**depth - capacity)).reshape(arity ** levels[0], -1)
    subtrees = jax.jit(
        jax.vmap(lambda row: sum_tree.build(row, arity)), out_shardings=NamedSharding(mesh, PartitionSpec(axis))
    )(rows)
    return ShardedTree(subtrees, capacity, mesh, axis)


def update(tree: ShardedTree, indices: jax.Array, priorities: jax.Array) -> ShardedTree:
    """As :func:`pper_jax.replay.sum_tree.update`, on every device for its own leaves; no collective."""

    def own(subtrees: SumTree, indices: jax.Array, priorities: jax.Array) -> SumTree:
        count = subtrees.nodes.shape[0]
        first = (lax.axis_index(tree.axis) * count + jnp.arange(count)) * subtrees.capacity
        inside = (indices >= 0) & (indices < tree.capacity)
        local = jnp.where(inside, indices - first[:, None], -1)
        return jax.vmap(sum_tree.update, (0, 0, None))(subtrees, local, priorities)

    split, whole = PartitionSpec(tree.axis), PartitionSpec()
    run = jax.shard_map(own, mesh=tree.mesh, in_specs=(split, whole, whole), out_specs=split, check_vma=False)
    return replace(tree, subtrees=run(tree.subtrees, jnp.asarray(indices), jnp.asarray(priorities)))


def sample(
    tree: ShardedTree, key: jax.Array, n: int, *, stratified: bool = True, target: Target = "exact"
) -> jax.Array:
    """As :func:`pper_jax.replay.sum_tree.sample` from one tree of the same leaves, arity and key: ``[n]`` int32."""
    arity, below = tree.subtrees.arity, tree.subtrees.depth
    subtree_count = tree.subtrees.nodes.shape[0]
    top = sum_tree.init(subtree_count, arity)
    halfway = (top.depth + below) // 2 if target == "dithered" else None

    def draw(subtrees: SumTree, key: jax.Array) -> jax.Array:
        sums = lax.all_gather(sum_tree.total(subtrees), tree.axis, tiled=True)
        tops = replace(top, nodes=jnp.concatenate([jnp.zeros(arity - 1), *sum_tree.levels(sums, arity)]))
        start = sum_tree.start(tops, key, n, stratified=stratified, target=target)
        node, high, low = descend(tops.nodes.reshape(-1, arity), start, top.depth, halfway=halfway)
        subtree = node + arity - 1 - top.first_leaf
        count = subtrees.nodes.shape[0]
        local = subtree - lax.axis_index(tree.axis) * count
        mine = (local >= 0) & (local < count)
        rows = subtrees.nodes.reshape(-1, arity)
        leaf, _, _ = descend(
            rows,
            (jnp.zeros_like(node), high, low),
            below,
            halfway=None if halfway is None else halfway - top.depth,
            offset=jnp.clip(local, 0, count - 1) * (rows.shape[0] // count),
        )
        leaf = leaf + arity - 1 - subtrees.first_leaf + subtree * subtrees.capacity
        found = lax.psum(jnp.where(mine, leaf, 0), tree.axis)
        return jnp.where(jnp.isnan(high), -1, found)

    split, whole = PartitionSpec(tree.axis), PartitionSpec()
    run = jax.shard_map(draw, mesh=tree.mesh, in_specs=(split, whole), out_specs=whole, check_vma=False)
    return run(tree.subtrees, key)
