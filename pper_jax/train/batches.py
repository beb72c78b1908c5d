"""Building fixed-shape train batches: packing on the host for pretraining, masking on device for replayed programs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from pper_jax.types import TrainBatch


def pack_examples(examples: Iterable[tuple[list[int], list[int]]], row_length: int) -> TrainBatch:
    """Pack (prompt ids, completion ids) pairs, in order, into rows of ``row_length``; numpy arrays ``[rows, T]``.

    The loss mask covers completions (append the EOS to them). Examples longer than a row are dropped.
    """
    rows: list[tuple[list[int], list[int], list[bool]]] = []
    tokens: list[int] = []
    segments: list[int] = []
    mask: list[bool] = []
    for prompt, completion in examples:
        size = len(prompt) + len(completion)
        if size > row_length:
            continue
        if len(tokens) + size > row_length:
            rows.append((tokens, segments, mask))
            tokens, segments, mask = [], [], []
        segment = segments[-1] + 1 if segments else 1
        tokens += prompt + completion
        segments += [segment] * size
        mask += [False] * len(prompt) + [True] * len(completion)
    if tokens:
        rows.append((tokens, segments, mask))

    def stack(column: int, dtype: type) -> Any:
        out: np.ndarray = np.zeros((len(rows), row_length), dtype)
        for i, row in enumerate(rows):
            out[i, : len(row[column])] = row[column]
        return out

    return TrainBatch(
        tokens=stack(0, np.int32),
        segment_ids=stack(1, np.int32),
        loss_mask=stack(2, np.bool_),
        weight=cast(Any, np.ones(len(rows), np.float32)),
    )


def program_batch(tokens: jax.Array, prompt_length: jax.Array, length: jax.Array, weight: jax.Array) -> TrainBatch:
    """One program a row: ``tokens [B, T]``, ``prompt_length [B]``, ``length [B]`` (EOS included), ``weight [B]``.

    Targets are the completion and its EOS; the prompt and everything after ``length`` are masked.
    """
    index = jnp.arange(tokens.shape[1])
    inside = index < length[:, None]
    return TrainBatch(
        tokens=tokens,
        segment_ids=inside.astype(jnp.int32),
        loss_mask=inside & (index >= prompt_length[:, None]),
        weight=weight.astype(jnp.float32),
    )
