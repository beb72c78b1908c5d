"""P2Value: how likely the model finds a program, mixed with how many tests it passes (arXiv 2410.12236).

``P2Value = alpha * P + (1 - alpha) * pass_rate``, the possibility ``P`` being derived from the summed log-probability
and the number of tokens, everything in log-space. The paper's sampling probability is ``p_i**omega / sum(p**omega)``
with ``p`` the P2Value (proportional) or one over its rank (rank-based); it calls that exponent alpha too, here it is
``omega``. All arrays are ``[C]``, one entry a slot; slots that are not ``filled`` take no part.

What it makes greater: trained on evenly, programs that the model ``pi`` has just written by itself move it nowhere on
average, for ``E[grad log pi] = 0``. Drawn in proportion to P2Value (``joint``, omega 1) they ascend, up to a positive
factor, ``(1 - alpha) E[pass_rate] + alpha / 2 sum pi**2``, since ``pi grad log pi = grad pi``: the policy gradient of
the expected pass rate (Williams 1992) and a sharpening (``tests/replay/test_p2value_gradient.py``). Beam search breaks
that, for each of its programs comes once and not with frequency ``pi`` (so that even draws sharpen too), and so do
stale programs, which come with the frequency of earlier parameters.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax

from pper_jax.replay.sum_tree import keep_last

Possibility = Literal["geomean", "joint", "percentile", "task_softmax"]
Scheme = Literal["rank", "proportional", "uniform"]

_LAST = jnp.iinfo(jnp.int32).max
_LEAST_DECAY = 1e-30  # what float32 takes for 0 would make 0 / 0 of the newest round


def log_possibility(
    logprob: jax.Array,
    num_tokens: jax.Array,
    filled: jax.Array,
    task_index: jax.Array | None = None,
    *,
    possibility: Possibility = "geomean",
) -> jax.Array:
    """Log of the possibility ``P``, ``[C]`` float32 in ``[-inf, 0]``.

    ``joint`` is the paper's product of token probabilities (``logprob``, nats, EOS included); it measures length above
    all. ``geomean`` is its ``num_tokens``-th root, the probability of a typical token. ``percentile`` is the share of
    filled slots with a smaller geomean, equal ones counted half: spread evenly over (0, 1) whatever the model.
    ``task_softmax`` is the joint probability as a share of that of all filled slots of the same task (``task_index``
    int32): which of a task's programs the model would write, whatever the others' lengths.
    NaN counts as probability 0, a positive ``logprob`` as probability 1.
    """
    logprob = jnp.minimum(jnp.where(jnp.isnan(logprob), -jnp.inf, logprob), 0.0).astype(jnp.float32)
    if possibility == "joint":
        return logprob
    geomean = logprob / jnp.maximum(num_tokens, 1)
    if possibility == "geomean":
        return geomean
    if possibility == "task_softmax":
        return _log_share(logprob, filled, jnp.zeros_like(num_tokens) if task_index is None else task_index)
    ordered = jnp.sort(jnp.where(filled, geomean, jnp.inf))
    below, up_to = (jnp.searchsorted(ordered, geomean, side=side) for side in ("left", "right"))
    size = jnp.maximum(jnp.sum(filled), 1)
    return jnp.where(filled, jnp.log((below + up_to) / (2.0 * size)), -jnp.inf)


def _log_share(logs: jax.Array, filled: jax.Array, group: jax.Array) -> jax.Array:
    """``logs`` minus the log-sum-exp over the filled slots of the same ``group`` int32; where that is empty, -inf."""
    size = logs.shape[0]
    order = jnp.argsort(group)
    first = jnp.concatenate([jnp.ones(1, bool), group[order][1:] != group[order][:-1]])
    segment = jnp.zeros(size, jnp.int32).at[order].set(jnp.cumsum(first, dtype=jnp.int32) - 1)
    logs = jnp.where(filled, logs, -jnp.inf)
    greatest = jax.ops.segment_max(logs, segment, size)
    greatest = jnp.where(jnp.isfinite(greatest), greatest, 0.0)[segment]
    total = jax.ops.segment_sum(jnp.exp(logs - greatest), segment, size)[segment]
    return jnp.where(jnp.isneginf(logs), -jnp.inf, logs - greatest - jnp.log(total))


def log_p2value(log_possibility: jax.Array, pass_rate: jax.Array, alpha: float | jax.Array) -> jax.Array:
    """Log of ``alpha * P + (1 - alpha) * pass_rate``, ``[C]`` float32; exact at alpha 0 and 1 too, never NaN.

    ``pass_rate`` is clipped to [0, 1], NaN counts as 0.
    """
    pass_rate = jnp.clip(jnp.where(jnp.isnan(pass_rate), 0.0, pass_rate), 0.0, 1.0)
    alpha = jnp.asarray(alpha, jnp.float32)
    return jnp.logaddexp(jnp.log(alpha) + log_possibility, jnp.log1p(-alpha) + jnp.log(pass_rate))


def ranks(log_p2value: jax.Array, log_possibility: jax.Array, inserted_at: jax.Array, filled: jax.Array) -> jax.Array:
    """Rank of each filled slot, ``[C]`` int32, 1 = best; 0 where not filled.

    Ordered by P2Value, then possibility, then age (``inserted_at`` int32, unique: newer first), so there are no ties.
    """
    keys = (
        jnp.where(filled, -log_p2value, jnp.inf),
        jnp.where(filled, -log_possibility, jnp.inf),
        jnp.where(filled, -inserted_at, _LAST),
    )
    slots = jnp.arange(filled.shape[0], dtype=jnp.int32)
    order = lax.sort((*keys, slots), num_keys=len(keys))[-1]
    return jnp.where(filled, jnp.zeros_like(slots).at[order].set(slots + 1), 0)


def reranked(
    rank: jax.Array,
    log_p2value: jax.Array,
    log_possibility: jax.Array,
    inserted_at: jax.Array,
    filled: jax.Array,
    changed: jax.Array,
) -> jax.Array:
    """What :func:`ranks` gives, from the ``rank`` before the keys of slots ``changed [n]`` int, and no others, changed.

    The old order is kept but for the changed slots, which are sorted among themselves and found a place by bisection:
    O(C + n log C) instead of a sort of all. Slots out of range, unfilled or named twice do no harm.
    """
    capacity = filled.shape[0]
    slots = jnp.arange(capacity, dtype=jnp.int32)
    moved = keep_last(changed, capacity)
    moved = jnp.where(filled.at[moved].get(mode="fill", fill_value=False), moved, capacity)
    stays = filled.at[moved].set(False, mode="drop")
    order = jnp.full(capacity, capacity).at[jnp.where(filled, rank - 1, capacity)].set(slots, mode="drop")
    ahead = jnp.cumsum(stays.at[order].get(mode="fill", fill_value=False), dtype=jnp.int32)
    kept = jnp.zeros_like(slots).at[order].set(ahead, mode="drop")  # rank among those that stay
    rest = jnp.full(capacity, capacity).at[jnp.where(stays, kept - 1, capacity)].set(slots, mode="drop")

    def keys(slot: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        worst = jnp.inf
        return (
            -log_p2value.at[slot].get(mode="fill", fill_value=-worst),
            -log_possibility.at[slot].get(mode="fill", fill_value=-worst),
            jnp.where(slot < capacity, -inserted_at.at[slot].get(mode="clip"), _LAST),
        )

    *mine, moved = lax.sort((*keys(moved), moved), num_keys=3)

    def halve(_: int, bounds: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = bounds
        middle = (low + high) // 2
        before, equal = jnp.zeros_like(middle, bool), jnp.ones_like(middle, bool)
        for theirs, own in zip(keys(rest.at[middle].get(mode="clip")), mine, strict=True):
            before, equal = before | (equal & (theirs < own)), equal & (theirs == own)
        open_ = low < high
        return jnp.where(open_ & before, middle + 1, low), jnp.where(open_ & ~before, middle, high)

    bounds = (jnp.zeros_like(moved), jnp.full_like(moved, jnp.sum(stays)))
    place, _ = lax.fori_loop(0, capacity.bit_length() + 1, halve, bounds)
    entering = jnp.zeros_like(slots).at[jnp.where(moved < capacity, place, capacity)].add(1, mode="drop")
    shifted = kept + jnp.cumsum(entering, dtype=jnp.int32).at[kept - 1].get(mode="clip")
    new = jnp.where(stays, shifted, 0)
    return new.at[moved].set(place + jnp.arange(moved.shape[0], dtype=jnp.int32) + 1, mode="drop")


def priorities(
    log_p2value: jax.Array,
    rank: jax.Array,
    filled: jax.Array,
    *,
    scheme: Scheme = "rank",
    omega: float = 0.7,
    uniform_mix: float = 0.0,
    rounds: jax.Array | None = None,
    age_decay: float = 0.0,
) -> jax.Array:
    """Unnormalised sampling probabilities, ``[C]`` float32, 0 where not filled.

    ``log_p2value`` and ``rank`` may be those of another priority. ``rank``: ``(1 / rank)**omega``; ``proportional``:
    ``P2Value**omega``, scaled so that the greatest is 1 (no P2Value is too small); ``uniform``: 1. ``uniform_mix`` is
    the share of draws made uniformly instead. All 0 where every P2Value is 0 and nothing is mixed in. With
    ``age_decay`` above 0 the priority of a program falls by a factor of e in so many rounds (``rounds`` int32, when
    each was written; measured from the newest, before mixing).
    """
    if scheme == "uniform" or omega == 0:
        values = jnp.ones_like(log_p2value)
    elif scheme == "rank":
        values = jnp.maximum(rank, 1).astype(jnp.float32) ** -omega
    else:
        greatest = jnp.max(jnp.where(filled, log_p2value, -jnp.inf))
        values = jnp.exp(omega * (log_p2value - jnp.where(jnp.isfinite(greatest), greatest, 0.0)))
    if age_decay > 0 and rounds is not None:
        newest = jnp.max(jnp.where(filled, rounds, -_LAST))
        values = values * jnp.exp((rounds - newest) / max(age_decay, _LEAST_DECAY))
    values = jnp.where(filled, values, 0.0)
    if uniform_mix == 0:
        return values
    total = jnp.sum(values)
    even = filled / jnp.maximum(jnp.sum(filled), 1)
    share = jnp.where(total > 0, values / jnp.where(total > 0, total, 1.0), even)
    return (1.0 - uniform_mix) * share + uniform_mix * even


def importance_weights(probability: jax.Array, size: jax.Array, beta: float) -> jax.Array:
    """``(size * probability)**-beta`` over its maximum in the batch (Schaul et al., 1511.05952, section 3.4).

    ``probability [n]`` of what was drawn from ``size`` stored programs; returns ``[n]`` float32 in [0, 1]: ``beta`` 1
    undoes the prioritization in expectation, 0 gives ones. What has probability 0 gets weight 0.
    """
    drawn = probability > 0
    if beta == 0:
        return drawn.astype(jnp.float32)
    logs = jnp.where(drawn, -beta * jnp.log(size * jnp.where(drawn, probability, 1.0)), -jnp.inf)
    greatest = jnp.max(logs)
    return jnp.exp(logs - jnp.where(jnp.isfinite(greatest), greatest, 0.0))
