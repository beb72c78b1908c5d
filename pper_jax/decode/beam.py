"""Beam search over a shared prompt cache.

The K best unfinished programs of a prompt (the live beams) are extended together, one query position each of one row; a
program that ends among the K best extensions of a step moves to the pool of the K best finished ones. Scores are sums
of log-probabilities, so they only fall: when no live beam can still beat the K-th finished program the row is done.

The defaults are plain beam search for the K most probable programs. Every option means what it means in Hugging Face's
``generate(do_sample=False, num_beams=K)``: same programs, same scores (see ``BeamConfig.early_stopping``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, Self

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from jax import lax

from pper_jax.decode.ends import Ends, RowEnds, check_tokens, check_vocabulary
from pper_jax.decode.method import OwnEnds, as_programs, freeze, take_beams
from pper_jax.decode.outlook import Outlook
from pper_jax.decode.processors import forbid, penalise_repetition
from pper_jax.decode.segments import decode
from pper_jax.errors import UserError
from pper_jax.ranges import check_number
from pper_jax.types import Params, Programs, Prompts


@dataclass(frozen=True)
class BeamConfig(OwnEnds):
    """Static options of a beam search; hashable.

    Attributes:
        width: ``K``, live beams a prompt and finished programs kept; 1 is greedy decoding.
        max_new_tokens: ``T``, length limit, EOS included. Programs that reach it are results with ``finished=False``.
        eos_ids: tokens that end a program.
        pad_id: what stands after the end in ``Programs.tokens``.
        length_penalty: results are ranked by sum of log-probs / length**length_penalty, EOS counted; 0 is the paper's.
        num_return: programs returned a prompt, the best first; None = ``width``.
        stop_suffixes: token sequences; a program whose generated tokens end in one is finished as with an EOS.
        early_stopping: when a prompt is done before the length limit, in Hugging Face's words. ``"never"``: as soon as
            no live beam can still enter the results, which therefore are those of a search that runs to the limit.
            ``True``: as soon as ``width`` programs are finished. ``False`` (the default there): when the best live
            beam, ranked at its present length, does not beat the worst finished program; with a ``length_penalty``
            above 0 that is a guess, which misses longer programs that would still rank higher, otherwise it gives the
            same results as ``"never"``.
        min_new_tokens: an EOS is not among a program's first ``min_new_tokens`` tokens; stop suffixes are no EOS.
        repetition_penalty: log-probabilities of tokens in the prompt or the program so far are multiplied by it; 1 is
            off. Programs then carry these log-probabilities, not the model's own. (Hugging Face does the same with two
            beams or more; with one, which is greedy decoding there, it penalises logits.)
        bad_token_ids: tokens that are never produced.
    """

    width: int = 3
    max_new_tokens: int = 256
    eos_ids: tuple[int, ...] = ()
    pad_id: int = 0
    length_penalty: float = 0.0
    num_return: int | None = None
    stop_suffixes: tuple[tuple[int, ...], ...] = ()
    early_stopping: bool | Literal["never"] = "never"
    min_new_tokens: int = 0
    repetition_penalty: float = 1.0
    bad_token_ids: tuple[int, ...] = ()

    @property
    def programs_per_prompt(self) -> int:
        """As many as are returned."""
        return self.num_return or self.width

    @property
    def needs_key(self) -> bool:
        """No: there is no chance in it."""
        return False

    @property
    def first_ends(self) -> bool:
        """Whether ``width`` finished programs end the search, also with one beam: greedy decoding has no second."""
        return self.early_stopping is True or self.width == 1

    def widened(self) -> Self:
        """Twice the beams, all of them returned."""
        return replace(self, width=2 * self.width, num_return=None)

    def check(self, model_config: Any) -> None:
        """``UserError`` for what the model cannot do."""
        self.check_vocabulary(model_config.vocab_size)

    def start(self, prompts: Prompts, keys: jax.Array | None = None, ends: Ends | RowEnds | None = None) -> BeamState:
        """Before the first token: only beam 0 lives, so that K equal beams do not choose the same token K times."""
        return _start(prompts, self, self.ends_or(ends))

    def advance(self, state: BeamState, outlook: Outlook) -> BeamState:
        """Choose the next token of every beam and move ended programs to the pool."""
        return freeze(state.done, state, _advance(state, outlook, self))

    def results(self, state: BeamState) -> Programs:
        """The best of the pool and of the live beams."""
        return _results(state, self)

    def check_vocabulary(self, size: int) -> None:
        """``UserError`` for what a model with ``size`` tokens cannot do."""
        if self.width > size:
            raise UserError(
                f"width={self.width} is more beams than the model's vocabulary has tokens ({size}); lower it."
            )
        self.ends.check_vocabulary(size)
        check_vocabulary("bad_token_ids", self.bad_token_ids, size)

    def __post_init__(self) -> None:
        for name in ("width", "max_new_tokens"):
            check_number(name, getattr(self, name), least=1, whole=True)
        if self.num_return is not None:
            check_number("num_return", self.num_return, least=1, most=self.width, whole=True)
        check_number("length_penalty", self.length_penalty)
        if not isinstance(self.early_stopping, bool) and self.early_stopping != "never":
            raise UserError(f'early_stopping must be True, False or "never", not {str(self.early_stopping)[:60]!r}.')
        check_number("min_new_tokens", self.min_new_tokens, least=0, most=self.max_new_tokens, whole=True)
        check_number("repetition_penalty", self.repetition_penalty, above=0)
        check_tokens("bad_token_ids", self.bad_token_ids)
        if both := {*self.ends.eos_ids} & {*self.bad_token_ids}:  # the ends judge themselves
            raise UserError(f"token {min(both)} is both in eos_ids and in bad_token_ids; remove it from one of them.")


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
    prompt: jax.Array  # [B, P], -1 in the padding; P = 0 without a repetition penalty
    pool: _Ended
    ends: Ends | RowEnds


@partial(jax.jit, static_argnames=("module", "config"))
def beam_search(
    module: nn.Module,
    params: Params,
    prompts: Prompts,
    *,
    config: BeamConfig,
    ends: Ends | RowEnds | None = None,
) -> Programs:
    """The ``num_return`` best programs of each prompt, best first.

    Ties go to the lowest (beam, token). NaN logits count as ``-inf``; a token of log-probability ``-inf`` is never
    chosen, so fewer programs than asked for may exist (empty slots: length 0, log-probability ``-inf``). A prompt's
    result does not depend on its padding nor on its batch mates, up to rounding between different shapes.

    Args:
        module: a causal LM with the call contract of ``pper_jax.models``.
        params: its parameters.
        prompts: tokens ``[B, P]``; ``length + max_new_tokens`` must fit the model's positions (the caller's care).
        config: static options.
        ends: what programs end at; None: what the config says.

    Returns:
        Programs with ``[B, num_return, max_new_tokens]`` tokens; ``logprob`` is the plain sum for any length penalty,
        ``score`` what they are ordered by.

    Raises:
        UserError: the options do not fit the model's vocabulary.
    """
    config.check(module.config)
    return decode(module, params, prompts, None, config, ends)


def _start(prompts: Prompts, config: BeamConfig, ends: Ends | RowEnds) -> BeamState:
    batch, slots = prompts.tokens.shape
    real = jnp.arange(slots) < prompts.length[:, None]
    grid, history = (batch, config.width), (batch, config.width, config.max_new_tokens)
    dead = jnp.full(grid, -jnp.inf, jnp.float32)
    ints = jnp.zeros(grid, jnp.int32)
    tokens, logprobs = jnp.full(history, ends.pad_id, jnp.int32), jnp.zeros(history, jnp.float32)
    return BeamState(
        step=jnp.zeros(batch, jnp.int32),
        done=jnp.zeros(batch, bool),
        token=ints,
        parent=ints,
        score=dead.at[:, 0].set(0.0),
        recent=jnp.full((*grid, ends.tail_length), -1, jnp.int32),
        tokens=tokens,
        logprobs=logprobs,
        prompt=jnp.where(real, prompts.tokens, -1)[:, : slots if config.repetition_penalty != 1 else 0],
        pool=_Ended(dead, dead, ints, jnp.zeros(grid, bool), tokens, logprobs),
        ends=ends,
    )


def _best(ended: _Ended, count: int) -> _Ended:
    """The ``count`` best by rank, in order; ties go to the first."""
    _, order = lax.top_k(ended.rank, count)
    return jax.tree.map(lambda x: take_beams(x, order), ended)


def _join(first: _Ended, second: _Ended) -> _Ended:
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=1), first, second)


def normalise(score: jax.Array, length: jax.Array, penalty: float) -> jax.Array:
    """What programs are ranked by: the sum of log-probabilities over ``length**penalty``."""
    return score if penalty == 0 else score / jnp.asarray(length, jnp.float32) ** penalty


def _extensions(state: BeamState, outlook: Outlook, config: BeamConfig, count: int) -> tuple[jax.Array, jax.Array]:
    """At least the ``count`` best tokens of each beam after the processors, best first but for forbidden ones.

    Returns:
        ``(log-probability, token)``, each ``[B, K, >= count]`` or as many as the vocabulary has.
    """
    count += (state.ends.num_eos if config.min_new_tokens else 0) + len(
        config.bad_token_ids
    )  # so that enough are left without those
    if config.repetition_penalty == 1:
        logprob, token = outlook.top(count)
    else:
        written = jnp.where(jnp.arange(config.max_new_tokens) < state.step[:, None, None], state.tokens, -1)
        prompt = jnp.broadcast_to(state.prompt[:, None], (*state.score.shape, state.prompt.shape[1]))
        seen = jnp.concatenate([prompt, written], axis=-1)
        logprob = penalise_repetition(outlook.log_probs(), seen, config.repetition_penalty)
        logprob, token = lax.top_k(logprob, min(count, logprob.shape[-1]))
    logprob = forbid(logprob, token, config.bad_token_ids)
    if config.min_new_tokens:
        early = state.step[:, None, None] < config.min_new_tokens
        logprob = jnp.where(early & state.ends.is_eos(token), -jnp.inf, logprob)
    return logprob, token


@struct.dataclass
class _Extended:
    """Beams ``[B, M]`` made one token longer; ``score`` is ``-inf`` where there is none."""

    parent: jax.Array
    token: jax.Array
    score: jax.Array
    tokens: jax.Array  # [B, M, T]
    logprobs: jax.Array  # [B, M, T]


def _extend(
    state: BeamState, total: jax.Array, logprob: jax.Array, token: jax.Array, width: int
) -> tuple[_Extended, jax.Array]:
    """The ``width`` best by ``total [B, K, N]``, best first, ties to the lowest (beam, token).

    ``logprob`` and ``token [B, K, N]`` hold each beam's extensions, equal ones in the order of the tokens. Also returns
    where in the flattened ``K * N`` extensions the chosen ones lie.
    """
    flat = (total.shape[0], -1)
    score, chosen = lax.top_k(total.reshape(flat), width)
    parent, last = chosen // total.shape[-1], partial(take_beams, index=chosen)
    here = jnp.arange(state.tokens.shape[-1]) == state.step[:, None, None]
    extended = _Extended(
        parent=parent,
        token=last(token.reshape(flat)),
        score=score,
        tokens=jnp.where(here, last(token.reshape(flat))[..., None], take_beams(state.tokens, parent)),
        logprobs=jnp.where(here, last(logprob.reshape(flat))[..., None], take_beams(state.logprobs, parent)),
    )
    return extended, chosen


def _advance(state: BeamState, outlook: Outlook, config: BeamConfig) -> BeamState:
    width, length = config.width, state.step[:, None] + 1
    # a beam has at most this many extensions that end it and contributes at most `width` that go on
    count = width + state.ends.closing
    logprob, token = _extensions(state, outlook, config, count)
    total = state.score[..., None] + logprob
    ended = state.ends.close(token, state.recent[:, :, None])

    # only among the best may a program end
    best, chosen = _extend(state, total, logprob, token, width)
    ended_here = take_beams(ended.reshape(ended.shape[0], -1), chosen)
    score = jnp.where(ended_here, best.score, -jnp.inf)
    new = _Ended(
        rank=normalise(score, length, config.length_penalty),
        score=score,
        length=jnp.broadcast_to(length, score.shape),
        finished=ended_here,
        tokens=best.tokens,
        logprobs=best.logprobs,
    )
    pool = _best(_join(state.pool, new), width)

    live, _ = _extend(state, jnp.where(ended, -jnp.inf, total), logprob, token, width)
    most = live.score.max(axis=1, keepdims=True)  # not [:, :1], for which XLA would make a full sort of the top-k
    score = jnp.where(_goes_on(most, pool.rank[:, -1:], length, config), live.score, -jnp.inf)
    recent = jnp.concatenate([take_beams(state.recent, live.parent), live.token[..., None]], axis=-1)
    return BeamState(
        step=state.step + 1,
        done=(state.step + 1 >= config.max_new_tokens) | jnp.all(score == -jnp.inf, axis=1),
        token=live.token,
        parent=live.parent,
        score=score,
        recent=recent[..., 1:],
        tokens=live.tokens,
        logprobs=live.logprobs,
        prompt=state.prompt,
        pool=pool,
        ends=state.ends,
    )


def _goes_on(best: jax.Array, worst: jax.Array, length: jax.Array, config: BeamConfig) -> jax.Array:
    """Whether a row whose best live beam has score ``best`` may still change its results; all ``[B, 1]``.

    ``worst`` is the rank of the K-th finished program, ``-inf`` while there are fewer.
    """
    limit, reached = config.max_new_tokens, length
    if config.length_penalty < 0:  # the sooner it ends, the better
        reached = jnp.minimum(length + 1, limit)
    elif config.early_stopping == "never":  # the sum may stay, and the length helps most at the limit
        reached = jnp.full_like(length, limit)
    goes_on = normalise(best, reached, config.length_penalty) > worst
    if config.first_ends:  # at the limit the live beams are results, too
        goes_on &= (worst == -jnp.inf) | (length >= limit)
    return goes_on


def _results(state: BeamState, config: BeamConfig) -> Programs:
    """Let the live beams compete with the pool."""
    length = jnp.broadcast_to(state.step[:, None], state.score.shape)
    live = _Ended(
        rank=normalise(state.score, length, config.length_penalty),
        score=state.score,
        length=length,
        finished=jnp.zeros_like(state.pool.finished),
        tokens=state.tokens,
        logprobs=state.logprobs,
    )
    best = _best(_join(state.pool, live), config.programs_per_prompt)
    return as_programs(
        best.tokens,
        jnp.where(best.rank > -jnp.inf, best.length, 0),
        best.logprobs,
        logprob=best.score,
        finished=best.finished,
        score=best.rank,
        pad_id=state.ends.pad_id,
    )
