"""AdamW (Loshchilov & Hutter, 1711.05101) with clipping by global norm, warm-up and a schedule: an Optax chain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import jax
import optax

from pper_jax.types import Params


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with clipping by global norm and linear warm-up, then ``schedule`` over the whole run."""

    learning_rate: float = 1e-4
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    warmup_steps: int = 10
    weight_decay: float = 0.01
    b1: float = 0.9
    b2: float = 0.95
    clip_norm: float = 1.0


def learning_rate_schedule(config: OptimizerConfig, total_steps: int) -> optax.Schedule:
    """Linear warm-up from 0 over ``warmup_steps``, then constant, or decay to 10 % at ``total_steps``."""
    peak, warmup = config.learning_rate, config.warmup_steps
    rest = max(1, total_steps - warmup)
    after = {
        "constant": optax.constant_schedule(peak),
        "cosine": optax.cosine_decay_schedule(peak, rest, alpha=0.1),
        "linear": optax.linear_schedule(peak, 0.1 * peak, rest),
    }[config.schedule]
    if warmup == 0:
        return after
    return optax.join_schedules([optax.linear_schedule(peak / warmup, peak, warmup), after], [warmup])


def decay_mask(params: Params) -> Params:
    """Weight decay applies to matrices (kernels, embeddings), not to biases and norm scales."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key in ("kernel", "embedding"), params)


def make_optimizer(config: OptimizerConfig, total_steps: int) -> optax.GradientTransformation:
    """The chain clip -> AdamW(schedule); ``total_steps`` is the length of the whole run in optimizer steps."""
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.adamw(
            learning_rate_schedule(config, total_steps),
            b1=config.b1,
            b2=config.b2,
            weight_decay=config.weight_decay,
            mask=decay_mask,
        ),
    )
