"""Beam decode attention in jnp: the specification, and what runs on CPU."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def beam_attention(
    query: jax.Array,
    prompt_key: jax.Array,
    prompt_value: jax.Array,
    key: jax.Array,
    value: jax.Array,
    prompt_mask: jax.Array,
    mask: jax.Array,
    *,
    cap: float | None = None,
) -> jax.Array:
    """One query a beam over its prompt's keys, held once for all beams, and the generated keys of its ancestors.

    The two parts share one softmax: each gives its maximum, and both are scaled by the greater one. Products are
    written as multiply-and-reduce: with the slots innermost XLA streams the cache once at the speed of memory, where
    its batched matrix product is slowed by the few rows of each product.

    Args:
        query: ``[B, K, H, D]``; ``H`` is a multiple of the cache's ``N`` heads (grouped queries).
        prompt_key: ``[B, N, D, P]``.
        prompt_value: ``[B, N, P, D]``.
        key: ``[B, N, D, S]``, the generated slots of all beams.
        value: ``[B, N, S, D]``.
        prompt_mask: ``[B, P]`` bool; at least one slot of each row is visible.
        mask: ``[B, K, S]`` bool, the slots of a beam's ancestors.
        cap: scores ``s`` become ``cap * tanh(s / cap)`` where it is given.

    Returns:
        ``[B, K, H, D]`` in the type of ``query``; the softmax is float32. Slots that are masked may hold anything.
    """
    batch, width, heads, depth = query.shape
    kv_heads = prompt_key.shape[1]
    scale = depth**-0.5
    grouped = query.reshape(batch, width, kv_heads, heads // kv_heads, depth).transpose(0, 2, 1, 3, 4)
    grouped = grouped.astype(jnp.float32)
    # scaled before the product here and after it there: where P equals S, XLA would share the broadcast of the same
    # queries between the two, write it to memory, and take fifty times as long
    prompt_score, score = _scores(grouped * scale, prompt_key), _scores(grouped, key) * scale
    if cap is not None:
        prompt_score, score = (cap * jnp.tanh(x / cap) for x in (prompt_score, score))
    prompt_score = jnp.where(prompt_mask[:, None, None, None], prompt_score, -jnp.inf)
    score = jnp.where(mask[:, None, :, None], score, -jnp.inf)
    highest = jnp.maximum(prompt_score.max(-1, keepdims=True), score.max(-1, keepdims=True, initial=-jnp.inf))
    prompt_weight, weight = jnp.exp(prompt_score - highest), jnp.exp(score - highest)
    total = prompt_weight.sum(-1, keepdims=True) + weight.sum(-1, keepdims=True)
    mixed = _mix(prompt_weight, prompt_value) + _mix(weight, value)
    return (mixed / total).transpose(0, 2, 1, 3, 4).reshape(query.shape).astype(query.dtype)


def _scores(query: jax.Array, key: jax.Array) -> jax.Array:
    """``[B, N, K, G, D]`` with ``[B, N, D, S]`` -> ``[B, N, K, G, S]``."""
    if query.shape[2] * query.shape[3] == 1:  # nothing to broadcast over: XLA would reduce element by element
        return jnp.einsum("bnkgd,bnds->bnkgs", query, key.astype(jnp.float32))
    return (query[..., None] * key[:, :, None, None].astype(jnp.float32)).sum(4)


def _mix(weight: jax.Array, value: jax.Array) -> jax.Array:
    """``[B, N, K, G, S]`` with ``[B, N, S, D]`` -> ``[B, N, K, G, D]``."""
    if weight.shape[2] * weight.shape[3] == 1:
        return jnp.einsum("bnkgs,bnsd->bnkgd", weight, value.astype(jnp.float32))
    return (weight[..., None] * value[:, :, None, None].astype(jnp.float32)).sum(4)
