"""Phase P: tested programs as rows of the replay buffer, and learning from them as one pure function.

A learn step draws from the buffer, takes a train step and writes the new log-probs back; sampling, gathering, the step
and the refresh of the priorities are one compiled call, and everything stays on the device.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pper_jax import replay
from pper_jax.models import on_mesh, rules_of
from pper_jax.models.lora import Adapted, LoraConfig
from pper_jax.sharding import batch_devices, batch_sharding, check_batch, tree_shardings
from pper_jax.train import (
    Gather,
    Metrics,
    Objective,
    Packed,
    cross_entropy,
    folded_axes,
    gathered,
    pack,
    program_batch,
    train_step,
)
from pper_jax.types import Params, TrainBatch, TrainState

TARGET_LOGPROBS = ("sampler_logprobs", "reference_logprobs")

Learnt = tuple[TrainState, replay.ReplayState, Metrics, replay.Draw, jax.Array]
LearnStep = Callable[..., Learnt]


def make_learn_step(
    module: Any,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    mesh: Mesh,
    config: replay.ReplayConfig,
    *,
    batch_size: int,
    accumulate: int = 1,
    objective: Objective = cross_entropy,
    pairs: bool = False,
    base: Params | None = None,
    lora: LoraConfig | None = None,
    packing: bool = False,
    shared: int = 0,
    gather: Gather = "each",
    limited: bool = False,
) -> LearnStep:
    """Jitted ``(TrainState, ReplayState) -> (TrainState, ReplayState, Metrics, Draw, program ids [B])``, both donated.

    The draw's key is ``fold_in(state.key, state.step)``, so that a resumed run draws what it would have drawn.
    A program whose new log-probability is not finite keeps the one that it had. With ``pairs`` it draws pairs of a
    task, solved and failed (:func:`pper_jax.replay.sample_pairs`), as DPO needs them; the batch size is then even.

    With ``base``, ``state.params`` are adapters as ``lora`` has them, and the model is that of both merged. The base is
    an argument of the compiled step: it is not copied, and not trained.

    With ``packing`` the drawn programs share rows, and no more rows are computed than they fill, in micro-batches of a
    size that suits the platform, at most ``batch_size / accumulate``; pairs are never packed. The first ``shared``
    tokens, which all programs begin with and which are part of their prompts, then stand once a row; a model whose
    layers have windows takes them with each program.

    ``gather``: how often a step gathers weights that are split over fsdp (:func:`pper_jax.train.train_step`).

    With ``limited`` the step takes a third argument, [] float32: the target tokens that may still be learnt from. Steps
    share them evenly, see :func:`within_budget`; a drawn program beyond a step's share weighs nothing.

    Raises:
        UserError: the mesh does not divide the batch, or parts a pair.
    """
    replicated = NamedSharding(mesh, PartitionSpec())
    if pairs:  # those of a pair stay together
        check_batch(batch_size // 2, accumulate, mesh, "half of batch_size, for pairs,")
    check_batch(batch_size, accumulate, mesh)
    state_shardings = tree_shardings(state, mesh, rules_of(module))
    adapted = base is not None
    size = sum(np.size(leaf) for leaf in jax.tree.leaves(state.params if base is None else base))

    def step(state: TrainState, buffer: replay.ReplayState, *more: Any) -> Learnt:
        left, base = (more[0] if limited else None), (more[-1] if adapted else None)
        key = jax.random.fold_in(state.key, state.step)
        if pairs:
            buffer, draw = replay.sample_pairs(buffer, key, batch_size // 2)
        else:
            buffer, draw = replay.sample(buffer, key, batch_size, config)
        drawn = replay.gather(buffer, draw.indices)
        drawn = replace(drawn, extras={**drawn.extras, "pass_rate": drawn.pass_rate})
        weight = draw.weight if left is None else _rationed(drawn, draw.weight, left, 2 if pairs else 1)
        programs = _as_batch(drawn, weight)
        batch: TrainBatch | Packed
        if packing and not pairs:
            batch = _packed(module, programs, batch_size // accumulate, shared, size, mesh)
        else:
            batch = jax.lax.with_sharding_constraint(programs, batch_sharding(mesh))
        measured_at = state.step  # of the parameters that the log-probs are measured with: those before the step
        model = module if base is None else _adapted(module, base, lora or LoraConfig(), mesh, gather)
        options: dict[str, Any] = {"objective": objective, "mesh": mesh, "gather": gather}
        state, metrics = train_step(model, optimizer, accumulate, state, batch, **options)
        if config.refresh:
            measured = jnp.where(jnp.isfinite(metrics.row_logprob), draw.indices, -1)
            buffer = replay.update(buffer, measured, metrics.row_logprob, measured_at)
        return state, replay.refresh(buffer, config, draw.indices), metrics, draw, drawn.program_id

    given = (state_shardings, replicated, *([replicated] if limited else []))
    compiled = jax.jit(
        step,
        in_shardings=given if base is None else (*given, tree_shardings(base, mesh, rules_of(module))),
        out_shardings=(state_shardings, replicated, replicated, replicated, replicated),
        donate_argnums=(0, 1),
    )
    return (lambda *given: compiled(*given, base)) if adapted else compiled


def within_budget(tokens: jax.Array, left: jax.Array, together: int = 1) -> jax.Array:
    """Which programs of a step are learnt from, ``[B]`` bool, where ``left`` [] target tokens may still be.

    As many steps of this size as hold ``left`` share it evenly, so that none is much smaller than the others. The
    programs that begin within a step's share count: in all, at most one too many. ``tokens [B]`` int32 are each
    program's; ``together`` neighbours stay together.
    """
    sums = tokens.reshape(-1, together).sum(axis=1)
    steps = jnp.ceil(left / jnp.maximum(jnp.sum(sums), 1))
    within = jnp.cumsum(sums) - sums < left / jnp.maximum(steps, 1)
    return jnp.repeat(within, together)


def _packed(module: Any, programs: TrainBatch, most: int, shared: int, parameters: int, mesh: Mesh) -> Packed:
    """The programs side by side in rows, ``most`` at a time; windows count slots: nothing is shared then."""
    rows = rows_at_once(most, programs.tokens.shape[1], parameters, mesh)
    return pack(programs, rows, 0 if any(module.config.windows or ()) else shared)


def _adapted(module: Any, base: Params, lora: LoraConfig, mesh: Mesh, gather: Gather) -> Adapted:
    weights = gathered(base, mesh, rules_of(module)) if gather == "once" else base
    return Adapted(on_mesh(module, mesh, rows=folded_axes(gather)[1]), weights, lora)


def _rationed(drawn: replay.Items, weight: jax.Array, left: jax.Array, together: int) -> jax.Array:
    tokens = jnp.where(weight > 0, drawn.length - drawn.prompt_length, 0)
    return jnp.where(within_budget(tokens, left, together), weight, 0.0)


def rows_at_once(most: int, length: int, parameters: int, mesh: Mesh) -> int:
    """Rows of a micro-batch of packed programs: a divisor of ``most`` (rows) that every device has its share of.

    Few rows leave little of the last micro-batch empty; many let each pass over the gradients pay. ``length`` is that
    of a row in tokens. On a CPU a small model's gradients lie in its cache, so that a pass over them costs little.
    """
    devices = batch_devices(mesh)
    tokens = 16384
    if mesh.devices.flat[0].platform == "cpu":
        tokens = 512 if parameters < 1 << 24 else 2048
    fitting = [
        rows for rows in range(devices, most + 1, devices) if most % rows == 0 and rows * length <= tokens * devices
    ]
    return max(fitting, default=devices)


def _as_batch(drawn: replay.Items, weight: jax.Array) -> TrainBatch:
    """The drawn programs ``[B]`` as a train batch; what the buffer keeps beside them goes along under its name."""
    batch = program_batch(drawn.tokens, drawn.prompt_length, drawn.length, weight)
    extras = dict(getattr(drawn, "extras", {}))
    known = {name: extras.pop(name) for name in TARGET_LOGPROBS if name in extras}
    return replace(batch, **known, extras=extras)
