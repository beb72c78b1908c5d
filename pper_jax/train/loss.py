"""From parameters to the loss, returned as (sum, count) so that any split of a batch gives the same number."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from pper_jax.models.masks import segment_mask, segment_starts
from pper_jax.train.objectives import Objective, cross_entropy, targets
from pper_jax.types import Params, TrainBatch


def segment_positions(segment_ids: jax.Array) -> jax.Array:
    """Positions that restart at each packed segment, ``[B, T]`` int32."""
    return jnp.arange(segment_ids.shape[1], dtype=jnp.int32) - segment_starts(segment_ids)


def completion_logprobs(module: Any, params: Params, batch: TrainBatch) -> jax.Array:
    """Log-probability of each target token, ``[B, T]`` float32: entry ``t`` is that of ``tokens[:, t + 1]``, or 0."""
    logits, _ = module.apply(
        {"params": params}, batch.tokens, segment_positions(batch.segment_ids), segment_mask(batch.segment_ids)
    )
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.roll(batch.tokens, -1, axis=1))
    return jnp.where(jnp.roll(targets(batch), -1, axis=1), -losses, 0.0)


def loss_sum(
    module: Any, params: Params, batch: TrainBatch, objective: Objective = cross_entropy
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """What ``objective`` says of the batch under ``params``: ``(sum [], (count [], per_program))``.

    By default the weighted cross-entropy of the completion and its EOS (nats), the number of target tokens of positive
    weight, and the unweighted log-probability of each program's targets (what the replay buffer stores), ``[B]``.
    """
    logprobs = jnp.roll(completion_logprobs(module, params, batch), 1, axis=1)
    total, count, per_program = objective(logprobs, batch)
    return total, (count, per_program)
