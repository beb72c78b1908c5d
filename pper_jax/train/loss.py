"""From parameters to the loss, returned as (sum, count) so that any split of a batch gives the same number."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from pper_jax.models.masks import segment_mask, segment_starts
from pper_jax.sharding import Placement
from pper_jax.train.objectives import Objective, cross_entropy, targets
from pper_jax.types import Params, TrainBatch
from pper_kernels.linear_log_probs import Split, linear_log_probs, linear_log_probs_sharded


def segment_positions(segment_ids: jax.Array, shared: int = 0) -> jax.Array:
    """Positions that restart at each packed segment, ``[B, T]`` int32; after ``shared`` tokens in front of each row."""
    slot = jnp.arange(segment_ids.shape[1], dtype=jnp.int32)
    return slot - segment_starts(segment_ids) + jnp.where(slot < shared, 0, shared)


def completion_logprobs(module: Any, params: Params, batch: TrainBatch) -> jax.Array:
    """Log-probability of each target token, ``[B, T]`` float32: entry ``t`` is that of ``tokens[:, t + 1]``, or 0.

    A ``CausalLM`` on one device makes logits where there are targets alone, and few of them at a time. On a mesh it
    makes those of all positions, and with ``lean_loss`` few of them at a time.
    """
    segments, shared, compute = batch.segment_ids, batch.shared, getattr(module, "compute", None)
    arguments = batch.tokens, segment_positions(segments, shared), segment_mask(segments, shared)
    following, scored = jnp.roll(batch.tokens, -1, axis=1), jnp.roll(targets(batch), -1, axis=1)
    if compute is None or compute.own_head or (compute.placement is not None and not compute.lean_loss):
        logits, _ = module.apply({"params": params}, *arguments)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, following)
        return jnp.where(scored, -losses, 0.0)
    hidden, _ = module.apply({"params": params}, *arguments, method="hidden")
    table, transposed = module.apply({"params": params}, method="head")
    hidden, cap = module.apply({"params": params}, hidden, method="before_head"), module.config.logit_cap
    if compute.placement is not None:
        found = _scores_on_mesh(compute.placement, hidden, table if transposed else table.T, following, cap)
        return jnp.where(scored, found, 0.0)
    options = {"transposed": transposed, "lean": compute.lean_loss, "cap": cap}
    return _scores(hidden, table, following, scored, **options)


def _scores(hidden: jax.Array, table: jax.Array, tokens: jax.Array, scored: jax.Array, **options: Any) -> jax.Array:
    """Log-probabilities of ``tokens [B, T]`` where ``scored``: those positions go first, the others cost nothing."""
    shape, scored = tokens.shape, scored.reshape(-1)
    order = jnp.argsort(~scored, stable=True)
    states = hidden.reshape(-1, hidden.shape[-1])[order]
    live = jnp.sum(scored, dtype=jnp.int32)
    found = linear_log_probs(states, table, tokens.reshape(-1)[order], live, **options)
    return jnp.zeros(scored.shape, jnp.float32).at[order].set(found, unique_indices=True).reshape(shape)


def _scores_on_mesh(
    placement: Placement, hidden: jax.Array, table: jax.Array, tokens: jax.Array, cap: float | None
) -> jax.Array:
    """Log-probabilities of ``tokens [B, T]``, of all positions: how many there are to score differs by device."""
    split = Split(placement.mesh, placement.rows, "tp", table.shape[0], cap)
    table = placement.table(table.astype(hidden.dtype))
    found = linear_log_probs_sharded(split, hidden.reshape(-1, hidden.shape[-1]), table, tokens.reshape(-1))
    return found.reshape(tokens.shape)


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
