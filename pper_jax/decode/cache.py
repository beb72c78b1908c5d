"""Where keys and values live while decoding, and who may see them.

One row a prompt. Slots ``0 .. P-1`` hold the prompt, once, whatever the number of beams; the token that beam ``k``
chose at step ``t`` goes to slot ``P + t*K + k`` and is never moved. Reordering beams rewrites a small table of
ancestors, from which the attention mask of the next step follows; nothing in the cache is copied.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from pper_jax.types import KVCache, LayerCache, Params, Prompts


def init_cache(config: Any, batch: int, slots: int, dtype: Any = None) -> KVCache:
    """Zeros, ``[batch, slots, num_kv_heads, head_dim]`` keys and values a layer; ``dtype`` defaults to the config's."""
    shape = (batch, slots, config.num_kv_heads, config.head_dim)
    dtype = config.dtype if dtype is None else dtype
    return tuple(
        LayerCache(key=jnp.zeros(shape, dtype), value=jnp.zeros(shape, dtype)) for _ in range(config.num_layers)
    )


def extend_cache(cache: KVCache, slots: int) -> KVCache:
    """The cache with ``slots`` more slots, zero, at the end."""
    return jax.tree.map(lambda x: jnp.pad(x, ((0, 0), (0, slots), (0, 0), (0, 0))), cache)


def causal_mask(batch: int, length: int) -> jax.Array:
    """``[batch, length, length]`` bool: a query sees itself and what is before it.

    With right padding no further mask is needed: a real token never has padding before it.
    """
    return jnp.broadcast_to(jnp.tril(jnp.ones((length, length), bool)), (batch, length, length))


def ancestor_mask(prompt_length: jax.Array, prompt_slots: int, ancestors: jax.Array) -> jax.Array:
    """What each beam may see: its prompt without the padding, and the generated slots of its own ancestors.

    Args:
        prompt_length: ``[B]`` int32.
        prompt_slots: ``P``, the padded length of the prompts.
        ancestors: ``[B, K, T]`` int32, the beam whose slot of step ``t`` beam ``k`` descends from; -1 for none.

    Returns:
        ``[B, K, P + T*K]`` bool.
    """
    batch, width, steps = ancestors.shape
    prompt = jnp.arange(prompt_slots) < prompt_length[:, None]
    prompt = jnp.broadcast_to(prompt[:, None], (batch, width, prompt_slots))
    generated = ancestors[..., None] == jnp.arange(width)
    return jnp.concatenate([prompt, generated.reshape(batch, width, steps * width)], axis=-1)


def prefill(module: nn.Module, params: Params, prompts: Prompts, slots: int) -> tuple[jax.Array, KVCache]:
    """Run the prompts once.

    Returns:
        ``(logits [B, V] float32 at each prompt's last token, cache with P + slots slots)``.
    """
    batch, length = prompts.tokens.shape
    at = jnp.arange(length)[None]
    real = at < prompts.length[:, None]
    tokens = jnp.where(real, prompts.tokens, 0)  # padding may hold anything, even ids that do not exist
    positions = jnp.minimum(at, prompts.length[:, None] - 1)
    apply: Callable[..., Any] = partial(module.apply, {"params": params})
    hidden, cache = apply(
        tokens,
        positions,
        causal_mask(batch, length),
        cache=init_cache(module.config, batch, length),
        write_at=0,
        method="hidden",
    )
    last = jnp.take_along_axis(hidden, (prompts.length - 1)[:, None, None], axis=1)[:, 0]
    return apply(last, method="unembed"), extend_cache(cache, slots)


def log_probs(logits: jax.Array) -> jax.Array:
    """Natural log-softmax of the last axis, float32. NaN counts as ``-inf``; without a finite logit all is ``-inf``."""
    logits = logits.astype(jnp.float32)
    out = jax.nn.log_softmax(jnp.where(jnp.isnan(logits), -jnp.inf, logits), axis=-1)
    return jnp.where(jnp.isnan(out), -jnp.inf, out)
