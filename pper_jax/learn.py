"""Phase P: tested programs as rows of the replay buffer, and learning from them as one pure function.

A learn step draws from the buffer, takes a train step and writes the new log-probs back; sampling, gathering, the step
and the refresh of the priorities are one compiled call, and everything stays on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pper_jax import replay
from pper_jax.config import RunConfig, to_dict
from pper_jax.sharding import batch_sharding, tree_shardings
from pper_jax.tasks import Sample, Task
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
        state, metrics = train_step(module, optimizer, accumulate, state, batch)
        buffer = replay.update(buffer, draw.indices, metrics.row_logprob, state.step)
        return state, replay.refresh(buffer, config, draw.indices), metrics, draw, drawn.program_id

    return jax.jit(
        step,
        in_shardings=(state_shardings, replicated),
        out_shardings=(state_shardings, replicated, replicated, replicated, replicated),
        donate_argnums=(0, 1),
    )


def replay_config(config: RunConfig) -> replay.ReplayConfig:
    """The replay room's configuration; modes ``uniform`` and ``none`` draw every stored program alike."""
    section: dict[str, Any] = {k: v for k, v in to_dict(config.replay).items() if k not in ("mode", "preset")}
    if config.replay.mode != "pper":
        section["scheme"] = "uniform"
    return replay.ReplayConfig(max_length=config.train.max_length, **section)


def replay_items(
    tasks: Sequence[Task],
    prompts: Sequence[Sequence[int]],
    samples: Sequence[Sample],
    verdicts: Sequence[dict[str, Any]],
    *,
    round_index: int,
    first_program: int,
    eos: tuple[int, ...],
    max_length: int,
) -> replay.Items:
    """Rows for the buffer: prompt, program and EOS as tokens, with log-prob and pass rate; ``[len(samples), ...]``.

    A program that was cut at a stop gets the EOS it should have ended with; one that ran into the length limit gets
    none. Empty programs and faults of ours are marked invalid.
    """
    number = {task.task_id: i for i, task in enumerate(tasks)}
    count = len(samples)
    tokens = np.zeros((count, max_length), np.int32)
    lengths, prompt_lengths, index = (np.zeros(count, np.int32) for _ in range(3))
    valid = np.zeros(count, bool)
    for row, (sample, verdict) in enumerate(zip(samples, verdicts, strict=True)):
        index[row] = number[sample.task_id]
        prompt = list(prompts[index[row]])
        program = list(sample.tokens or ())
        if sample.stop_reason == "stop":
            program += eos[:1]
        whole = (prompt + program)[:max_length]
        tokens[row, : len(whole)] = whole
        prompt_lengths[row], lengths[row] = len(prompt), len(whole)
        valid[row] = bool(program) and verdict["status"] != "infrastructure"
    return replay.Items(
        tokens=jnp.asarray(tokens),
        prompt_length=jnp.asarray(prompt_lengths),
        length=jnp.asarray(lengths),
        logprob=jnp.array([sample.logprob for sample in samples], jnp.float32),
        pass_rate=jnp.array([verdict["pass_rate"] for verdict in verdicts], jnp.float32),
        task_index=jnp.asarray(index),
        round=jnp.full(count, round_index, jnp.int32),
        program_id=jnp.arange(first_program, first_program + count, dtype=jnp.int32),
        valid=jnp.asarray(valid),
    )


def draw_reason(draw: dict[str, Any], config: replay.ReplayConfig) -> str:
    """Why a program was drawn, as a sentence; ``draw`` is a row of the run folder's draws."""
    if config.scheme == "uniform":
        return f"every stored program was equally likely (probability {draw['probability']:.2g} a draw)"
    return (
        f"{config.alpha:g} x possibility {draw['possibility']:.3f} + {1 - config.alpha:g} x pass rate "
        f"{draw['pass_rate']:.2f} = P2Value {draw['p2value']:.3f}, rank {draw['rank']} in the buffer, "
        f"so {config.scheme} sampling with omega {config.omega:g} gives it {100 * draw['probability']:.2f} % of a draw"
    )
