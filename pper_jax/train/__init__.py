"""Fine-tuning: loss, optimizer and the sharded train step. Pure."""

from pper_jax.train.batches import pack_examples, program_batch
from pper_jax.train.loss import completion_logprobs, loss_sum
from pper_jax.train.objectives import Objective, cross_entropy, program_sums, targets, token_weights
from pper_jax.train.optimizer import OptimizerConfig, make_optimizer
from pper_jax.train.step import Metrics, init_train_state, make_train_step, train_step

__all__ = [
    "Metrics",
    "Objective",
    "OptimizerConfig",
    "completion_logprobs",
    "cross_entropy",
    "init_train_state",
    "loss_sum",
    "make_optimizer",
    "make_train_step",
    "pack_examples",
    "program_batch",
    "program_sums",
    "targets",
    "token_weights",
    "train_step",
]
