"""Attention over the keys of a call, or over a cache that the call extends.

Everything here is a function of its arguments: positions, mask and cache slots belong to the caller, so that one call
serves training (no cache), prefill (many slots at once) and beam decoding (one slot a beam).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax

from pper_jax.models.config import LARGEST, Compute, ModelConfig
from pper_jax.models.layers import dense, local_frequencies, residual, rotary_frequencies, rotate
from pper_jax.models.masks import Mask
from pper_jax.types import BeamLayerCache, BeamMask, LayerCache
from pper_kernels.beam_attention import beam_attention

LEAST_SCORE = -1e30  # of a key that is not seen: finite, so that a query that sees nothing has a softmax
BLOCK = 512  # queries that are held against keys at once
MOST_BLOCKS = 8  # of a row, each compiled; longer rows have larger ones

Seen = Mask | jax.Array  # what a call's queries may see; the array is [B, S, C] bool


class Attention(nn.Module):
    """Grouped-query attention over the keys of this call or over a cache that this call extends.

    Attributes:
        rotary: whether queries and keys are rotated by their positions.
        interleaved: whether the pairs that turn are neighbours.
        head_norm: makes the norm of each head's queries and keys, where a family has one.
    """

    config: ModelConfig
    compute: Compute
    rotary: bool
    interleaved: bool = False
    head_norm: Callable[..., nn.Module] | None = None

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
        if self.head_norm is not None:
            query = self.head_norm(cfg, "query_norm")(query).astype(compute.dtype)
            key = self.head_norm(cfg, "key_norm")(key).astype(compute.dtype)
        if self.rotary:
            query, key = (self._rotated(x, positions, mask) for x in (query, key))
        if cfg.attention_scale is not None:  # what attends scales by head_dim ** -0.5
            query = query * (cfg.attention_scale * cfg.head_dim**0.5)
        if isinstance(cache, BeamLayerCache):
            mixed, cache = _attend_beams(query, key, value, cache, mask, write_at, compute.kernels, cfg.attention_cap)
        else:
            if cache is not None:
                cache = _write(cache, key, value, write_at)
                key, value = cache.key.astype(compute.dtype), cache.value.astype(compute.dtype)
            at = 0 if cache is None else write_at
            whole = compute.placement is not None or compute.attention == "cudnn"
            if not whole and isinstance(at, int) and isinstance(mask, Mask) and mask.causal:
                mixed = attend_in_blocks(query, key, value, mask, cfg.attention_cap, at=at)
            else:
                seen = mask.dense(query.shape[1], key.shape[1], write_at) if isinstance(mask, Mask) else mask
                if compute.placement is not None:
                    query, key, value = compute.placement.attended(cfg.num_kv_heads, query, key, value)
                mixed = attend(query, key, value, seen, compute.attention, cfg.attention_cap)
                if compute.placement is not None:
                    mixed = compute.placement.mixed(mixed)
        bias = cfg.attention_bias if cfg.out_bias is None else cfg.out_bias
        return residual(compute, dense(compute, cfg.hidden_size, "out", bias=bias, axes=2)(mixed)), cache

    def _rotated(self, x: jax.Array, positions: jax.Array, mask: Seen | BeamMask) -> jax.Array:
        cfg = self.config
        freqs: jax.Array | np.ndarray = rotary_frequencies(cfg)
        size = None if isinstance(mask, jax.Array) else mask.size
        if cfg.local_rope_theta is not None and size is not None:
            freqs = jnp.where(jnp.asarray(size) < LARGEST, local_frequencies(cfg), freqs)
        factor = 1.0 if cfg.rope_scaling is None else cfg.rope_scaling.attention_factor
        return rotate(x, positions, freqs, interleaved=self.interleaved, factor=factor)


def attend(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    seen: jax.Array,
    how: str | None = None,
    cap: float | None = None,
) -> jax.Array:
    """Scaled dot-product attention (1706.03762, eq. 1) of grouped queries, softmax in float32.

    Heads go before positions, so that scores are batched products and are written once; they are divided by their sum
    after the product with the values, which is shorter. On CPU this takes half the time of the usual order of axes.
    What is not seen is added to the scores, so that their gradient passes as it is: a choice would be fused into the
    transposition that the keys' gradient needs, and on CPU that loop took as long as all products.

    Args:
        query: ``[B, S, H, D]``.
        key: ``[B, C, G, D]``; query heads ``h`` share key head ``h // (H / G)``.
        value: ``[B, C, G, D]``.
        seen: ``[B or 1, S, C]`` bool; a query that sees nothing gets the mean of all values.
        how: ``"cudnn"`` takes cuDNN's fused attention, on NVIDIA GPUs; it has no soft cap.
        cap: scores ``s`` become ``cap * tanh(s / cap)`` where it is given (Gemma 2, 2408.00118, section 2).

    Returns:
        ``[B, S, H, D]`` in the type of ``query``.
    """
    if how == "cudnn" and cap is None:
        return jax.nn.dot_product_attention(query, key, value, mask=seen[:, None], implementation="cudnn")
    batch, steps, heads, width = query.shape
    groups = key.shape[2]
    query = (query * width**-0.5).reshape(batch, steps, groups, heads // groups, width).transpose(0, 2, 3, 1, 4)
    key, value = key.transpose(0, 2, 1, 3), value.transpose(0, 2, 1, 3)
    scores = jnp.einsum("bghsd,bgcd->bghsc", query, key, preferred_element_type=jnp.float32)
    scores = scores if cap is None else cap * jnp.tanh(scores / cap)
    scores = scores + jnp.where(seen[:, None, None], 0.0, LEAST_SCORE)
    weights = jnp.exp(scores - lax.stop_gradient(scores.max(-1, keepdims=True)))
    mixed = jnp.einsum("bghsc,bgcd->bghsd", weights.astype(value.dtype), value, preferred_element_type=jnp.float32)
    mixed = (mixed / weights.sum(-1, keepdims=True)).astype(query.dtype)
    return mixed.transpose(0, 3, 1, 2, 4).reshape(batch, steps, heads, width)


def attend_in_blocks(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: Mask,
    cap: float | None = None,
    block: int = BLOCK,
    at: int = 0,
) -> jax.Array:
    """:func:`attend` for a causal mask: no query meets blocks of keys all behind it.

    Of ``n`` blocks of queries this leaves ``(n + 1) / 2n`` of the products, and scores of one block at a time.

    Args:
        query, key, value, mask, cap: as :func:`attend` takes them, the mask of ranges.
        block: queries of a block, more where there would be over ``MOST_BLOCKS``.
        at: the slot of the first query; keys before it are seen by all queries whose mask does not say otherwise.
    """
    steps = query.shape[1]
    block = max(block, -(-steps // MOST_BLOCKS))
    blocks = []
    for first in range(0, steps, block):
        end = min(first + block, steps)
        seen = mask.block(first, end, at)
        blocks.append(attend(query[:, first:end], key[:, : at + end], value[:, : at + end], seen, cap=cap))
    return blocks[0] if len(blocks) == 1 else jnp.concatenate(blocks, axis=1)


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
    cap: float | None,
) -> tuple[jax.Array, BeamLayerCache]:
    """One query a beam, all ``[B, K, heads, D]``; this call's keys and values go to the slots from ``at [B]`` on first.

    A window or a soft cap takes the reference: the kernels want a prompt slot that is seen, and have no cap.

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
    kernels = "reference" if mask.size is not None or cap is not None else kernels
    mixed = beam_attention(query, *keys_and_values, mask.prompt, mask.generated, cap=cap, implementation=kernels)
    return mixed, cache


def _write_rows(cache: jax.Array, new: jax.Array, at: jax.Array, axis: int) -> jax.Array:
    """``new`` into ``cache``, each row at its own place ``at [B]`` along ``axis`` of the row."""
    write = partial(lax.dynamic_update_slice_in_dim, axis=axis)
    return jax.vmap(write)(cache, new.astype(cache.dtype), at)
