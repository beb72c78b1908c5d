"""When a program ends, on the device: EOS tokens and stop suffixes."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp


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
