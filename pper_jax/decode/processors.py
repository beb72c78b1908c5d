"""Logits processors: what changes next-token log-probabilities before a choice is made of them.

As in Hugging Face's ``generate`` they act on log-probabilities, after the log-softmax, and nothing is normalised again;
the scores that a search returns are those after them. The masks take the log-probabilities together with the tokens
they belong to, so that the same function serves the whole vocabulary (``token = arange(V)``) and a short list of the
best tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np


def forbid(logprob: jax.Array, token: jax.Array, forbidden: Sequence[int]) -> jax.Array:
    """``-inf`` for the ``forbidden`` tokens.

    Args:
        logprob: ``[..., N]``.
        token: ints that broadcast to ``[..., N]``, the token of each log-probability.
        forbidden: token ids; none leaves ``logprob`` as it is.
    """
    if not forbidden:
        return logprob
    listed = np.zeros(max(forbidden) + 2, bool)
    listed[list(forbidden)] = True
    return jnp.where(jnp.asarray(listed)[jnp.minimum(token, len(listed) - 1)], -jnp.inf, logprob)


def penalise_repetition(logprob: jax.Array, seen: jax.Array, penalty: float) -> jax.Array:
    """Multiply the log-probability of every token already seen by ``penalty``, once however often it was seen.

    From CTRL (Keskar et al. 2019, section 4.1), with Hugging Face's change that a positive value would be divided; a
    penalty above 1 makes repetition less likely.

    Args:
        logprob: ``[B, K, V]`` of the whole vocabulary.
        seen: ``[B, K, N]`` int token ids; negative ones are skipped.
        penalty: a positive number; 1 changes nothing.

    Returns:
        ``[B, K, V]``.
    """
    rows, beams, vocabulary = logprob.shape
    chosen = jnp.take_along_axis(logprob, jnp.clip(seen, 0, vocabulary - 1), axis=-1)
    chosen = jnp.where(chosen < 0, chosen * penalty, chosen / penalty)
    at = jnp.where(seen < 0, vocabulary, seen)  # out of range, dropped
    return logprob.at[jnp.arange(rows)[:, None, None], jnp.arange(beams)[:, None], at].set(chosen, mode="drop")
