"""Mistral (2310.06825): Llama with a sliding window in every layer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pper_jax.models.config import ModelConfig
from pper_jax.models.families import llama
from pper_jax.models.families.windows import read_windows, write_windows
from pper_jax.models.stated import Stated


def read_hf(stated: Stated) -> ModelConfig:
    """The config of a ``config.json``."""
    config = llama.read_kin(stated, "mistral")
    return replace(config, windows=read_windows(stated, config.num_layers))


def write_hf(config: ModelConfig) -> dict[str, Any]:
    """The keys of ``config.json`` that ``read_hf`` reads."""
    return llama.write_hf(config) | {"sliding_window": write_windows(config)["sliding_window"]}


FAMILY = replace(
    llama.FAMILY,
    name="mistral",
    hf_class="MistralForCausalLM",
    read_hf=read_hf,
    write_hf=write_hf,
    read_gguf=None,  # llama.cpp calls these models llama
)
