"""AdamW (Loshchilov & Hutter, 1711.05101) with clipping by global norm, warm-up and a schedule: an Optax chain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import jax
import optax

from pper_jax.errors import UserError, shown
from pper_jax.ranges import check_number
from pper_jax.types import Params

Schedule = Literal["constant", "cosine", "linear"]
DECAYED = ("kernel", "embedding", "lora_a", "lora_b")


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with clipping by global norm and linear warm-up, then ``schedule`` over ``horizon_steps`` steps.

    A horizon of 0 is the whole run's. One that is given stays where it is when a run is extended: beyond it the
    learning rate keeps its last value.
    """

    learning_rate: float = 1e-4
    schedule: Schedule = "constant"
    warmup_steps: int = 10
    weight_decay: float = 0.01
    b1: float = 0.9
    b2: float = 0.95
    clip_norm: float = 1.0
    horizon_steps: int = 0

    def __post_init__(self) -> None:
        """Judge the numbers and the schedule's name."""
        check_number("learning_rate", self.learning_rate, above=0, below=1e38)  # float32 holds no more
        check_number("clip_norm", self.clip_norm, above=0, below=1e38)
        check_number("weight_decay", self.weight_decay, least=0, below=1e38)
        for name in ("b1", "b2"):
            check_number(name, getattr(self, name), least=0, below=1)
        for name in ("warmup_steps", "horizon_steps"):
            check_number(name, getattr(self, name), whole=True, least=0)
        if self.schedule not in get_args(Schedule):
            raise UserError(f"schedule is {shown(self.schedule)}; choose one of {', '.join(get_args(Schedule))}")


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
    """Weight decay applies to matrices (kernels, embeddings, adapters), not to biases and norm scales."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key in DECAYED, params)


def make_optimizer(config: OptimizerConfig, total_steps: int) -> optax.GradientTransformation:
    """The chain clip -> AdamW(schedule); ``total_steps``, the run's length, is the horizon where none is set."""
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.adamw(
            learning_rate_schedule(config, config.horizon_steps or total_steps),
            b1=config.b1,
            b2=config.b2,
            weight_decay=config.weight_decay,
            mask=decay_mask,
        ),
    )
