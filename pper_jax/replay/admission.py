"""Which slot a new program goes to when the buffer keeps no copies, or lets the lowest go; and caps for each task.

All are sorts over slots and newcomers at once, with nothing that depends on the data in its shape.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax


def token_hash(tokens: jax.Array, length: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Two independent 32-bit hashes of the first ``length [N]`` of ``tokens [N, T]``, each ``[N]`` uint32.

    Multilinear hashing (Carter and Wegman 1979) with fixed odd multipliers, modulo 2**32, mixed at the end.
    """
    position = jnp.arange(tokens.shape[-1], dtype=jnp.uint32)
    words = jnp.where(position < length[:, None], tokens.astype(jnp.uint32) + 1, 0)

    def hashed(seed: int) -> jax.Array:
        factors = _mixed(position + jnp.uint32(seed)) | 1
        return _mixed(jnp.sum(words * factors, axis=-1, dtype=jnp.uint32) + length.astype(jnp.uint32))

    return hashed(0x243F6A88), hashed(0x85A308D3)


def _mixed(x: jax.Array) -> jax.Array:
    """A bijection of uint32 that spreads each bit over all."""
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = (x ^ (x >> shift)) * jnp.uint32(factor)
    return x ^ (x >> 16)


def copies(
    task: jax.Array, hashes: tuple[jax.Array, jax.Array], present: jax.Array, slots: int
) -> tuple[jax.Array, jax.Array]:
    """Of ``slots`` stored programs followed by ``N`` new ones (each array ``[slots + N]``): those that are the same.

    Returns, ``[N]`` each: whether a later newcomer is the same, and the slot that holds the same (``slots``: none).
    """
    size = task.shape[0]
    index = jnp.arange(size, dtype=jnp.int32)
    absent, *keys, order = lax.sort((~present, task, *hashes, index), num_keys=5)
    same = ~absent[1:] & ~absent[:-1]
    for key in keys:
        same &= key[1:] == key[:-1]
    more = jnp.concatenate([same, jnp.zeros(1, bool)])
    first = lax.cummax(jnp.where(jnp.concatenate([jnp.ones(1, bool), ~same]), index, 0))
    holder = jnp.minimum(order[first], slots)
    later = jnp.zeros(size, bool).at[order].set(more)
    held_by = jnp.zeros(size, jnp.int32).at[order].set(holder)
    return later[slots:], held_by[slots:]


def places(new: jax.Array, held_by: jax.Array, filled: jax.Array, value: jax.Array) -> jax.Array:
    """Slot of each newcomer, ``[N]`` int32, ``C`` where it is not stored.

    ``held_by [N]`` int32 is the slot to write over, or ``C``; the others that are ``new [N]`` bool take empty slots
    first, then those of least ``value [C]``. Of more newcomers than slots the last ones stay.
    """
    capacity = filled.shape[0]
    taken = jnp.zeros(capacity, bool).at[jnp.where(new, held_by, capacity)].set(True, mode="drop")
    slots = jnp.arange(capacity, dtype=jnp.int32)
    order = lax.sort((taken, filled, jnp.where(filled, value, 0), slots), num_keys=4)[-1]
    fresh = new & (held_by == capacity)
    number = jnp.cumsum(fresh, dtype=jnp.int32) - 1
    number -= jnp.maximum(jnp.sum(fresh) - (capacity - jnp.sum(taken)), 0)
    place = jnp.where(number >= 0, order.at[number].get(mode="clip"), capacity)
    return jnp.where(new, jnp.where(fresh, place, held_by), capacity)


def within_cap(task: jax.Array, filled: jax.Array, value: jax.Array, cap: int) -> jax.Array:
    """Which filled slots are among the ``cap`` of greatest ``value [C]`` of their ``task [C]``; ``[C]`` bool."""
    slots = jnp.arange(filled.shape[0], dtype=jnp.int32)
    empty, tasks, _, order = lax.sort((~filled, task, -value, slots), num_keys=4)
    starts = jnp.concatenate([jnp.ones(1, bool), (tasks[1:] != tasks[:-1]) | (empty[1:] != empty[:-1])])
    number = slots - lax.cummax(jnp.where(starts, slots, 0))
    return filled & jnp.zeros_like(filled).at[order].set(number < cap)
