"""Llama (2302.13971) and its kin: rotary positions, RMSNorm before each sub-layer, grouped queries, SwiGLU."""

from __future__ import annotations

import jax
from flax import linen as nn

from pper_jax.models.causal_lm import CausalLM
from pper_jax.models.layers import ACTIVATIONS, Attention, ModelConfig, dense, rms_norm
from pper_jax.types import LayerCache


class Block(nn.Module):
    """Pre-norm transformer block: rotary attention, then a gated MLP (2002.05202), each with a residual."""

    config: ModelConfig

    @nn.compact
    def __call__(
        self, x: jax.Array, positions: jax.Array, mask: jax.Array, cache: LayerCache | None, write_at: jax.Array | int
    ) -> tuple[jax.Array, LayerCache | None]:
        """``[B, S, M]`` in, ``[B, S, M]`` and the layer's cache out."""
        cfg = self.config
        normed = rms_norm(cfg, "attention_norm")(x).astype(cfg.dtype)
        attended, cache = Attention(cfg, rotary=True, name="attention")(normed, positions, mask, cache, write_at)
        x = x + attended
        normed = rms_norm(cfg, "mlp_norm")(x).astype(cfg.dtype)
        gate = ACTIVATIONS[cfg.activation](dense(cfg, cfg.mlp_size, "gate", bias=cfg.mlp_bias)(normed))
        up = dense(cfg, cfg.mlp_size, "up", bias=cfg.mlp_bias)(normed)
        return x + dense(cfg, cfg.hidden_size, "down", bias=cfg.mlp_bias)(gate * up), cache


class Llama(CausalLM):
    """Causal LM of the Llama family; the call contract is that of ``CausalLM``."""

    block = Block
    norm = staticmethod(rms_norm)
    learned_positions = False
