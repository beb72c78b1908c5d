"""Which keys a query may see: ranges of key slots and causality, from which segments and sliding windows follow."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
from flax import struct

from pper_jax.types import BeamMask


@struct.dataclass
class Mask:
    """Query ``t`` of row ``b`` sees the keys of ``start[b, t] <= k < end[b, t]``, none after its own slot when causal.

    Attributes:
        start: ``[B or 1, S]`` int32.
        end: ``[B or 1, S]`` int32.
        causal: static.
        size: how many keys a query sees at most, itself included, where a layer has a window (may be traced).
        also: ``[B, S, C]`` bool, what ranges cannot say.
        shared: static, keys in front that are seen besides the range; not where a layer has a window, which counts
            slots.
    """

    start: jax.Array
    end: jax.Array
    causal: bool = struct.field(pytree_node=False, default=True)
    size: jax.Array | int | None = None
    also: jax.Array | None = None
    shared: int = struct.field(pytree_node=False, default=0)

    def window(self, size: jax.Array | int) -> Mask:
        """The same mask where a query sees at most ``size`` keys: itself and those just before it."""
        return replace(self, size=size)

    def dense(self, queries: int, keys: int, write_at: jax.Array | int = 0) -> jax.Array:
        """``[B, queries, keys]`` bool (B may be 1); the first query stands in slot ``write_at``."""
        slot, own = jnp.arange(keys), (write_at + jnp.arange(queries))[:, None]
        seen = (slot >= self.start[..., None]) & (slot < self.end[..., None])
        if self.shared:
            seen |= slot < self.shared
        if self.causal:
            seen &= slot <= own
        if self.size is not None:
            seen &= slot > own - self.size
        return seen if self.also is None else seen & self.also

    def block(self, first: int, end: int, at: int = 0) -> jax.Array:
        """``[B, end - first, at + end]`` bool (B may be 1): queries ``first .. end - 1``, the first of all in slot
        ``at``, and keys before the slot behind them."""
        also = None if self.also is None else self.also[:, first:end, : at + end]
        rows = replace(self, start=self.start[:, first:end], end=self.end[:, first:end], also=also)
        return rows.dense(end - first, at + end, at + first)


def windowed(mask: Mask | BeamMask | jax.Array, size: jax.Array | int) -> Mask | BeamMask:
    """What a layer sees whose queries see ``size`` keys at most, itself included, of what ``mask`` allows.

    Slots count, in which a row's tokens stand side by side; those of beams stand anywhere, so that positions count.
    """
    if isinstance(mask, Mask):
        return mask.window(size)
    if isinstance(mask, BeamMask):
        oldest = (mask.at - size)[:, None]
        prompt = mask.prompt & (jnp.arange(mask.prompt.shape[-1]) > oldest)
        return replace(mask, prompt=prompt, generated=mask.generated & (mask.written > oldest)[:, None], size=size)
    start = jnp.zeros((1, mask.shape[1]), jnp.int32)
    return Mask(start, start + mask.shape[2], causal=False, size=size, also=mask)


def causal_mask(length: int, first: int = 0) -> Mask:
    """A query sees itself and what is before it, in rows of ``length`` tokens; queries stand from slot ``first`` on.

    With right padding no further mask is needed: a real token never has padding before it.
    """
    start = jnp.zeros((1, length - first), jnp.int32)
    return Mask(start, jnp.full_like(start, length))


def segment_starts(segment_ids: jax.Array) -> jax.Array:
    """``[B, T]`` int32: where the run of equal ``segment_ids [B, T]`` that each token stands in begins."""
    index = jnp.arange(segment_ids.shape[1], dtype=jnp.int32)
    starts = jnp.pad(segment_ids[:, 1:] != segment_ids[:, :-1], ((0, 0), (1, 0)))
    return jax.lax.cummax(jnp.where(starts, index, 0), axis=1)


def segment_mask(segment_ids: jax.Array, shared: int = 0) -> Mask:
    """Causal within packed segments, ``[B, T]`` int32 of adjacent equal numbers; padding (0) sees padding.

    The first ``shared`` tokens of a row are seen from all its segments.
    """
    start = segment_starts(segment_ids)
    return Mask(start, jnp.full_like(start, segment_ids.shape[1]), shared=shared)
