"""What a way of drawing programs must offer to the loop that runs the model.

A method (beam search, sampling, stochastic beam search) is a frozen, hashable dataclass of static options. It keeps
the histories and scores of its beams; the loop keeps the model's cache and moves nothing but what the method says.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

import jax
import jax.numpy as jnp

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


class Method(Protocol):
    """A way of drawing programs."""

    @property
    def width(self) -> int:
        """``K``, live beams a prompt."""

    @property
    def max_new_tokens(self) -> int:
        """``T``, length limit, EOS included."""

    def start(self, prompts: Prompts, keys: jax.Array | None) -> Any:
        """The state before the first token; ``keys [B]`` typed, one a prompt, or None for a method without chance."""

    def advance(self, state: Any, outlook: Outlook) -> Any:
        """Choose the next token of every live beam. A row that is done stays as it is; no row looks at another."""

    def results(self, state: Any) -> Programs:
        """The programs of every row, ``[B, num_return, T]``."""


def take_beams(x: jax.Array, index: jax.Array) -> jax.Array:
    """``x [B, N, ...]`` at ``index [B, M]`` along axis 1 -> ``[B, M, ...]``."""
    return jnp.take_along_axis(x, index.reshape(*index.shape, *(1,) * (x.ndim - 2)), axis=1)


def freeze(done: jax.Array, before: T, after: T) -> T:
    """``after``, but ``before`` in the rows that are ``done [B]``; every leaf has leading axis ``B``."""
    return jax.tree.map(lambda a, b: jnp.where(done.reshape(-1, *(1,) * (a.ndim - 1)), a, b), before, after)
