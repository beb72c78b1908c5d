"""Objectives that imitate: cross-entropy on the programs drawn, all of them or those that did well."""

from __future__ import annotations

from dataclasses import replace

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

Sums = tuple[jax.Array, jax.Array, jax.Array]

_LEAST_REST = 1e-6  # added to 1 - p, so that the unlikelihood of a token that is certain has a finite gradient


def cross_entropy(logprobs: jax.Array, batch: TrainBatch) -> Sums:
    """Weighted cross-entropy of the targets in nats; counts the targets of programs of positive weight.

    ``-sum_i w_i sum_t log p(y_it)`` (2410.12236, section 3: fine-tuning on what the buffer gives). Also RAFT's
    (2304.06767), on solved programs alone: see :func:`solved_only`.
    """
    programs = program_sums(logprobs, batch)
    return -jnp.sum(programs * batch.weight), target_count(batch), programs


def pass_rate_weighted(logprobs: jax.Array, batch: TrainBatch) -> Sums:
    """``-sum_i w_i r_i sum_t log p(y_it)``, ``r`` the pass rate; counts the targets of all programs of positive weight.

    Reward-weighted regression (Peters & Schaal 2007, eq. 8) with the pass rate as the reward.
    """
    programs = program_sums(logprobs, batch)
    return -jnp.sum(programs * batch.weight * column(batch, "pass_rate")), target_count(batch), programs


def unlikelihood(coefficient: float) -> Objective:
    """Cross-entropy where a test passes, ``-coefficient * sum_t log(1 - p(y_it))`` where the pass rate is 0.

    Unlikelihood training (1908.04319, eq. 3 and 4), whose negative candidates are here the tokens of programs that pass
    nothing. ``1 - p`` is taken as ``1 - p + 1e-6``.
    """

    def objective(logprobs: jax.Array, batch: TrainBatch) -> Sums:
        rest = jnp.log(_LEAST_REST - jnp.expm1(logprobs))
        passes = per_token(column(batch, "pass_rate"), batch) > 0
        wanted = jnp.where(passes, logprobs, coefficient * rest) * token_weights(batch)
        total = -jnp.sum(jnp.where(targets(batch), wanted, 0.0))
        return total, target_count(batch), program_sums(logprobs, batch)

    return objective


def solved_only(objective: Objective) -> Objective:
    """``objective`` on the programs that pass every test; the others weigh nothing (RAFT, 2304.06767, algorithm 1)."""

    def solved(logprobs: jax.Array, batch: TrainBatch) -> Sums:
        weight = jnp.where(column(batch, "pass_rate") >= 1, batch.weight, 0.0)
        return objective(logprobs, replace(batch, weight=weight))

    return solved
