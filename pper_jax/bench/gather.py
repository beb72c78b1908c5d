"""A plain JAX beam search, the way it is usually written: the baseline that a shared cache is compared with.

Prompts are replicated once a beam, the cache of every beam is whole, each step takes a flat top-k over
``[beams x vocabulary]`` and gathers the whole cache by parent (as t5x's ``decoding.py`` does; here with sums of
log-probabilities as scores). Same programs as ``pper_jax.decode.beam_search``.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from pper_jax.decode import init_cache
from pper_jax.types import Prompts


class _State(NamedTuple):
    """``B`` prompts, ``k`` beams, ``T`` tokens; histories ``[B, k, T]``, scores ``[B, k]``."""

    step: jax.Array
    tokens: jax.Array
    score: jax.Array
    done_tokens: jax.Array
    done_score: jax.Array
    done_length: jax.Array
    cache: Any


def gather_beam_search(
    module: Any, params: Any, prompts: Prompts, *, k: int, max_new_tokens: int, eos_ids: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """The ``k`` best programs of every prompt.

    Returns:
        ``(tokens [B, k, T] int32, length [B, k] int32)``, best first; the EOS is counted and kept.
    """
    tokens, length = _search(module, params, prompts, k, max_new_tokens, eos_ids)
    return np.asarray(tokens), np.asarray(length)


@partial(jax.jit, static_argnames=("module", "k", "limit", "eos_ids"))
def _search(
    module: Any, params: Any, prompts: Prompts, k: int, limit: int, eos_ids: tuple[int, ...]
) -> tuple[jax.Array, jax.Array]:
    rows, slots = prompts.tokens.shape
    flat = jax.tree.map(lambda x: jnp.repeat(x, k, axis=0), prompts)
    cache = init_cache(module.config, rows * k, slots + limit, module.compute.dtype)
    at = jnp.arange(slots + limit)

    def call(tokens: jax.Array, positions: jax.Array, mask: jax.Array, cache: Any, write_at: Any) -> Any:
        variables = {"params": params}
        return module.apply(variables, tokens, positions, mask, cache=cache, write_at=write_at, method="hidden")

    mask = jnp.broadcast_to((at <= at[:slots, None])[None], (rows * k, slots, slots + limit))
    positions = jnp.broadcast_to(at[:slots], (rows * k, slots))
    hidden, cache = call(flat.tokens, positions, mask, cache, 0)
    hidden = hidden[jnp.arange(rows * k), flat.length - 1]
    empty = jnp.full((rows, k), -jnp.inf)
    histories = jnp.zeros((rows, k, limit), jnp.int32)
    state = _State(
        jnp.int32(0), histories, empty.at[:, 0].set(0.0), histories, empty, jnp.zeros_like(empty, int), cache
    )
    state = _choose(module, params, state, hidden, k, eos_ids)

    def going(state: _State) -> jax.Array:
        return (state.step < limit) & jnp.any(state.score[:, 0] > state.done_score[:, -1])

    def step(state: _State) -> _State:
        last = lax.dynamic_index_in_dim(state.tokens, state.step - 1, axis=2, keepdims=False).reshape(-1, 1)
        seen = (at < flat.length[:, None]) | ((at >= slots) & (at < slots + state.step))
        positions = flat.length[:, None] + state.step - 1
        hidden, cache = call(last, positions, seen[:, None], state.cache, slots + state.step - 1)
        return _choose(module, params, state._replace(cache=cache), hidden[:, 0], k, eos_ids)

    state = lax.while_loop(going, step, state)
    score = jnp.concatenate([state.done_score, state.score], axis=1)
    best = lax.top_k(score, k)[1]
    tokens = jnp.concatenate([state.done_tokens, state.tokens], axis=1)
    length = jnp.concatenate([state.done_length, jnp.full((rows, k), state.step)], axis=1)
    return jnp.take_along_axis(tokens, best[..., None], 1), jnp.take_along_axis(length, best, 1)


def _choose(module: Any, params: Any, state: _State, hidden: jax.Array, k: int, eos_ids: tuple[int, ...]) -> _State:
    """The next token of every beam, by a flat top-k over all extensions, and the cache gathered by parent."""
    rows = state.score.shape[0]
    logits = module.apply({"params": params}, hidden, method="unembed")
    vocab = logits.shape[-1]
    total = state.score[..., None] + jax.nn.log_softmax(logits).reshape(rows, k, vocab)
    count = min(k * (1 + len(eos_ids)), k * vocab)
    score, index = lax.top_k(total.reshape(rows, -1), count)
    parent, token = index // vocab, (index % vocab).astype(jnp.int32)
    tokens = jnp.take_along_axis(state.tokens, parent[..., None], axis=1)
    tokens = lax.dynamic_update_index_in_dim(tokens, token, state.step, axis=2)
    ended = jnp.isin(token, jnp.array(eos_ids, jnp.int32)) if eos_ids else jnp.zeros(token.shape, bool)

    # an EOS ends a program only among the k best extensions, and only while the row still goes on
    going = state.score[:, :1] > state.done_score[:, -1:]
    fresh = jnp.where(ended & (jnp.arange(count) < k) & going, score, -jnp.inf)
    pool_score, best = lax.top_k(jnp.concatenate([state.done_score, fresh], axis=1), k)
    pool_tokens = jnp.take_along_axis(jnp.concatenate([state.done_tokens, tokens], axis=1), best[..., None], 1)
    lengths = jnp.concatenate([state.done_length, jnp.full(token.shape, state.step + 1)], axis=1)

    live, kept = lax.top_k(jnp.where(ended, -jnp.inf, score), k)
    source = (jnp.arange(rows)[:, None] * k + jnp.take_along_axis(parent, kept, 1)).reshape(-1)
    return _State(
        step=state.step + 1,
        tokens=jnp.take_along_axis(tokens, kept[..., None], axis=1),
        score=live,
        done_tokens=pool_tokens,
        done_score=pool_score,
        done_length=jnp.take_along_axis(lengths, best, 1),
        cache=jax.tree.map(lambda x: x[source], state.cache),
    )
