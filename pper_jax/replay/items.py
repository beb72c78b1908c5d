"""Tested programs as rows: what :func:`pper_jax.replay.add` is given, what the buffer holds, what a draw gathers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import struct


@struct.dataclass
class Items:
    """Tested programs, ``N`` of them (as given to :func:`add`, as stored, or as gathered). Numpy arrays serve too.

    Attributes:
        tokens: ``[N, T]`` int32, prompt, completion and EOS, padded to the buffer's row length.
        prompt_length: ``[N]`` int32.
        length: ``[N]`` int32, prompt, completion and EOS.
        logprob: ``[N]`` float32, summed log-probability of completion and EOS, nats.
        pass_rate: ``[N]`` float32, share of the task's tests passed.
        task_index: ``[N]`` int32.
        round: ``[N]`` int32, the round that wrote the program.
        program_id: ``[N]`` int32.
        valid: ``[N]`` bool; others are not stored. In the buffer: whether the slot is filled.
        extras: further columns by name, ``[N, ...]`` of any shape and dtype, such as the sampler's log-prob of each
            token; kept with the rows, whatever they mean.
    """

    tokens: jax.Array
    prompt_length: jax.Array
    length: jax.Array
    logprob: jax.Array
    pass_rate: jax.Array
    task_index: jax.Array
    round: jax.Array
    program_id: jax.Array
    valid: jax.Array
    extras: dict[str, Any] = struct.field(default_factory=dict)


def example_row(max_length: int, extras: Mapping[str, Any] | None = None) -> Items:
    """A row's shapes and dtypes, ``max_length`` tokens wide; of ``extras``, an array a name, only these count."""

    def of(dtype: Any, *shape: int) -> Any:
        return jax.ShapeDtypeStruct(shape, dtype)

    whole, real = of(np.int32), of(np.float32)
    return Items(
        tokens=of(np.int32, max_length),
        prompt_length=whole,
        length=whole,
        logprob=real,
        pass_rate=real,
        task_index=whole,
        round=whole,
        program_id=whole,
        valid=of(np.bool_),
        extras=dict(extras or {}),
    )


def pad_items(items: Items, count: int) -> Items:
    """``items`` on the host, filled up to ``count`` rows with ones that are not ``valid``.

    With one ``count`` for all rounds :func:`add` compiles once. Raises ValueError for more rows than that.
    """
    missing = count - np.shape(items.valid)[0]
    if missing < 0:
        raise ValueError(f"{count - missing} programs do not fit into {count} rows")

    def filled_up(field: Any) -> np.ndarray:
        field = np.asarray(field)
        return np.concatenate([field, np.zeros((missing, *field.shape[1:]), field.dtype)])

    padded: Items = jax.tree.map(filled_up, items)
    return padded


def check_same_columns(items: Items, stored: Items) -> None:
    """Raise ValueError unless the rows of ``items`` are as wide as those ``stored``, with the same extra columns."""
    widths = tuple(np.shape(each.tokens)[-1] for each in (items, stored))
    if widths[0] != widths[1]:
        raise ValueError(f"items have rows of {widths[0]} tokens, the buffer of {widths[1]}")
    given, held = (
        {jax.tree_util.keystr(path): np.shape(leaf)[1:] for path, leaf in jax.tree.leaves_with_path(each.extras)}
        for each in (items, stored)
    )
    if given != held:
        raise ValueError(f"items have the extra columns {given or 'none'}, the buffer {held or 'none'}")
