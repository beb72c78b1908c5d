"""The buffer's state: slots on the device, shaped after an example row. Made, read, and kept in checkpoints."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from pper_jax.replay import sum_tree
from pper_jax.replay.items import Items, example_row
from pper_jax.replay.options import ReplayConfig
from pper_jax.replay.sum_tree import SumTree


@struct.dataclass
class ReplayState:
    """The buffer: ``C`` slots, filled from slot 0 on, then the oldest first.

    Attributes:
        items: the stored programs, each field ``[C, ...]``.
        inserted_at: ``[C]`` int32, how many programs had been stored before this one (its age).
        scored_at: ``[C]`` int32, train step of the parameters that gave ``items.logprob`` (those of step 0 are the
            first); -1 = as decoded, by the parameters of its round.
        times_drawn: ``[C]`` int32.
        log_possibility: ``[C]`` float32, -inf where not filled; as of the last refresh, like the next four.
        log_p2value: ``[C]`` float32.
        log_worth: ``[C]`` float32, what ``config.priority`` says; P2Value by default.
        rank: ``[C]`` int32, 1 = worth most; 0 where not filled.
        tree: priorities.
        inserted: [] int32, programs stored since the start.
    """

    items: Items
    inserted_at: jax.Array
    scored_at: jax.Array
    times_drawn: jax.Array
    log_possibility: jax.Array
    log_p2value: jax.Array
    log_worth: jax.Array
    rank: jax.Array
    tree: SumTree
    inserted: jax.Array

    @property
    def filled(self) -> jax.Array:
        """``[C]`` bool, the slots that hold a program."""
        return self.items.valid

    @property
    def size(self) -> jax.Array:
        """[] int32, number of programs held."""
        return jnp.sum(self.filled, dtype=jnp.int32)


def init(config: ReplayConfig, example: Items | None = None, *, max_length: int | None = None) -> ReplayState:
    """An empty buffer of ``config.capacity`` slots, each shaped after the row ``example`` (its values do not matter).

    Without an example, rows are ``max_length`` tokens wide and have no extra columns. Raises ValueError for neither.
    """
    if example is None:
        max_length = getattr(config, "max_length", None) if max_length is None else max_length
        if max_length is None or max_length < 1:
            raise ValueError(f"a buffer needs an example row or a max_length of at least 1, not {max_length}")
        example = example_row(max_length)
    capacity = config.capacity

    def slots(field: Any) -> jax.Array:
        return jnp.zeros((capacity, *field.shape), field.dtype)

    def numbers(value: float, dtype: Any) -> jax.Array:
        return jnp.full(capacity, value, dtype)

    return ReplayState(
        items=jax.tree.map(slots, example),
        inserted_at=numbers(0, jnp.int32),
        scored_at=numbers(0, jnp.int32),
        times_drawn=numbers(0, jnp.int32),
        log_possibility=numbers(-jnp.inf, jnp.float32),
        log_p2value=numbers(-jnp.inf, jnp.float32),
        log_worth=numbers(-jnp.inf, jnp.float32),
        rank=numbers(0, jnp.int32),
        tree=sum_tree.init(capacity),
        inserted=jnp.zeros((), jnp.int32),
    )


def probabilities(state: ReplayState) -> jax.Array:
    """Probability of each slot in one draw, ``[C]`` float32; sums to 1 unless the buffer is empty."""
    total = sum_tree.total(state.tree)
    even = state.filled / jnp.maximum(state.size, 1).astype(jnp.float32)
    return jnp.where(total > 0, state.tree.priorities / jnp.where(total > 0, total, 1.0), even)


def gather(state: ReplayState, indices: jax.Array) -> Items:
    """The programs in slots ``indices [n]`` of a :class:`Draw`, each field ``[n, ...]``; -1 gives one not ``valid``."""
    slots = jnp.maximum(indices, 0)
    items = jax.tree.map(lambda field: field[slots], state.items)
    return replace(items, valid=items.valid & (indices >= 0))


def to_checkpoint(state: ReplayState) -> ReplayState:
    """``state`` with the tree's leaves ``[C]`` in its place: what a checkpoint needs, whatever the arity or devices."""
    return replace(state, tree=state.tree.priorities)  # type: ignore[arg-type]


def from_checkpoint(saved: ReplayState, arity: int | None = None) -> ReplayState:
    """The state that :func:`to_checkpoint` was given, bit for bit (``arity`` None: that of the backend)."""
    return replace(saved, tree=sum_tree.build(saved.tree, arity))  # type: ignore[arg-type]
