"""Projection, log-sum-exp and best tokens for NVIDIA GPUs (Pallas, lowered by Triton).

The vocabulary is shared out over the programs; each multiplies tile after tile of its part, keeps the logits in
registers, and writes its sum and its ``count`` best tokens. XLA merges the parts, a few kilobytes a row.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from pper_kernels.dot import dot
from pper_kernels.project_topk.running import empty, extend, merge, ordered

TILE = 128  # tokens a tile
DEPTH = 64  # of the hidden width at a time
ROWS = 128  # rows a program, at most
SMALLEST = 16  # the tensor cores' smallest tile
PROGRAMS = 264  # about as many as fill the device: twice the 132 multiprocessors of an H100


def project_top_log_probs(
    hidden: jax.Array, table: jax.Array, count: int, *, transposed: bool, interpret: bool = False
) -> tuple[jax.Array, jax.Array]:
    """See ``api.project_top_log_probs``; ``interpret`` runs it anywhere, slowly."""
    rows, vocabulary = hidden.shape[0], table.shape[0 if transposed else 1]
    count = min(count, vocabulary)
    tile_rows = min(ROWS, max(SMALLEST, pl.next_power_of_2(rows)))
    row_blocks, tiles = pl.cdiv(rows, tile_rows), pl.cdiv(vocabulary, TILE)
    share = max(pl.cdiv(tiles * row_blocks, PROGRAMS), pl.cdiv(count, TILE))  # tiles a program
    parts, places = pl.cdiv(tiles, share), pl.next_power_of_2(count)

    def part(last: int) -> pl.BlockSpec:
        return pl.BlockSpec((None, tile_rows, last), lambda n, v: (v, n, 0))

    def result(last: int, dtype: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((parts, row_blocks * tile_rows, last), dtype)

    outputs = pl.pallas_call(
        partial(_kernel, count=count, share=share, vocabulary=vocabulary, transposed=transposed),
        out_shape=[
            result(1, jnp.float32),
            result(1, jnp.float32),
            result(places, jnp.float32),
            result(places, jnp.int32),
        ],
        grid=(row_blocks, parts),  # programs of one part follow each other and share its tiles in the cache
        in_specs=[pl.BlockSpec(hidden.shape, lambda n, v: (0, 0)), pl.BlockSpec(table.shape, lambda n, v: (0, 0))],
        out_specs=[part(1), part(1), part(places), part(places)],
        compiler_params=plgpu.CompilerParams(num_warps=8 if tile_rows > 32 else 4, num_stages=3),
        interpret=interpret,
        name="project_top_log_probs",
    )(hidden, table)
    highest, total, best, token = (x[:, :rows].swapaxes(0, 1) for x in outputs)
    return merge(highest[..., 0], total[..., 0], best[..., :count], token[..., :count], count)


def _kernel(
    hidden: Any,
    table: Any,
    highest_out: Any,
    total_out: Any,
    best_out: Any,
    token_out: Any,
    *,
    count: int,
    share: int,
    vocabulary: int,
    transposed: bool,
) -> None:
    """Rows ``n`` with the ``share`` tiles of part ``v``."""
    rows, depth = hidden.shape
    tile_rows, places = best_out.shape
    first_row, first_tile = pl.program_id(0) * tile_rows, pl.program_id(1) * share
    row, row_inside = pl.ds(first_row, tile_rows), first_row + jnp.arange(tile_rows) < rows

    def logits(first: jax.Array) -> jax.Array:
        token_inside = first + jnp.arange(TILE) < vocabulary

        def add(i: jax.Array, total: jax.Array) -> jax.Array:
            column, inside = pl.ds(i * DEPTH, DEPTH), i * DEPTH + jnp.arange(DEPTH) < depth
            x = plgpu.load(hidden.at[row, column], mask=row_inside[:, None] & inside[None, :], other=0.0)
            if transposed:
                here = token_inside[:, None] & inside[None, :]
                w = plgpu.load(table.at[pl.ds(first, TILE), column], mask=here, other=0.0).T
            else:
                here = inside[:, None] & token_inside[None, :]
                w = plgpu.load(table.at[column, pl.ds(first, TILE)], mask=here, other=0.0)
            return total + dot(x, w.astype(x.dtype))

        return lax.fori_loop(0, pl.cdiv(depth, DEPTH), add, jnp.zeros((tile_rows, TILE), jnp.float32))

    def tile(i: jax.Array, running: Any) -> Any:
        first = (first_tile + i) * TILE
        return extend(running, logits(first), first, vocabulary, count)

    highest, total, best, token = lax.fori_loop(0, share, tile, empty(tile_rows, places, count))
    best, token = ordered(best, token, count)
    for out, x in ((highest_out, highest), (total_out, total), (best_out, best), (token_out, token)):
        out[...] = x
