"""GPT-2 (Radford et al. 2019): learned positions, LayerNorm before each sub-layer, a two-layer GELU MLP."""

from __future__ import annotations

import jax
from flax import linen as nn

from pper_jax.models.causal_lm import CausalLM
from pper_jax.models.layers import ACTIVATIONS, Attention, ModelConfig, dense, layer_norm
from pper_jax.types import LayerCache


class Block(nn.Module):
    """Pre-norm transformer block: attention, then a two-layer MLP, each with a residual."""

    config: ModelConfig

    @nn.compact
    def __call__(
        self, x: jax.Array, positions: jax.Array, mask: jax.Array, cache: LayerCache | None, write_at: jax.Array | int
    ) -> tuple[jax.Array, LayerCache | None]:
        """``[B, S, M]`` in, ``[B, S, M]`` and the layer's cache out."""
        cfg = self.config
        normed = layer_norm(cfg, "attention_norm")(x).astype(cfg.dtype)
        attended, cache = Attention(cfg, rotary=False, name="attention")(normed, positions, mask, cache, write_at)
        x = x + attended
        normed = layer_norm(cfg, "mlp_norm")(x).astype(cfg.dtype)
        inner = ACTIVATIONS[cfg.activation](dense(cfg, cfg.mlp_size, "up", bias=True)(normed))
        return x + dense(cfg, cfg.hidden_size, "down", bias=True)(inner), cache


class GPT2(CausalLM):
    """Causal LM of the GPT-2 family; the call contract is that of ``CausalLM``."""

    block = Block
    norm = staticmethod(layer_norm)
    learned_positions = True
