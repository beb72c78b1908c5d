"""Policy gradients on stored programs: what did better than its group becomes likelier, what did worse less likely.

The advantage of a program is its column ``advantage``: see :func:`pper_jax.replay.group_advantage`. All count the
targets of programs of positive weight, so that every token weighs alike however long its program is.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from pper_jax.train.objectives.contract import (
    Objective,
    column,
    per_token,
    program_sums,
    target_count,
    targets,
    token_weights,
)
from pper_jax.types import TrainBatch


def _log_ratio(logprobs: jax.Array, batch: TrainBatch) -> jax.Array:
    """``log p(y_it) - log q(y_it)``, ``q`` the sampler; ``[B, T]``, 0 where there is no target."""
    return jnp.where(targets(batch), logprobs - column(batch, "sampler_logprobs"), 0.0)


def _advantages(batch: TrainBatch) -> jax.Array:
    """The advantage of each token's program times its weight, ``[B, T]``; 0 where there is no target."""
    return jnp.where(targets(batch), per_token(column(batch, "advantage"), batch) * token_weights(batch), 0.0)


def advantage_weighted(logprobs: jax.Array, batch: TrainBatch) -> tuple[jax.Array, jax.Array, jax.Array]:
    """``-sum_i w_i A_i sum_t log p(y_it)``: REINFORCE with a baseline (Williams 1992, section 4), off its policy."""
    programs = program_sums(logprobs, batch)
    return -jnp.sum(programs * batch.weight * column(batch, "advantage")), target_count(batch), programs


def grpo(clip: float) -> Objective:
    """``-sum_i w_i sum_t min(ratio A_i, clip(ratio, 1 - clip, 1 + clip) A_i)``, ``ratio = p(y_it) / q(y_it)``.

    GRPO's clipped ratio (2402.03300, eq. 3) with the sampler's log-probabilities for ``q``, averaged over tokens as in
    DAPO (2503.14476, eq. 8) rather than over programs. Its KL term is :func:`with_kl`.
    """

    def objective(logprobs: jax.Array, batch: TrainBatch) -> tuple[jax.Array, jax.Array, jax.Array]:
        ratio, advantage = jnp.exp(_log_ratio(logprobs, batch)), _advantages(batch)
        gain = jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - clip, 1 + clip) * advantage)
        return -jnp.sum(gain), target_count(batch), program_sums(logprobs, batch)

    return objective


def importance_weighted(most: float) -> Objective:
    """``-sum_i w_i A_i sum_t min(ratio, most) log p(y_it)``; no gradient flows through the ratio.

    Truncated importance sampling (Ionides 2008), token by token as V-trace has it (1802.01561, eq. 1 and 4).
    """

    def objective(logprobs: jax.Array, batch: TrainBatch) -> tuple[jax.Array, jax.Array, jax.Array]:
        ratio = jax.lax.stop_gradient(jnp.minimum(jnp.exp(_log_ratio(logprobs, batch)), most))
        return -jnp.sum(_advantages(batch) * ratio * logprobs), target_count(batch), program_sums(logprobs, batch)

    return objective
