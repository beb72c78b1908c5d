"""Diverse beam search: groups of beams that avoid the tokens which earlier groups choose at the same step.

Source: Vijayakumar et al., "Diverse Beam Search", 2016 (arXiv 1610.02424), Algorithm 1 with Hamming diversity.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax

from pper_jax.decode.beam import BeamConfig, BeamState, normalise
from pper_jax.decode.ends import Ends, RowEnds
from pper_jax.decode.method import freeze, take_beams
from pper_jax.decode.outlook import Outlook
from pper_jax.errors import UserError
from pper_jax.ranges import check_number
from pper_jax.types import Programs, Prompts


@dataclass(frozen=True)
class DiverseBeamConfig(BeamConfig):
    """Static options of a diverse beam search; ``beam_search`` takes it in the place of a ``BeamConfig``.

    The ``width`` beams form ``groups`` beam searches of ``width / groups`` beams each. At every step the groups choose
    in turn, and the log-probability of a token is lowered by ``diversity`` for each live beam of an earlier group that
    has chosen it at this step. A program that has ended, or a group that is done, counts no more.

    Every group gives its own best programs, chosen with the penalties; the results are those of all groups, best first.
    The penalties steer the search and are no part of what a program is worth: ``logprob``, ``token_logprobs`` and
    ``score`` leave them out (up to rounding). ``group`` says which group a program is from.

    Attributes:
        groups: a divisor of ``width`` and, if given, of ``num_return``. 1 is beam search. A group of one beam goes on
            as long as one of several does, by ``length_penalty`` and ``early_stopping``; it is no greedy decoding.
        diversity: at least 0; 0 gives every group the same programs.
    """

    groups: int = 3
    diversity: float = 0.5

    def start(self, prompts: Prompts, keys: jax.Array | None = None, ends: Ends | RowEnds | None = None) -> Any:
        """Every group as a beam search before its first token."""
        states = tuple(self._group.start(prompts, keys, self.ends_or(ends)) for _ in range(self.groups))
        ints = jnp.zeros((prompts.tokens.shape[0], self.width), jnp.int32)
        return DiverseState(
            step=states[0].step,
            done=states[0].done,
            token=ints,
            parent=ints,
            chosen=jnp.full((*ints.shape, self.max_new_tokens), -1, jnp.int32),
            groups=states,
        )

    def advance(self, state: Any, outlook: Outlook) -> Any:
        """Choose the next tokens of one group after the other."""
        return freeze(state.done, state, _advance(state, outlook, self))

    def results(self, state: Any) -> Programs:
        """The results of all groups, best first; the first group's first among equals."""
        found = [
            _without_penalty(self._group.results(group), state.chosen[:, : index * self._group.width], self)
            for index, group in enumerate(state.groups)
        ]
        if self.groups == 1:
            return found[0]
        found = [replace(x, group=jnp.full_like(x.length, index)) for index, x in enumerate(found)]
        together = jax.tree.map(lambda *x: jnp.concatenate(x, axis=1), *found)
        order = jnp.argsort(-together.score, axis=1, stable=True)
        return jax.tree.map(lambda x: take_beams(x, order), together)

    def check_vocabulary(self, size: int) -> None:
        """``UserError`` for what a model with ``size`` tokens cannot do."""
        self._group.check_vocabulary(size)

    @property
    def _group(self) -> BeamConfig:
        """One group's beam search."""
        shared = {field.name: getattr(self, field.name) for field in fields(BeamConfig)}
        count = self.num_return and self.num_return // self.groups
        kind = BeamConfig if self.groups == 1 else _Group
        return kind(**{**shared, "width": self.width // self.groups, "num_return": count})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("groups", self.groups, least=1, whole=True)
        if self.width % self.groups or (self.num_return or 0) % self.groups:
            raise UserError(
                f"groups={self.groups} must divide the width ({self.width}) and num_return "
                f"({self.num_return or self.width}); choose a divisor."
            )
        check_number("diversity", self.diversity, least=0)
        if self.repetition_penalty != 1:
            raise UserError("diverse beam search knows no repetition_penalty; leave it at 1.")


@dataclass(frozen=True)
class _Group(BeamConfig):
    """One of several groups of beams."""

    @property
    def first_ends(self) -> bool:
        """Only by option: one beam here is a beam search of one beam."""
        return self.early_stopping is True


@struct.dataclass
class DiverseState:
    """The state between two steps, the groups' beams one behind the other."""

    step: jax.Array  # [B]
    done: jax.Array  # [B]
    token: jax.Array  # [B, K]
    parent: jax.Array  # [B, K]
    chosen: jax.Array  # [B, K, T] what each live beam chose at each step, -1 for none; not the beams' histories
    groups: tuple[BeamState, ...]


class _Given(Outlook):
    """Log-probabilities ``[B, K, V]`` that are there already."""

    def __init__(self, logprob: jax.Array) -> None:
        self._logprob = logprob

    def log_probs(self) -> jax.Array:
        return self._logprob

    def top(self, count: int) -> tuple[jax.Array, jax.Array]:
        logprob, token = lax.top_k(self._logprob, min(count, self._logprob.shape[-1]))
        return logprob, token


def _advance(state: DiverseState, outlook: Outlook, config: DiverseBeamConfig) -> DiverseState:
    logprob, width = outlook.log_probs(), config.width // config.groups
    rows = jnp.arange(logprob.shape[0])[:, None]
    count = jnp.zeros((logprob.shape[0], logprob.shape[-1]), jnp.float32)
    groups, chosen = [], []
    for index, before in enumerate(state.groups):
        own = logprob[:, index * width : (index + 1) * width]
        group = config._group.advance(before, _Given(own - config.diversity * count[:, None]))
        live = (group.score > -jnp.inf) & ~before.done[:, None]
        count = count.at[rows, group.token].add(live)
        groups.append(group)
        chosen.append(jnp.where(live, group.token, -1))
    here = jnp.arange(config.max_new_tokens) == state.step[:, None, None]
    return replace(
        state,
        step=state.step + 1,
        done=jnp.stack([group.done for group in groups]).all(axis=0),
        token=jnp.concatenate([group.token for group in groups], axis=1),
        parent=jnp.concatenate([group.parent + index * width for index, group in enumerate(groups)], axis=1),
        chosen=jnp.where(here, jnp.concatenate(chosen, axis=1)[..., None], state.chosen),
        groups=tuple(groups),
    )


def _without_penalty(programs: Programs, chosen: jax.Array, config: DiverseBeamConfig) -> Programs:
    """Log-probabilities and scores without what ``chosen [B, N, T]``, the earlier groups' tokens, took from them."""
    count = (programs.tokens[:, :, None] == chosen[:, None]).sum(axis=2)  # [B, K, T]
    inside = jnp.arange(programs.tokens.shape[-1]) < programs.length[..., None]
    taken = jnp.where(inside, config.diversity * count, 0.0)
    logprob = programs.logprob + taken.sum(axis=-1)
    score = normalise(logprob, jnp.maximum(programs.length, 1), config.length_penalty)
    return replace(programs, token_logprobs=programs.token_logprobs + taken, logprob=logprob, score=score)
