"""What the kernels share: log-sum-exp and the best tokens of rows whose logits come tile by tile."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

LAST = 2**31 - 1  # a token above all
Running = tuple[jax.Array, jax.Array, jax.Array, jax.Array]


def empty(rows: int, places: int, count: int) -> Running:
    """What is known of no logits: maximum and sum ``[N, 1]``, best logits and tokens ``[N, places]``, unordered.

    Only ``count`` places are used; the others hold what is never pushed out. A place that waits for its first token
    holds ``-inf`` and a token of its own above all real ones.
    """
    place = lax.broadcasted_iota(jnp.int32, (rows, places), 1)
    return (
        jnp.full((rows, 1), -jnp.inf, jnp.float32),
        jnp.zeros((rows, 1), jnp.float32),
        jnp.where(place < count, -jnp.inf, jnp.inf),
        jnp.where(place < count, LAST - 1 - place, -1),
    )


def extend(running: Running, logits: jax.Array, first: jax.Array | int, vocabulary: int, count: int) -> Running:
    """Take in the logits ``[N, tile]`` float32 of the tokens from ``first`` on; those past the vocabulary do not count.

    The tile's elements are offered best first (of equals the lowest token), in as many rounds as some row has elements
    that are better than its worst. So a first tile takes ``count`` rounds, and a late one few or none.
    """
    highest, total, best, token = running
    tokens = first + lax.broadcasted_iota(jnp.int32, logits.shape, 1)
    logits = jnp.where((tokens < vocabulary) & ~jnp.isnan(logits), logits, -jnp.inf)
    new = jnp.maximum(highest, logits.max(axis=1, keepdims=True))
    base = jnp.where(new == -jnp.inf, 0.0, new)
    added = jnp.exp(logits - base).sum(axis=1, keepdims=True)
    total = total * jnp.exp(highest - base) + added
    better = _before(logits, tokens, *_worst(best, token))
    rounds = jnp.minimum(better.astype(jnp.int32).sum(axis=1, keepdims=True).max(), count)

    def offer(_: jax.Array, carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        best, token, last, last_token = carry
        value, at = _following(logits, tokens, last, last_token)
        worst, worst_token = _worst(best, token)
        place = (best == worst) & (token == worst_token) & _before(value, at, worst, worst_token)
        return jnp.where(place, value, best), jnp.where(place, at, token), value, at

    best, token, _, _ = lax.fori_loop(0, rounds, offer, (best, token, *_before_all(highest)))
    return new, total, best, token


def ordered(best: jax.Array, token: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """The places ``[N, places]`` best first, of equals the lowest token first, in the first ``count`` places."""
    place = lax.broadcasted_iota(jnp.int32, best.shape, 1)
    used = jnp.where(token < 0, -jnp.inf, best)
    tokens = jnp.where(token < 0, LAST, token)

    def put(i: jax.Array, carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        value, at = _following(used, tokens, *carry[2:])
        return jnp.where(place == i, value, carry[0]), jnp.where(place == i, at, carry[1]), value, at

    return lax.fori_loop(0, count, put, (used, tokens, *_before_all(best[:, :1])))[:2]


def _before_all(like: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jnp.full(like.shape, jnp.inf, jnp.float32), jnp.full(like.shape, -1, jnp.int32)


def _before(value: jax.Array, token: jax.Array, other: jax.Array, other_token: jax.Array) -> jax.Array:
    """Whether an element comes before another: a higher value, or as high a value and a lower token."""
    return (value > other) | ((value == other) & (token < other_token))


def _worst(best: jax.Array, token: jax.Array) -> tuple[jax.Array, jax.Array]:
    """What would be pushed out next ``[N, 1]``: of the lowest value the highest token."""
    value = best.min(axis=1, keepdims=True)
    return value, jnp.where(best == value, token, -1).max(axis=1, keepdims=True)


def _following(
    values: jax.Array, tokens: jax.Array, last: jax.Array, last_token: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The best element ``[N, 1]`` of each row after ``(last, last_token)``, by value, then by the lowest token."""
    after = _before(last, last_token, values, tokens)
    value = jnp.where(after, values, -jnp.inf).max(axis=1, keepdims=True)
    return value, jnp.where(after & (values == value), tokens, LAST).min(axis=1, keepdims=True)


def merge(
    highest: jax.Array, total: jax.Array, best: jax.Array, token: jax.Array, count: int
) -> tuple[jax.Array, jax.Array]:
    """The result, from what the parts of the vocabulary gave.

    Args:
        highest: ``[N, parts]``, and total likewise.
        total: see ``empty``.
        best: ``[N, parts, count]`` logits of each part, ordered; every part but the last has ``count`` tokens or more.
        token: ``[N, parts, count]``, those of a part below those of the next.
        count: how many are wanted.

    Returns:
        ``(log-probability [N, count] float32, token [N, count] int32)``, best first, the lowest token among equals.
    """
    rows = best.shape[0]
    top = highest.max(axis=1, keepdims=True)
    base = jnp.where(top == -jnp.inf, 0.0, top)
    sums = (total * jnp.exp(highest - base)).sum(axis=1, keepdims=True)
    value, index = lax.top_k(best.reshape(rows, -1), count)  # equal logits in the order of their places: of the tokens
    logprob = value - top - jnp.log(sums)
    return (
        jnp.where(jnp.isnan(logprob), -jnp.inf, logprob),
        jnp.take_along_axis(token.reshape(rows, -1), index, axis=1),
    )
