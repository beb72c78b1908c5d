"""Gemma 3 (2503.19786), text alone: Gemma 2 with norms on queries and keys, and rotary positions of their own for the
layers that have a window.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pper_jax.models.config import ModelConfig
from pper_jax.models.families import gemma2, llama, qwen3, rope
from pper_jax.models.families.family import GGUFFacts
from pper_jax.models.layers import shifted_rms_norm
from pper_jax.models.stated import Stated


class Block(gemma2.Block):
    """A gated block with norms on both sides, and on queries and keys."""

    head_norm = staticmethod(shifted_rms_norm)


class Gemma3(gemma2.Gemma2):
    """Causal LM of the Gemma 3 family; the call contract is that of ``CausalLM``."""

    block = Block


def read_hf(stated: Stated) -> ModelConfig:
    """The config of a ``config.json``."""
    kinds = stated.inner("rope_parameters")
    whole, local = kinds.inner("full_attention"), kinds.inner("sliding_attention")
    local.only("rope_type", "default")
    if "attn_logit_softcapping" in stated:  # transformers' class has the key and does not obey it
        raise stated.unsupported("attn_logit_softcapping", "Gemma 3 norms queries and keys instead")
    config = llama.read_kin(stated, "gemma3_text", "hidden_activation", rope.read_one(stated, whole))
    config = replace(config, local_rope_theta=local.number("rope_theta", 10_000.0))
    return gemma2.read_kin(config, stated)


def write_hf(config: ModelConfig) -> dict[str, Any]:
    """The keys of ``config.json`` that ``read_hf`` reads."""
    written = gemma2.write_hf(config)
    local = {"rope_type": "default", "rope_theta": config.local_rope_theta}
    written["rope_parameters"] = {"full_attention": written["rope_parameters"], "sliding_attention": local}
    return written | {"rope_local_base_freq": config.local_rope_theta}


def read_gguf(stated: Stated, facts: GGUFFacts) -> ModelConfig:
    """The config of a GGUF file."""
    config = llama.read_gguf_kin(stated, facts, "gemma3_text")
    return replace(gemma2.read_gguf_kin(config, stated, every=6, largest=62), local_rope_theta=10_000.0)


FAMILY = replace(
    gemma2.FAMILY,
    name="gemma3_text",
    module=Gemma3,
    hf_class="Gemma3ForCausalLM",
    modules=gemma2.MODULES + qwen3.HEAD_NORMS,
    read_hf=read_hf,
    write_hf=write_hf,
    read_gguf=read_gguf,
    gguf_name="gemma3",
)
