"""Qwen2 and Qwen2.5 (2407.10671, 2409.12186): Llama with biases on query, key and value alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pper_jax.models.config import ModelConfig
from pper_jax.models.families import llama
from pper_jax.models.families.family import GGUFFacts
from pper_jax.models.families.windows import read_windows, write_windows
from pper_jax.models.stated import Stated


def read_hf(stated: Stated) -> ModelConfig:
    """The config of a ``config.json``."""
    config = replace(llama.read_kin(stated, "qwen2"), attention_bias=True, out_bias=False)
    return replace(config, windows=read_windows(stated, config.num_layers))


def write_hf(config: ModelConfig) -> dict[str, Any]:
    """The keys of ``config.json`` that ``read_hf`` reads."""
    return llama.write_hf(config) | write_windows(config) | {"use_sliding_window": any(config.windows)}


def read_gguf(stated: Stated, facts: GGUFFacts) -> ModelConfig:
    """The config of a GGUF file."""
    return replace(llama.read_gguf_kin(stated, facts, "qwen2"), attention_bias=True, out_bias=False)


FAMILY = replace(
    llama.FAMILY,
    name="qwen2",
    hf_class="Qwen2ForCausalLM",
    read_hf=read_hf,
    write_hf=write_hf,
    read_gguf=read_gguf,
    interleaved={},
)
