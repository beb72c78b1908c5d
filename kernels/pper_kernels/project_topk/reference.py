"""The best tokens of each row of logits, in jnp: the specification, and what runs on CPU."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

CHUNK = 128


def top_log_probs(logits: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """The ``count`` highest log-probabilities of each row, best first, and their tokens.

    The vocabulary is cut into chunks; the best ``count`` elements lie in the ``count`` chunks with the highest maxima,
    so only those are searched. The log-softmax of the whole row is never written.

    Args:
        logits: ``[..., V]``. NaN counts as ``-inf``; a row without a finite maximum has no token above ``-inf``.
        count: cut to ``V``.

    Returns:
        ``(log-probability [..., count] float32, token [..., count] int32)``; equal logits in the order of the tokens.
    """
    logits = logits.astype(jnp.float32)
    logits = jnp.where(jnp.isnan(logits), -jnp.inf, logits)
    lead, vocabulary = logits.shape[:-1], logits.shape[-1]
    count = min(count, vocabulary)
    chunks = -(-vocabulary // CHUNK)
    padded = jnp.pad(
        logits, [(0, 0)] * len(lead) + [(0, chunks * CHUNK - vocabulary)], constant_values=-jnp.inf
    ).reshape(*lead, chunks, CHUNK)
    highest = padded.max(-1)
    _, chosen = lax.top_k(highest, min(count, chunks))
    chosen = jnp.sort(chosen, axis=-1)  # so that among equal logits the lowest token comes first
    near = jnp.take_along_axis(padded, chosen[..., None], axis=-2)
    best, index = lax.top_k(near.reshape(*lead, -1), count)
    token = jnp.take_along_axis(chosen, index // CHUNK, axis=-1) * CHUNK + index % CHUNK
    top = highest.max(-1, keepdims=True)
    base = jnp.where(highest == -jnp.inf, 0.0, highest)
    sums = jnp.exp(padded - base[..., None]).sum(-1)  # a chunk's own maximum: no pass over the row waits for ``top``
    total = jnp.log((sums * jnp.exp(highest - top)).sum(-1, keepdims=True))
    logprob = best - top - total
    return jnp.where(jnp.isnan(logprob), -jnp.inf, logprob), token.astype(jnp.int32)
