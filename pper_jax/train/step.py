"""The train step: one pure jitted function ``(TrainState, TrainBatch) -> (TrainState, Metrics)``.

Jitted with NamedShardings for its inputs and outputs and with the old state donated; nothing in it touches the host.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pper_jax.models import on_mesh, rules_of
from pper_jax.sharding import Rule, batch_sharding, check_batch, place, tree_shardings, without_fsdp
from pper_jax.train.loss import loss_sum
from pper_jax.train.objectives import Objective, cross_entropy
from pper_jax.train.packing import Packed
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
Gather = Literal["each", "once"]


def init_train_state(
    params: Params,
    optimizer: optax.GradientTransformation,
    key: jax.Array,
    mesh: Mesh,
    rules: Sequence[Rule] = (),
) -> TrainState:
    """State at step 0, placed on ``mesh`` by the rules of ``pper_jax.sharding`` (moments beside their weights).

    ``rules``: the exceptions of the model's family (``models.rules_of``).
    """
    state = TrainState(step=jnp.zeros((), jnp.int32), params=params, opt_state=optimizer.init(params), key=key)
    return place(state, tree_shardings(state, mesh, rules))


def folded_axes(gather: Gather) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The mesh axes whose devices fold gradients of their own, and those that share a micro-batch's gradient."""
    return (("data", "fsdp"), ()) if gather == "once" else (("data",), ("fsdp",))


def gathered(params: Params, mesh: Mesh, rules: Sequence[Rule] = ()) -> Params:
    """``params`` whole along fsdp, for all micro-batches of a step (within a traced step)."""
    return lax.with_sharding_constraint(params, jax.tree.map(without_fsdp, tree_shardings(params, mesh, rules)))


def _sizes(mesh: Mesh, gather: Gather) -> tuple[int, int, NamedSharding]:
    """How many gradients are folded, how many devices share each, and how ``[parts, folded, rows, ...]`` is split."""
    folded, sharing = folded_axes(gather)
    count, each = (math.prod(mesh.shape[axis] for axis in axes) for axes in (folded, sharing))
    return count, each, NamedSharding(mesh, PartitionSpec(None, folded, sharing))


def _split(batch: TrainBatch, accumulate: int, mesh: Mesh | None, gather: Gather) -> TrainBatch:
    """``[B, ...]`` as ``[accumulate, folded, B / (accumulate * folded), ...]``, without ``folded`` where no mesh is.

    A micro-batch takes as many rows from each device's share of the batch, so that a device folds its own rows alone.
    """
    if mesh is None:
        return jax.tree.map(lambda x: x.reshape(accumulate, -1, *x.shape[1:]), batch)
    check_batch(batch.tokens.shape[0], accumulate, mesh)
    folded, each, put = _sizes(mesh, gather)

    def parts(x: jax.Array) -> jax.Array:
        x = x.reshape(folded, each, accumulate, -1, *x.shape[1:]).transpose(2, 0, 1, *range(3, x.ndim + 3))
        return lax.with_sharding_constraint(x.reshape(accumulate, folded, -1, *x.shape[4:]), put)

    return jax.tree.map(parts, batch)


def _in_order(parts: jax.Array, mesh: Mesh | None, gather: Gather) -> jax.Array:
    """What the parts of :func:`_split` gave, a row each, in the order of the batch: ``[B, ...]``."""
    if mesh is None:
        return parts.reshape(-1, *parts.shape[2:])
    parts = parts.reshape(*parts.shape[:2], _sizes(mesh, gather)[1], -1, *parts.shape[3:])
    parts = parts.transpose(1, 2, 0, *range(3, parts.ndim))
    return parts.reshape(-1, *parts.shape[4:])


def _folded(packed: TrainBatch, mesh: Mesh | None, gather: Gather) -> TrainBatch:
    """``[parts, rows, ...]`` as ``[parts, folded, rows / folded, ...]``, or as it is where there is no mesh."""
    if mesh is None:
        return packed
    folded, _, put = _sizes(mesh, gather)
    return jax.tree.map(
        lambda x: lax.with_sharding_constraint(x.reshape(x.shape[0], folded, -1, *x.shape[2:]), put), packed
    )


