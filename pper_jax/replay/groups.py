"""What programs are to others of their task: advantages within a group, and pairs of a solved and a failed one."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from pper_jax.replay.draws import Draw, drawn_slots
from pper_jax.replay.items import Items
from pper_jax.replay.priorities import task_mean
from pper_jax.replay.priorities.rule import sound_rate
from pper_jax.replay.state import ReplayState, probabilities

_NO_TASK = jnp.iinfo(jnp.int32).max


def group_advantage(items: Items, *, normalize: bool = False) -> jax.Array:
    """Pass rate minus the mean of the valid ``items`` of the same task, ``[N]`` float32; 0 for one without fellows.

    The group's baseline of GRPO (2402.03300, section 4.1.2), of the programs of one call: give it those of one round,
    before any is left out of the buffer. ``normalize`` divides by the group's standard deviation, as GRPO does, where
    that is not 0; Dr. GRPO (2503.20783) shows that this favours tasks that are nearly always or never solved.
    """
    rate = sound_rate(items)
    advantage = rate - task_mean(rate, items)
    if normalize:
        deviation = jnp.sqrt(task_mean(advantage**2, items))
        advantage = jnp.where(deviation > 0, advantage / jnp.where(deviation > 0, deviation, 1.0), 0.0)
    return jnp.where(items.valid, advantage, 0.0)


def _solved_and_failed(state: ReplayState) -> tuple[jax.Array, jax.Array]:
    """``[C]`` bool each: stored programs that pass all and whose task has others that do not, and those others."""
    items = state.items
    solved = items.valid & (items.pass_rate >= 1)
    failed = items.valid & ~solved
    return solved & (task_mean(failed.astype(jnp.float32), items) > 0), failed


@jax.jit
def has_pairs(state: ReplayState) -> jax.Array:
    """[] bool, whether some task has both a solved and a failed program stored."""
    return jnp.any(_solved_and_failed(state)[0])


@partial(jax.jit, static_argnames="count")
def sample_pairs(state: ReplayState, key: jax.Array, count: int) -> tuple[ReplayState, Draw]:
    """Draw ``count`` pairs of programs of one task, with replacement; equal keys give equal draws.

    The solved one (pass rate 1) is drawn by priority among those that have a failed fellow, evenly where none has any
    priority, and the failed one evenly among the failed of that task.

    Returns:
        the state with both counted in ``times_drawn``, and the :class:`Draw` ``[2 * count]``: solved, failed, solved,
        failed, ... with weight 1. Where no task has both, indices are -1 and weights 0.
    """
    tasks = state.items.task_index
    solved, failed = _solved_and_failed(state)
    first, second = jax.random.split(key)
    chance = jnp.where(solved, probabilities(state), 0.0)
    chance = jnp.where(jnp.sum(chance) > 0, chance, solved.astype(jnp.float32))
    below = jnp.cumsum(chance)
    # From (0, total]: searching from the left then never ends at a slot of chance 0.
    winner = jnp.searchsorted(below, (1.0 - jax.random.uniform(first, (count,))) * below[-1], side="left")
    winner = jnp.minimum(winner, tasks.shape[0] - 1).astype(jnp.int32)

    of_task = jnp.where(failed, tasks, _NO_TASK)
    order = jnp.argsort(of_task).astype(jnp.int32)
    start, end = (jnp.searchsorted(of_task[order], tasks[winner], side=side) for side in ("left", "right"))
    place = start + jax.random.randint(second, (count,), 0, jnp.maximum(end - start, 1))
    loser = order[jnp.minimum(place, tasks.shape[0] - 1)]
    pairs = jnp.where(jnp.any(solved), jnp.stack([winner, loser], axis=1), -1).reshape(-1)
    return drawn_slots(state, pairs, (pairs >= 0).astype(jnp.float32))
