"""Projection, log-sum-exp and best tokens for TPUs (Pallas, lowered by Mosaic).

The tiles of the vocabulary stream by, one a grid step; what is known of a block of rows stays in fast memory.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from pper_kernels.dot import dot
from pper_kernels.project_topk.running import empty, extend, merge, ordered

LANES = 128
TILE = 512  # tokens a tile, at most
TILE_BYTES = 2**21  # of the table a tile, at most: two are in fast memory at a time
ROWS = 256  # rows a block, at most
SUBLANES = 16  # rows are padded to the tile of bfloat16, which suits float32 too


def project_top_log_probs(
    hidden: jax.Array, table: jax.Array, count: int, *, transposed: bool, interpret: bool = False
) -> tuple[jax.Array, jax.Array]:
    """See ``api.project_top_log_probs``; ``interpret`` runs it anywhere, slowly."""
    (rows, depth), vocabulary = hidden.shape, table.shape[0 if transposed else 1]
    count = min(count, vocabulary)
    fitting = TILE_BYTES // (depth * table.dtype.itemsize) // LANES * LANES
    tile = min(TILE, max(LANES, fitting), -(-vocabulary // LANES) * LANES)
    tile_rows = min(ROWS, -(-rows // SUBLANES) * SUBLANES)
    padded, places = -(-rows // tile_rows) * tile_rows, -(-count // LANES) * LANES

    def block(last: int) -> pl.BlockSpec:
        return pl.BlockSpec((tile_rows, last), lambda n, v: (n, 0))

    def result(last: int, dtype: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((padded, last), dtype)

    table_spec = (
        pl.BlockSpec((tile, depth), lambda n, v: (v, 0))
        if transposed
        else pl.BlockSpec((depth, tile), lambda n, v: (0, v))
    )
    outputs = pl.pallas_call(
        partial(_kernel, count=count, vocabulary=vocabulary, transposed=transposed),
        out_shape=[
            result(1, jnp.float32),
            result(1, jnp.float32),
            result(places, jnp.float32),
            result(places, jnp.int32),
        ],
        grid=(padded // tile_rows, pl.cdiv(vocabulary, tile)),
        in_specs=[block(depth), table_spec],
        out_specs=[block(1), block(1), block(places), block(places)],
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel", "arbitrary")),
        interpret=interpret,
        name="project_top_log_probs",
    )(jnp.pad(hidden, ((0, padded - rows), (0, 0))), table)
    highest, total, best, token = (x[:rows] for x in outputs)
    return merge(highest, total, best[:, None, :count], token[:, None, :count], count)


def _kernel(hidden: Any, table: Any, *running: Any, count: int, vocabulary: int, transposed: bool) -> None:
    """One tile for one block of rows; the outputs carry what is known from tile to tile."""
    v = pl.program_id(1)
    tile_rows, places = running[2].shape

    @pl.when(v == 0)
    def _start() -> None:
        _write(running, empty(tile_rows, places, count))

    w = table[...].astype(hidden.dtype)
    logits = dot(hidden[...], w.T if transposed else w)
    known = tuple(x[...] for x in running)
    _write(running, extend(known, logits, v * logits.shape[1], vocabulary, count))

    @pl.when(v == pl.num_programs(1) - 1)
    def _end() -> None:
        _write(running[2:], ordered(running[2][...], running[3][...], count))


def _write(refs: tuple[Any, ...], values: tuple[jax.Array, ...]) -> None:
    for ref, x in zip(refs, values, strict=True):
        ref[...] = x
