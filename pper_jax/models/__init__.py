"""Causal language models as pure Linen modules, and their checkpoints."""

from pper_jax.models.causal_lm import CausalLM
from pper_jax.models.checkpoints import describe, load_model, model_config, save_model
from pper_jax.models.config import Compute, ModelConfig, RopeScaling
from pper_jax.models.download import get_model, list_models, resolve_model
from pper_jax.models.ends import read_ends
from pper_jax.models.families import GPT2, MODEL_FAMILIES, Family, Llama, build_model, rules_of
from pper_jax.models.layout import decode_layout, on_mesh
from pper_jax.models.lora import LoraConfig

__all__ = [
    "GPT2",
    "MODEL_FAMILIES",
    "CausalLM",
    "Compute",
    "Family",
    "Llama",
    "LoraConfig",
    "ModelConfig",
    "RopeScaling",
    "build_model",
    "decode_layout",
    "describe",
    "get_model",
    "list_models",
    "load_model",
    "model_config",
    "on_mesh",
    "read_ends",
    "resolve_model",
    "rules_of",
    "save_model",
]
