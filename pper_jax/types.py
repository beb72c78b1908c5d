"""Every pytree that crosses a room, with its shapes. Arrays only; static configuration stays outside.

Shape letters: ``B`` prompts or rows, ``P`` prompt length, ``K`` beams, ``T`` generated or sequence length,
``S`` query positions of one model call, ``C`` key slots of the cache, ``H`` key/value heads, ``D`` head width.
"""

from __future__ import annotations

from typing import Any

import jax
from flax import struct

Params = Any  # a plain nested dict of arrays


@struct.dataclass
class Prompts:
    """Right-padded prompts. What stands in the padding never changes a result.

    Attributes:
        tokens: ``[B, P]`` int32.
        length: ``[B]`` int32, each in ``1..P``.
    """

    tokens: jax.Array
    length: jax.Array


@struct.dataclass
class Programs:
    """What a decoder wrote: ``K`` programs a prompt; beam search gives them best first, sampling as they were drawn.

    Attributes:
        tokens: ``[B, K, T]`` int32, the EOS included, padded with the config's ``pad_id`` after ``length``.
        length: ``[B, K]`` int32, tokens generated, the EOS included. 0 marks an empty slot (fewer than K exist).
        logprob: ``[B, K]`` float32, sum of ``token_logprobs`` (natural log, EOS included); ``-inf`` for an empty slot.
        token_logprobs: ``[B, K, T]`` float32, 0 after ``length``.
        finished: ``[B, K]`` bool, True when the program ended with an EOS rather than at the length limit.
        score: ``[B, K]`` float32, what a search orders its programs by: ``logprob / length**length_penalty`` in beam
            search; ``logprob`` for samples; ``-inf`` for an empty slot. None for programs written elsewhere.
        group: ``[B, K]`` int32, which group of a diverse beam search a program is from; None where there is but one.
    """

    tokens: jax.Array
    length: jax.Array
    logprob: jax.Array
    token_logprobs: jax.Array
    finished: jax.Array
    score: jax.Array | None = struct.field(default=None, kw_only=True)
    group: jax.Array | None = struct.field(default=None, kw_only=True)


@struct.dataclass
class LayerCache:
    """Keys and values of one layer. A slot holds whatever token was written there; the caller's mask gives it meaning.

    Attributes:
        key: ``[B, C, H, D]``, rotary embedding already applied.
        value: ``[B, C, H, D]``.
    """

    key: jax.Array
    value: jax.Array


KVCache = tuple[LayerCache, ...]  # one entry a layer


@struct.dataclass
class BeamLayerCache:
    """One layer's cache of a beam decode: the prompt once for all beams, and ``S`` slots for generated tokens.

    A step of ``K`` beams takes the next ``K`` slots; reordering beams moves none. Keys have their slots innermost, the
    order in which decode attention reads them.

    Attributes:
        prompt_key: ``[B, H, D, P]``, rotary embedding already applied.
        prompt_value: ``[B, H, P, D]``.
        key: ``[B, H, D, S]``.
        value: ``[B, H, S, D]``.
    """

    prompt_key: jax.Array
    prompt_value: jax.Array
    key: jax.Array
    value: jax.Array


@struct.dataclass
class BeamMask:
    """What the beams may see, and where it stands.

    Attributes:
        prompt: ``[B, P]`` bool, slots of the prompt.
        generated: ``[B, K, S]`` bool, slots of generated tokens.
        at: ``[B]`` int32, the position of this step's tokens.
        written: ``[B, S]`` int32, the position of each generated slot's token.
        size: how many keys a query sees at most, itself included, where a layer has a window.
    """

    prompt: jax.Array
    generated: jax.Array
    at: jax.Array
    written: jax.Array
    size: jax.Array | int | None = None


@struct.dataclass
class TrainBatch:
    """A fixed-shape batch for the train step. Entry ``[b, t]`` of every field belongs to ``tokens[b, t]``.

    Attributes:
        tokens: ``[B, T]`` int32.
        segment_ids: ``[B, T]`` int32, 0 = padding, 1, 2, ... = programs packed into the row.
        loss_mask: ``[B, T]`` bool, True where ``tokens[b, t]`` is a target (completion or EOS, not prompt or padding).
        weight: ``[B]`` float32 weight of the row's loss (importance weights; 1 when unused; 0 drops the row), or
            ``[B, S]``, one a packed program: column ``s - 1`` is that of segment ``s``.
        sampler_logprobs: ``[B, T]`` float32, log-probability of each target under the policy that drew it, or None.
        reference_logprobs: ``[B, T]`` float32, the same under a reference model, or None.
        extras: ``[B, ...]`` arrays by name that an objective of one's own reads.
        shared: static, how many tokens in front of a row all its packed programs go on from: a segment of their own
            that every other sees.
    """

    tokens: jax.Array
    segment_ids: jax.Array
    loss_mask: jax.Array
    weight: jax.Array
    sampler_logprobs: jax.Array | None = None
    reference_logprobs: jax.Array | None = None
    extras: dict[str, jax.Array] = struct.field(default_factory=dict)
    shared: int = struct.field(pytree_node=False, default=0)


@struct.dataclass
class TrainState:
    """All that training needs to go on: ``step`` int32 [], ``params``, ``opt_state``, and a typed PRNG ``key`` []."""

    step: jax.Array
    params: Params
    opt_state: Any
    key: jax.Array
