"""Qwen3 (2505.09388): Llama with norms on each head's queries and keys, and a head size of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pper_jax.models.blocks import GatedBlock
from pper_jax.models.config import ModelConfig
from pper_jax.models.families import llama
from pper_jax.models.families.family import GGUFFacts
from pper_jax.models.families.windows import read_windows, write_windows
from pper_jax.models.layers import rms_norm
from pper_jax.models.stated import Stated


class Block(GatedBlock):
    """A gated block with norms on queries and keys."""

    head_norm = staticmethod(rms_norm)


class Qwen3(llama.Llama):
    """Causal LM of the Qwen3 family; the call contract is that of ``CausalLM``."""

    block = Block


HEAD_NORMS = (
    ("model.layers.{i}.self_attn.q_norm", "blk.{i}.attn_q_norm", "layer_{i}/attention/query_norm"),
    ("model.layers.{i}.self_attn.k_norm", "blk.{i}.attn_k_norm", "layer_{i}/attention/key_norm"),
)


def read_hf(stated: Stated) -> ModelConfig:
    """The config of a ``config.json``."""
    config = llama.read_kin(stated, "qwen3")
    return replace(config, windows=read_windows(stated, config.num_layers))


def write_hf(config: ModelConfig) -> dict[str, Any]:
    """The keys of ``config.json`` that ``read_hf`` reads."""
    return llama.write_hf(config) | write_windows(config) | {"use_sliding_window": any(config.windows)}


def read_gguf(stated: Stated, facts: GGUFFacts) -> ModelConfig:
    """The config of a GGUF file."""
    return llama.read_gguf_kin(stated, facts, "qwen3")


FAMILY = replace(
    llama.FAMILY,
    name="qwen3",
    module=Qwen3,
    hf_class="Qwen3ForCausalLM",
    modules=llama.MODULES + HEAD_NORMS,
    read_hf=read_hf,
    write_hf=write_hf,
    read_gguf=read_gguf,
    interleaved={},
)
