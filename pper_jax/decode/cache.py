"""Reading prompts: the first pass of the model, which fills the prompts' part of the cache."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from pper_jax.models.masks import causal_mask
from pper_jax.types import KVCache, LayerCache, Params, Prompts


def init_cache(config: Any, batch: int, slots: int, dtype: Any = jnp.float32) -> KVCache:
    """Zeros, ``[batch, slots, num_kv_heads, head_dim]`` keys and values of ``dtype`` a layer."""
    shape = (batch, slots, config.num_kv_heads, config.head_dim)
    return tuple(
        LayerCache(key=jnp.zeros(shape, dtype), value=jnp.zeros(shape, dtype)) for _ in range(config.num_layers)
    )


def prefill(
    module: nn.Module, params: Params, prompts: Prompts, shared: KVCache | None = None
) -> tuple[jax.Array, KVCache]:
    """Run the prompts once.

    Args:
        module, params: the model.
        prompts: ``[B, P]``.
        shared: the cache of one prompt of ``R`` tokens, ``[1, R, ...]``, that all ``prompts`` begin with and are longer
            than: their first ``R`` tokens are not run again.

    Returns:
        ``(hidden state [B, M] of each prompt's last token, cache with P slots)``.
    """
    batch, length = prompts.tokens.shape
    known = 0 if shared is None else shared[0].key.shape[1]
    at = jnp.arange(known, length)[None]
    real = at < prompts.length[:, None]
    tokens = jnp.where(real, prompts.tokens[:, known:], 0)  # padding may hold anything, even ids that do not exist
    positions = jnp.minimum(at, prompts.length[:, None] - 1)
    cache = init_cache(module.config, batch, length, module.compute.dtype)
    if shared is not None:
        cache = jax.tree.map(lambda slots, row: slots.at[:, :known].set(row), cache, shared)
    apply: Callable[..., Any] = partial(module.apply, {"params": params})
    mask = causal_mask(length, known)
    hidden, cache = apply(tokens, positions, mask, cache=cache, write_at=known, method="hidden")
    return jnp.take_along_axis(hidden, (prompts.length - 1 - known)[:, None, None], axis=1)[:, 0], cache


def log_probs(logits: jax.Array) -> jax.Array:
    """Natural log-softmax of the last axis, float32. NaN counts as ``-inf``; without a finite logit all is ``-inf``."""
    logits = logits.astype(jnp.float32)
    out = jax.nn.log_softmax(jnp.where(jnp.isnan(logits), -jnp.inf, logits), axis=-1)
    return jnp.where(jnp.isnan(out), -jnp.inf, out)
