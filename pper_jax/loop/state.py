"""The loop's state: one pytree, which is what a checkpoint holds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from pper_jax.replay import ReplayState
from pper_jax.types import Params, TrainState


@struct.dataclass
class Best:
    """The round that did best on the held-out tasks, of those that were evaluated.

    Attributes:
        params: what was trained, as it was after that round.
        opt_state: the optimizer's state then.
        pass_rate: float32 [], the mean pass rate of the held-out tasks; -1 before the first evaluation.
        round: int32 [].
        stands: int32 [], the round after which the parameters were as they are: the last one, or where training was
            rolled back to.
    """

    params: Params
    opt_state: Any
    pass_rate: jax.Array
    round: jax.Array
    stands: jax.Array


@struct.dataclass
class LoopState:
    """All that the loop needs to go on.

    Attributes:
        train: parameters, optimizer state, key.
        buffer: the replay buffer.
        round: int32 [], the round whose programs were stored last; 0 before the first.
        step: int32 [], optimizer steps taken in that round.
        programs: int32 [], programs written in all rounds up to that one: the next round's numbers begin here.
        best: what training can be rolled back to; None where it never is.
    """

    train: TrainState
    buffer: ReplayState
    round: jax.Array
    step: jax.Array
    programs: jax.Array
    best: Best | None = None

    def at(self, round_index: int, step: int) -> LoopState:
        """The same state, said to stand at this step of this round."""
        return replace(self, round=jnp.int32(round_index), step=jnp.int32(step))

    def guarded(self, best: Best, pass_rate: float, most: float) -> tuple[LoopState, Best]:
        """The state, and what it keeps, after an evaluation that found this mean ``pass_rate`` of the held-out tasks.

        One that is no worse than the ``best`` is kept. Where it fell by more than ``most`` below, parameters and
        optimizer are as they were then; the step and the buffer go on, so that other programs are drawn than those that
        led astray.
        """
        rate, train = jnp.float32(pass_rate), self.train
        if rate >= best.pass_rate:
            params, opt_state = _copied((train.params, train.opt_state))
            best = Best(params, opt_state, rate, self.round, self.round)
        elif rate >= best.pass_rate - most:
            best = replace(best, stands=self.round)
        else:
            params, opt_state = _copied((best.params, best.opt_state))
            train, best = replace(train, params=params, opt_state=opt_state), replace(best, stands=best.round)
        return replace(self, train=train, best=best), best

    def position(self) -> tuple[int, int]:
        """``(round, step)`` on the host."""
        return int(self.round), int(self.step)


def _copied(tree: Any) -> Any:
    """Arrays of their own: a step gives away what it is given."""
    return jax.tree.map(jnp.copy, tree)


def init_loop_state(train: TrainState, buffer: ReplayState, *, keep_best: bool = False) -> LoopState:
    """The state before the first round; with ``keep_best`` one that can be rolled back."""
    zero, best = jnp.zeros((), jnp.int32), None
    if keep_best:
        params, opt_state = _copied((train.params, train.opt_state))
        best = Best(params, opt_state, jnp.float32(-1), zero, zero)
    return LoopState(train, buffer, zero, zero, zero, best)
