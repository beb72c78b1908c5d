"""A way of drawing programs that this file alone knows: the members of ``Method`` are all that decoding asks for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from decode_stand_ins import table_lm
from flax import struct

from pper_jax.decode import Ends, Method, Outlook, RowEnds, decode_prompts
from pper_jax.errors import UserError
from pper_jax.programs import open_model, sample_tasks
from pper_jax.tasks import Task
from pper_jax.types import Programs, Prompts


@struct.dataclass
class State:
    step: jax.Array
    token: jax.Array
    parent: jax.Array
    done: jax.Array
    ended: jax.Array  # [B, K]
    length: jax.Array  # [B, K]
    tokens: jax.Array  # [B, K, T]
    logprobs: jax.Array  # [B, K, T]
    ends: Ends | RowEnds


@dataclass(frozen=True)
class Forks:
    """Program ``k`` begins with the ``k``-th most probable token and goes on greedily."""

    forks: int
    max_new_tokens: int = 8

    @property
    def width(self) -> int:
        return self.forks

    @property
    def programs_per_prompt(self) -> int:
        return self.forks

    @property
    def needs_key(self) -> bool:
        return False

    def widened(self) -> Forks:
        return replace(self, forks=2 * self.forks)

    def check(self, model_config: Any) -> None:
        if self.forks > model_config.vocab_size:
            raise UserError(f"{self.forks} forks are more than there are tokens")

    def start(self, prompts: Prompts, keys: jax.Array | None, ends: Ends | RowEnds | None) -> State:
        grid = (prompts.tokens.shape[0], self.forks)
        ints, blank = jnp.zeros(grid, jnp.int32), jnp.zeros((*grid, self.max_new_tokens))
        beams = jnp.broadcast_to(jnp.arange(self.forks), grid)
        done, step = jnp.zeros(grid[0], bool), jnp.zeros(grid[0], jnp.int32)
        return State(
            step,
            ints,
            beams,
            done,
            ints > 0,
            ints,
            blank.astype(jnp.int32) - 1,
            blank,
            Ends() if ends is None else ends,
        )

    def advance(self, state: State, outlook: Outlook) -> State:
        logprob, token = outlook.top(self.forks)  # [B, K, K]
        fork = jnp.where(state.step[:, None] == 0, jnp.arange(self.forks), 0)[..., None]
        logprob, token = (jnp.take_along_axis(x, fork, axis=-1)[..., 0] for x in (logprob, token))
        goes_on = ~state.ended & ~state.done[:, None]
        at = jnp.clip(state.step[:, None] - 1 - jnp.arange(state.ends.tail_length)[::-1], -1)
        padded = jnp.concatenate([state.tokens, jnp.full((*state.tokens.shape[:2], 1), -1)], axis=-1)
        recent = jnp.take_along_axis(padded, jnp.broadcast_to(at[:, None], (*token.shape, at.shape[-1])), axis=-1)
        here = goes_on[..., None] & (jnp.arange(self.max_new_tokens) == state.step[:, None, None])
        ended = state.ended | (goes_on & state.ends.close(token, recent))
        step = jnp.where(state.done, state.step, state.step + 1)
        return replace(
            state,
            step=step,
            token=token,
            done=state.done | ended.all(axis=1) | (step >= self.max_new_tokens),
            ended=ended,
            length=state.length + goes_on,
            tokens=jnp.where(here, token[..., None], state.tokens),
            logprobs=jnp.where(here, logprob[..., None], state.logprobs),
        )

    def results(self, state: State) -> Programs:
        return Programs(state.tokens, state.length, state.logprobs.sum(-1), state.logprobs, state.ended)


def test_it_has_the_members_of_the_protocol_and_no_others():
    method: Method = Forks(2)  # which the type checker reads
    own = {name for name in vars(Forks) if not name.startswith("_")} - {"forks"}
    assert own == {name for name in vars(Method) if not name.startswith("_")}
    assert hash(method) == hash(Forks(2))


def test_it_decodes_prompts_which_end_at_their_own():
    # after any token: 0 with 0.4, 1 with 0.3, ...; after 0 comes 1, after 1 comes 2, and so on
    module, params = table_lm([np.roll([0.05, 0.4, 0.3, 0.2, 0.05], last) for last in range(5)])
    prompts, ends = [[0], [0], [2]], [Ends((3,)), Ends((4,), stop_suffixes=((2, 3),)), Ends((3,))]
    found = dict(decode_prompts(module, params, prompts, config=Forks(2), batch_size=2, ends=ends))
    assert [[p.tokens for p in found[row]] for row in range(3)] == [
        [(1, 2, 3), (2, 3)],
        [(1, 2, 3), (2, 3)],
        [(3,), (4, 0, 1, 2, 3)],
    ]
    assert all(p.finished for row in found.values() for p in row)
    assert found[0][0].logprob == pytest.approx(3 * np.log(0.4), abs=1e-5)
    assert found[0][0].score == found[0][0].logprob
    with pytest.raises(UserError, match="6 forks"):
        decode_prompts(module, params, prompts, config=Forks(6), batch_size=2)


def test_it_writes_programs_for_tasks(tmp_path: Path):
    tests = {"kind": "answer", "expected": "1"}
    tasks = [Task("a", "def f(x):\n", tests), Task("b", "def f(x):\n", tests, stop=("return",))]
    model = open_model("micro")
    rows = sample_tasks(model, tasks, tmp_path / "out.jsonl", Forks(2, 12), batch_size=2, only_distinct=True)
    assert [(row.task_id, row.rank) for row in rows] == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    assert len({row.completion for row in rows[:2]}) == 2
    assert "return" in rows[0].completion
    assert "return" not in rows[2].completion
    assert rows[2].stop_reason == "stop"
