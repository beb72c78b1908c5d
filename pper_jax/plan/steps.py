"""The two calls that a run spends its time in, lowered on shapes alone: no weight, task or device is needed."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pper_jax import replay
from pper_jax.decode import Ends
from pper_jax.decode.engine import BUCKETS, SEGMENT
from pper_jax.decode.segments import Batch, advance_until, begin, grow, step_counts
from pper_jax.errors import UserError
from pper_jax.files import model_folder
from pper_jax.learn import make_learn_step
from pper_jax.loop.config import RunConfig
from pper_jax.models import Compute, ModelConfig, build_model, model_config, resolve_model
from pper_jax.models.shapes import SHAPES
from pper_jax.sharding import BATCH_SPEC, batch_devices, make_mesh, tree_shardings
from pper_jax.train import make_optimizer
from pper_jax.types import Prompts, TrainState

REPLICATED = PartitionSpec()


@dataclass(frozen=True)
class Lowered:
    """A call that is ready to be compiled, and the bytes a device that its arguments take, by what they are."""

    call: Any
    holds: dict[str, float]


def shape_of(name: str) -> ModelConfig:
    """The model of a folder, a GGUF file or a known name, from its configuration; or one whose shape is known.

    Raises:
        UserError: none of these.
    """
    if name in SHAPES and not os.path.exists(name):
        return SHAPES[name]
    try:
        return model_config(model_folder(resolve_model(name)))
    except UserError as error:
        raise UserError(f"{error} Shapes that need no file: {', '.join(SHAPES)}.") from None


def check_batches(config: RunConfig, model: ModelConfig, mesh: Mesh) -> None:
    """Raise UserError for rows that the mesh or the model cannot take; judged before anything is compiled."""
    rows, parts = config.train.batch_size, batch_devices(mesh) * config.train.accumulate
    if rows % parts:
        raise UserError(
            f"train.batch_size is {rows}; on this mesh it must be a multiple of {parts} "
            f"(data {mesh.shape['data']} x fsdp {mesh.shape['fsdp']} x train.accumulate {config.train.accumulate})"
        )
    for name, tokens in (("train.max_length", config.train.max_length), ("beam.max_new_tokens", _least(config))):
        if tokens > model.max_positions:
            raise UserError(f"{name} asks for {tokens} tokens; the model's context has {model.max_positions}")


def _least(config: RunConfig) -> int:
    return config.beam.max_new_tokens + 1


def mesh_of(sizes: dict[str, int], devices: list[Any]) -> Mesh:
    """The mesh that a run makes of these sizes."""
    return make_mesh(sizes["data"], sizes["fsdp"], sizes["tp"], devices)


def lower_learn(config: RunConfig, model: ModelConfig, dtype: str, mesh: Mesh) -> Lowered:
    """The learn step: draw, train, write back."""
    module = build_model(model, Compute(dtype=dtype))
    optimizer = make_optimizer(config.optimizer, max(1, config.rounds * config.train.steps))
    state = jax.eval_shape(partial(_train_state, module, optimizer))
    buffer = jax.eval_shape(lambda: replay.init(config.replay, max_length=config.train.max_length))
    step: Any = make_learn_step(
        module,
        optimizer,
        state,
        mesh,
        config.replay,
        batch_size=config.train.batch_size,
        accumulate=config.train.accumulate,
    )
    shardings = tree_shardings(state, mesh)
    holds = {
        "parameters": held(state.params, shardings.params),
        "optimizer": held(state.opt_state, shardings.opt_state),
        "buffer": held(buffer, NamedSharding(mesh, REPLICATED)),
    }
    return Lowered(step.lower(state, buffer), holds)


def _train_state(module: Any, optimizer: Any) -> TrainState:
    params = _params(module)
    return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params), jax.random.key(0))


def _params(module: Any) -> Any:
    tokens, mask = jnp.zeros((1, 1), jnp.int32), jnp.ones((1, 1, 1), bool)
    return module.init(jax.random.key(0), tokens, tokens, mask)["params"]


def lower_decode(config: RunConfig, model: ModelConfig, dtype: str, mesh: Mesh) -> Lowered:
    """A decode segment: rows over data and fsdp where they divide, weights over tp, the cache at its full size."""
    module, method = build_model(model, Compute(dtype=dtype)), config.beam.method()
    method.check(model)
    params = jax.eval_shape(partial(_params, module))
    shape = partial(_decode_batch, module, method, config.beam.batch_size, prompt_slots(config, model))
    batch: Batch = jax.eval_shape(shape, params)
    splits = config.beam.batch_size % batch_devices(mesh) == 0
    rows, one = (NamedSharding(mesh, spec) for spec in (BATCH_SPEC if splits else REPLICATED, REPLICATED))
    weights = jax.tree.map(lambda s: NamedSharding(mesh, without(s.spec, "fsdp")), tree_shardings(params, mesh))
    batches = jax.tree.map(lambda leaf: rows if leaf.ndim else one, batch)

    def extend(params: Any, batch: Batch, steps: Any, done: Any) -> Any:
        batch = advance_until(module, params, batch, method, steps, done)
        return batch, batch.state.done | False, method.results(batch.state)

    call: Any = jax.jit(extend, in_shardings=(weights, batches, one, one), donate_argnums=1)
    number = jax.ShapeDtypeStruct((), jnp.int32)
    cache = held(batch.cache, batches.cache)
    holds = {
        "parameters": held(params, weights),
        "cache": cache,
        "search": held(batch, batches) - cache,
    }
    return Lowered(call.lower(params, batch, number, number), holds)


def without(spec: PartitionSpec, axis: str) -> PartitionSpec:
    """A spec that does not split over ``axis``."""
    return PartitionSpec(*(None if part == axis else part for part in spec))


def _decode_batch(module: Any, method: Any, rows: int, slots: int, params: Any) -> Batch:
    prompts = Prompts(jnp.zeros((rows, slots), jnp.int32), jnp.ones(rows, jnp.int32))
    batch = begin(module, params, prompts, None, method, Ends((0,), 0))
    return grow(batch, step_counts(method.max_new_tokens)[-1])


def prompt_slots(config: RunConfig, model: ModelConfig) -> int:
    """Slots of the longest prompt that the run takes: what ``train.max_length`` leaves, as the engine rounds it."""
    new = config.beam.max_new_tokens
    longest = max(1, min(config.train.max_length, model.max_positions) - new)
    return min(min((size for size in BUCKETS if size >= longest), default=longest), model.max_positions - new)


def held(tree: Any, shardings: Any) -> float:
    """Bytes a device of the arrays of ``tree``, placed by ``shardings`` (one, or a tree of them)."""
    if isinstance(shardings, NamedSharding):
        shardings = jax.tree.map(lambda _: shardings, tree)
    sizes = jax.tree.map(lambda x, s: math.prod(s.shard_shape(x.shape)) * x.dtype.itemsize, tree, shardings)
    return float(sum(jax.tree.leaves(sizes)))


def at_depth(model: ModelConfig, layers: int) -> ModelConfig:
    """The same model with so many layers."""
    return replace(model, num_layers=layers)


STEPS = SEGMENT  # tokens that a row of a segment is extended by
