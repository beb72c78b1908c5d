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
from pper_jax.decode.devices import batch_shardings
from pper_jax.decode.engine import BUCKETS, SEGMENT
from pper_jax.decode.segments import Batch, advance_until, begin, grow, step_counts
from pper_jax.errors import UserError
from pper_jax.files import model_folder
from pper_jax.learn import make_learn_step, rows_at_once
from pper_jax.loop.config import RunConfig
from pper_jax.loop.parts import column_shapes
from pper_jax.models import Compute, ModelConfig, build_model, model_config, on_mesh, resolve_model, rules_of
from pper_jax.models.lora import LoraConfig, init_adapters
from pper_jax.models.shapes import SHAPES
from pper_jax.sharding import check_batch, make_mesh, tree_shardings, whole_rows, without_fsdp
from pper_jax.train import make_objective, make_optimizer
from pper_jax.types import Params, Prompts, TrainState
from pper_kernels.linear_log_probs.api import FEW_ROWS, MANY_ROWS

REPLICATED = PartitionSpec()


@dataclass(frozen=True)
class Lowered:
    """A call that is ready to be compiled.

    Attributes:
        call: what ``jax.jit(...).lower`` gives.
        holds: bytes a device that its arguments take, by what they are.
        trips: how often its loops run whose count is known on the device only, the outermost first.
    """

    call: Any
    holds: dict[str, float]
    trips: tuple[float, ...]


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
    check_batch(config.train.batch_size, config.train.accumulate, mesh, "train.batch_size")
    for name, tokens in (("train.max_length", config.train.max_length), ("beam.max_new_tokens", _least(config))):
        if tokens > model.max_positions:
            raise UserError(f"{name} asks for {tokens} tokens; the model's context has {model.max_positions}")


def _least(config: RunConfig) -> int:
    return config.beam.max_new_tokens + 1


def mesh_of(sizes: dict[str, int], devices: list[Any]) -> Mesh:
    """The mesh that a run makes of these sizes."""
    return make_mesh(sizes["data"], sizes["fsdp"], sizes["tp"], devices)


def lower_learn(config: RunConfig, model: ModelConfig, dtype: str, mesh: Mesh) -> Lowered:
    """The learn step: draw, train, write back; over a frozen base where the run trains adapters."""
    module, objective = build_model(model, config.train.compute(Compute(dtype=dtype))), config.train.objective
    optimizer = make_optimizer(config.optimizer, max(1, config.rounds * config.train.steps))
    params = jax.eval_shape(partial(_params, build_model(model)))
    trained = jax.eval_shape(partial(_trained, config.lora), params)
    state = jax.eval_shape(partial(_train_state, optimizer), trained)
    columns = column_shapes(objective.needs, config.train.max_length)
    buffer = jax.eval_shape(lambda: replay.init(config.replay, replay.example_row(config.train.max_length, columns)))
    base = params if config.lora.rank else None

    def learn(state: TrainState, buffer: replay.ReplayState, base: Params | None) -> Any:
        step = make_learn_step(
            module,
            optimizer,
            state,
            mesh,
            config.replay,
            batch_size=config.train.batch_size,
            accumulate=config.train.accumulate,
            objective=make_objective(objective),
            pairs=objective.pairs,
            base=base,
            lora=config.lora,
            packing=config.train.packing,
            gather=config.train.gather,
        )
        return step(state, buffer)

    one, rules = NamedSharding(mesh, REPLICATED), rules_of(module)
    shardings, weights = tree_shardings(state, mesh, rules), tree_shardings(params, mesh, rules)
    given, gives = (shardings, one, None if base is None else weights), (shardings, one, one, one, one)
    call: Any = jax.jit(learn, in_shardings=given, out_shardings=gives, donate_argnums=(0, 1))
    holds = {
        "parameters": held(state.params, shardings.params),
        "optimizer": held(state.opt_state, shardings.opt_state),
        "buffer": held(buffer, one),
        "base": held(params, weights) if config.lora.rank else 0.0,
    }
    return Lowered(call.lower(state, buffer, base), holds, _learn_trips(config, params, mesh))


def _learn_trips(config: RunConfig, params: Params, mesh: Mesh) -> tuple[float, ...]:
    """Micro-batches of packed programs, where every program fills a row; on one device, blocks of positions of each.

    (On several, a loss makes the logits of all positions at once.)
    """
    train, trips = config.train, []
    rows = train.batch_size // train.accumulate
    if train.packing and not train.objective.pairs:
        numbers = sum(leaf.size for leaf in jax.tree.leaves(params))
        rows = rows_at_once(rows, train.max_length, numbers, mesh)
        trips += [train.batch_size / rows] if rows < train.batch_size else []  # one alone takes no loop
    if mesh.size == 1:
        positions = rows * train.max_length
        block = MANY_ROWS if positions >= 2 * MANY_ROWS else min(FEW_ROWS, positions)
        trips.append(-(-positions // block))
    return tuple(trips)


def _trained(lora: LoraConfig, params: Params) -> Params:
    """What is trained: the parameters, or adapters of them."""
    return init_adapters(lora, params, jax.random.key(0)) if lora.rank else params


def _train_state(optimizer: Any, params: Params) -> TrainState:
    return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params), jax.random.key(0))


def _params(module: Any) -> Params:
    tokens, mask = jnp.zeros((1, 1), jnp.int32), jnp.ones((1, 1, 1), bool)
    return module.init(jax.random.key(0), tokens, tokens, mask)["params"]


def lower_decode(config: RunConfig, model: ModelConfig, dtype: str, mesh: Mesh) -> Lowered:
    """A decode segment: rows over data and fsdp, weights over tp, the cache at its full size."""
    module, method = build_model(model, Compute(dtype=dtype)), config.beam.decoding()
    method.check(model)
    params = jax.eval_shape(partial(_params, module))
    rows, slots = whole_rows(config.beam.batch_size, mesh), prompt_slots(config, model)
    batch: Batch = jax.eval_shape(partial(_decode_batch, module, method, rows, slots), params)
    batches, one = batch_shardings(batch, mesh), NamedSharding(mesh, REPLICATED)
    weights = jax.tree.map(without_fsdp, tree_shardings(params, mesh, rules_of(module)))
    placed = on_mesh(module, mesh)

    def extend(params: Any, batch: Batch, steps: Any, done: Any) -> Any:
        batch = advance_until(placed, params, batch, method, steps, done)
        batch = jax.lax.with_sharding_constraint(batch, batches)
        return batch, batch.state.done | False, method.results(batch.state)

    call: Any = jax.jit(extend, in_shardings=(weights, batches, one, one), donate_argnums=1)
    number = jax.ShapeDtypeStruct((), jnp.int32)
    cache = held(batch.cache, batches.cache)
    holds = {
        "parameters": held(params, weights),
        "cache": cache,
        "search": held(batch, batches) - cache,
    }
    return Lowered(call.lower(params, batch, number, number), holds, (STEPS,))


def _decode_batch(module: Any, method: Any, rows: int, slots: int, params: Any) -> Batch:
    prompts = Prompts(jnp.zeros((rows, slots), jnp.int32), jnp.ones(rows, jnp.int32))
    keys = jax.random.split(jax.random.key(0), rows) if method.needs_key else None
    batch = begin(module, params, prompts, keys, method, Ends((0,), 0))
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
