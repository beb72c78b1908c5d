"""Blocks on a mesh: rows split over some of its axes and the table's columns over another, no logits held whole.

Each device does the blocks of its rows and of its columns; what it has of a row's log-sum-exp is combined over the
axis of the columns. The gradient is written out, so both directions are one ``shard_map`` of the one-device blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from pper_kernels.linear_log_probs.blocks import Blocks, backward, forward

ROWS, COLUMNS = 512, 512  # of a block


class Split(NamedTuple):
    """How the operands lie: ``rows`` are the axes that split rows, ``columns`` the one that splits the table's rows.

    ``cap`` is the soft cap of logits (``linear_log_probs``).
    """

    mesh: Mesh
    rows: tuple[str, ...]
    columns: str
    vocabulary: int
    cap: float | None = None


def linear_log_probs_sharded(split: Split, hidden: jax.Array, table: jax.Array, tokens: jax.Array) -> jax.Array:
    """The log-probability of ``tokens[n]`` among ``hidden[n] @ table.T``, differentiable in both; nothing is kept.

    Args:
        split: how they lie on the mesh.
        hidden: ``[N, M]``, float32 or bfloat16; the sizes of ``split.rows`` divide ``N``.
        table: ``[V, M]``, ``V`` at least ``split.vocabulary`` and a multiple of the size of ``split.columns``; rows
            beyond the vocabulary are no tokens.
        tokens: ``[N]`` int32.

    Returns:
        ``[N]`` float32, nats.
    """
    return _log_probs(split, hidden, table, tokens)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _log_probs(split: Split, hidden: jax.Array, table: jax.Array, tokens: jax.Array) -> jax.Array:
    return _forward(split, hidden, table, tokens)[0]


def _local(
    split: Split, hidden: jax.Array, table: jax.Array, tokens: jax.Array
) -> tuple[Blocks, tuple[jax.Array, ...]]:
    """The blocks of one device, and its operands with rows up to a multiple of a block; tokens count from its columns.

    The last operand is how many of its columns are tokens.
    """
    width, count = table.shape[0], hidden.shape[0]
    first = lax.axis_index(split.columns) * width
    blocks = Blocks(min(ROWS, count), min(COLUMNS, width), width, transposed=True, keep=False, cap=split.cap)
    more = -count % blocks.rows
    return blocks, (
        jnp.pad(hidden, ((0, more), (0, 0))),
        table,
        jnp.pad(tokens - first, (0, more)),
        split.vocabulary - first,
    )


def _mapped(split: Split, function: Callable[..., Any], takes: str, gives: str) -> Callable[..., Any]:
    """``function`` on every device; of its operands and results ``r`` is split by rows, ``c`` by columns."""
    specs = {"r": PartitionSpec(split.rows or None), "c": PartitionSpec(split.columns)}
    pair = tuple(tuple(specs[kind] for kind in kinds) for kinds in (takes, gives))
    mapped: Callable[..., Any] = jax.shard_map(
        function, mesh=split.mesh, in_specs=pair[0], out_specs=pair[1], check_vma=False
    )
    return mapped


def _forward(
    split: Split, hidden: jax.Array, table: jax.Array, tokens: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    def on_one(hidden: jax.Array, table: jax.Array, tokens: jax.Array) -> tuple[jax.Array, jax.Array]:
        count = hidden.shape[0]
        blocks, (hidden, table, tokens, limit) = _local(split, hidden, table, tokens)
        chosen, total, _ = forward(blocks, hidden, table, tokens, hidden.shape[0], limit)
        highest = lax.pmax(total, split.columns)
        total = highest + jnp.log(lax.psum(jnp.exp(total - highest), split.columns))
        return (lax.psum(chosen, split.columns) - total)[:count], total[:count]

    found, total = _mapped(split, on_one, "rcr", "rr")(hidden, table, tokens)
    return found, (hidden, table, tokens, total)


def _backward(split: Split, saved: tuple[jax.Array, ...], cotangent: jax.Array) -> tuple[jax.Array, jax.Array, None]:
    def on_one(*arrays: jax.Array) -> tuple[jax.Array, jax.Array]:
        hidden, table, tokens, total, given = arrays
        count = hidden.shape[0]
        blocks, (hidden, table, tokens, limit) = _local(split, hidden, table, tokens)
        total, given = (jnp.pad(x, (0, hidden.shape[0] - count)) for x in (total, given))
        to_hidden, to_table = backward(blocks, hidden, table, tokens, hidden.shape[0], total, given, limit)
        to_hidden = lax.psum(to_hidden[:count], split.columns)
        return to_hidden, lax.psum(to_table, split.rows) if split.rows else to_table

    to_hidden, to_table = _mapped(split, on_one, "rcrrr", "rc")(*saved, cotangent)
    return to_hidden, to_table, None


_log_probs.defvjp(_forward, _backward)
