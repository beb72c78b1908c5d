"""Blocks of rows times blocks of columns, the gradient written out, so that few logits are held at a time.

The forward pass runs over the columns with a running maximum and sum (the online softmax of 1805.02867) and keeps a
row's log-sum-exp alone; the backward pass makes the logits again, block by block, where they were not kept. Both stop
after the last live row: the number of blocks is known on the device only.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

Running = tuple[jax.Array, jax.Array, jax.Array]  # a row's maximum, its sum, its token's logit


class Blocks(NamedTuple):
    """Static: ``rows`` and ``columns`` of a block, the vocabulary, whether logits are kept, and their soft cap."""

    rows: int
    columns: int
    vocabulary: int
    transposed: bool
    keep: bool
    cap: float | None = None


def _numbers(blocks: Blocks) -> jax.Array:
    return jnp.arange(-(-blocks.vocabulary // blocks.columns))


def _start(blocks: Blocks, number: jax.Array) -> jax.Array:
    """The first column of block ``number``; the last block reaches back over the one before, to be as wide."""
    return jnp.minimum(number * blocks.columns, blocks.vocabulary - blocks.columns)


def _columns(blocks: Blocks, table: jax.Array, at: jax.Array) -> jax.Array:
    """Columns ``at .. at + blocks.columns - 1`` as ``[columns, M]`` or ``[M, columns]``."""
    return lax.dynamic_slice_in_dim(table, at, blocks.columns, axis=0 if blocks.transposed else 1)


def _logits(
    blocks: Blocks, hidden: jax.Array, part: jax.Array, number: jax.Array, limit: jax.Array | None
) -> jax.Array:
    """``[rows, columns]`` float32 of block ``number``; ``-inf`` for what the block before has and from ``limit`` on."""
    equation = "nm,vm->nv" if blocks.transposed else "nm,mv->nv"
    logits = jnp.einsum(equation, hidden, part.astype(hidden.dtype), preferred_element_type=jnp.float32)
    logits = logits if blocks.cap is None else blocks.cap * jnp.tanh(logits / blocks.cap)
    here = _start(blocks, number) + jnp.arange(blocks.columns)
    if blocks.vocabulary % blocks.columns:
        logits = jnp.where(here >= number * blocks.columns, logits, -jnp.inf)
    return logits if limit is None else jnp.where(here < limit, logits, -jnp.inf)


def _rows(blocks: Blocks, array: jax.Array, index: jax.Array) -> jax.Array:
    return lax.dynamic_slice_in_dim(array, index * blocks.rows, blocks.rows, axis=0)


def _put(blocks: Blocks, array: jax.Array, part: jax.Array, index: jax.Array) -> jax.Array:
    return lax.dynamic_update_slice_in_dim(array, part.astype(array.dtype), index * blocks.rows, axis=0)


def _count(blocks: Blocks, live: jax.Array | int) -> jax.Array | int:
    return (live + blocks.rows - 1) // blocks.rows


def _forward_block(
    blocks: Blocks, hidden: jax.Array, table: jax.Array, tokens: jax.Array, limit: jax.Array | None
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """``(chosen logit, log-sum-exp, logits or None)`` of one block of rows."""

    def fold(carry: Running, number: jax.Array) -> tuple[Running, jax.Array | None]:
        top, total, chosen = carry
        at = _start(blocks, number)
        logits = _logits(blocks, hidden, _columns(blocks, table, at), number, limit)
        highest = jnp.maximum(top, logits.max(axis=1))
        total = total * jnp.exp(top - highest) + jnp.exp(logits - highest[:, None]).sum(axis=1)
        local = tokens - at
        here = (tokens >= number * blocks.columns) & (local < blocks.columns)
        picked = jnp.take_along_axis(logits, jnp.clip(local, 0, blocks.columns - 1)[:, None], axis=1)[:, 0]
        return (highest, total, jnp.where(here, picked, chosen)), logits if blocks.keep else None

    start = (
        jnp.full(hidden.shape[0], jnp.finfo(jnp.float32).min),
        jnp.zeros(hidden.shape[0]),
        jnp.zeros(hidden.shape[0]),
    )
    (top, total, chosen), logits = lax.scan(fold, start, _numbers(blocks))
    return chosen, top + jnp.log(total), logits


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def blocked(blocks: Blocks, hidden: jax.Array, table: jax.Array, tokens: jax.Array, live: jax.Array) -> jax.Array:
    """Log-probabilities ``[N]``; ``N`` is a multiple of ``blocks.rows``."""
    return _forward(blocks, hidden, table, tokens, live)[0]


def forward(
    blocks: Blocks,
    hidden: jax.Array,
    table: jax.Array,
    tokens: jax.Array,
    live: jax.Array | int,
    limit: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The logit of each row's token ``[N]`` (0 where the table does not have it), log-sum-exps ``[N]``, kept logits.

    Of the first ``live`` rows; the others have 0. Columns from ``limit`` on are no tokens.
    """
    rows, parts = hidden.shape[0], _numbers(blocks).shape[0]
    kept = jnp.zeros((rows // blocks.rows, parts, blocks.rows, blocks.columns) if blocks.keep else (0,), jnp.float32)

    def step(index: jax.Array, carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        found, total, kept = carry
        chosen, whole, logits = _forward_block(
            blocks, _rows(blocks, hidden, index), table, _rows(blocks, tokens, index), limit
        )
        if blocks.keep:
            kept = lax.dynamic_update_index_in_dim(kept, logits, index, axis=0)
        return _put(blocks, found, chosen, index), _put(blocks, total, whole, index), kept

    zeros = jnp.zeros(rows, jnp.float32)
    found: tuple[jax.Array, jax.Array, jax.Array]
    found = lax.fori_loop(0, _count(blocks, live), step, (zeros, zeros, kept))
    return found


def _forward(
    blocks: Blocks, hidden: jax.Array, table: jax.Array, tokens: jax.Array, live: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    chosen, total, kept = forward(blocks, hidden, table, tokens, live)
    found = jnp.where(jnp.arange(hidden.shape[0]) < live, chosen - total, 0.0)
    return found, (hidden, table, tokens, live, total, kept)


def _backward(
    blocks: Blocks, saved: tuple[jax.Array, ...], cotangent: jax.Array
) -> tuple[jax.Array, jax.Array, None, None]:
    hidden, table, tokens, live, total, kept = saved
    cotangent = jnp.where(jnp.arange(hidden.shape[0]) < live, cotangent, 0.0)
    return *backward(blocks, hidden, table, tokens, live, total, cotangent, kept=kept), None, None


def backward(
    blocks: Blocks,
    hidden: jax.Array,
    table: jax.Array,
    tokens: jax.Array,
    live: jax.Array | int,
    total: jax.Array,
    cotangent: jax.Array,
    limit: jax.Array | None = None,
    kept: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """What ``cotangent [N]`` of the log-probabilities is for ``hidden`` and ``table``, given log-sum-exps ``total``.

    ``total`` may be of more columns than the table's: the gradient is then this table's part.
    """

    def step(index: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        to_hidden, to_table = carry
        block, whole = _rows(blocks, hidden, index), _rows(blocks, total, index)
        token, given = _rows(blocks, tokens, index), _rows(blocks, cotangent, index)

        def fold(carry: tuple[jax.Array, jax.Array], number: jax.Array) -> tuple[tuple[jax.Array, jax.Array], None]:
            to_block, to_table = carry
            at = _start(blocks, number)
            part = _columns(blocks, table, at)
            logits = (
                kept[index, number] if kept is not None and blocks.keep else _logits(blocks, block, part, number, limit)
            )
            here = at + jnp.arange(blocks.columns)
            hit = (token[:, None] == here) & (here >= number * blocks.columns)
            change = given[:, None] * (hit - jnp.exp(logits - whole[:, None]))
            if blocks.cap is not None:  # of what the last block has from the one before (-inf), change is 0
                change *= 1 - jnp.square(jnp.where(jnp.isfinite(logits), logits / blocks.cap, 0.0))
            change = change.astype(block.dtype)
            towards = "nv,vm->nm" if blocks.transposed else "nv,mv->nm"
            back = jnp.einsum(towards, change, part.astype(block.dtype), preferred_element_type=jnp.float32)
            across = "nv,nm->vm" if blocks.transposed else "nm,nv->mv"
            pair = (change, block) if blocks.transposed else (block, change)
            more = jnp.einsum(across, *pair, preferred_element_type=jnp.float32)
            axis = 0 if blocks.transposed else 1
            now = lax.dynamic_slice_in_dim(to_table, at, blocks.columns, axis=axis) + more
            return (to_block + back, lax.dynamic_update_slice_in_dim(to_table, now, at, axis=axis)), None

        to_block, to_table = lax.scan(fold, (jnp.zeros(block.shape, jnp.float32), to_table), _numbers(blocks))[0]
        return _put(blocks, to_hidden, to_block, index), to_table

    start = jnp.zeros_like(hidden), jnp.zeros(table.shape, jnp.float32)
    to_hidden, to_table = lax.fori_loop(0, _count(blocks, live), step, start)
    return to_hidden, to_table.astype(table.dtype)


blocked.defvjp(_forward, _backward)
