"""Beam search over a shared prompt cache.

The K best unfinished programs of a prompt (the live beams) are extended together, one query position each of one row; a
program that ends among the K best extensions of a step moves to the pool of the K best finished ones. Scores are sums
of log-probabilities, so they only fall: a live beam that does not beat the K-th finished program never will, and is
dropped. Hugging Face's ``generate(num_beams=K, length_penalty=0.0, early_stopping=False)`` computes the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from jax import lax

from pper_jax.decode.cache import ancestor_mask, log_probs, prefill
from pper_jax.decode.stops import closing_tokens, ends, tail_length
from pper_jax.errors import UserError
from pper_jax.types import KVCache, Params, Programs, Prompts


@dataclass(frozen=True)
class BeamConfig:
    """Static options of a beam search; hashable.

    Attributes:
        width: ``K``, live beams a prompt and finished programs kept.
        max_new_tokens: ``T``, length limit, EOS included. Programs that reach it are results with ``finished=False``.
        eos_ids: tokens that end a program.
        pad_id: what stands after the end in ``Programs.tokens``.
        length_penalty: results are ranked by sum of log-probs / length**length_penalty, EOS counted; 0 is the paper's.
        num_return: programs returned a prompt, the best first; None = ``width``.
        stop_suffixes: token sequences; a program whose generated tokens end in one is finished as with an EOS.
    """

    width: int = 3
    max_new_tokens: int = 256
    eos_ids: tuple[int, ...] = ()
    pad_id: int = 0
    length_penalty: float = 0.0
    num_return: int | None = None
    stop_suffixes: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        for name in ("width", "max_new_tokens"):
            if getattr(self, name) < 1:
                raise UserError(f"beam search needs {name} >= 1, not {getattr(self, name)}.")
        if self.num_return is not None and not 1 <= self.num_return <= self.width:
            raise UserError(f"num_return must lie in 1..{self.width} (the beam width), not {self.num_return}.")
        if not all(self.stop_suffixes):
            raise UserError("stop_suffixes holds an empty sequence, which would end every program at once; remove it.")


@struct.dataclass
class _Ended:
    """Programs as their last token and the beam before it; the rest is read from the history. All ``[B, K]``."""

    rank: jax.Array  # normalised score, what the order goes by; -inf = empty
    score: jax.Array
    length: jax.Array
    parent: jax.Array
    token: jax.Array
    logprob: jax.Array
    finished: jax.Array


@struct.dataclass
class _Search:
    """The state between two steps, ``step`` tokens chosen. A live beam with score ``-inf`` is dead."""

    step: jax.Array
    score: jax.Array  # [B, K]
    recent: jax.Array  # [B, K, L] last tokens, -1 before the first
    ancestors: jax.Array  # [B, K, T]
    parents: jax.Array  # [T, B, K] history of the live beams
    tokens: jax.Array  # [T, B, K]
    logprobs: jax.Array  # [T, B, K]
    pool: _Ended


@partial(jax.jit, static_argnames=("module", "config"))
def beam_search(module: nn.Module, params: Params, prompts: Prompts, *, config: BeamConfig) -> Programs:
    """The ``num_return`` best programs of each prompt, best first.

    Ties go to the lowest (beam, token). NaN logits count as ``-inf``; a token of log-probability ``-inf`` is never
    chosen, so fewer programs than asked for may exist (empty slots: length 0, log-probability ``-inf``). A prompt's
    result does not depend on its padding nor on its batch mates, up to rounding between different shapes.

    Args:
        module: a causal LM with the call contract of ``pper_jax.models``.
        params: its parameters.
        prompts: tokens ``[B, P]``; ``length + max_new_tokens`` must fit the model's positions (the caller's care).
        config: static options.

    Returns:
        Programs with ``[B, num_return, max_new_tokens]`` tokens; ``logprob`` is the plain sum for any length penalty.
    """
    width, limit = config.width, config.max_new_tokens
    slots = prompts.tokens.shape[1]
    apply: Callable[..., Any] = partial(module.apply, {"params": params})
    logits, cache = prefill(module, params, prompts, (limit - 1) * width)
    search = _start(prompts.tokens.shape[0], config)
    search = _advance(search, jnp.repeat(logits[:, None], width, axis=1), config)

    def unfinished(carry: tuple[_Search, KVCache]) -> jax.Array:
        return (carry[0].step < limit) & jnp.any(carry[0].score > -jnp.inf)

    def extend(carry: tuple[_Search, KVCache]) -> tuple[_Search, KVCache]:
        search, cache = carry
        last = search.step - 1
        positions = jnp.broadcast_to((prompts.length + last)[:, None], search.score.shape)
        mask = ancestor_mask(prompts.length, slots, search.ancestors[..., : limit - 1])
        logits, cache = apply(search.tokens[last], positions, mask, cache=cache, write_at=slots + last * width)
        return _advance(search, logits, config), cache

    search, _ = lax.while_loop(unfinished, extend, (search, cache))
    return _results(search, config)


def _start(batch: int, config: BeamConfig) -> _Search:
    """Before the first token: only beam 0 lives, so that K equal beams do not choose the same token K times."""
    grid, history = (batch, config.width), (config.max_new_tokens, batch, config.width)
    dead = jnp.full(grid, -jnp.inf, jnp.float32)
    ints = jnp.zeros(grid, jnp.int32)
    return _Search(
        step=jnp.int32(0),
        score=dead.at[:, 0].set(0.0),
        recent=jnp.full((*grid, tail_length(config.stop_suffixes)), -1, jnp.int32),
        ancestors=jnp.full((*grid, config.max_new_tokens), -1, jnp.int32),
        parents=jnp.zeros(history, jnp.int32),
        tokens=jnp.zeros(history, jnp.int32),
        logprobs=jnp.zeros(history, jnp.float32),
        pool=_Ended(dead, dead, ints, ints, ints, dead, jnp.zeros(grid, bool)),
    )


def _take(x: jax.Array, index: jax.Array) -> jax.Array:
    """``x [B, N, ...]`` at ``index [B, M]`` along axis 1."""
    return jnp.take_along_axis(x, index.reshape(*index.shape, *(1,) * (x.ndim - 2)), axis=1)


def _best(ended: _Ended, count: int) -> _Ended:
    """The ``count`` best by rank, in order; ties go to the first."""
    _, order = lax.top_k(ended.rank, count)
    return jax.tree.map(lambda x: _take(x, order), ended)


def _join(first: _Ended, second: _Ended) -> _Ended:
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=1), first, second)


def _normalise(score: jax.Array, length: jax.Array | int, penalty: float) -> jax.Array:
    return score if penalty == 0 else score / jnp.asarray(length, jnp.float32) ** penalty


def _candidates(score: jax.Array, logits: jax.Array, count: int) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """The ``count`` best extensions of ``K`` beams with ``score [B, K]``, best first, ties to the lowest (beam, token).

    Returns:
        ``(total, parent, token, logprob)``, each ``[B, count]``.
    """
    logprob = log_probs(logits)
    per_beam = min(count, logits.shape[-1])
    total, token = lax.top_k(score[..., None] + logprob, per_beam)  # [B, K, per_beam]
    logprob = jnp.take_along_axis(logprob, token, axis=-1)
    flat = (score.shape[0], score.shape[1] * per_beam)
    total, chosen = lax.top_k(total.reshape(flat), min(count, flat[1]))
    return total, chosen // per_beam, _take(token.reshape(flat), chosen), _take(logprob.reshape(flat), chosen)


def _advance(search: _Search, logits: jax.Array, config: BeamConfig) -> _Search:
    """Choose the next token of every beam from ``logits [B, K, V]`` and move ended programs to the pool."""
    width, step = config.width, search.step
    # each beam has at most `closing` extensions that end it, so among this many candidates there are K that go on
    closing = closing_tokens(config.eos_ids, config.stop_suffixes)
    total, parent, token, logprob = _candidates(search.score, logits, (1 + closing) * width)
    ended = ends(token, _take(search.recent, parent), config.eos_ids, config.stop_suffixes)

    score = jnp.where(ended, total, -jnp.inf)[:, :width]  # only among the K best may a program end
    new = _Ended(
        rank=_normalise(score, step + 1, config.length_penalty),
        score=score,
        length=jnp.full_like(parent[:, :width], step + 1),
        parent=parent[:, :width],
        token=token[:, :width],
        logprob=logprob[:, :width],
        finished=jnp.ones_like(ended[:, :width]),
    )
    pool = _best(_join(search.pool, new), width)

    score, live = lax.top_k(jnp.where(ended, -jnp.inf, total), width)
    parent, token, logprob = _take(parent, live), _take(token, live), _take(logprob, live)
    ancestors = _take(search.ancestors, parent).at[:, :, step].set(jnp.arange(width))
    recent = jnp.concatenate([_take(search.recent, parent), token[..., None]], axis=-1)[..., 1:]
    return _Search(
        step=step + 1,
        score=jnp.where(_bound(score, step + 1, config) > pool.rank[:, -1:], score, -jnp.inf),
        recent=recent,
        ancestors=ancestors,
        parents=search.parents.at[step].set(parent),
        tokens=search.tokens.at[step].set(token),
        logprobs=search.logprobs.at[step].set(logprob),
        pool=pool,
    )


def _bound(score: jax.Array, length: jax.Array, config: BeamConfig) -> jax.Array:
    """The best rank that a live beam of this score and length can still reach: the sum stays, the length helps most."""
    limit = config.max_new_tokens
    best = limit if config.length_penalty >= 0 else jnp.minimum(length + 1, limit)
    return _normalise(score, best, config.length_penalty)


def _results(search: _Search, config: BeamConfig) -> Programs:
    """Let the live beams compete with the pool, and read the winners from the history, last token first."""
    last = search.step - 1
    live = _Ended(
        rank=_normalise(search.score, search.step, config.length_penalty),
        score=search.score,
        length=jnp.full_like(search.tokens[0], search.step),
        parent=search.parents[last],
        token=search.tokens[last],
        logprob=search.logprobs[last],
        finished=jnp.zeros_like(search.pool.finished),
    )
    best = _best(_join(search.pool, live), config.num_return or config.width)
    exists = best.rank > -jnp.inf
    length = jnp.where(exists, best.length, 0)

    def back(beam: jax.Array, at: tuple[jax.Array, ...]) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        step, parents, tokens, logprobs = at
        is_last, inside = step == length - 1, step < length
        token = jnp.where(is_last, best.token, _take(tokens, beam))
        logprob = jnp.where(is_last, best.logprob, _take(logprobs, beam))
        beam = jnp.where(is_last, best.parent, _take(parents, beam))
        return beam, (jnp.where(inside, token, config.pad_id), jnp.where(inside, logprob, 0.0))

    history = (jnp.arange(config.max_new_tokens), search.parents, search.tokens, search.logprobs)
    _, (tokens, logprobs) = lax.scan(back, jnp.zeros_like(length), history, reverse=True)
    return Programs(
        tokens=jnp.moveaxis(tokens, 0, -1),
        length=length,
        logprob=best.score,
        token_logprobs=jnp.moveaxis(logprobs, 0, -1),
        finished=best.finished & exists,
    )
