"""Layers that the model families share: norms, rotary positions, attention over a cache.

Everything here is a function of its arguments: positions, mask and cache slots belong to the caller, so that one call
serves training (no cache), prefill (many slots at once) and beam decoding (one slot a beam).
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax

from pper_jax.models.config import Compute, ModelConfig
from pper_jax.models.masks import Mask
from pper_jax.types import BeamLayerCache, BeamMask, LayerCache
from pper_kernels.beam_attention import beam_attention


def layer_norm(config: ModelConfig, name: str | None = None) -> nn.Module:
    """LayerNorm (1607.06450) with scale and bias, in float32."""
    return nn.LayerNorm(epsilon=config.norm_eps, dtype=jnp.float32, use_fast_variance=False, name=name)


def rms_norm(config: ModelConfig, name: str | None = None) -> nn.Module:
    """RMSNorm (1910.07467) with scale, in float32."""
    return nn.RMSNorm(epsilon=config.norm_eps, dtype=jnp.float32, name=name)


def rotary_frequencies(config: ModelConfig) -> np.ndarray:
    """Angular frequencies of the rotary embedding (RoFormer, 2104.09864, eq. 15), ``[head_dim / 2]`` float32."""
    freqs = config.rope_theta ** -(np.arange(0, config.head_dim, 2, dtype=np.float64) / config.head_dim)
    scaling = config.rope_scaling
    if scaling is not None and scaling.kind == "linear":
        freqs = freqs / scaling.factor
    elif scaling is not None:
        turns = scaling.original_max_positions * freqs / (2 * np.pi)
        keep = np.clip((turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor), 0, 1)
        freqs = keep * freqs + (1 - keep) * freqs / scaling.factor
    return freqs.astype(np.float32)


def rotate(x: jax.Array, positions: jax.Array, freqs: np.ndarray) -> jax.Array:
    """Apply the rotary embedding (half-split layout) to ``x`` ``[B, S, H, D]`` at ``positions`` ``[B, S]``."""
    angles = positions[..., None, None].astype(jnp.float32) * freqs  # [B, S, 1, D/2]
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    rotated = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return rotated.astype(x.dtype)


class ColumnBlockDense(nn.Module):
    """A dense layer whose kernel is held as arrays of columns ``kernel_i [M, N_i]``."""

    features: tuple[int, ...]
    input_axes: int
    blocks: int
    use_bias: bool
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """``[..., M]`` (the last ``input_axes`` axes) -> ``[..., *features]``."""
        lead = x.shape[: x.ndim - self.input_axes]
        x = x.reshape(*lead, -1).astype(self.dtype)
        init, parts = nn.initializers.lecun_normal(), []
        for i, width in enumerate(block_widths(int(np.prod(self.features)), self.blocks)):
            kernel = self.param(f"kernel_{i}", init, (x.shape[-1], width), jnp.float32)
            parts.append(x @ kernel.astype(self.dtype))
        y = jnp.concatenate(parts, axis=-1).reshape(*lead, *self.features)
        if self.use_bias:
            y = y + self.param("bias", nn.initializers.zeros, self.features, jnp.float32).astype(self.dtype)
        return y


def block_widths(columns: int, blocks: int) -> list[int]:
    """Widths of at most ``blocks`` column blocks, multiples of 16 but for the last."""
    width = -(-columns // (16 * blocks)) * 16
    return [min(width, columns - start) for start in range(0, columns, width)]


class Int8Dense(nn.Module):
    """A dense layer whose kernel is held as int8 ``kernel_int8 [M, N]`` with one ``scale [N]`` a column.

    ``y = (x @ kernel_int8) * scale``: products in ``dtype``, which holds -127..127 exactly, sums in float32, one
    rounding to ``output_dtype`` at the end.
    """

    features: tuple[int, ...]
    input_axes: int
    use_bias: bool
    dtype: Any
    output_dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """``[..., M]`` (the last ``input_axes`` axes) -> ``[..., *features]``."""
        lead, columns = x.shape[: x.ndim - self.input_axes], int(np.prod(self.features))
        x = x.reshape(*lead, -1).astype(self.dtype)
        kernel = self.param("kernel_int8", nn.initializers.zeros, (x.shape[-1], columns), jnp.int8)
        scale = self.param("scale", nn.initializers.ones, (columns,), jnp.float32)
        y = jnp.matmul(x, kernel.astype(self.dtype), preferred_element_type=jnp.float32) * scale
        y = y.reshape(*lead, *self.features).astype(self.output_dtype)
        if self.use_bias:
            y = y + self.param("bias", nn.initializers.zeros, self.features, jnp.float32).astype(self.output_dtype)
        return y


def dense(compute: Compute, features: int | tuple[int, ...], name: str, *, bias: bool, axes: int = 1) -> nn.Module:
    """The layer ``[..., M] -> [..., *features]``; ``axes`` last axes of the input form ``M``."""
    shape = (features,) if isinstance(features, int) else features
    if compute.quantized:
        return Int8Dense(shape, axes, bias, compute.dtype, compute.dtype, name=name)
    if compute.column_blocks > 1:
        return ColumnBlockDense(shape, axes, compute.column_blocks, bias, compute.dtype, name=name)
    axis = tuple(range(-axes, 0))
    return nn.DenseGeneral(features, axis=axis, use_bias=bias, dtype=compute.dtype, name=name)


def residual(compute: Compute, x: jax.Array) -> jax.Array:
    """The residual stream ``x [B, S, M]``, put where ``compute.placement`` wants it; a family's blocks need not ask."""
    return x if compute.placement is None else compute.placement.residual(x)


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
            mixed = jax.nn.dot_product_attention(query, key, value, mask=seen[:, None])
            if compute.placement is not None:
                mixed = compute.placement.mixed(mixed)
        out = dense(compute, cfg.hidden_size, "out", bias=cfg.attention_bias, axes=2)(mixed)
        return residual(compute, out), cache


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
