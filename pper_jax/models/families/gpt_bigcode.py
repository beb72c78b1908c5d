"""GPT-BigCode, StarCoder's architecture (2305.06161): GPT-2 with one key and value for all heads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pper_jax.models.config import ModelConfig
from pper_jax.models.families import gpt2
from pper_jax.models.families.family import GGUFFacts
from pper_jax.models.stated import Stated


def read_hf(stated: Stated) -> ModelConfig:
    """The config of a ``config.json``."""
    config = gpt2.read_kin(stated, "gpt_bigcode")
    stated.read.update(("attention_softmax_in_fp32", "scale_attention_softmax_in_fp32"))  # float32 alike
    return replace(config, num_kv_heads=1) if stated.flag("multi_query", True) else config


def write_hf(config: ModelConfig) -> dict[str, Any]:
    """The keys of ``config.json`` that ``read_hf`` reads."""
    return gpt2.write_hf(config) | {"multi_query": config.num_kv_heads == 1}


def read_gguf(stated: Stated, facts: GGUFFacts) -> ModelConfig:
    """The config of a GGUF file."""
    return replace(gpt2.read_gguf(stated, facts), family="gpt_bigcode", activation="gelu", attention_bias=True)


FAMILY = replace(
    gpt2.FAMILY,
    name="gpt_bigcode",
    hf_class="GPTBigCodeForCausalLM",
    read_hf=read_hf,
    write_hf=write_hf,
    read_gguf=read_gguf,
    gguf_name="starcoder",
    conv1d=lambda module: False,
    fused_groups=lambda config: config.num_heads if config.num_kv_heads > 1 else 1,
)
