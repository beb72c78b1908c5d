"""Cross-entropy on completions, returned as (sum, count) so that any split of a batch gives the same number."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from pper_jax.types import Params, TrainBatch


def attention_mask(segment_ids: jax.Array) -> jax.Array:
    """Causal mask within packed segments: ``[B, T]`` int32 -> ``[B, T, T]`` bool; padding (0) sees padding."""
    length = segment_ids.shape[1]
    causal = jnp.tril(jnp.ones((length, length), bool))
    return causal & (segment_ids[:, :, None] == segment_ids[:, None, :])


def segment_positions(segment_ids: jax.Array) -> jax.Array:
    """Positions that restart at each packed segment, ``[B, T]`` int32."""
    index = jnp.arange(segment_ids.shape[1], dtype=jnp.int32)
    starts = jnp.pad(segment_ids[:, 1:] != segment_ids[:, :-1], ((0, 0), (1, 0)))
    last_start = jax.lax.cummax(jnp.where(starts, index, 0), axis=1)
    return index - last_start


def completion_logprobs(module: Any, params: Params, batch: TrainBatch) -> jax.Array:
    """Log-probability of each target token, ``[B, T]`` float32: entry ``t`` is that of ``tokens[:, t + 1]``, or 0."""
    logits, _ = module.apply(
        {"params": params}, batch.tokens, segment_positions(batch.segment_ids), attention_mask(batch.segment_ids)
    )
    targets = jnp.roll(batch.tokens, -1, axis=1)
    same_segment = batch.segment_ids == jnp.roll(batch.segment_ids, -1, axis=1)
    mask = jnp.roll(batch.loss_mask, -1, axis=1).at[:, -1].set(False) & same_segment
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    return jnp.where(mask, -losses, 0.0)


def loss_sum(module: Any, params: Params, batch: TrainBatch) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """Weighted cross-entropy of the completion and its EOS (nats), as a sum.

    Returns ``(sum [], (count [], row_logprob [B]))``: ``count`` is the number of target tokens in rows of positive
    weight, ``row_logprob`` the unweighted log-probability of each row's targets (what the replay buffer stores).
    """
    logprobs = completion_logprobs(module, params, batch)
    row_logprob = logprobs.sum(axis=1)
    targets = jnp.pad(batch.loss_mask[:, 1:], ((0, 0), (0, 1)))
    count = jnp.sum(targets * (batch.weight > 0)[:, None], dtype=jnp.float32)
    return -jnp.sum(row_logprob * batch.weight), (count, row_logprob)
