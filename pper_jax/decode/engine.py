"""Decoding of ragged prompt lists: few compiled shapes, results as they come, host objects out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from pper_jax.decode.beam import BeamConfig, beam_search
from pper_jax.decode.sample import SampleConfig, sample
from pper_jax.errors import UserError
from pper_jax.types import Params, Programs, Prompts

BUCKETS = (64, 128, 256, 512, 1024, 2048, 4096, 8192)


@dataclass(frozen=True)
class HostProgram:
    """One program on the host, without padding.

    Attributes:
        tokens: generated token ids, the EOS included.
        logprob: sum of ``token_logprobs`` (natural log).
        token_logprobs: one a token.
        finished: True when it ended with an EOS or a stop suffix rather than at the length limit.
    """

    tokens: tuple[int, ...]
    logprob: float
    token_logprobs: tuple[float, ...]
    finished: bool


def decode_prompts(
    module: nn.Module,
    params: Params,
    token_lists: Sequence[Sequence[int]],
    *,
    config: BeamConfig | SampleConfig,
    batch_size: int,
    buckets: Sequence[int] = BUCKETS,
    names: Sequence[str] | None = None,
    key: jax.Array | None = None,
    prompt_ids: Sequence[int] | None = None,
) -> Iterator[tuple[int, list[HostProgram]]]:
    """Decode prompts of any lengths, grouped so that at most one program is compiled a length bucket.

    The prompts are checked when this is called; decoding happens while the result is iterated, a batch at a time,
    shortest bucket first, so that a caller can save and show what is done.

    Args:
        module: a causal LM with the call contract of ``pper_jax.models``.
        params: its parameters.
        token_lists: token ids, one non-empty sequence a prompt.
        config: ``BeamConfig`` for beam search, ``SampleConfig`` for sampling and greedy decoding.
        batch_size: rows of every device call; a short last batch is filled by repeating its first prompt.
        buckets: padded prompt lengths; a longer prompt is padded to the longest one the model has room for.
        names: what error messages call the prompts, such as task ids; their numbers if absent.
        key: one typed key; needed for a ``SampleConfig`` with a temperature.
        prompt_ids: what the key is folded with, so that a prompt's draws do not depend on the list; default its index.

    Yields:
        ``(index into token_lists, programs)``, each index once; beam search gives its programs best first.

    Raises:
        UserError: a prompt is empty or leaves no room for ``max_new_tokens``, or the key is missing.
    """
    if batch_size < 1:
        raise UserError(f"batch_size must be >= 1, not {batch_size}.")
    if isinstance(config, SampleConfig) and config.temperature > 0 and key is None:
        raise UserError("sampling with a temperature needs a key; pass key=jax.random.key(seed).")
    root = jax.random.key(0) if key is None else key
    room = module.config.max_positions - config.max_new_tokens
    groups: dict[int, list[int]] = {}
    for index, tokens in enumerate(token_lists):
        name = names[index] if names is not None else f"prompt {index}"
        groups.setdefault(_bucket(len(tokens), buckets, room, name, config.max_new_tokens), []).append(index)
    ids = list(prompt_ids) if prompt_ids is not None else list(range(len(token_lists)))

    def batches() -> Iterator[tuple[int, list[HostProgram]]]:
        for bucket in sorted(groups):
            indices = groups[bucket]
            for first in range(0, len(indices), batch_size):
                chosen = indices[first : first + batch_size]
                rows = chosen + [chosen[0]] * (batch_size - len(chosen))
                prompts = pack_prompts([token_lists[i] for i in rows], bucket)
                if isinstance(config, SampleConfig):
                    keys = jax.vmap(jax.random.fold_in, (None, 0))(root, jnp.asarray([ids[i] for i in rows]))
                    programs = sample(module, params, prompts, keys, config=config)
                else:
                    programs = beam_search(module, params, prompts, config=config)
                yield from zip(chosen, to_host(programs), strict=False)

    return batches()


def _bucket(length: int, buckets: Sequence[int], room: int, name: str, new_tokens: int) -> int:
    """The padded length for a prompt of ``length`` tokens."""
    if length == 0:
        raise UserError(f"{name} has no tokens; give it at least one, such as the tokenizer's BOS.")
    if length > room:
        raise UserError(
            f"{name} has {length} tokens, but with max_new_tokens={new_tokens} the model's context leaves room for "
            f"{max(room, 0)}; shorten the prompt or lower max_new_tokens."
        )
    return min(min((b for b in buckets if b >= length), default=room), room)


def pack_prompts(token_lists: Sequence[Sequence[int]], length: int) -> Prompts:
    """Right-pad to ``[B, length]`` with zeros."""
    tokens = np.zeros((len(token_lists), length), np.int32)
    for row, prompt in zip(tokens, token_lists, strict=True):
        row[: len(prompt)] = prompt
    return Prompts(jnp.asarray(tokens), jnp.asarray([len(prompt) for prompt in token_lists], jnp.int32))


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
            )
            for slot, length in enumerate(lengths)
            if length > 0
        ]
        for row, lengths in enumerate(host.length)
    ]
