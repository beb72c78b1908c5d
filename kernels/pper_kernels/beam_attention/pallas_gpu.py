"""Beam decode attention for NVIDIA GPUs (Pallas, lowered by Triton).

One program serves all queries of one prompt and one key/value head, so that every block of the cache is read once for
``K * G`` queries and feeds the tensor cores. Blocks of slots that no beam sees are not read.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from pper_kernels.beam_attention.blocks import empty, extend, live_blocks

BLOCK = 64  # slots a step of the loop
QUERIES = 64  # queries a program, at most
SMALLEST = 16  # the tensor cores' smallest tile


def beam_attention(
    query: jax.Array,
    prompt_key: jax.Array,
    prompt_value: jax.Array,
    key: jax.Array,
    value: jax.Array,
    prompt_mask: jax.Array,
    mask: jax.Array,
    *,
    interpret: bool = False,
) -> jax.Array:
    """See ``reference.beam_attention``: the same arguments and result; ``interpret`` runs it anywhere, slowly."""
    rows, width, heads, depth = query.shape
    kv_heads = prompt_key.shape[1]
    if not mask.shape[-1]:  # an empty ring: one slot that nobody sees
        key, value = (jnp.zeros((rows, kv_heads, *shape), query.dtype) for shape in ((depth, 1), (1, depth)))
        mask = jnp.zeros((rows, width, 1), bool)
    prompt_order, prompt_count = live_blocks(prompt_mask, BLOCK)
    order, count = live_blocks(mask.any(1), BLOCK)
    queries = width * heads // kv_heads
    tile = min(QUERIES, max(SMALLEST, pl.next_power_of_2(queries)))

    def whole_row(x: jax.Array) -> pl.BlockSpec:
        return pl.BlockSpec((None, *x.shape[1:]), lambda b, n, q: (b, *(0,) * (x.ndim - 1)))

    def one_head(x: jax.Array) -> pl.BlockSpec:
        return pl.BlockSpec((None, None, *x.shape[2:]), lambda b, n, q: (b, n, 0, 0))

    operands = (prompt_order, prompt_count[:, None], order, count[:, None], query)
    cache = (prompt_key, prompt_value, key, value)
    masks = (prompt_mask, mask)
    return pl.pallas_call(
        partial(_kernel, group=heads // kv_heads, tile=tile),
        out_shape=jax.ShapeDtypeStruct(query.shape, query.dtype),
        grid=(rows, kv_heads, pl.cdiv(queries, tile)),
        in_specs=[*map(whole_row, operands), *map(one_head, cache), *map(whole_row, masks)],
        out_specs=whole_row(query),
        compiler_params=plgpu.CompilerParams(num_warps=4, num_stages=2),
        interpret=interpret,
        name="beam_attention",
    )(*operands, *cache, *masks)


def _kernel(
    prompt_order: Any,
    prompt_count: Any,
    order: Any,
    count: Any,
    query_ref: Any,
    prompt_key: Any,
    prompt_value: Any,
    key: Any,
    value: Any,
    prompt_mask: Any,
    mask: Any,
    out_ref: Any,
    *,
    group: int,
    tile: int,
) -> None:
    """Query ``q`` of the program's head is beam ``q // group``, head ``q % group`` of the group."""
    width, _, depth = query_ref.shape
    columns = max(SMALLEST, pl.next_power_of_2(depth))
    index = pl.program_id(2) * tile + jnp.arange(tile)
    beam = lax.div(index, group)
    head = pl.program_id(1) * group + lax.rem(index, group)
    cells = tuple(jnp.broadcast_to(x[:, None], (tile, columns)) for x in (beam, head))
    column = jnp.broadcast_to(jnp.arange(columns)[None, :], (tile, columns))
    inside = (cells[0] < width) & (column < depth)
    dtype = jnp.promote_types(query_ref.dtype, key.dtype)
    query = plgpu.load(query_ref.at[*cells, column], mask=inside, other=0.0).astype(dtype)
    deep = jnp.arange(columns) < depth

    def sweep(carry: Any, order: Any, count: Any, key: Any, value: Any, sees: Any) -> Any:
        def step(i: jax.Array, carry: Any) -> Any:
            start = order[i] * BLOCK
            slot = start + jnp.arange(BLOCK)
            here = slot < key.shape[1]
            of_key, of_value = deep[:, None] & here[None, :], here[:, None] & deep[None, :]
            slots, all_columns = pl.ds(start, BLOCK), pl.ds(0, columns)
            k = plgpu.load(key.at[all_columns, slots], mask=of_key, other=0.0).astype(dtype)
            v = plgpu.load(value.at[slots, all_columns], mask=of_value, other=0.0).astype(dtype)
            return extend(carry, query, k, v, sees(slot, here), depth**-0.5)

        return lax.fori_loop(0, count[0], step, carry)

    def prompt_sees(slot: jax.Array, here: jax.Array) -> jax.Array:
        seen = plgpu.load(prompt_mask.at[slot], mask=here, other=False)
        return jnp.broadcast_to(seen[None, :], (tile, BLOCK))

    def beam_sees(slot: jax.Array, here: jax.Array) -> jax.Array:
        beams, slots = (jnp.broadcast_to(x, (tile, BLOCK)) for x in (beam[:, None], slot[None, :]))
        return plgpu.load(mask.at[beams, slots], mask=(beams < width) & here[None, :], other=False)

    carry = sweep(empty(tile, columns), prompt_order, prompt_count, prompt_key, prompt_value, prompt_sees)
    _, total, mixed = sweep(carry, order, count, key, value, beam_sees)
    plgpu.store(out_ref.at[*cells, column], (mixed / total).astype(out_ref.dtype), mask=inside)
