"""What the attention kernels share: which blocks of slots anyone sees, and one step of the online softmax."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from pper_kernels.dot import dot

Carry = tuple[jax.Array, jax.Array, jax.Array]


def live_blocks(visible: jax.Array, block: int) -> tuple[jax.Array, jax.Array]:
    """The blocks that hold a visible slot, first, so that a kernel's loop ends before the others.

    Every layer of a model asks this of the same mask, so XLA computes it once a step.

    Args:
        visible: ``[B, S]`` bool, ``S`` positive.
        block: slots a block.

    Returns:
        ``(order [B, ceil(S / block)] int32, count [B] int32)``: the live blocks ascending, then the rest.
    """
    rows, slots = visible.shape
    padded = jnp.pad(visible, ((0, 0), (0, -slots % block)))
    live = padded.reshape(rows, -1, block).any(-1)
    return jnp.argsort(~live, axis=1, stable=True).astype(jnp.int32), live.sum(1, dtype=jnp.int32)


def empty(queries: int, depth: int) -> Carry:
    """The carry before the first block: maximum ``[Q, 1]``, sum of weights ``[Q, 1]``, mixed values ``[Q, D]``."""
    return (
        jnp.full((queries, 1), -jnp.inf, jnp.float32),
        jnp.zeros((queries, 1), jnp.float32),
        jnp.zeros((queries, depth), jnp.float32),
    )


def extend(carry: Carry, query: jax.Array, key: jax.Array, value: jax.Array, visible: jax.Array, scale: float) -> Carry:
    """One block of slots more, by online softmax (1805.02867; in attention: 2205.14135).

    Args:
        carry: see ``empty``.
        query: ``[Q, D]``.
        key: ``[D, S]`` and value ``[S, D]``, in the type of ``query``; the sums are float32.
        value: finite everywhere, also where it is masked.
        visible: ``[Q, S]`` bool.
        scale: times the scores, in float32.
    """
    highest, total, mixed = carry
    score = jnp.where(visible, dot(query, key) * scale, -jnp.inf)
    new = jnp.maximum(highest, score.max(axis=1, keepdims=True))
    base = jnp.where(new == -jnp.inf, 0.0, new)  # nothing seen yet: weights of zero, not NaN
    weight, fade = jnp.exp(score - base), jnp.exp(highest - base)
    return (
        new,
        total * fade + weight.sum(axis=1, keepdims=True),
        mixed * fade + dot(weight.astype(value.dtype), value),
    )
