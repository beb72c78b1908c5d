"""Phase P: tested programs as rows of the replay buffer, and learning from them as one pure function.

A learn step draws from the buffer, takes a train step and writes the new log-probs back; sampling, gathering, the step
and the refresh of the priorities are one compiled call, and everything stays on the device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pper_jax import replay
from pper_jax.sharding import batch_sharding, tree_shardings
from pper_jax.train import Metrics, program_batch, train_step
from pper_jax.types import TrainState

LearnStep = Callable[
    [TrainState, replay.ReplayState], tuple[TrainState, replay.ReplayState, Metrics, replay.Draw, jax.Array]
]


def make_learn_step(
    module: Any,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    mesh: Mesh,
    config: replay.ReplayConfig,
    *,
    batch_size: int,
    accumulate: int = 1,
) -> LearnStep:
    """Jitted ``(TrainState, ReplayState) -> (TrainState, ReplayState, Metrics, Draw, program ids [B])``, both donated.

    The draw's key is ``fold_in(state.key, state.step)``, so that a resumed run draws what it would have drawn.
    """
    replicated = NamedSharding(mesh, PartitionSpec())
    state_shardings = tree_shardings(state, mesh)

    def step(
        state: TrainState, buffer: replay.ReplayState
    ) -> tuple[TrainState, replay.ReplayState, Metrics, replay.Draw, jax.Array]:
        key = jax.random.fold_in(state.key, state.step)
        buffer, draw = replay.sample(buffer, key, batch_size, config)
        drawn = replay.gather(buffer, draw.indices)
        batch = program_batch(drawn.tokens, drawn.prompt_length, drawn.length, draw.weight)
        batch = jax.lax.with_sharding_constraint(batch, batch_sharding(mesh))
        measured_at = state.step  # of the parameters that the log-probs are measured with: those before the step
        state, metrics = train_step(module, optimizer, accumulate, state, batch)
        buffer = replay.update(buffer, draw.indices, metrics.row_logprob, measured_at)
        return state, replay.refresh(buffer, config, draw.indices), metrics, draw, drawn.program_id

    return jax.jit(
        step,
        in_shardings=(state_shardings, replicated),
        out_shardings=(state_shardings, replicated, replicated, replicated, replicated),
        donate_argnums=(0, 1),
    )
