"""Phi-3 (2404.14219): Llama whose query, key and value, and whose gate and up, are one stored tensor each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pper_jax.models.config import ModelConfig
from pper_jax.models.families import llama, rope
from pper_jax.models.families.family import GGUFFacts
from pper_jax.models.families.windows import read_windows, write_windows
from pper_jax.models.stated import Stated

LAYER, ATTENTION = "model.layers.{i}.", "layer_{i}/attention/"
FUSED = (
    (LAYER + "self_attn.qkv_proj", "blk.{i}.attn_qkv", f"{ATTENTION}query+{ATTENTION}key+{ATTENTION}value"),
    (LAYER + "mlp.gate_up_proj", "blk.{i}.ffn_up", "layer_{i}/gate+layer_{i}/up"),
)

APART = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj")


def read_hf(stated: Stated) -> ModelConfig:
    """The config of a ``config.json``."""
    heads, hidden = stated.whole("num_attention_heads"), stated.whole("hidden_size")
    turned, rotary = rope.read_partial(stated, stated.split(hidden, heads, "hidden_size"))
    config = llama.read_kin(stated, "phi3", rotary=rotary)
    return replace(config, rotary_dim=turned, windows=read_windows(stated, config.num_layers))


def write_hf(config: ModelConfig) -> dict[str, Any]:
    """The keys of ``config.json`` that ``read_hf`` reads."""
    written, share = llama.write_hf(config), (config.rotary_dim or config.head_dim) / config.head_dim
    written["rope_parameters"]["partial_rotary_factor"] = written["partial_rotary_factor"] = share
    scaling = config.rope_scaling
    longest = config.max_positions if scaling is None else scaling.original_max_positions
    window = write_windows(config)["sliding_window"]
    return written | {"original_max_position_embeddings": longest, "sliding_window": window}


def read_gguf(stated: Stated, facts: GGUFFacts) -> ModelConfig:
    """The config of a GGUF file; one whose contexts are stretched (longrope) has tensors that are not read."""
    config = llama.read_gguf_kin(stated, facts, "phi3")
    stated.read.add("rope.scaling.original_context_length")
    window = stated.whole("attention.sliding_window", 0, least=0)
    return replace(config, windows=(window,) * config.num_layers if window else ())


FAMILY = replace(
    llama.FAMILY,
    name="phi3",
    hf_class="Phi3ForCausalLM",
    modules=(*(row for row in llama.MODULES if not row[0].endswith(APART)), *FUSED),
    read_hf=read_hf,
    write_hf=write_hf,
    read_gguf=read_gguf,
    interleaved={},
)
