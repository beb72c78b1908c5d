"""What a round stores beside its programs: the columns that the objective compares with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import numpy as np

from pper_jax import replay
from pper_jax.loop.parts import Parts
from pper_jax.loop.state import LoopState
from pper_jax.sharding import batch_sharding, place
from pper_jax.terminal import Progress
from pper_jax.train import program_batch
from pper_jax.types import Params


def with_columns(parts: Parts, state: LoopState, items: replay.Items, index: int) -> replay.Items:
    """``items`` of round ``index`` with the columns that ``train.objective`` needs.

    The sampler is the model as it stands, which wrote the round's programs (those of a samples file are taken as its
    own); the reference is the model that the run began with. Groups are a task's programs of this round.
    """
    objective, extras = parts.config.train.objective, dict[str, Any]()
    if "advantage" in objective.needs:
        extras["advantage"] = replay.group_advantage(items, normalize=objective.normalize)
    if "sampler_logprobs" in objective.needs:
        extras["sampler_logprobs"] = _scored(parts, parts.weights(state.train), items, f"round {index}: score")
    if "reference_logprobs" in objective.needs:
        extras["reference_logprobs"] = _scored(parts, parts.reference, items, f"round {index}: reference")
    return replace(items, extras=extras)


def _scored(parts: Parts, params: Params, items: replay.Items, label: str) -> np.ndarray:
    """Log-probability of each target of each program under ``params``, ``[N, T]`` float32."""
    rows, count = parts.config.train.batch_size, items.valid.shape[0]
    fields = [np.asarray(field) for field in (items.tokens, items.prompt_length, items.length, items.valid)]
    scored = []
    with Progress(label, count, unit="programs", check=parts.team.check(parts.mesh)) as progress:
        for first in range(0, count, rows):
            part = [_filled_up(field[first : first + rows], rows) for field in fields]
            batch = program_batch(*part)
            batch = place(batch, jax.tree.map(lambda _: batch_sharding(parts.mesh), batch))
            scored.append(np.asarray(parts.score(params, batch)))
            progress.update(min(rows, count - first))
    return np.concatenate(scored)[:count]


def _filled_up(field: np.ndarray, rows: int) -> Any:
    return np.concatenate([field, np.repeat(field[:1], rows - len(field), axis=0)])
