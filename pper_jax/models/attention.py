"""Attention over the keys of a call, or over a cache that the call extends.

Everything here is a function of its arguments: positions, mask and cache slots belong to the caller, so that one call
serves training (no cache), prefill (many slots at once) and beam decoding (one slot a beam).
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from pper_jax.models.config import Compute, ModelConfig
from pper_jax.models.layers import dense, residual, rotary_frequencies, rotate
from pper_jax.models.masks import Mask
from pper_jax.types import BeamLayerCache, BeamMask, LayerCache
from pper_kernels.beam_attention import beam_attention

LEAST_SCORE = -1e30  # of a key that is not seen: finite, so that a query that sees nothing has a softmax

Seen = Mask | jax.Array  # what a call's queries may see; the array is [B, S, C] bool


class Attention(nn.Module):
    """Grouped-query attention over the keys of this call or over a cache that this call extends."""

    config: ModelConfig
    compute: Compute
    rotary: bool

    @nn.compact
    def __call__(
        self, x: jax.Array, positions: jax.Array, mask: Seen, cache: LayerCache | None, write_at: jax.Array | int
    ) -> tuple[jax.Array, LayerCache | None]:
        """``x [B, S, M]``, ``positions [B, S]``, ``mask`` -> ``([B, S, M], cache)``; see ``CausalLM``."""
        cfg, compute = self.config, self.compute

        def project(name: str, heads: int) -> jax.Array:
            return dense(compute, (heads, cfg.head_dim), name, bias=cfg.attention_bias)(x)

        query = project("query", cfg.num_heads)
        key, value = project("key", cfg.num_kv_heads), project("value", cfg.num_kv_heads)
        if self.rotary:
            freqs = rotary_frequencies(cfg)
            query, key = rotate(query, positions, freqs), rotate(key, positions, freqs)
        if isinstance(cache, BeamLayerCache):
            mixed, cache = _attend_beams(query, key, value, cache, mask, write_at, compute.kernels)
        else:
            if cache is not None:
                cache = _write(cache, key, value, write_at)
                key, value = cache.key.astype(compute.dtype), cache.value.astype(compute.dtype)
            seen = mask.dense(query.shape[1], key.shape[1], write_at) if isinstance(mask, Mask) else mask
            if compute.placement is not None:
                query, key, value = compute.placement.attended(cfg.num_kv_heads, query, key, value)
            mixed = attend(query, key, value, seen, compute.attention)
            if compute.placement is not None:
                mixed = compute.placement.mixed(mixed)
        out = dense(compute, cfg.hidden_size, "out", bias=cfg.attention_bias, axes=2)(mixed)
        return residual(compute, out), cache


def attend(query: jax.Array, key: jax.Array, value: jax.Array, seen: jax.Array, how: str | None = None) -> jax.Array:
    """Scaled dot-product attention (1706.03762, eq. 1) of grouped queries, softmax in float32.

    Heads go before positions, so that scores are batched products and are written once; they are divided by their sum
    after the product with the values, which is shorter. On CPU this takes half the time of the usual order of axes.

    Args:
        query: ``[B, S, H, D]``.
        key: ``[B, C, G, D]``; query heads ``h`` share key head ``h // (H / G)``.
        value: ``[B, C, G, D]``.
        seen: ``[B or 1, S, C]`` bool; a query that sees nothing gets the mean of all values.
        how: ``"cudnn"`` takes cuDNN's fused attention, on NVIDIA GPUs.

    Returns:
        ``[B, S, H, D]`` in the type of ``query``.
    """
    if how == "cudnn":
        return jax.nn.dot_product_attention(query, key, value, mask=seen[:, None], implementation="cudnn")
    batch, steps, heads, width = query.shape
    groups = key.shape[2]
    query = (query * width**-0.5).reshape(batch, steps, groups, heads // groups, width).transpose(0, 2, 3, 1, 4)
    key, value = key.transpose(0, 2, 1, 3), value.transpose(0, 2, 1, 3)
    scores = jnp.einsum("bghsd,bgcd->bghsc", query, key, preferred_element_type=jnp.float32)
    scores = jnp.where(seen[:, None, None], scores, LEAST_SCORE)
    weights = jnp.exp(scores - lax.stop_gradient(scores.max(-1, keepdims=True)))
    mixed = jnp.einsum("bghsc,bgcd->bghsd", weights.astype(value.dtype), value, preferred_element_type=jnp.float32)
    mixed = (mixed / weights.sum(-1, keepdims=True)).astype(query.dtype)
    return mixed.transpose(0, 3, 1, 2, 4).reshape(batch, steps, heads, width)


def _write(cache: LayerCache, key: jax.Array, value: jax.Array, at: jax.Array | int) -> LayerCache:
    """``key`` and ``value [B, S, H, D]`` into slots ``at .. at + S - 1``."""
    return LayerCache(
        key=lax.dynamic_update_slice_in_dim(cache.key, key.astype(cache.key.dtype), at, axis=1),
        value=lax.dynamic_update_slice_in_dim(cache.value, value.astype(cache.value.dtype), at, axis=1),
    )


def _attend_beams(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    cache: BeamLayerCache,
    mask: BeamMask,
    at: jax.Array,
    kernels: str | None,
) -> tuple[jax.Array, BeamLayerCache]:
    """One query a beam, all ``[B, K, heads, D]``; this call's keys and values go to the slots from ``at [B]`` on first.

    NaN or infinite values are stored as finite ones: such a token has no successor, and a masked slot must not spoil
    the sums of the other beams.
    """
    value = jnp.nan_to_num(value, posinf=0.0, neginf=0.0)
    cache = replace(
        cache,
        key=_write_rows(cache.key, key.transpose(0, 2, 3, 1), at, axis=2),
        value=_write_rows(cache.value, value.transpose(0, 2, 1, 3), at, axis=1),
    )
    keys_and_values = cache.prompt_key, cache.prompt_value, cache.key, cache.value
    mixed = beam_attention(query, *keys_and_values, mask.prompt, mask.generated, implementation=kernels)
    return mixed, cache


def _write_rows(cache: jax.Array, new: jax.Array, at: jax.Array, axis: int) -> jax.Array:
    """``new`` into ``cache``, each row at its own place ``at [B]`` along ``axis`` of the row."""
    write = partial(lax.dynamic_update_slice_in_dim, axis=axis)
    return jax.vmap(write)(cache, new.astype(cache.dtype), at)
