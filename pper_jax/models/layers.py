"""Layers that the model families share: norms, rotary positions, products with weights."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax

from pper_jax.models.config import Compute, ModelConfig


def layer_norm(config: ModelConfig, name: str | None = None) -> nn.Module:
    """LayerNorm (1607.06450) with scale and bias, in float32."""
    return nn.LayerNorm(epsilon=config.norm_eps, dtype=jnp.float32, use_fast_variance=False, name=name)


def rms_norm(config: ModelConfig, name: str | None = None) -> nn.Module:
    """RMSNorm (1910.07467) with scale, in float32."""
    return nn.RMSNorm(epsilon=config.norm_eps, dtype=jnp.float32, name=name)


class ShiftedRMSNorm(nn.Module):
    """RMSNorm in float32 that multiplies by ``1 + scale`` (Gemma, 2403.08295), so that no scale at all is 0."""

    epsilon: float

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """``[..., N]`` -> the same shape, float32."""
        scale = self.param("scale", nn.initializers.zeros, (x.shape[-1],), jnp.float32)
        x = x.astype(jnp.float32)
        return x * lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + self.epsilon) * (1 + scale)


def shifted_rms_norm(config: ModelConfig, name: str | None = None) -> nn.Module:
    """RMSNorm with ``1 + scale``, in float32."""
    return ShiftedRMSNorm(config.norm_eps, name=name)


def rotary_frequencies(config: ModelConfig) -> np.ndarray:
    """Angular frequencies of the rotary embedding (RoFormer, 2104.09864, eq. 15), ``[rotary_dim / 2]`` float32."""
    width = config.rotary_dim or config.head_dim
    freqs = config.rope_theta ** -(np.arange(0, width, 2, dtype=np.float64) / width)
    if (scaling := config.rope_scaling) is None or scaling.kind == "dynamic":
        return freqs.astype(np.float32)
    if scaling.kind == "linear":
        return (freqs / scaling.factor).astype(np.float32)
    if scaling.kind == "longrope":
        return (freqs / np.asarray(scaling.divisors)).astype(np.float32)
    low, high, longest = scaling.low_freq_factor, scaling.high_freq_factor, scaling.original_max_positions
    if scaling.kind == "llama3":
        keep = np.clip((longest * freqs / (2 * np.pi) - low) / (high - low), 0, 1)
    else:
        first, last = (_number(turns, width, config.rope_theta, longest) for turns in (high, low))
        if scaling.truncate:
            first, last = math.floor(first), math.ceil(last)
        first, last = max(first, 0), min(last, width - 1)
        keep = 1 - np.clip((np.arange(width // 2) - first) / (last - first or 0.001), 0, 1)
    return (keep * freqs + (1 - keep) * freqs / scaling.factor).astype(np.float32)


def _number(turns: float, width: int, theta: float, longest: int) -> float:
    """Which frequency (of ``width / 2``, a fraction) turns so often in ``longest`` positions (YaRN, eq. 17 and 18)."""
    return width * math.log(longest / (turns * 2 * math.pi)) / (2 * math.log(theta))


def local_frequencies(config: ModelConfig) -> np.ndarray:
    """Frequencies of the layers that have a window, where they have a ``rope_theta`` of their own: not stretched."""
    theta = config.local_rope_theta or config.rope_theta
    return rotary_frequencies(replace(config, rope_theta=theta, rope_scaling=None))


def rotate(
    x: jax.Array, positions: jax.Array, freqs: Any, *, interleaved: bool = False, factor: float = 1.0
) -> jax.Array:
    """Apply the rotary embedding to ``x`` ``[B, S, H, D]`` at ``positions`` ``[B, S]``.

    The first ``2 * len(freqs)`` dimensions turn, in pairs of one of their first half and one of their second, or of
    neighbours where ``interleaved``; ``factor`` multiplies them.
    """
    angles = positions[..., None, None].astype(jnp.float32) * freqs  # [B, S, 1, D/2]
    cos, sin = jnp.cos(angles) * factor, jnp.sin(angles) * factor
    width = 2 * freqs.shape[-1]
    turned, rest = x[..., :width].astype(jnp.float32), x[..., width:]
    pairs = turned.reshape(*turned.shape[:-1], -1, 2)
    first, second = (pairs[..., 0], pairs[..., 1]) if interleaved else jnp.split(turned, 2, axis=-1)
    both = first * cos - second * sin, second * cos + first * sin
    turned = jnp.stack(both, axis=-1).reshape(turned.shape) if interleaved else jnp.concatenate(both, axis=-1)
    return turned.astype(x.dtype) if width == x.shape[-1] else jnp.concatenate([turned.astype(x.dtype), rest], axis=-1)


class FlatDense(nn.Module):
    """A dense layer with a ``kernel [M..., *features]`` as one product of ``[tokens, M]`` and ``[M, features]``.

    The weight's gradient then contracts one axis: over two, XLA on CPU writes transposed copies of the activations.
    Only where a mesh's ``tp`` does not divide the heads, the first of two axes, are they left apart: the kernel is
    split within the heads, and what is split so cannot be merged without gathering it.
    """

    features: tuple[int, ...]
    input_axes: int
    use_bias: bool
    dtype: Any
    tp: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """``[..., M]`` (the last ``input_axes`` axes) -> ``[..., *features]``."""
        lead, inputs = x.shape[: x.ndim - self.input_axes], x.shape[x.ndim - self.input_axes :]
        flat = int(np.prod(inputs)), int(np.prod(self.features))

        def init(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
            return nn.initializers.lecun_normal()(key, flat, dtype).reshape(shape)

        kernel = self.param("kernel", init, (*inputs, *self.features), jnp.float32)
        heads = inputs[0] if self.input_axes > 1 else self.features[0] if len(self.features) > 1 else 0
        if heads % self.tp:
            y = jnp.tensordot(x.astype(self.dtype), kernel.astype(self.dtype), self.input_axes)
        else:
            y = x.reshape(-1, flat[0]).astype(self.dtype) @ kernel.reshape(flat).astype(self.dtype)
        y = y.reshape(*lead, *self.features)
        if self.use_bias:
            y = y + self.param("bias", nn.initializers.zeros, self.features, jnp.float32).astype(self.dtype)
        return y


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
    tp = 1 if compute.placement is None else compute.placement.mesh.shape["tp"]
    return FlatDense(shape, axes, bias, compute.dtype, tp, name=name)


def residual(compute: Compute, x: jax.Array) -> jax.Array:
    """The residual stream ``x [B, S, M]``, put where ``compute.placement`` wants it; a family's blocks need not ask."""
    return x if compute.placement is None else compute.placement.residual(x)
