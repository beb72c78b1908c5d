"""When a program ends, on the device: EOS tokens and stop suffixes, the same for all prompts or each prompt's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.tree_util import register_static

from pper_jax.errors import UserError
from pper_jax.ranges import check_number

_ANY, _NEVER = -2, -3  # in a table: before a shorter suffix, and in the place of one that a row has not


@register_static
@dataclass(frozen=True)
class Ends:
    """What ends a program, and what stands behind it; static and hashable, the same for every prompt.

    Attributes:
        eos_ids: tokens that end a program.
        pad_id: what stands after the end in ``Programs.tokens``.
        stop_suffixes: token sequences; a program whose generated tokens end in one is finished as with an EOS.

    Raises:
        UserError: what should be a token is none, or a suffix is empty.
    """

    eos_ids: tuple[int, ...] = ()
    pad_id: int = 0
    stop_suffixes: tuple[tuple[int, ...], ...] = ()

    @property
    def tail_length(self) -> int:
        """How many earlier tokens of a beam must be remembered."""
        return tail_length(self.stop_suffixes)

    @property
    def closing(self) -> int:
        """How many different tokens can end a program at most."""
        return closing_tokens(self.eos_ids, self.stop_suffixes)

    @property
    def num_eos(self) -> int:
        """How many different EOS tokens a prompt has at most."""
        return len({*self.eos_ids})

    def is_eos(self, tokens: jax.Array) -> jax.Array:
        """Whether each of ``tokens [B, ...]`` is an EOS of its row."""
        return ends(tokens, tokens[..., None], self.eos_ids, ())

    def close(self, tokens: jax.Array, recent: jax.Array) -> jax.Array:
        """Whether ``tokens [B, K, ...]`` end the programs that so far end in ``recent [B, K, ..., tail_length]``."""
        return ends(tokens, recent, self.eos_ids, self.stop_suffixes)

    def check_vocabulary(self, size: int) -> None:
        """``UserError`` for a token that a model of ``size`` tokens does not have."""
        check_vocabulary("eos_ids", self.eos_ids, size)
        check_vocabulary("stop_suffixes", [token for suffix in self.stop_suffixes for token in suffix], size)

    def __post_init__(self) -> None:
        check_number("pad_id", self.pad_id, whole=True)
        check_tokens("eos_ids", self.eos_ids)
        if not all(self.stop_suffixes):
            raise UserError("stop_suffixes holds an empty sequence, which would end every program at once; remove it.")
        for suffix in self.stop_suffixes:
            check_tokens("stop_suffixes", suffix)


@struct.dataclass
class RowEnds:
    """``Ends`` of its own for every row: what ``row_ends`` makes of those that differ; arrays, so that rows may move.

    Attributes:
        eos: ``[B, E]`` int32.
        suffixes: ``[B, N, L]`` int32, each at the right.
        pad_id: as in ``Ends``.
        closing: as in ``Ends``, of the row that has most.
    """

    eos: jax.Array
    suffixes: jax.Array
    pad_id: int = struct.field(pytree_node=False)
    closing: int = struct.field(pytree_node=False)

    @property
    def tail_length(self) -> int:
        """As in ``Ends``."""
        return max(self.suffixes.shape[-1] - 1, 0)

    @property
    def num_eos(self) -> int:
        """As in ``Ends``."""
        return self.eos.shape[-1]

    def is_eos(self, tokens: jax.Array) -> jax.Array:
        """As in ``Ends``."""
        return jnp.any(tokens[..., None] == _along(self.eos, tokens.ndim - 1), axis=-1)

    def close(self, tokens: jax.Array, recent: jax.Array) -> jax.Array:
        """As in ``Ends``."""
        if 0 in self.suffixes.shape[1:]:
            return self.is_eos(tokens)
        suffixes = _along(self.suffixes, tokens.ndim - 1)
        before = (recent[..., None, :] == suffixes[..., :-1]) | (suffixes[..., :-1] == _ANY)
        said = jnp.all(before, axis=-1) & (tokens[..., None] == suffixes[..., -1])
        return self.is_eos(tokens) | jnp.any(said, axis=-1)

    def rows(self, index: Sequence[int]) -> RowEnds:
        """Those of some prompts."""
        return RowEnds(self.eos[np.asarray(index)], self.suffixes[np.asarray(index)], self.pad_id, self.closing)


def row_ends(ends: Sequence[Ends]) -> Ends | RowEnds:
    """What the prompts of one call end at, one of ``ends`` a prompt: the one that all share, else a table on the host.

    Shapes follow from the longest and the most of ``ends``; ``pad_id`` is the first one's.
    """
    if len({*ends}) <= 1:
        return ends[0] if ends else Ends()
    eos = np.full((len(ends), max(one.num_eos for one in ends)), _NEVER, np.int32)
    most = max(len(one.stop_suffixes) for one in ends)
    longest = max((len(suffix) for one in ends for suffix in one.stop_suffixes), default=0)
    suffixes = np.full((len(ends), most, longest), _ANY, np.int32)
    suffixes[..., -1:] = _NEVER
    for row, one in enumerate(ends):
        ids = sorted({*one.eos_ids})
        eos[row, : len(ids)] = ids
        for place, suffix in enumerate(one.stop_suffixes):
            suffixes[row, place, longest - len(suffix) :] = suffix
    closing = max(one.closing for one in ends)
    return RowEnds(cast(Any, eos), cast(Any, suffixes), ends[0].pad_id, closing)


def _along(table: jax.Array, axes: int) -> jax.Array:
    """``table [B, ...]`` with as many axes behind the first as ``axes - 1``, to compare with what has ``B`` first."""
    return table.reshape(table.shape[0], *(1,) * axes, *table.shape[1:])


def check_tokens(name: str, ids: Sequence[int]) -> None:
    """``UserError`` for what is no token id at all."""
    for token in ids:
        if isinstance(token, bool) or not isinstance(token, Integral):
            raise UserError(f"{name} holds {str(token)[:60]!r}, which is no token id; write whole numbers.")
        check_vocabulary(name, [int(token)])


def check_vocabulary(name: str, ids: Sequence[int], size: int | None = None) -> None:
    """``UserError`` for a token below 0, or one that a model of ``size`` tokens does not have."""
    for token in ids:
        if token < 0 or (size is not None and token >= size):
            exist = "tokens begin at 0" if size is None else f"the model's tokens are 0..{size - 1}"
            raise UserError(f"{name} holds {token}, but {exist}; correct it.")


def tail_length(suffixes: Sequence[Sequence[int]]) -> int:
    """How many earlier tokens of a beam must be remembered to recognise the suffixes."""
    return max((len(suffix) - 1 for suffix in suffixes), default=0)


def closing_tokens(eos_ids: Sequence[int], suffixes: Sequence[Sequence[int]]) -> int:
    """How many different tokens can end a program at most."""
    return len({*eos_ids, *(suffix[-1] for suffix in suffixes)})


def ends(tokens: jax.Array, recent: jax.Array, eos_ids: Sequence[int], suffixes: Sequence[Sequence[int]]) -> jax.Array:
    """Whether appending ``tokens [...]`` to programs that end in ``recent [..., L]`` (-1 = nothing there) ends them.

    Returns:
        bool ``[...]``.
    """
    out = jnp.zeros(tokens.shape, bool)
    for eos in eos_ids:
        out |= tokens == eos
    for suffix in suffixes:
        match = tokens == suffix[-1]
        for back, token in enumerate(reversed(suffix[:-1]), start=1):
            match &= recent[..., -back] == token
        out |= match
    return out
