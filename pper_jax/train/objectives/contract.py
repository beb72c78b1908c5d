"""The seam: what an objective is given, what it gives back, and sums over programs that stand alone or packed."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from pper_jax.errors import UserError
from pper_jax.types import TrainBatch

# ``(logprobs [B, T], batch) -> (sum [], count [], per_program)``, traced and differentiated. ``logprobs[b, t]`` float32
# is the log-probability (nats) of ``tokens[b, t]``, 0 where that is no target. The step follows the gradient of
# ``sum / count``, both added up over micro-batches and devices; so both must be sums over programs. ``per_program``,
# shaped as ``batch.weight``, is what goes back to the replay buffer: the log-probability of each program's targets.
Objective = Callable[[jax.Array, TrainBatch], tuple[jax.Array, jax.Array, jax.Array]]


def targets(batch: TrainBatch) -> jax.Array:
    """``[B, T]`` bool: tokens of the loss mask that have a token of their own program before them."""
    segments = batch.segment_ids
    follows = (segments[:, 1:] == segments[:, :-1]) & (segments[:, 1:] > 0)
    return jnp.pad(batch.loss_mask[:, 1:] & follows, ((0, 0), (1, 0)))


def program_sums(values: jax.Array, batch: TrainBatch) -> jax.Array:
    """Sums of ``values [B, T]`` over each program, float32 and shaped as ``batch.weight``: ``[B]`` or ``[B, S]``."""
    values = values.astype(jnp.float32)
    if batch.weight.ndim == 1:
        return values.sum(axis=1)
    of_program = batch.segment_ids[:, :, None] == jnp.arange(1, batch.weight.shape[1] + 1)
    return jnp.where(of_program, values[:, :, None], 0.0).sum(axis=1)


def per_token(values: jax.Array, batch: TrainBatch) -> jax.Array:
    """``[B, T]`` float32: of ``values``, one a program and shaped as ``batch.weight``, that of each token's program.

    0 for padding where programs are packed.
    """
    if batch.weight.ndim == 1:
        return jnp.broadcast_to(values[:, None], batch.tokens.shape)
    of_program = batch.segment_ids[:, :, None] == jnp.arange(1, batch.weight.shape[1] + 1)
    return jnp.where(of_program, values[:, None, :], 0.0).sum(axis=2)


def token_weights(batch: TrainBatch) -> jax.Array:
    """``[B, T]`` float32: the weight of each token's program; 0 for padding where programs are packed."""
    return per_token(batch.weight, batch)


def target_count(batch: TrainBatch) -> jax.Array:
    """[] float32, the targets of the programs of positive weight."""
    return jnp.sum(program_sums(targets(batch), batch) * (batch.weight > 0))


def column(batch: TrainBatch, name: str) -> jax.Array:
    """What the batch holds beside its programs under ``name``.

    ``sampler_logprobs`` and ``reference_logprobs`` are ``[B, T]``, the others (of ``batch.extras``, such as
    ``pass_rate`` and ``advantage``) one number a program, shaped as ``batch.weight``.

    Raises:
        UserError: it does not hold that; said when the step is traced, before anything compiles.
    """
    found: jax.Array | None = getattr(batch, name, None) if name.endswith("_logprobs") else batch.extras.get(name)
    if found is None:
        raise UserError(
            f"the objective needs {name}, which the batch lacks; store it with the programs as a column of the replay "
            "buffer, or take an objective that does without"
        )
    return found
