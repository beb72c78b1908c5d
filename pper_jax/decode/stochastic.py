"""Stochastic beam search: the k programs of a prompt are a sample without replacement from the model.

Source of the method: Kool, van Hoof and Welling, "Stochastic Beams and Where to Find Them", ICML 2019 (arXiv
1903.06059), Algorithm 1; the numerically stable form of its truncation is the one of the paper's appendix.

Give every program ``y`` of the model the perturbed log-probability ``G(y) = log p(y) + Gumbel(0)``, independently. The
k largest are a sample of size k without replacement. A prefix has the largest ``G`` of all programs that begin with it,
which is distributed as ``log p(prefix) + Gumbel(0)``, so the tree can be drawn from the root down: children are drawn
on condition that their largest equals the parent's, and only the k best prefixes can hold one of the k best programs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import cast

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from jax import lax

from pper_jax.decode.cache import log_probs
from pper_jax.decode.ends import Ends, RowEnds
from pper_jax.decode.method import as_programs, freeze, take_beams
from pper_jax.decode.outlook import Outlook
from pper_jax.decode.sample import Samples, tempered
from pper_jax.decode.segments import decode
from pper_jax.errors import UserError
from pper_jax.ranges import check_number
from pper_jax.types import Params, Programs, Prompts


@dataclass(frozen=True)
class StochasticBeamConfig(Samples):
    """Static options of a stochastic beam search; hashable.

    Attributes:
        num_samples: ``k``, different programs a prompt. One beam more is searched, whose score is the threshold.
        max_new_tokens: ``T``, length limit, EOS included. Programs that reach it are results with ``finished=False``.
        temperature: the programs are drawn from the model whose logits are divided by it; must be above 0.
        eos_ids: tokens that end a program.
        pad_id: what stands after the end in ``Programs.tokens``.
        stop_suffixes: token sequences; a program whose generated tokens end in one is finished as with an EOS.
    """

    num_samples: int = 3
    max_new_tokens: int = 256
    temperature: float = 1.0
    eos_ids: tuple[int, ...] = ()
    pad_id: int = 0
    stop_suffixes: tuple[tuple[int, ...], ...] = ()

    @property
    def width(self) -> int:
        """``K = k + 1`` beams, ended programs among them."""
        return self.num_samples + 1

    @property
    def needs_key(self) -> bool:
        """Always."""
        return True

    def start(self, prompts: Prompts, keys: jax.Array | None, ends: Ends | RowEnds | None = None) -> StochasticState:
        """Only the empty program, in beam 0; ``keys [B]`` typed, one a prompt."""
        if keys is None:
            raise UserError("stochastic beam search draws at random; pass a key such as jax.random.key(seed).")
        return _start(keys, self, self.ends_or(ends))

    def advance(self, state: StochasticState, outlook: Outlook) -> StochasticState:
        """Draw the scores of all children and keep the ``K`` best; ended programs keep their place by their score."""
        return freeze(state.done, state, _advance(state, outlook, self))

    def results(self, state: StochasticState) -> StochasticPrograms:
        """The ``k`` programs of the largest perturbed log-probability, the largest first."""
        return _results(state, self)

    def __post_init__(self) -> None:
        for name in ("num_samples", "max_new_tokens"):
            check_number(name, getattr(self, name), least=1, whole=True)
        check_number("temperature of stochastic beam search", self.temperature, above=0)
        _ = self.ends  # which judge themselves


@struct.dataclass
class StochasticPrograms(Programs):
    """A sample without replacement, the largest ``score`` first, which is the perturbed log-probability ``G``.

    ``logprob`` and ``token_logprobs`` are the model's own, whatever the temperature.

    Attributes:
        drawn_logprob: ``[B, k]`` float32, log-probability under the distribution that was drawn from, which is
            ``logprob`` at temperature 1; ``-inf`` for an empty slot.
        threshold: ``[B]`` float32, ``kappa``, the (k+1)-th largest ``G``; ``-inf`` when no more than k programs exist.
    """

    drawn_logprob: jax.Array
    threshold: jax.Array


@struct.dataclass
class StochasticState:
    """The state between two steps, beams sorted by ``perturbed``. One with ``perturbed`` ``-inf`` is dead."""

    step: jax.Array  # [B]
    done: jax.Array  # [B]
    token: jax.Array  # [B, K]
    parent: jax.Array  # [B, K]
    key: jax.Array  # [B, K] of the prompt's key and the tokens so far
    perturbed: jax.Array  # [B, K]
    score: jax.Array  # [B, K] log-probability under the tempered model
    open: jax.Array  # [B, K] bool, may still grow
    finished: jax.Array  # [B, K] bool
    length: jax.Array  # [B, K]
    recent: jax.Array  # [B, K, L] last tokens, -1 before the first
    tokens: jax.Array  # [B, K, T]
    logprobs: jax.Array  # [B, K, T] the model's own
    ends: Ends | RowEnds


@partial(jax.jit, static_argnames=("module", "config"))
def stochastic_beam_search(
    module: nn.Module,
    params: Params,
    prompts: Prompts,
    key: jax.Array,
    *,
    config: StochasticBeamConfig,
    ends: Ends | RowEnds | None = None,
) -> StochasticPrograms:
    """Draw ``num_samples`` different programs of each prompt.

    The score of a program is a function of the prompt's key, its tokens and their probabilities alone: a prompt's
    result does not depend on its batch mates, and a smaller ``num_samples`` gives the first of what a larger one gives.
    Equal scores go to the lowest (beam, token). NaN logits count as ``-inf``; a token of log-probability ``-inf`` is
    never drawn and a prefix that nothing can follow is dropped, so fewer programs than asked for may exist.

    Args:
        module: a causal LM with the call contract of ``pper_jax.models``.
        params: its parameters.
        prompts: tokens ``[B, P]``; ``length + max_new_tokens`` must fit the model's positions (the caller's care).
        key: typed keys ``[B]``, one a prompt; or one key ``[]``, folded with the row number.
        config: static options.
        ends: what programs end at; None: what the config says.

    Returns:
        Programs with ``[B, num_samples, max_new_tokens]`` tokens, their scores and the threshold.
    """
    config.check(module.config)
    rows = jnp.arange(prompts.tokens.shape[0])
    keys = key if key.ndim else jax.vmap(jax.random.fold_in, (None, 0))(key, rows)
    return cast(StochasticPrograms, decode(module, params, prompts, keys, config, ends))


def inclusion_log_probability(programs: StochasticPrograms) -> jax.Array:
    """``log q [B, k]``: the chance, given ``kappa``, that a program's score lies above it; 0 in an empty slot.

    ``q(y) = P(log p(y) + Gumbel(0) > kappa) = 1 - exp(-exp(log p(y) - kappa))``, with ``p`` what was drawn from.
    """
    above = jnp.where(programs.length > 0, programs.drawn_logprob - programs.threshold[:, None], jnp.inf)
    x = jnp.exp(above)
    return jnp.where(above < -8.0, above - x / 2, jax.nn.log1mexp(x))  # log(1 - exp(-x)) = log x - x/2 + O(x^2)


def inclusion_weights(programs: StochasticPrograms) -> jax.Array:
    """``p(y) / q(y)`` ``[B, k]`` float32 for expectations under the model (temperature 1); 0 in an empty slot."""
    return jnp.exp(programs.logprob - inclusion_log_probability(programs))


def estimate(values: jax.Array, programs: StochasticPrograms, *, normalise: bool = False) -> jax.Array:
    """Estimate the model's expectation ``E[f(y)]`` from a sample without replacement.

    The Horvitz-Thompson estimator ``sum_y f(y) p(y) / q(y)`` (Kool et al. 2019, on importance-weighted estimators) is
    unbiased, for any temperature. Divided by the sum of the weights it is biased but mostly of smaller variance, and
    exact for a constant ``f``.

    Args:
        values: ``[B, k]``, ``f`` of each program; what stands in an empty slot is not read.
        programs: the sample.
        normalise: divide by the sum of the weights.

    Returns:
        ``[B]`` float32; NaN with ``normalise`` in a row without any program, 0 there without.
    """
    weights = inclusion_weights(programs)
    total = jnp.where(programs.length > 0, weights * values, 0.0).sum(-1)
    return total / weights.sum(-1) if normalise else total


def _start(keys: jax.Array, config: StochasticBeamConfig, ends: Ends | RowEnds) -> StochasticState:
    grid = (keys.shape[0], config.width)
    ints, first = jnp.zeros(grid, jnp.int32), jnp.broadcast_to(jnp.arange(config.width) == 0, grid)
    root, path = _split(keys)
    return StochasticState(
        step=jnp.zeros(grid[0], jnp.int32),
        done=jnp.zeros(grid[0], bool),
        token=ints,
        parent=ints,
        key=jnp.broadcast_to(path[:, None], grid),
        perturbed=jnp.where(first, jax.vmap(_gumbel)(root)[:, None], -jnp.inf),
        score=jnp.where(first, 0.0, -jnp.inf),
        open=first,
        finished=jnp.zeros(grid, bool),
        length=ints,
        recent=jnp.full((*grid, ends.tail_length), -1, jnp.int32),
        tokens=jnp.full((*grid, config.max_new_tokens), ends.pad_id, jnp.int32),
        logprobs=jnp.zeros((*grid, config.max_new_tokens), jnp.float32),
        ends=ends,
    )


def _split(keys: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Two independent keys for each of ``keys [...]``."""
    pairs = jax.vmap(jax.random.split)(keys.reshape(-1)).reshape(*keys.shape, 2)
    return pairs[..., 0], pairs[..., 1]


