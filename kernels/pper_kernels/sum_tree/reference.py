"""Going down a sum tree in jnp: the specification, and what runs where no kernel does."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

Place = tuple[jax.Array, jax.Array, jax.Array]  # node, high and low word of the target, each [n]


def descend(
    rows: jax.Array, start: Place, depth: int, *, halfway: int | None = None, offset: jax.Array | int = 0
) -> Place:
    """Go ``depth`` levels down from ``start``; returns the node and what is left of the target.

    ``rows [R, K]`` float32 holds the children of node ``i`` in row ``offset + i + 1``. ``halfway`` is the level at
    which the low word of a dithered target is added; None goes down exactly, with both words.
    """
    arity = rows.shape[-1]
    dithered = halfway is not None

    def level(number: int, place: Place) -> Place:
        node, high, low = place
        weights = rows.at[node + 1 + offset].get(mode="promise_in_bounds")
        child, before, sums = jnp.zeros_like(node), jnp.zeros_like(high), weights[:, 0]
        for k in range(1, arity):
            reached = high >= sums if dithered else (high - sums) + low >= 0
            # An empty first child must be left though the target has not reached beyond it.
            here = (weights[:, k] > 0) & (reached | (sums <= 0))
            child, before = jnp.where(here, k, child), jnp.where(here, sums, before)
            sums = sums + weights[:, k]
        if dithered:
            high = high - before + jnp.where(number == halfway, low, 0.0)
        else:
            high, error = two_sum(high, -before)
            high, low = two_sum(high, low + error)
        return node * arity + 1 + child, high, low

    return lax.fori_loop(0, depth, level, start)


def two_sum(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """``a + b`` rounded, and what the rounding lost (Knuth's TwoSum): together exact."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)
