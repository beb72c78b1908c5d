"""Drawing from the buffer, and the importance weights that undo what drawing by priority does."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
from flax import struct

from pper_jax.replay import p2value, sum_tree
from pper_jax.replay.options import ReplayConfig
from pper_jax.replay.state import ReplayState, probabilities


@struct.dataclass
class Draw:
    """What was drawn and why; every field ``[n]``.

    Attributes:
        indices: int32 slots; -1 where nothing was drawn, and then all that follows is 0 (``log_possibility`` -inf).
        probability: float32, of each single draw; without replacement, of the first.
        weight: float32 importance weight, see :func:`sample`.
        rank: int32, 1 = worth most.
        p2value: float32.
        worth: float32, what ``config.priority`` says; P2Value by default.
        log_possibility: float32.
        pass_rate: float32.
        times_drawn: int32, how often it had been drawn before this batch.
    """

    indices: jax.Array
    probability: jax.Array
    weight: jax.Array
    rank: jax.Array
    p2value: jax.Array
    worth: jax.Array
    log_possibility: jax.Array
    pass_rate: jax.Array
    times_drawn: jax.Array

    @property
    def drawn(self) -> jax.Array:
        """``[n]`` bool, the draws that happened."""
        return self.indices >= 0


@partial(jax.jit, static_argnames=("n", "config"))
def sample(state: ReplayState, key: jax.Array, n: int, config: ReplayConfig) -> tuple[ReplayState, Draw]:
    """Draw ``n`` programs by priority; equal keys give equal draws. Counts them in ``times_drawn``.

    Where every priority is 0 all stored programs are equally likely. Draws that do not happen, from an empty buffer or
    without replacement from one of fewer programs, have the index -1 and the weight 0: they train nothing.

    With ``beta`` 0, and in modes that draw evenly, each weight is 1. With replacement it is
    ``(size * probability)**-beta`` over its maximum in the batch (Schaul et al.). Without, it follows from the chance
    that the batch holds the program at all (see ``_inclusion``) and is 1 on average for beta 1, where the weighted sum
    over a batch, divided by its draws, is in expectation the mean over all programs that can be drawn.

    Of the ``n``, ``config.fresh_draws(n)`` come first, drawn evenly, with replacement and with weight 1, from the
    programs of the newest round that is stored (RLEP's mixture of fresh and replayed programs, arXiv 2507.07451).
    """
    fresh = config.fresh_draws(n)
    if not fresh:
        return drawn_slots(state, *_by_priority(state, key, n, config))
    key, fresh_key = jax.random.split(key)
    newest = state.filled & (state.items.round == jnp.max(jnp.where(state.filled, state.items.round, -1)))
    slots = evenly(fresh_key, newest, fresh)
    indices, weight = _by_priority(state, key, n - fresh, config)
    first = (slots >= 0).astype(jnp.float32)
    return drawn_slots(state, jnp.concatenate([slots, indices]), jnp.concatenate([first, weight]))


def _by_priority(state: ReplayState, key: jax.Array, n: int, config: ReplayConfig) -> tuple[jax.Array, jax.Array]:
    """``n`` draws by priority: slots ``[n]`` int32, -1 where nothing was drawn, and their weights ``[n]`` float32."""
    if not n:
        return jnp.zeros(0, jnp.int32), jnp.zeros(0, jnp.float32)
    beta = config.beta if config.mode == "pper" else 0.0
    if config.replacement:
        indices = sum_tree.sample(
            state.tree, key, n, stratified=config.stratified, target=config.target, filled=state.filled
        )
        share = probabilities(state)[jnp.maximum(indices, 0)]
        weight = p2value.importance_weights(jnp.where(indices >= 0, share, 0.0), state.size, beta)
        return indices, weight
    return _without_replacement(state, key, n, beta)


def evenly(key: jax.Array, among: jax.Array, n: int) -> jax.Array:
    """``n`` slots ``[n]`` int32, each any of those ``among [C]`` bool with the same chance; -1 where there is none."""
    total = jnp.sum(among, dtype=jnp.int32)
    chosen = jax.random.randint(key, (n,), 0, jnp.maximum(total, 1))
    slots = jnp.searchsorted(jnp.cumsum(among, dtype=jnp.int32), chosen, side="right").astype(jnp.int32)
    return jnp.where(total > 0, slots, -1)


def drawn_slots(state: ReplayState, indices: jax.Array, weight: jax.Array) -> tuple[ReplayState, Draw]:
    """The draw of slots ``indices [n]`` (-1: none) with ``weight [n]``, counted in ``times_drawn``."""
    drawn = indices >= 0
    slots = jnp.maximum(indices, 0)

    def of(field: jax.Array, otherwise: float = 0) -> jax.Array:
        return jnp.where(drawn, field[slots], otherwise)

    draw = Draw(
        indices=indices,
        probability=of(probabilities(state)),
        weight=weight,
        rank=of(state.rank),
        p2value=jnp.exp(of(state.log_p2value, -jnp.inf)),
        worth=jnp.exp(of(state.log_worth, -jnp.inf)),
        log_possibility=of(state.log_possibility, -jnp.inf),
        pass_rate=of(state.items.pass_rate),
        times_drawn=of(state.times_drawn),
    )
    times_drawn = state.times_drawn.at[slots].add(drawn.astype(jnp.int32))
    return replace(state, times_drawn=times_drawn), draw


def _without_replacement(state: ReplayState, key: jax.Array, n: int, beta: float) -> tuple[jax.Array, jax.Array]:
    """Distinct slots ``[n]`` int32, as if drawn one after the other, and their weights ``[n]`` float32.

    Gumbel top-k (Kool et al., arXiv 1903.06059): the slots of the ``n`` greatest ``log p + Gumbel noise``.
    """
    log_probability = jnp.log(probabilities(state))
    scores = log_probability + jax.random.gumbel(key, log_probability.shape)
    best, slots = jax.lax.top_k(scores, min(n + 1, scores.size))
    missing = max(0, n + 1 - slots.size)
    best = jnp.pad(best, (0, missing), constant_values=-jnp.inf)
    slots = jnp.pad(slots, (0, missing))[:n].astype(jnp.int32)
    drawn = best[:n] > -jnp.inf
    weight = drawn.astype(jnp.float32)
    if beta > 0:
        drawable = jnp.sum(log_probability > -jnp.inf, dtype=jnp.float32)
        expected = jnp.minimum(drawable, n) / drawable  # of the inclusion, were all programs alike
        ratio = _inclusion(log_probability[slots], best[n]) / expected
        weight = jnp.where(drawn, jnp.where(drawn, ratio, 1.0) ** -beta, 0.0)
    return jnp.where(drawn, slots, -1), weight


def _inclusion(log_probability: jax.Array, threshold: jax.Array) -> jax.Array:
    """Chance ``[n]`` that a program is among the drawn, given the greatest score [] that was not.

    ``1 - exp(-exp(log p - threshold))``: the inverse is the weight of Horvitz and Thompson, with which sums over the
    drawn are unbiased for sums over all (Duffield et al. 2007; Kool et al., appendix D).
    """
    return -jnp.expm1(-jnp.exp(log_probability - threshold))