def _gumbel(key: jax.Array, shape: tuple[int, ...] = ()) -> jax.Array:
    """Standard Gumbel noise; all bits of the upper tail, which decides among a whole vocabulary."""
    return jax.random.gumbel(key, shape, jnp.float32, mode="high")


def _children(parent: jax.Array, noisy: jax.Array) -> jax.Array:
    """Scores of the children, drawn on condition that their largest is the parent's.

    With independent ``G_i ~ log p_i + Gumbel(0)``, ``Z = max_i G_i`` and the parent's score ``T``, the shifted
    ``-log(exp(-T) - exp(-Z) + exp(-G_i))`` have the conditional distribution. Without cancellation (the paper's
    appendix): ``v_i = T - G_i + log(1 - exp(G_i - Z))``, result ``T - max(0, v_i) - log(1 + exp(-|v_i|))``.

    Args:
        parent: ``T [...]``; children of a parent with ``-inf`` get ``-inf``.
        noisy: ``G [..., V]``; ``-inf`` stays ``-inf``.
    """
    top = parent[..., None]
    possible = (noisy > -jnp.inf) & (top > -jnp.inf)
    largest = jnp.max(noisy, axis=-1, keepdims=True)
    v = top - noisy + jax.nn.log1mexp(jnp.where(possible, largest - noisy, jnp.inf))
    return jnp.where(possible, top - jnp.maximum(v, 0.0) - jnp.log1p(jnp.exp(-jnp.abs(v))), -jnp.inf)


