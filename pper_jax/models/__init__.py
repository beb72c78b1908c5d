"""Causal language models as pure Linen modules, and their checkpoints."""

from pper_jax.models.gpt2 import GPT2
from pper_jax.models.layers import ModelConfig

__all__ = ["GPT2", "ModelConfig"]
