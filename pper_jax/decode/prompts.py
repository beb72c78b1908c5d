"""Between the host and the device: prompts out of lists and padded arrays, programs without their padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from pper_jax.errors import UserError
from pper_jax.types import Programs, Prompts


def prompts_from_padded(tokens: ArrayLike, mask: ArrayLike) -> Prompts:
    """Prompts from tokens padded on the left, on the right or both, such as a tokenizer's output.

    Equal prompts give equal results wherever their padding was.

    Args:
        tokens: ``[B, P]`` int token ids; what stands in the padding is not read.
        mask: ``[B, P]``, 1 or True at the tokens of the prompt, 0 or False in the padding (``attention_mask``).

    Raises:
        UserError: the shapes differ, a row has no tokens, or its tokens are not in one piece.
    """
    values, real = np.asarray(tokens, np.int32), np.asarray(mask).astype(bool)
    if values.ndim != 2 or values.shape != real.shape:
        raise UserError(
            f"tokens {list(values.shape)} and mask {list(real.shape)} must have one shape [prompts, length]; "
            "pass the tokenizer's input_ids and attention_mask."
        )
    length = real.sum(axis=1)
    for row in np.flatnonzero(length == 0):
        raise UserError(f"prompt {row} has no tokens; give it at least one, such as the tokenizer's BOS.")
    pieces = real[:, 0] + (real[:, 1:] & ~real[:, :-1]).sum(axis=1)
    for row in np.flatnonzero(pieces > 1):
        raise UserError(f"the mask of prompt {row} has a gap; padding may stand before and after its tokens only.")
    at = np.arange(values.shape[1]) + real.argmax(axis=1)[:, None]
    inside = np.arange(values.shape[1]) < length[:, None]
    packed = np.take_along_axis(values, np.where(inside, at, 0), axis=1)
    return Prompts(jnp.asarray(np.where(inside, packed, 0)), jnp.asarray(length, jnp.int32))


def pack_prompts(token_lists: Sequence[Sequence[int]], length: int) -> Prompts:
    """Right-pad to ``[B, length]`` with zeros."""
    return jax.tree.map(jnp.asarray, pad_on_host(token_lists, length))


def pad_on_host(token_lists: Sequence[Sequence[int]], length: int) -> Prompts:
    """``pack_prompts`` in numpy: nothing is compiled and nothing moved to the device yet."""
    tokens: Any = np.zeros((len(token_lists), length), np.int32)
    for row, prompt in zip(tokens, token_lists, strict=True):
        row[: len(prompt)] = prompt
    lengths: Any = np.asarray([len(prompt) for prompt in token_lists], np.int32)
    return Prompts(tokens, lengths)


@dataclass(frozen=True)
class HostProgram:
    """One program on the host, without padding.

    Attributes:
        tokens: generated token ids, the EOS included.
        logprob: sum of ``token_logprobs`` (natural log).
        token_logprobs: one a token.
        finished: True when it ended with an EOS or a stop suffix rather than at the length limit.
        score: what the method ranks by, such as the log-probability over length**length_penalty.
        group: which group of a diverse beam search it is from; 0 where there is but one.
    """

    tokens: tuple[int, ...]
    logprob: float
    token_logprobs: tuple[float, ...]
    finished: bool
    score: float
    group: int = 0


def to_host(programs: Programs) -> list[list[HostProgram]]:
    """The programs of each prompt as host objects, empty slots left out; waits for the device."""
    host = jax.device_get(programs)
    return [
        [
            HostProgram(
                tokens=tuple(host.tokens[row, slot, :length].tolist()),
                logprob=float(host.logprob[row, slot]),
                token_logprobs=tuple(host.token_logprobs[row, slot, :length].tolist()),
                finished=bool(host.finished[row, slot]),
                score=float(host.logprob[row, slot] if host.score is None else host.score[row, slot]),
                group=0 if host.group is None else int(host.group[row, slot]),
            )
            for slot, length in enumerate(lengths)
            if length > 0
        ]
        for row, lengths in enumerate(host.length)
    ]
