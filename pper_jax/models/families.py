"""The registry of model families."""

from __future__ import annotations

from pper_jax.errors import UserError
from pper_jax.models.causal_lm import CausalLM
from pper_jax.models.gpt2 import GPT2
from pper_jax.models.layers import ModelConfig
from pper_jax.models.llama import Llama

MODEL_FAMILIES: dict[str, type[CausalLM]] = {"gpt2": GPT2, "llama": Llama}


def check_family(family: str, where: str) -> None:
    """Raise a ``UserError`` that names the supported families unless ``family`` is one; ``where`` says who asked."""
    if family not in MODEL_FAMILIES:
        supported = ", ".join(sorted(MODEL_FAMILIES))
        raise UserError(f"{where}: model family {family!r} is not supported; use one of: {supported}.")


def build_model(config: ModelConfig) -> CausalLM:
    """The module of ``config.family``, without parameters; an unknown family is a ``UserError``."""
    check_family(config.family, "model config")
    return MODEL_FAMILIES[config.family](config)
