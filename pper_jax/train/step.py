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

from pper_jax.sharding import batch_devices, batch_sharding, tree_shardings
from pper_jax.train.loss import loss_sum
from pper_jax.train.objectives import Objective, cross_entropy
from pper_jax.types import Params, TrainBatch, TrainState


@struct.dataclass
class Metrics:
    """What one step measured, on device.

    Attributes:
        loss: [] float32, the objective's sum over its count: nats a target token.
        grad_norm: [] float32, global norm before clipping.
        tokens: [] float32, the objective's count: target tokens in the batch.
        row_logprob: float32, shaped as the batch's weight: the objective's ``per_program``; by default the
            log-probability of each program's targets under the parameters *before* the step.
        unchanged: [] bool, every gradient or every update was exactly 0, so that nothing was learnt.
        skipped: [] bool, the loss, a gradient or an update was not finite, so nothing but ``step`` moved.
    """

    loss: jax.Array
    grad_norm: jax.Array
    tokens: jax.Array
    row_logprob: jax.Array
    skipped: jax.Array | bool = False
    unchanged: jax.Array | bool = False


TrainStep = Callable[[TrainState, TrainBatch], tuple[TrainState, Metrics]]


def init_train_state(params: Params, optimizer: optax.GradientTransformation, key: jax.Array, mesh: Mesh) -> TrainState:
    """State at step 0, placed on ``mesh`` by the rules of ``pper_jax.sharding`` (moments beside their weights)."""
    state = TrainState(step=jnp.zeros((), jnp.int32), params=params, opt_state=optimizer.init(params), key=key)
    return jax.device_put(state, tree_shardings(state, mesh))


def _micro_batches(batch: TrainBatch, accumulate: int, mesh: Mesh | None) -> tuple[TrainBatch, int]:
    """``[B, ...]`` as ``[accumulate, B / accumulate, ...]``, and the number of devices that share each part.

    A part takes as many rows from each device's share of the batch, so that a device folds its own rows alone.
    """
    rows = batch.tokens.shape[0]
    shares = 1 if mesh is None else batch_devices(mesh)
    if mesh is None or rows % (accumulate * shares):
        return jax.tree.map(lambda x: x.reshape(accumulate, -1, *x.shape[1:]), batch), 1
    split = NamedSharding(mesh, PartitionSpec(None, *batch_sharding(mesh).spec))

    def parts(x: jax.Array) -> jax.Array:
        x = x.reshape(shares, accumulate, -1, *x.shape[1:]).swapaxes(0, 1)
        return lax.with_sharding_constraint(x.reshape(accumulate, -1, *x.shape[3:]), split)

    return jax.tree.map(parts, batch), shares


def _in_order(parts: jax.Array, shares: int) -> jax.Array:
    """What each part gave, ``[accumulate, B / accumulate, ...]``, in the order of the batch, ``[B, ...]``."""
    accumulate, rest = parts.shape[0], parts.shape[2:]
    return parts.reshape(accumulate, shares, -1, *rest).swapaxes(0, 1).reshape(-1, *rest)


def _gradients(
    loss: Callable[[Params, TrainBatch], Any], params: Params, batch: TrainBatch, accumulate: int, mesh: Mesh | None
) -> tuple[Params, tuple[jax.Array, ...]]:
    """Gradient of the loss *sum*, and ``(sum, count, per_program)``; micro-batches are folded by a scan."""
    value_and_grad = jax.value_and_grad(loss, has_aux=True)
    if accumulate == 1:
        (total, (count, programs)), grads = value_and_grad(params, batch)
        return grads, (total, count, programs)

    def fold(carry: tuple[Any, jax.Array, jax.Array], part: TrainBatch) -> tuple[Any, jax.Array]:
        grads, total, count = carry
        (part_total, (part_count, programs)), part_grads = value_and_grad(params, part)
        return (jax.tree.map(jnp.add, grads, part_grads), total + part_total, count + part_count), programs

    micro, shares = _micro_batches(batch, accumulate, mesh)
    zeros = (jax.tree.map(jnp.zeros_like, params), jnp.zeros(()), jnp.zeros(()))
    (grads, total, count), programs = lax.scan(fold, zeros, micro)
    return grads, (total, count, _in_order(programs, shares))


def train_step(
    module: Any,
    optimizer: optax.GradientTransformation,
    accumulate: int,
    state: TrainState,
    batch: TrainBatch,
    *,
    objective: Objective = cross_entropy,
    mesh: Mesh | None = None,
) -> tuple[TrainState, Metrics]:
    """One optimizer step on ``objective``'s mean over the batch (pure; see :func:`make_train_step`).

    Where the loss, a gradient or an update is NaN or infinite, only ``step`` advances: parameters, moments and schedule
    stay bit for bit as they were, and ``Metrics.skipped`` says so.
    """
    grads, (total, count, row_logprob) = _gradients(
        lambda p, b: loss_sum(module, p, b, objective), state.params, batch, accumulate, mesh
    )
    scale = 1.0 / jnp.maximum(count, 1.0)
    grads = jax.tree.map(lambda g: g * scale, grads)
    loss, grad_norm = total * scale, optax.tree.norm(grads)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    update_norm = optax.tree.norm(updates)
    finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm) & jnp.isfinite(update_norm)
    params, opt_state = jax.tree.map(
        lambda new, old: jnp.where(finite, new, old), (params, opt_state), (state.params, state.opt_state)
    )
    metrics = Metrics(loss, grad_norm, tokens=count, row_logprob=row_logprob, skipped=~finite)
    metrics = replace(metrics, unchanged=finite & ((grad_norm == 0) | (update_norm == 0)))
    return replace(state, step=state.step + 1, params=params, opt_state=opt_state), metrics


def make_train_step(
    module: Any,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    mesh: Mesh,
    *,
    accumulate: int = 1,
    objective: Objective = cross_entropy,
) -> TrainStep:
    """Compile-once train step for ``module`` on ``mesh``; ``state`` gives the shapes. The state passed in is donated.

    ``accumulate`` micro-batches are folded one after another; ``[B, ...]`` must be a multiple of it and of data * fsdp
    (of their product, where each device is to have its share of every micro-batch).
    """
    state_shardings = tree_shardings(state, mesh)
    replicated = NamedSharding(mesh, PartitionSpec())
    return jax.jit(
        lambda s, b: train_step(module, optimizer, accumulate, s, b, objective=objective, mesh=mesh),
        in_shardings=(state_shardings, batch_sharding(mesh)),
        out_shardings=(state_shardings, replicated),
        donate_argnums=0,
    )
