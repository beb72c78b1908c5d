"""What a model gives each target: the columns that objectives compare with."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from pper_jax.train.loss import loss_sum
from pper_jax.types import Params, TrainBatch


def target_logprobs(module: Any, params: Params, batch: TrainBatch) -> jax.Array:
    """Log-probability of each target under ``params``, ``[B, T]`` float32 nats: of ``tokens[b, t]``; 0 elsewhere.

    By the same forward pass as the train step's, so that a ratio to it is 1 while the parameters are the same.
    """

    def as_given(logprobs: jax.Array, _: TrainBatch) -> tuple[jax.Array, jax.Array, jax.Array]:
        return jnp.zeros(()), jnp.zeros(()), logprobs

    _, (_, logprobs) = loss_sum(module, params, batch, as_given)
    return logprobs
