"""Which keys a query may see: ranges of key slots and causality, from which segments and sliding windows follow."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
from flax import struct


@struct.dataclass
class Mask:
    """Query ``t`` of row ``b`` sees the keys of ``start[b, t] <= k < end[b, t]``, none after its own slot when causal.

    Attributes:
        start: ``[B, S]`` int32, or anything that broadcasts to it.
        end: ``[B, S]`` int32, likewise.
        causal: static.
    """

    start: jax.Array
    end: jax.Array
    causal: bool = struct.field(pytree_node=False, default=True)

    def window(self, size: int) -> Mask:
        """The same mask where a query sees at most ``size`` keys: itself and those just before it."""
        at = jnp.arange(self.start.shape[-1], dtype=jnp.int32)
        return replace(self, start=jnp.maximum(self.start, at - (size - 1)))

    def dense(self, queries: int, keys: int, write_at: jax.Array | int = 0) -> jax.Array:
        """``[B, queries, keys]`` bool (B may be 1); the first query stands in slot ``write_at``."""
        slot = jnp.arange(keys)
        seen = (slot >= self.start[..., None]) & (slot < self.end[..., None])
        if self.causal:
            seen &= slot <= (write_at + jnp.arange(queries))[:, None]
        return seen


def causal_mask(length: int) -> Mask:
    """A query sees itself and what is before it, in rows of ``length`` tokens.

    With right padding no further mask is needed: a real token never has padding before it.
    """
    return Mask(jnp.zeros((1, length), jnp.int32), jnp.full((1, length), length, jnp.int32))


def segment_starts(segment_ids: jax.Array) -> jax.Array:
    """``[B, T]`` int32: where the run of equal ``segment_ids [B, T]`` that each token stands in begins."""
    index = jnp.arange(segment_ids.shape[1], dtype=jnp.int32)
    starts = jnp.pad(segment_ids[:, 1:] != segment_ids[:, :-1], ((0, 0), (1, 0)))
    return jax.lax.cummax(jnp.where(starts, index, 0), axis=1)


def segment_mask(segment_ids: jax.Array) -> Mask:
    """Causal within packed segments, ``[B, T]`` int32 of adjacent equal numbers; padding (0) sees padding."""
    start = segment_starts(segment_ids)
    return Mask(start, jnp.full_like(start, segment_ids.shape[1]))
