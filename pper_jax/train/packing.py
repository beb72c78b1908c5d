"""Programs side by side in rows, on the device: as few rows as first fit takes, and only those are computed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax

from pper_jax.types import TrainBatch

MOST = 16  # programs a row


@struct.dataclass
class Packed:
    """A batch whose programs share rows, cut into micro-batches.

    Attributes:
        batch: every field ``[parts, rows, ...]``; ``weight`` and what else is one a program ``[parts, rows, S]``.
        used: [] int32, the micro-batches that hold programs: the first ``used``.
        place: ``[B]`` int32, where each program of the batch stands in a field ``[parts, rows, S]`` that is flattened.
    """

    batch: TrainBatch
    used: jax.Array
    place: jax.Array


def first_fit(lengths: jax.Array, capacity: int, most: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """First fit, longest first (Johnson 1974): at most 11/9 of the fewest rows, and a few.

    Args:
        lengths: ``[B]`` int32, none above ``capacity``.
        capacity: tokens a row.
        most: programs a row.

    Returns:
        ``(row, start, number)``, each ``[B]`` int32; ``number`` counts a row's programs from 0. Rows are used in order.
    """
    count = lengths.shape[0]

    def put(carry: tuple[jax.Array, jax.Array], length: jax.Array) -> tuple[Any, tuple[jax.Array, ...]]:
        taken, held = carry
        row = jnp.argmax((taken + length <= capacity) & (held < most))
        found = row, taken[row], held[row]
        return (taken.at[row].add(length), held.at[row].add(1)), found

    order = jnp.argsort(-lengths, stable=True)
    empty = jnp.zeros(count, jnp.int32)
    found = lax.scan(put, (empty, empty), lengths[order])[1]
    row, start, number = (empty.at[order].set(x.astype(jnp.int32), unique_indices=True) for x in found)
    return row, start, number


def pack(batch: TrainBatch, rows: int, shared: int = 0) -> Packed:
    """A batch of one program a row, ``[B, T]``, in as few rows of ``T`` tokens as first fit takes.

    Args:
        batch: as :func:`pper_jax.train.program_batch` makes it.
        rows: of a micro-batch; divides ``B``.
        shared: tokens that all programs but empty ones begin with, and none has a target among: they stand once in each
            row, in front of its programs, whose losses and gradients stay what they are (``TrainBatch.shared``).
    """
    count, width = batch.tokens.shape
    lengths = jnp.sum(batch.segment_ids > 0, axis=1, dtype=jnp.int32)
    own = jnp.maximum(lengths - shared, 0)
    most = min(MOST, count)
    row, start, number = first_fit(own, width - shared, most)
    at = jnp.arange(width)
    inside = (at >= shared) & (at < lengths[:, None])
    cell = jnp.where(inside, (row * width + start)[:, None] + at, count * width)
    place = row * most + number

    def by_token(x: jax.Array) -> jax.Array:
        flat = jnp.zeros((count * width, *x.shape[2:]), x.dtype).at[cell].set(x, mode="drop", unique_indices=True)
        return flat.reshape(-1, rows, width, *x.shape[2:])

    def by_program(x: jax.Array) -> jax.Array:
        flat = jnp.zeros((count * most, *x.shape[1:]), x.dtype).at[place].set(x, unique_indices=True)
        return flat.reshape(-1, rows, most, *x.shape[1:])

    def either(x: jax.Array) -> jax.Array:
        return by_token(x) if x.ndim > 1 and x.shape[1] == width else by_program(x)

    segments = jnp.broadcast_to(number[:, None] + 1, batch.tokens.shape)
    packed = replace(jax.tree.map(either, replace(batch, segment_ids=segments)), loss_mask=by_token(batch.loss_mask))
    if shared:
        packed = replace(
            packed,
            tokens=packed.tokens.at[..., :shared].set(batch.tokens[jnp.argmax(lengths), :shared]),
            segment_ids=packed.segment_ids.at[..., :shared].set(most + 1),
            shared=shared,
        )
    return Packed(packed, used=jnp.max(row) // rows + 1, place=place)
