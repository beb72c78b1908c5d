"""The two kinds of transformer block of decoder-only families; a family's own is a subclass of a line or two."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import jax
from flax import linen as nn

from pper_jax.models.attention import Attention, Seen
from pper_jax.models.config import ACTIVATIONS, Compute, ModelConfig
from pper_jax.models.layers import dense, layer_norm, rms_norm
from pper_jax.types import LayerCache

Result = tuple[jax.Array, LayerCache | None]


class PlainBlock(nn.Module):
    """LayerNorm before each sub-layer, a two-layer MLP; attention and MLP one after the other or side by side.

    Attributes:
        rotary: whether positions are rotary; else they are learned, and already added.
        interleaved: whether neighbours turn together.
        one_norm: whether attention and MLP, side by side, read the same normed input.
        mlp_bias: whether the MLP has biases whatever the config says.
    """

    config: ModelConfig
    compute: Compute

    rotary: ClassVar[bool] = True
    interleaved: ClassVar[bool] = False
    one_norm: ClassVar[bool] = False
    mlp_bias: ClassVar[bool] = True

    @nn.compact
    def __call__(
        self, x: jax.Array, positions: jax.Array, mask: Seen, cache: LayerCache | None, write_at: jax.Array | int
    ) -> Result:
        """``[B, S, M]`` in, ``[B, S, M]`` and the layer's cache out."""
        cfg, compute, bias = self.config, self.compute, self.mlp_bias or self.config.mlp_bias
        normed = layer_norm(cfg, "attention_norm")(x).astype(compute.dtype)
        attention = Attention(cfg, compute, rotary=self.rotary, interleaved=self.interleaved, name="attention")
        attended, cache = attention(normed, positions, mask, cache, write_at)
        after = x + attended
        if not self.one_norm:
            read = x if cfg.parallel_residual else after
            normed = layer_norm(cfg, "mlp_norm")(read).astype(compute.dtype)
        inner = ACTIVATIONS[cfg.activation](dense(compute, cfg.mlp_size, "up", bias=bias)(normed))
        return after + dense(compute, cfg.hidden_size, "down", bias=bias)(inner), cache


class GatedBlock(nn.Module):
    """RMSNorm before each sub-layer, rotary positions, a gated MLP (2002.05202).

    Attributes:
        norm: makes the norms.
        head_norm: makes the norm of each head's queries and keys, where there is one.
        post_norms: whether what attention and MLP give is normed too, before it is added.
    """

    config: ModelConfig
    compute: Compute

    norm: ClassVar[Callable[..., nn.Module]] = staticmethod(rms_norm)
    head_norm: ClassVar[Callable[..., nn.Module] | None] = None
    post_norms: ClassVar[bool] = False

    @nn.compact
    def __call__(
        self, x: jax.Array, positions: jax.Array, mask: Seen, cache: LayerCache | None, write_at: jax.Array | int
    ) -> Result:
        """``[B, S, M]`` in, ``[B, S, M]`` and the layer's cache out."""
        cfg, compute = self.config, self.compute

        def normed(name: str, x: jax.Array) -> jax.Array:
            return self.norm(cfg, name)(x).astype(compute.dtype)

        attention = Attention(cfg, compute, rotary=True, head_norm=self.head_norm, name="attention")
        attended, cache = attention(normed("attention_norm", x), positions, mask, cache, write_at)
        x = x + (normed("post_attention_norm", attended) if self.post_norms else attended)
        read = normed("mlp_norm", x)
        gate = ACTIVATIONS[cfg.activation](dense(compute, cfg.mlp_size, "gate", bias=cfg.mlp_bias)(read))
        up = dense(compute, cfg.mlp_size, "up", bias=cfg.mlp_bias)(read)
        out = dense(compute, cfg.hidden_size, "down", bias=cfg.mlp_bias)(gate * up)
        return x + (normed("post_mlp_norm", out) if self.post_norms else out), cache
