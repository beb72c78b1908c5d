"""Beam decode attention for TPUs (Pallas, lowered by Mosaic).

One grid step reads one block of slots of all heads of a prompt, long enough for the copy to hide the step's cost. Which
block comes next is prefetched: blocks that no beam sees are neither copied nor computed.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from pper_kernels.beam_attention.blocks import empty, extend, live_blocks

BLOCK = 128  # slots a grid step: the lanes of a register
SUBLANES = 16  # queries are padded to the tile of bfloat16, which suits float32 too


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
    group = heads // kv_heads
    if not mask.shape[-1]:  # an empty ring: one slot that nobody sees
        key, value = (jnp.zeros((rows, kv_heads, *shape), query.dtype) for shape in ((depth, 1), (1, depth)))
        mask = jnp.zeros((rows, width, 1), bool)
    prompt_block, block = min(BLOCK, prompt_mask.shape[1]), min(BLOCK, mask.shape[2])
    prompt_steps, steps = pl.cdiv(prompt_mask.shape[1], prompt_block), pl.cdiv(mask.shape[2], block)
    blocks = (*live_blocks(prompt_mask, prompt_block), *live_blocks(mask.any(1), block))
    by_head, by_query = _by_head(query, mask, kv_heads)
    padded = by_head.shape[2]

    specs = _specs(prompt_steps, (prompt_block, block), by_head.shape)
    out = pl.pallas_call(
        partial(
            _kernel,
            prompt_steps=prompt_steps,
            prompt_slots=prompt_mask.shape[1],
            slots=mask.shape[2],
            scale=depth**-0.5,
        ),
        out_shape=jax.ShapeDtypeStruct(by_head.shape, query.dtype),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=4,
            grid=(rows, prompt_steps + steps),
            in_specs=specs,
            out_specs=specs[0],
            scratch_shapes=[pltpu.VMEM((kv_heads, padded, last), jnp.float32) for last in (1, 1, depth)],
        ),
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel", "arbitrary")),
        interpret=interpret,
        name="beam_attention",
    )(*blocks, by_head, prompt_key, prompt_value, prompt_mask[:, None].astype(jnp.int32), key, value, by_query)
    out = out[:, :, : width * group].reshape(rows, kv_heads, width, group, depth)
    return out.transpose(0, 2, 1, 3, 4).reshape(query.shape)


def _by_head(query: jax.Array, mask: jax.Array, kv_heads: int) -> tuple[jax.Array, jax.Array]:
    """The queries by key head, ``[B, H, K * group, D]``, and their masks, ``[B, K * group, S]``, padded to a tile."""
    rows, width, heads, depth = query.shape
    group = heads // kv_heads
    padding = -(width * group) % SUBLANES
    by_head = query.reshape(rows, width, kv_heads, group, depth).transpose(0, 2, 1, 3, 4)
    by_head = jnp.pad(by_head.reshape(rows, kv_heads, width * group, depth), ((0, 0), (0, 0), (0, padding), (0, 0)))
    by_query = jnp.pad(jnp.repeat(mask, group, axis=1), ((0, 0), (0, padding), (0, 0))).astype(jnp.int32)
    return by_head, by_query


def _specs(prompt_steps: int, blocks: tuple[int, int], shape: tuple[int, ...]) -> list[pl.BlockSpec]:
    """Which blocks a grid step reads: the queries, then keys, values and masks of the prompt, then of the ring."""
    _, kv_heads, padded, depth = shape

    def prompt_at(b: Any, i: Any, order: Any, count: Any, *_: Any) -> Any:
        return order[b, jnp.clip(i, 0, jnp.maximum(count[b] - 1, 0))]

    def ring_at(b: Any, i: Any, _order: Any, _count: Any, order: Any, count: Any) -> Any:
        return order[b, jnp.clip(i - prompt_steps, 0, jnp.maximum(count[b] - 1, 0))]

    def part(size: int, masks: int, at: Any) -> list[pl.BlockSpec]:
        return [
            pl.BlockSpec((1, kv_heads, depth, size), lambda *ids: (ids[0], 0, 0, at(*ids))),
            pl.BlockSpec((1, kv_heads, size, depth), lambda *ids: (ids[0], 0, at(*ids), 0)),
            pl.BlockSpec((1, masks, size), lambda *ids: (ids[0], 0, at(*ids))),
        ]

    queries = pl.BlockSpec((1, kv_heads, padded, depth), lambda b, i, *_: (b, 0, 0, 0))
    return [queries, *part(blocks[0], 1, prompt_at), *part(blocks[1], padded, ring_at)]


def _kernel(
    prompt_order: Any,
    prompt_count: Any,
    order: Any,
    count: Any,
    query: Any,
    prompt_key: Any,
    prompt_value: Any,
    prompt_mask: Any,
    key: Any,
    value: Any,
    mask: Any,
    out: Any,
    *carry: Any,
    prompt_steps: int,
    prompt_slots: int,
    slots: int,
    scale: float,
) -> None:
    """Block ``i`` of row ``b``: prompt blocks first, then those of the ring."""
    b, i = pl.program_id(0), pl.program_id(1)
    kv_heads, padded, depth = query.shape[1:]
    dtype = jnp.promote_types(query.dtype, key.dtype)

    @pl.when(i == 0)
    def _start() -> None:
        for part, fresh in zip(carry, empty(padded, depth), strict=True):
            part[...] = jnp.broadcast_to(fresh[None], part.shape)

    def visit(key: Any, value: Any, mask: Any, at: jax.Array, slots: int) -> None:
        block = key.shape[3]
        visible = jnp.broadcast_to(mask[0] != 0, (padded, block))
        inside = at * block + lax.broadcasted_iota(jnp.int32, (block, depth), 0) < slots  # a last block may overhang
        visible &= at * block + lax.broadcasted_iota(jnp.int32, (padded, block), 1) < slots
        for n in range(kv_heads):
            v = jnp.where(inside, value[0, n].astype(dtype), 0)
            before = tuple(part[n] for part in carry)
            after = extend(before, query[0, n].astype(dtype), key[0, n].astype(dtype), v, visible, scale)
            for part, new in zip(carry, after, strict=True):
                part[n] = new

    @pl.when((i < prompt_steps) & (i < prompt_count[b]))
    def _prompt() -> None:
        visit(prompt_key, prompt_value, prompt_mask, prompt_order[b, jnp.minimum(i, prompt_steps - 1)], prompt_slots)

    ring = i - prompt_steps

    @pl.when((ring >= 0) & (ring < count[b]))
    def _ring() -> None:
        visit(key, value, mask, order[b, jnp.maximum(ring, 0)], slots)

    @pl.when(i == pl.num_programs(1) - 1)
    def _end() -> None:
        _, total, mixed = carry
        out[0] = (mixed[...] / total[...]).astype(out.dtype)
