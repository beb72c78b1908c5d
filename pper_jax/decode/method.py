"""What a way of drawing programs must offer to the loop that runs the model.

A method (beam search, sampling, stochastic beam search) is a frozen, hashable dataclass of static options. It keeps
the histories and scores of its beams; the loop keeps the model's cache and moves nothing but what the method says.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Protocol, TypeVar

import jax
import jax.numpy as jnp

from pper_jax.decode.ends import Ends, RowEnds
from pper_jax.decode.outlook import Outlook
from pper_jax.types import Programs, Prompts

T = TypeVar("T")


class MethodState(Protocol):
    """What the loop reads of a method's state. Every leaf of a state has the leading axis ``B``: rows move freely.

    Attributes:
        step: ``[B]`` int32, tokens chosen so far; rows may be at different steps.
        token: ``[B, K]`` int32, the last chosen token of each live beam, which the model reads next.
        parent: ``[B, K]`` int32, the beam that each live beam continues.
        done: ``[B]`` bool, the row needs no more steps.
    """

    step: jax.Array
    token: jax.Array
    parent: jax.Array
    done: jax.Array


class Method(Hashable, Protocol):
    """A way of drawing programs: a class with these members decodes wherever programs are drawn."""

    @property
    def width(self) -> int:
        """``K``, live beams a prompt."""

    @property
    def max_new_tokens(self) -> int:
        """``T``, length limit, EOS included."""

    @property
    def programs_per_prompt(self) -> int:
        """How many programs a prompt ``results`` gives at most."""

    @property
    def needs_key(self) -> bool:
        """Whether it draws at random."""

    def widened(self) -> Method:
        """The same method with twice as many programs a prompt, none of them held back."""

    def check(self, model_config: Any) -> None:
        """``UserError`` when an option does not fit the model, such as a token beyond ``model_config.vocab_size``."""

    def start(self, prompts: Prompts, keys: jax.Array | None, ends: Ends | RowEnds | None) -> Any:
        """The state before the first token.

        ``keys [B]`` are typed, one a prompt, or None for a method without chance; ``ends`` say when a program is done,
        and the state keeps them, since a batch may hold prompts that end at different things; None are the method's own
        or, where it has none, no ends but the length limit.
        """

    def advance(self, state: Any, outlook: Outlook) -> Any:
        """Choose the next token of every live beam. A row that is done stays as it is; no row looks at another."""

    def results(self, state: Any) -> Programs:
        """The programs of every row, ``[B, programs_per_prompt, T]``."""


class OwnEnds:
    """A method whose options say what programs end at when nothing else is given."""

    eos_ids: tuple[int, ...]
    pad_id: int
    stop_suffixes: tuple[tuple[int, ...], ...]

    @property
    def ends(self) -> Ends:
        """These options; judged as they are made."""
        return Ends(self.eos_ids, self.pad_id, self.stop_suffixes)

    def ends_or(self, given: Ends | RowEnds | None) -> Ends | RowEnds:
        """What is ``given``, else its own."""
        return self.ends if given is None else given

    def check(self, model_config: Any) -> None:
        """``UserError`` for what the model cannot do."""
        self.ends.check_vocabulary(model_config.vocab_size)


def take_beams(x: jax.Array, index: jax.Array) -> jax.Array:
    """``x [B, N, ...]`` at ``index [B, M]`` along axis 1 -> ``[B, M, ...]``."""
    return jnp.take_along_axis(x, index.reshape(*index.shape, *(1,) * (x.ndim - 2)), axis=1)


def freeze(done: jax.Array, before: T, after: T) -> T:
    """``after``, but ``before`` in the rows that are ``done [B]``; every leaf has leading axis ``B``."""
    return jax.tree.map(lambda a, b: jnp.where(done.reshape(-1, *(1,) * (a.ndim - 1)), a, b), before, after)


def as_programs(
    tokens: jax.Array,
    length: jax.Array,
    token_logprobs: jax.Array,
    *,
    logprob: jax.Array,
    finished: jax.Array,
    score: jax.Array,
    pad_id: int,
) -> Programs:
    """Results in which tokens, log-probabilities and ending belong together, whatever stands behind an end.

    Args:
        tokens: ``[B, K, T]``.
        length: ``[B, K]``; 0 makes an empty slot.
        token_logprobs: ``[B, K, T]``, the tokens' own.
        logprob: ``[B, K]``, their sum.
        finished: ``[B, K]``.
        score: ``[B, K]``.
        pad_id: what comes behind the tokens.
    """
    exists = length > 0
    inside = jnp.arange(tokens.shape[-1]) < length[..., None]
    return Programs(
        tokens=jnp.where(inside, tokens, pad_id),
        length=length,
        logprob=jnp.where(exists, logprob, -jnp.inf),
        token_logprobs=jnp.where(inside, token_logprobs, 0.0),
        finished=finished & exists,
        score=jnp.where(exists, score, -jnp.inf),
    )
