"""Objectives that look at a reference model: a term that holds the model near it, and DPO."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from pper_jax.train.objectives.contract import Objective, column, program_sums, targets, token_weights
from pper_jax.types import TrainBatch


def with_kl(objective: Objective, coefficient: float) -> Objective:
    """``objective`` plus ``coefficient * sum_i w_i sum_t (exp(d) - d - 1)``, ``d = log p_ref(y_it) - log p(y_it)``.

    The estimator of KL(p || p_ref) of low variance that is never negative ("k3": Schulman, Approximating KL Divergence,
    2020; GRPO's, 2402.03300, eq. 4): unbiased where the model itself wrote the programs, and on replayed ones a penalty
    that is 0 at the reference alone. It is divided by what ``objective`` counts.
    """

    def held(logprobs: jax.Array, batch: TrainBatch) -> tuple[jax.Array, jax.Array, jax.Array]:
        total, count, programs = objective(logprobs, batch)
        distance = jnp.where(targets(batch), column(batch, "reference_logprobs") - logprobs, 0.0)
        penalty = (jnp.expm1(distance) - distance) * token_weights(batch)
        return total + coefficient * jnp.sum(penalty), count, programs

    return held


def dpo(beta: float) -> Objective:
    """``-sum_pairs log sigmoid(beta (m_solved - m_failed))``, ``m = sum_t log p(y_t) - log p_ref(y_t)``; counts pairs.

    Direct preference optimization (2305.18290, eq. 7). Programs stand in pairs of one task, the solved one first, as
    :func:`pper_jax.replay.sample_pairs` gives them: rows 0 and 1, 2 and 3, ..., or segments 1 and 2, 3 and 4, ... of
    each row where programs are packed. A pair weighs as the lesser of its two.

    Raises:
        ValueError: an odd number of rows, or of programs a packed row (when traced).
    """

    def objective(logprobs: jax.Array, batch: TrainBatch) -> tuple[jax.Array, jax.Array, jax.Array]:
        if batch.weight.shape[-1] % 2:
            raise ValueError(f"{batch.weight.shape[-1]} programs do not stand in pairs; take an even number")
        margins = jnp.where(targets(batch), logprobs - column(batch, "reference_logprobs"), 0.0)
        margins = program_sums(margins, batch).reshape(-1, 2)
        weight = batch.weight.reshape(-1, 2).min(axis=1)
        total = -jnp.sum(weight * jax.nn.log_sigmoid(beta * (margins[:, 0] - margins[:, 1])))
        return total, jnp.sum(weight > 0, dtype=jnp.float32), program_sums(logprobs, batch)

    return objective
