"""Log-probabilities of given programs by plain forward passes, without any cache."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from pper_jax.decode.cache import log_probs
from pper_jax.models.masks import causal_mask
from pper_jax.types import Params, Programs, Prompts

_ROWS = 1024  # rows whose logits over the vocabulary are held at a time


@partial(jax.jit, static_argnames=("module",))
def score(module: nn.Module, params: Params, prompts: Prompts, programs: Programs) -> jax.Array:
    """What the model gives each token of ``programs`` after its prompt and the tokens before it.

    Reads ``programs.tokens`` and ``programs.length`` alone, so programs written elsewhere can be scored. The longest
    prompt and program together must not exceed the model's positions.

    Returns:
        ``token_logprobs [B, K, T]`` float32, natural log; 0 after a program's length.
    """
    batch, width, steps = programs.tokens.shape
    slots = prompts.tokens.shape[1]
    at = jnp.arange(slots + steps)[None, None]
    start, end = prompts.length[:, None, None], (prompts.length[:, None] + programs.length)[..., None]
    prompt = jnp.broadcast_to(jnp.clip(at, 0, slots - 1), (batch, width, slots + steps))
    tokens = jnp.where(
        at < start,
        jnp.take_along_axis(prompts.tokens[:, None], prompt, axis=-1),
        jnp.take_along_axis(programs.tokens, jnp.clip(at - start, 0, steps - 1), axis=-1),
    )
    tokens = jnp.where(at < end, tokens, 0).reshape(batch * width, slots + steps)
    positions = jnp.minimum(at, end - 1).reshape(tokens.shape)
    mask = causal_mask(tokens.shape[1])
    apply: Callable[..., Any] = partial(module.apply, {"params": params})
    hidden, _ = apply(tokens, positions, mask, method="hidden")

    steps_at = jnp.arange(steps)[None, None]
    before = jnp.broadcast_to(start - 1 + steps_at, programs.tokens.shape).reshape(batch * width, steps)
    hidden = jnp.take_along_axis(hidden, before[..., None], axis=1).reshape(-1, hidden.shape[-1])
    inside = steps_at < programs.length[..., None]
    targets = jnp.where(inside, programs.tokens, 0).reshape(-1)

    def of_row(row: tuple[jax.Array, jax.Array]) -> jax.Array:
        return log_probs(apply(row[0], method="unembed"))[row[1]]

    logprobs = lax.map(of_row, (hidden, targets), batch_size=_ROWS).reshape(programs.tokens.shape)
    return jnp.where(inside, logprobs, 0.0)
