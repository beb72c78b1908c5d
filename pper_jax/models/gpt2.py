"""GPT-2 (Radford et al. 2019) as a pure Linen module: learned positions, pre-norm blocks, GELU, tied embeddings by default."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

from pper_jax.models.layers import ACTIVATIONS, Attention, ModelConfig, split_cache
from pper_jax.types import KVCache, LayerCache


class Block(nn.Module):
    """Pre-norm transformer block: attention, then a two-layer MLP, each with a residual."""

    config: ModelConfig

    @nn.compact
    def __call__(
        self, x: jax.Array, positions: jax.Array, mask: jax.Array, cache: LayerCache | None, write_at: jax.Array | int
    ) -> tuple[jax.Array, LayerCache | None]:
        """``[B, S, M]`` in, ``[B, S, M]`` and the layer's cache out."""
        cfg = self.config

        def norm(name: str) -> nn.LayerNorm:
            return nn.LayerNorm(epsilon=cfg.norm_eps, dtype=jnp.float32, name=name)

        attended, cache = Attention(cfg, rotary=False, name="attention")(
            norm("attention_norm")(x).astype(cfg.dtype), positions, mask, cache, write_at
        )
        x = x + attended
        hidden = nn.Dense(cfg.mlp_size, dtype=cfg.dtype, name="up")(norm("mlp_norm")(x).astype(cfg.dtype))
        hidden = ACTIVATIONS[cfg.activation](hidden)
        return x + nn.Dense(cfg.hidden_size, dtype=cfg.dtype, name="down")(hidden), cache


class GPT2(nn.Module):
    """Causal LM of the GPT-2 family.

    ``module.apply({"params": params}, tokens, positions, mask, cache=None, write_at=0)``:

    - ``tokens [B, S]`` int32, ``positions [B, S]`` int32, ``mask [B, S, C]`` bool: query ``s`` may see key slot ``c``.
    - ``cache=None``: ``C == S`` and the keys are this call's. Otherwise this call's keys and values are first written to
      slots ``write_at .. write_at + S - 1`` and attention runs over all ``C`` slots.
    - returns ``(logits [B, S, V] float32, cache)``.
    """

    config: ModelConfig

    def setup(self) -> None:
        """Declare the sub-modules; names are the parameter paths that checkpoints and sharding rules use."""
        cfg = self.config
        normal = nn.initializers.normal(0.02)
        self.token_embedding = nn.Embed(cfg.vocab_size, cfg.hidden_size, embedding_init=normal, dtype=cfg.dtype)
        self.position_embedding = nn.Embed(cfg.max_positions, cfg.hidden_size, embedding_init=normal, dtype=cfg.dtype)
        self.layers = [Block(cfg, name=f"layer_{i}") for i in range(cfg.num_layers)]
        self.final_norm = nn.LayerNorm(epsilon=cfg.norm_eps, dtype=jnp.float32)
        if not cfg.tie_embeddings:
            self.lm_head = nn.Dense(cfg.vocab_size, use_bias=False, dtype=cfg.dtype)

    def hidden(
        self,
        tokens: jax.Array,
        positions: jax.Array,
        mask: jax.Array,
        cache: KVCache | None = None,
        write_at: jax.Array | int = 0,
    ) -> tuple[jax.Array, KVCache | None]:
        """Final hidden states ``[B, S, M]`` after the last norm, and the extended cache."""
        x = self.token_embedding(tokens) + self.position_embedding(positions)
        extended = []
        for layer, layer_cache in zip(self.layers, split_cache(cache, self.config.num_layers), strict=True):
            x, layer_cache = layer(x, positions, mask, layer_cache, write_at)
            extended.append(layer_cache)
        return self.final_norm(x).astype(self.config.dtype), None if cache is None else tuple(extended)

    def unembed(self, hidden: jax.Array) -> jax.Array:
        """Logits ``[..., V]`` float32 of hidden states ``[..., M]``."""
        logits = self.token_embedding.attend(hidden) if self.config.tie_embeddings else self.lm_head(hidden)
        return logits.astype(jnp.float32)

    def __call__(
        self,
        tokens: jax.Array,
        positions: jax.Array,
        mask: jax.Array,
        cache: KVCache | None = None,
        write_at: jax.Array | int = 0,
    ) -> tuple[jax.Array, KVCache | None]:
        """``(logits [B, S, V] float32, cache)``; see the class."""
        hidden, cache = self.hidden(tokens, positions, mask, cache, write_at)
        return self.unembed(hidden), cache
