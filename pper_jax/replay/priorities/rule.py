"""The seam: what a rule sees of the stored programs, and what it says of itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from flax import struct

from pper_jax.errors import UserError
from pper_jax.replay.items import Items

Scope = Literal["program", "task", "buffer"]


@struct.dataclass
class Stored:
    """Programs as a rule sees them: all slots of the buffer, or for scope ``program`` any ``n`` of them.

    Attributes:
        items: the rows; slots that are not ``items.valid`` hold no program, and whatever they hold must not matter.
        log_possibility: ``[n]`` float32.
        log_p2value: ``[n]`` float32.
        times_drawn: ``[n]`` int32.
    """

    items: Items
    log_possibility: jax.Array
    log_p2value: jax.Array
    times_drawn: jax.Array


@dataclass(frozen=True)
class Priority:
    """What a stored program is worth, and which programs that depends on.

    Attributes:
        log_worth: pure function of :class:`Stored`; gives the log of each program's worth, ``[n]`` float32. NaN and
            infinity count as worth nothing, -inf.
        scope: what it looks at: the ``program`` alone, all stored programs of its ``task``, or the whole ``buffer``.
        steady: it looks at nothing that a train step changes (log-probabilities, possibility, P2Value, times drawn), so
            that it holds until programs are added.
        ties: pure function like ``log_worth``: of programs of equal worth, that of greater ``ties`` ranks first. None:
            that of greater possibility. Where these are equal too, the newer one does.
        noun: what it is called in a sentence.

    After a train step, what is ``steady`` is kept, scope ``program`` is asked for the programs drawn, and any other for
    all that is stored (see :func:`pper_jax.replay.refresh`).
    """

    log_worth: Callable[[Stored], jax.Array]
    scope: Scope
    steady: bool = False
    noun: str = "worth"
    ties: Callable[[Stored], jax.Array] | None = None

    def __post_init__(self) -> None:
        if self.scope not in get_args(Scope):
            raise UserError(f"a priority's scope is one of {', '.join(get_args(Scope))}, not {self.scope!r:.60}")

    @property
    def local(self) -> bool:
        """Whether a train step changes the worth and the ties of the programs drawn alone."""
        return self.ties is None and (self.steady or self.scope == "program")

    def __call__(self, stored: Stored) -> jax.Array:
        """The log of each program's worth, ``[n]`` float32, finite or -inf."""
        worth = jnp.asarray(self.log_worth(stored), jnp.float32)
        return jnp.where(jnp.isfinite(worth), worth, -jnp.inf)


def task_mean(values: jax.Array, items: Items) -> jax.Array:
    """Mean of ``values [n]`` over the stored programs of each one's task, ``[n]`` float32; 0 where there is none."""
    size = values.shape[0]
    order = jnp.argsort(items.task_index)
    tasks = items.task_index[order]
    first = jnp.concatenate([jnp.ones(min(1, size), bool), tasks[1:] != tasks[:-1]])
    segment = jnp.zeros(size, jnp.int32).at[order].set(jnp.cumsum(first, dtype=jnp.int32) - 1)
    total = jax.ops.segment_sum(jnp.where(items.valid, values, 0.0), segment, size)
    count = jax.ops.segment_sum(items.valid.astype(jnp.float32), segment, size)
    return (total / jnp.maximum(count, 1.0))[segment]


def sound_rate(items: Items) -> jax.Array:
    """Pass rates ``[n]`` float32 clipped to [0, 1]; NaN counts as 0."""
    return jnp.clip(jnp.nan_to_num(items.pass_rate), 0.0, 1.0)
