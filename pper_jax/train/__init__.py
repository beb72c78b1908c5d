"""Fine-tuning: loss, optimizer and the sharded train step. Pure."""

from pper_jax.train.batches import pack_examples, program_batch
from pper_jax.train.loss import completion_logprobs, loss_sum
from pper_jax.train.objectives import (
    Objective,
    ObjectiveConfig,
    cross_entropy,
    make_objective,
    program_sums,
    targets,
    token_weights,
)
from pper_jax.train.optimizer import OptimizerConfig, make_optimizer
from pper_jax.train.packing import Packed, pack
from pper_jax.train.scoring import target_logprobs
from pper_jax.train.step import Gather, Metrics, folded_axes, gathered, init_train_state, make_train_step, train_step

__all__ = [
    "Gather",
    "Metrics",
    "Objective",
    "ObjectiveConfig",
    "OptimizerConfig",
    "Packed",
    "completion_logprobs",
    "cross_entropy",
    "folded_axes",
    "gathered",
    "init_train_state",
    "loss_sum",
    "make_objective",
    "make_optimizer",
    "make_train_step",
    "pack",
    "pack_examples",
    "program_batch",
    "program_sums",
    "target_logprobs",
    "targets",
    "token_weights",
    "train_step",
]