def _advance(state: StochasticState, outlook: Outlook, config: StochasticBeamConfig) -> StochasticState:
    width = config.width
    own = outlook.log_probs()  # [B, K, V]
    drawn = own if config.temperature == 1 else log_probs(tempered(own, config.temperature))
    noise, path = _split(state.key)
    noise = jax.vmap(jax.vmap(partial(_gumbel, shape=own.shape[-1:])))(noise)
    parents = jnp.where(state.open, state.perturbed, -jnp.inf)
    best, token = lax.top_k(_children(parents, state.score[..., None] + drawn + noise), min(width, own.shape[-1]))

    # an ended program competes as the only child of itself, before what the next beam offers
    flat = (own.shape[0], width * (1 + token.shape[-1]))

    def offers(itself: jax.Array, children: jax.Array) -> jax.Array:
        return jnp.concatenate([itself[..., None], children], axis=-1).reshape(flat)

    def of_children(table: jax.Array) -> jax.Array:
        return jnp.take_along_axis(table, token, axis=-1)

    perturbed, chosen = lax.top_k(offers(jnp.where(state.open, -jnp.inf, state.perturbed), best), width)
    parent = chosen // (1 + best.shape[-1])
    grows = (chosen % (1 + best.shape[-1]) > 0) & (perturbed > -jnp.inf)
    token, gained, logprob = (
        take_beams(offers(jnp.zeros_like(itself), children), chosen)
        for itself, children in (
            (state.token, token),
            (state.score, of_children(drawn)),
            (state.score, of_children(own)),
        )
    )
    kept = partial(take_beams, index=parent)
    recent = kept(state.recent)
    ended = grows & state.ends.close(token, recent)
    here = grows[..., None] & (jnp.arange(config.max_new_tokens) == state.step[:, None, None])
    still_open = grows & ~ended
    return StochasticState(
        step=state.step + 1,
        done=(state.step + 1 >= config.max_new_tokens) | ~still_open.any(axis=1),
        token=token,
        parent=parent,
        key=jax.vmap(jax.vmap(jax.random.fold_in))(kept(path), token),
        perturbed=perturbed,
        score=kept(state.score) + gained,
        open=still_open,
        finished=kept(state.finished) | ended,
        length=kept(state.length) + grows,
        recent=jnp.concatenate([recent, token[..., None]], axis=-1)[..., 1:],
        tokens=jnp.where(here, token[..., None], kept(state.tokens)),
        logprobs=jnp.where(here, logprob[..., None], kept(state.logprobs)),
        ends=state.ends,
    )


def _results(state: StochasticState, config: StochasticBeamConfig) -> StochasticPrograms:
    count = config.num_samples
    perturbed = state.perturbed[:, :count]
    exists = perturbed > -jnp.inf
    logprobs = state.logprobs[:, :count]
    programs = as_programs(
        state.tokens[:, :count],
        jnp.where(exists, state.length[:, :count], 0),
        logprobs,
        logprob=logprobs.sum(-1),
        finished=state.finished[:, :count],
        score=perturbed,
        pad_id=state.ends.pad_id,
    )
    return StochasticPrograms(
        **vars(programs),
        drawn_logprob=jnp.where(exists, state.score[:, :count], -jnp.inf),
        threshold=state.perturbed[:, count],
    )