def _fold(
    of_part: Callable[[TrainBatch], tuple[Any, jax.Array]], parts: TrainBatch, used: jax.Array | None
) -> tuple[Any, jax.Array]:
    """The sums of what each micro-batch gives, and its programs; of the first ``used`` ones, the rest is left 0."""
    count = parts.tokens.shape[0]
    first = jax.tree.map(lambda x: x[0], parts)
    if count == 1:
        sums, programs = of_part(first)
        return sums, programs[None]
    shapes = jax.eval_shape(of_part, first)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes[0])
    if used is None:

        def fold(carry: Any, part: TrainBatch) -> tuple[Any, jax.Array]:
            sums, programs = of_part(part)
            return jax.tree.map(jnp.add, carry, sums), programs

        return lax.scan(fold, zeros, parts)

    def step(index: jax.Array, carry: tuple[Any, jax.Array]) -> tuple[Any, jax.Array]:
        part = jax.tree.map(lambda x: lax.dynamic_index_in_dim(x, index, keepdims=False), parts)
        sums, programs = of_part(part)
        return jax.tree.map(jnp.add, carry[0], sums), lax.dynamic_update_index_in_dim(carry[1], programs, index, 0)

    found = jnp.zeros((count, *shapes[1].shape), shapes[1].dtype)
    return lax.fori_loop(0, used, step, (zeros, found))


def _gradients(
    loss: Callable[[Params, TrainBatch], Any],
    params: Params,
    batch: TrainBatch | Packed,
    accumulate: int,
    mesh: Mesh | None,
    gather: Gather,
) -> tuple[Params, tuple[jax.Array, ...]]:
    """Gradient of the loss *sum*, and ``(sum, count, per_program)``; micro-batches are folded one after another.

    On a mesh each index of :func:`folded_axes` folds its own gradient; they are added up once, at the end.
    """
    value_and_grad = jax.value_and_grad(loss, has_aux=True)
    if mesh is not None:
        value_and_grad = jax.vmap(value_and_grad, (None, 0), spmd_axis_name=folded_axes(gather)[0])

    def of_part(part: TrainBatch) -> tuple[Any, jax.Array]:
        (total, (count, programs)), grads = value_and_grad(params, part)
        return (grads, total, count), programs

    if isinstance(batch, Packed):
        sums, programs = _fold(of_part, _folded(batch.batch, mesh, gather), batch.used)
        programs = programs.reshape(-1)[batch.place]
    else:
        sums, programs = _fold(of_part, _split(batch, accumulate, mesh, gather), None)
        programs = _in_order(programs, mesh, gather)
    if mesh is not None:
        sums = jax.tree.map(lambda x: x.sum(0), sums)
    grads, total, count = sums
    return grads, (total, count, programs)


def train_step(
    module: Any,
    optimizer: optax.GradientTransformation,
    accumulate: int,
    state: TrainState,
    batch: TrainBatch | Packed,
    *,
    objective: Objective = cross_entropy,
    mesh: Mesh | None = None,
    gather: Gather = "each",
) -> tuple[TrainState, Metrics]:
    """One optimizer step on ``objective``'s mean over the batch (pure; see :func:`make_train_step`).

    A :class:`Packed` batch has micro-batches of its own, whatever ``accumulate`` says; ``Metrics.row_logprob`` is then
    in the order of the programs that were packed.

    Where the loss, a gradient or an update is NaN or infinite, only ``step`` advances: parameters, moments and schedule
    stay bit for bit as they were, and ``Metrics.skipped`` says so.

    Weights that are split over fsdp are gathered and their gradients scattered by each micro-batch, or ``once`` a step.
    The latter moves less and takes the memory of a whole copy of the weights and of a whole gradient on every device
    (of what tp leaves of them).
    """
    mesh = None if mesh is None or mesh.size == 1 else mesh
    placed = on_mesh(module, mesh, rows=folded_axes(gather)[1])  # the gradients' map over the others adds those
    weights = state.params
    if mesh is not None and gather == "once":
        weights = gathered(weights, mesh, rules_of(module))
    grads, (total, count, row_logprob) = _gradients(
        lambda p, b: loss_sum(placed, p, b, objective), weights, batch, accumulate, mesh, gather
    )
    if mesh is not None and gather == "once":
        grads = lax.with_sharding_constraint(grads, tree_shardings(grads, mesh, rules_of(module)))
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
    gather: Gather = "each",
) -> TrainStep:
    """Compile-once train step for ``module`` on ``mesh``; ``state`` gives the shapes. The state passed in is donated.

    ``accumulate`` micro-batches are folded one after another; ``B`` must be a multiple of data * fsdp * accumulate
    (UserError otherwise, when the step is traced).
    """
    state_shardings = tree_shardings(state, mesh, rules_of(module))
    replicated = NamedSharding(mesh, PartitionSpec())
    return jax.jit(
        lambda s, b: train_step(module, optimizer, accumulate, s, b, objective=objective, mesh=mesh, gather=gather),
        in_shardings=(state_shardings, batch_sharding(mesh)),
        out_shardings=(state_shardings, replicated),
        donate_argnums=0,
    )
