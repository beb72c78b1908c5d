"""Beam search over a shared prompt cache.

The K best unfinished programs of a prompt (the live beams) are extended together, one query position each of one row; a
program that ends among the K best extensions of a step moves to the pool of the K best finished ones. Scores are sums
of log-probabilities, so they only fall: a live beam that does not beat the K-th finished program never will, and is
dropped. Hugging Face's ``generate(num_beams=K, length_penalty=0.0, early_stopping=False)`` computes the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from jax import lax

from pper_jax.decode.method import freeze, take_beams
from pper_jax.decode.outlook import Outlook
from pper_jax.decode.segments import decode
from pper_jax.decode.stops import closing_tokens, ends, tail_length
from pper_jax.errors import UserError
from pper_jax.types import Params, Programs, Prompts


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

    def start(self, prompts: Prompts, keys: jax.Array | None = None) -> BeamState:
        """Before the first token: only beam 0 lives, so that K equal beams do not choose the same token K times."""
        return _start(prompts.tokens.shape[0], self)

    def advance(self, state: BeamState, outlook: Outlook) -> BeamState:
        """Choose the next token of every beam and move ended programs to the pool."""
        return freeze(state.done, state, _advance(state, outlook, self))

    def results(self, state: BeamState) -> Programs:
        """The best of the pool and of the live beams."""
        return _results(state, self)

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
    """Programs that have ended, best first. ``[B, K]``, histories ``[B, K, T]``."""

    rank: jax.Array  # normalised score, what the order goes by; -inf = empty
    score: jax.Array
    length: jax.Array
    finished: jax.Array
    tokens: jax.Array
    logprobs: jax.Array


@struct.dataclass
class BeamState:
    """The state between two steps. A live beam with score ``-inf`` is dead."""

    step: jax.Array  # [B]
    done: jax.Array  # [B]
    token: jax.Array  # [B, K]
    parent: jax.Array  # [B, K]
    score: jax.Array  # [B, K]
    recent: jax.Array  # [B, K, L] last tokens, -1 before the first
    tokens: jax.Array  # [B, K, T]
    logprobs: jax.Array  # [B, K, T]
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
    return decode(module, params, prompts, None, config)


def _start(batch: int, config: BeamConfig) -> BeamState:
    grid, history = (batch, config.width), (batch, config.width, config.max_new_tokens)
    dead = jnp.full(grid, -jnp.inf, jnp.float32)
    ints = jnp.zeros(grid, jnp.int32)
    tokens, logprobs = jnp.full(history, config.pad_id, jnp.int32), jnp.zeros(history, jnp.float32)
    return BeamState(
        step=jnp.zeros(batch, jnp.int32),
        done=jnp.zeros(batch, bool),
        token=ints,
        parent=ints,
        score=dead.at[:, 0].set(0.0),
        recent=jnp.full((*grid, tail_length(config.stop_suffixes)), -1, jnp.int32),
        tokens=tokens,
        logprobs=logprobs,
        pool=_Ended(dead, dead, ints, jnp.zeros(grid, bool), tokens, logprobs),
    )


def _best(ended: _Ended, count: int) -> _Ended:
    """The ``count`` best by rank, in order; ties go to the first."""
    _, order = lax.top_k(ended.rank, count)
    return jax.tree.map(lambda x: take_beams(x, order), ended)


def _join(first: _Ended, second: _Ended) -> _Ended:
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=1), first, second)


def _normalise(score: jax.Array, length: jax.Array | int, penalty: float) -> jax.Array:
    return score if penalty == 0 else score / jnp.asarray(length, jnp.float32) ** penalty


def _candidates(score: jax.Array, outlook: Outlook, count: int) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """The ``count`` best extensions of ``K`` beams with ``score [B, K]``, best first, ties to the lowest (beam, token).

    Returns:
        ``(total, parent, token, logprob)``, each ``[B, count]``.
    """
    logprob, token = outlook.top(count)  # [B, K, per_beam]
    per_beam = token.shape[-1]
    flat = (score.shape[0], score.shape[1] * per_beam)
    total, chosen = lax.top_k((score[..., None] + logprob).reshape(flat), min(count, flat[1]))
    at = partial(take_beams, index=chosen)
    return total, chosen // per_beam, at(token.reshape(flat)), at(logprob.reshape(flat))


def _advance(state: BeamState, outlook: Outlook, config: BeamConfig) -> BeamState:
    width, step = config.width, state.step[:, None]
    # each beam has at most `closing` extensions that end it, so among this many candidates there are K that go on
    closing = closing_tokens(config.eos_ids, config.stop_suffixes)
    total, parent, token, logprob = _candidates(state.score, outlook, (1 + closing) * width)
    ended = ends(token, take_beams(state.recent, parent), config.eos_ids, config.stop_suffixes)
    here = jnp.arange(config.max_new_tokens) == step[..., None]

    def histories(index: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Tokens and log-probs ``[B, K, T]`` of the candidates ``index [B, K]``."""
        of, last = take_beams(parent, index), partial(take_beams, index=index)
        return (
            jnp.where(here, last(token)[..., None], take_beams(state.tokens, of)),
            jnp.where(here, last(logprob)[..., None], take_beams(state.logprobs, of)),
        )

    # only among the K best may a program end
    score = jnp.where(ended, total, -jnp.inf)[:, :width]
    first = jnp.broadcast_to(jnp.arange(width), score.shape)
    new = _Ended(
        _normalise(score, step + 1, config.length_penalty),
        score,
        jnp.broadcast_to(step + 1, score.shape),
        jnp.ones_like(ended[:, :width]),
        *histories(first),
    )
    pool = _best(_join(state.pool, new), width)

    score, live = lax.top_k(jnp.where(ended, -jnp.inf, total), width)
    score = jnp.where(_bound(score, step + 1, config) > pool.rank[:, -1:], score, -jnp.inf)
    tokens, logprobs = histories(live)
    parent, token = take_beams(parent, live), take_beams(token, live)
    return BeamState(
        step=state.step + 1,
        done=(state.step + 1 >= config.max_new_tokens) | jnp.all(score == -jnp.inf, axis=1),
        token=token,
        parent=parent,
        score=score,
        recent=jnp.concatenate([take_beams(state.recent, parent), token[..., None]], axis=-1)[..., 1:],
        tokens=tokens,
        logprobs=logprobs,
        pool=pool,
    )


def _bound(score: jax.Array, length: jax.Array, config: BeamConfig) -> jax.Array:
    """The best rank that a live beam of this score and length can still reach: the sum stays, the length helps most."""
    limit = config.max_new_tokens
    best = limit if config.length_penalty >= 0 else jnp.minimum(length + 1, limit)
    return _normalise(score, best, config.length_penalty)


def _results(state: BeamState, config: BeamConfig) -> Programs:
    """Let the live beams compete with the pool."""
    length = jnp.broadcast_to(state.step[:, None], state.score.shape)
    live = _Ended(
        rank=_normalise(state.score, length, config.length_penalty),
        score=state.score,
        length=length,
        finished=jnp.zeros_like(state.pool.finished),
        tokens=state.tokens,
        logprobs=state.logprobs,
    )
    best = _best(_join(state.pool, live), config.num_return or config.width)
    exists = best.rank > -jnp.inf
    length = jnp.where(exists, best.length, 0)
    inside = jnp.arange(config.max_new_tokens) < length[..., None]
    return Programs(
        tokens=jnp.where(inside, best.tokens, config.pad_id),
        length=length,
        logprob=best.score,
        token_logprobs=jnp.where(inside, best.logprobs, 0.0),
        finished=best.finished & exists,
    )
