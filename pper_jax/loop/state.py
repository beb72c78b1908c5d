"""The loop's state: one pytree, which is what a checkpoint holds."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
from flax import struct

from pper_jax.replay import ReplayState
from pper_jax.types import TrainState


@struct.dataclass
class LoopState:
    """All that the loop needs to go on.

    Attributes:
        train: parameters, optimizer state, key.
        buffer: the replay buffer.
        round: int32 [], the round whose programs were stored last; 0 before the first.
        step: int32 [], optimizer steps taken in that round.
        programs: int32 [], programs written in all rounds up to that one: the next round's numbers begin here.
    """

    train: TrainState
    buffer: ReplayState
    round: jax.Array
    step: jax.Array
    programs: jax.Array

    def at(self, round_index: int, step: int) -> LoopState:
        """The same state, said to stand at this step of this round."""
        return replace(self, round=jnp.int32(round_index), step=jnp.int32(step))

    def position(self) -> tuple[int, int]:
        """``(round, step)`` on the host."""
        return int(self.round), int(self.step)


def init_loop_state(train: TrainState, buffer: ReplayState) -> LoopState:
    """The state before the first round."""
    return LoopState(train, buffer, *(jnp.zeros((), jnp.int32) for _ in range(3)))
