"""Going down a sum tree on TPUs (Pallas, lowered by Mosaic): the whole tree in fast memory, one launch.

A row of 128 children is one vector register row; where the target lies in it follows from seven rotations.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from pper_kernels.sum_tree.reference import two_sum

LANES = 128
MOST_BYTES = 12 * 2**20  # of the tree, in 16 MiB of fast memory
MOST_TARGETS = 2**15  # three words each in scalar memory


def descend(rows: jax.Array, high: jax.Array, low: jax.Array, *, depth: int, interpret: bool = False) -> jax.Array:
    """See ``api.descend``; ``interpret`` runs it anywhere, slowly."""
    if rows.shape[1] != LANES or rows.size * 4 > MOST_BYTES or high.size > MOST_TARGETS:
        raise ValueError(
            f"implementation 'pallas_tpu' takes rows of {LANES}, {MOST_BYTES} bytes of tree and {MOST_TARGETS} "
            f"targets at most, not {rows.shape[1]}, {rows.size * 4} and {high.size}"
        )
    scalars = pl.BlockSpec(memory_space=pltpu.SMEM)
    return pl.pallas_call(
        partial(_kernel, depth=depth),
        out_shape=jax.ShapeDtypeStruct(high.shape, jnp.int32),
        in_specs=[pl.BlockSpec(memory_space=pltpu.VMEM), scalars, scalars],
        out_specs=scalars,
        interpret=interpret,
        name="sum_tree_descend",
    )(rows, high, low)


def _kernel(rows: Any, highs: Any, lows: Any, nodes: Any, *, depth: int) -> None:
    lane = lax.broadcasted_iota(jnp.int32, (1, LANES), 1)

    def shifted(x: jax.Array, by: int) -> jax.Array:
        return jnp.where(lane >= by, pltpu.roll(x, by, 1), 0.0)

    def level(_: int, place: Any) -> Any:
        node, high, low = place
        weights = rows[pl.ds(node + 1, 1), :]
        sums = weights
        for by in (1, 2, 4, 8, 16, 32, 64):
            sums = sums + shifted(sums, by)
        before = shifted(sums, 1)
        here = (weights > 0) & (((high - before) + low >= 0) | (before <= 0))
        child = jnp.max(jnp.where(here, lane.astype(jnp.float32), 0.0)).astype(jnp.int32)
        high, error = two_sum(high, -jnp.sum(jnp.where(lane == child, before, 0.0)))
        high, low = two_sum(high, low + error)
        return node * LANES + 1 + child, high, low

    def one(target: int, _: None) -> None:
        start = (jnp.int32(0), highs[target], lows[target])
        nodes[target] = lax.fori_loop(0, depth, level, start)[0]

    lax.fori_loop(0, highs.shape[0], one, None)
