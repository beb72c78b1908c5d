"""The train step: one pure jitted function ``(TrainState, TrainBatch) -> (TrainState, Metrics)``.

Jitted with NamedShardings for its inputs and outputs and with the old state donated; nothing in it touches the host.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pper_jax.sharding import batch_sharding, tree_shardings
from pper_jax.train.loss import loss_sum
from pper_jax.types import Params, TrainBatch, TrainState


@struct.dataclass
class Metrics:
    """What one step measured, on device.

    Attributes:
        loss: [] float32, nats a target token.
        grad_norm: [] float32, global norm before clipping.
        tokens: [] float32, target tokens in the batch.
        row_logprob: ``[B]`` float32, log-probability of each row's targets under the parameters *before* the step.
    """

    loss: jax.Array
    grad_norm: jax.Array
    tokens: jax.Array
    row_logprob: jax.Array


TrainStep = Callable[[TrainState, TrainBatch], tuple[TrainState, Metrics]]


def init_train_state(params: Params, optimizer: optax.GradientTransformation, key: jax.Array, mesh: Mesh) -> TrainState:
    """State at step 0, placed on ``mesh`` by the rules of ``pper_jax.sharding`` (moments beside their weights)."""
    state = TrainState(step=jnp.zeros((), jnp.int32), params=params, opt_state=optimizer.init(params), key=key)
    return jax.device_put(state, tree_shardings(state, mesh))


def _gradients(module: Any, params: Params, batch: TrainBatch, accumulate: int) -> tuple[Params, tuple[jax.Array, ...]]:
    """Gradient of the loss *sum*, and ``(sum, count, row_logprob)``; micro-batches are folded by a scan."""
    value_and_grad = jax.value_and_grad(lambda p, b: loss_sum(module, p, b), has_aux=True)
    if accumulate == 1:
        (total, (count, rows)), grads = value_and_grad(params, batch)
        return grads, (total, count, rows)
    micro = jax.tree.map(lambda x: x.reshape(accumulate, -1, *x.shape[1:]), batch)

    def fold(carry: tuple[Any, jax.Array, jax.Array], part: TrainBatch) -> tuple[Any, jax.Array]:
        grads, total, count = carry
        (part_total, (part_count, rows)), part_grads = value_and_grad(params, part)
        return (jax.tree.map(jnp.add, grads, part_grads), total + part_total, count + part_count), rows

    zeros = (jax.tree.map(jnp.zeros_like, params), jnp.zeros(()), jnp.zeros(()))
    (grads, total, count), rows = lax.scan(fold, zeros, micro)
    return grads, (total, count, rows.reshape(-1))


def train_step(
    module: Any, optimizer: optax.GradientTransformation, accumulate: int, state: TrainState, batch: TrainBatch
) -> tuple[TrainState, Metrics]:
    """One optimizer step on the mean loss over all target tokens of the batch (pure; see :func:`make_train_step`)."""
    grads, (total, count, row_logprob) = _gradients(module, state.params, batch, accumulate)
    scale = 1.0 / jnp.maximum(count, 1.0)
    grads = jax.tree.map(lambda g: g * scale, grads)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    metrics = Metrics(loss=total * scale, grad_norm=optax.tree.norm(grads), tokens=count, row_logprob=row_logprob)
    return replace(state, step=state.step + 1, params=params, opt_state=opt_state), metrics


def make_train_step(
    module: Any, optimizer: optax.GradientTransformation, state: TrainState, mesh: Mesh, *, accumulate: int = 1
) -> TrainStep:
    """Compile-once train step for ``module`` on ``mesh``; ``state`` gives the shapes. The state passed in is donated.

    ``accumulate`` micro-batches are folded one after another; ``[B, ...]`` must be a multiple of it and of data * fsdp.
    """
    state_shardings = tree_shardings(state, mesh)
    replicated = NamedSharding(mesh, PartitionSpec())
    return jax.jit(
        lambda s, b: train_step(module, optimizer, accumulate, s, b),
        in_shardings=(state_shardings, batch_sharding(mesh)),
        out_shardings=(state_shardings, replicated),
        donate_argnums=0,
    )
