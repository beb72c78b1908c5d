"""Objectives: what a step makes smaller, as a pure function of the targets' log-probabilities."""

from pper_jax.train.objectives.contract import (
    Objective,
    column,
    per_token,
    program_sums,
    target_count,
    targets,
    token_weights,
)
from pper_jax.train.objectives.options import NEEDS, ObjectiveConfig, make_objective
from pper_jax.train.objectives.policy import advantage_weighted, grpo, importance_weighted
from pper_jax.train.objectives.reference import dpo, with_kl
from pper_jax.train.objectives.supervised import cross_entropy, pass_rate_weighted, solved_only, unlikelihood

__all__ = [
    "NEEDS",
    "Objective",
    "ObjectiveConfig",
    "advantage_weighted",
    "column",
    "cross_entropy",
    "dpo",
    "grpo",
    "importance_weighted",
    "make_objective",
    "pass_rate_weighted",
    "per_token",
    "program_sums",
    "solved_only",
    "target_count",
    "targets",
    "token_weights",
    "unlikelihood",
    "with_kl",
]
