"""Layers that the model families share: norms, rotary positions, products with weights."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from pper_jax.models.config import Compute, ModelConfig


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
