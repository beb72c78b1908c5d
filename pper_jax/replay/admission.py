"""Which programs stay, and in which slots, when the buffer keeps no copies, caps tasks or lets the lowest go.

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
        factors = mixed(position + jnp.uint32(seed)) | 1
        return mixed(jnp.sum(words * factors, axis=-1, dtype=jnp.uint32) + length.astype(jnp.uint32))

    return hashed(0x243F6A88), hashed(0x85A308D3)


def mixed(x: jax.Array) -> jax.Array:
    """A bijection of uint32 that spreads each bit over all."""
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = (x ^ (x >> shift)) * jnp.uint32(factor)
    return x ^ (x >> 16)


def copies(
    task: jax.Array, hashes: tuple[jax.Array, jax.Array], present: jax.Array, slots: int
) -> tuple[jax.Array, jax.Array]:
    """Of ``slots`` stored programs followed by ``N`` new ones (each array ``[slots + N]``): those that are the same.

    Returns whether a later one is the same, ``[slots + N]`` bool, and for each newcomer the slot that holds the same
    (``slots``: none), ``[N]`` int32.
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
    return later, held_by[slots:]


def best(task: jax.Array, present: jax.Array, worth: jax.Array, count: int, cap: int) -> jax.Array:
    """Which of the ``present [n]`` stay: of each task the ``cap`` of greatest ``worth`` (0: all), ``count`` in all.

    ``task`` and ``worth`` are ``[n]`` int32; returns ``[n]`` bool. Where worths differ this is what
    storing one program after the other comes to, in whatever order, each time letting go of the least (of the task
    where it is at its cap, else of all): the greedy choice in a laminar matroid.
    """
    if cap:
        present = _first(cap, present, worth, task)
    return _first(count, present, worth, jnp.zeros_like(task))


def _first(count: int, present: jax.Array, worth: jax.Array, group: jax.Array) -> jax.Array:
    """Which of the ``present [n]`` are among the ``count`` of greatest ``worth [n]`` int32 of their ``group [n]``."""
    index = jnp.arange(present.shape[0], dtype=jnp.int32)
    absent, groups, _, order = lax.sort((~present, group, -worth, index), num_keys=4)
    starts = jnp.concatenate([jnp.ones(1, bool), (groups[1:] != groups[:-1]) | (absent[1:] != absent[:-1])])
    number = index - lax.cummax(jnp.where(starts, index, 0))
    return present & jnp.zeros_like(present).at[order].set(number < count)


def places(new: jax.Array, held_by: jax.Array, filled: jax.Array, stays: jax.Array, worth: jax.Array) -> jax.Array:
    """Slot of each newcomer, ``[N]`` int32, ``C`` where it is not stored.

    Those that are ``new [N]`` bool take the slot of what they copy, ``held_by [N]`` int32, or where that is ``C`` first
    the empty slots, then those whose program does not ``stay [C]``, that of least ``worth [C]`` first. There must be as
    many.
    """
    capacity = filled.shape[0]
    taken = stays.at[jnp.where(new, held_by, capacity)].set(True, mode="drop")
    slots = jnp.arange(capacity, dtype=jnp.int32)
    order = lax.sort((taken, filled, jnp.where(filled, worth, 0), slots), num_keys=4)[-1]
    fresh = new & (held_by == capacity)
    number = jnp.cumsum(fresh, dtype=jnp.int32) - 1
    place = order.at[number].get(mode="clip")
    return jnp.where(new, jnp.where(fresh, place, held_by), capacity)
