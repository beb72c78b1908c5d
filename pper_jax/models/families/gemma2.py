"""Gemma 2 (2408.00118): norms before and after each sub-layer, soft caps, a window on every other layer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pper_jax.models.blocks import GatedBlock
from pper_jax.models.causal_lm import CausalLM
from pper_jax.models.config import ModelConfig
from pper_jax.models.families import llama
from pper_jax.models.families.family import GGUFFacts
from pper_jax.models.families.windows import read_windows, write_windows
from pper_jax.models.layers import shifted_rms_norm
from pper_jax.models.stated import Stated


class Block(GatedBlock):
    """A gated block with norms on both sides."""

    norm = staticmethod(shifted_rms_norm)
    post_norms = True


class Gemma2(CausalLM):
    """Causal LM of the Gemma 2 family; the call contract is that of ``CausalLM``."""

    block = Block
    norm = staticmethod(shifted_rms_norm)
    learned_positions = False


LAYER = "model.layers.{i}."
MODULES = (
    *(row for row in llama.MODULES if "post_attention_layernorm" not in row[0]),
    (LAYER + "post_attention_layernorm", "blk.{i}.post_attention_norm", "layer_{i}/post_attention_norm"),
    (LAYER + "pre_feedforward_layernorm", "blk.{i}.ffn_norm", "layer_{i}/mlp_norm"),
    (LAYER + "post_feedforward_layernorm", "blk.{i}.post_ffw_norm", "layer_{i}/post_mlp_norm"),
)


def read_hf(stated: Stated) -> ModelConfig:
    """The config of a ``config.json``."""
    return read_kin(llama.read_kin(stated, "gemma2", "hidden_activation"), stated)


def read_kin(config: ModelConfig, stated: Stated) -> ModelConfig:
    """``config`` with what Gemma 2 and 3 state beside Llama's keys."""
    stated.only("use_bidirectional_attention", False)

    def cap(key: str) -> float | None:
        return stated.number(key) if key in stated else None

    return replace(
        config,
        windows=read_windows(stated, config.num_layers),
        attention_scale=stated.number("query_pre_attn_scalar") ** -0.5,
        embedding_scale=config.hidden_size**0.5,
        attention_cap=cap("attn_logit_softcapping"),
        logit_cap=cap("final_logit_softcapping"),
    )


def write_hf(config: ModelConfig) -> dict[str, Any]:
    """The keys of ``config.json`` that ``read_hf`` reads."""
    written, scale = llama.write_hf(config) | write_windows(config), config.attention_scale or config.head_dim**-0.5
    written["hidden_activation"] = written.pop("hidden_act")
    return written | {
        "query_pre_attn_scalar": round(scale**-2),
        "attn_logit_softcapping": config.attention_cap,
        "final_logit_softcapping": config.logit_cap,
    }


def read_gguf(stated: Stated, facts: GGUFFacts) -> ModelConfig:
    """The config of a GGUF file."""
    config = read_gguf_kin(llama.read_gguf_kin(stated, facts, "gemma2"), stated, every=2, largest=46)
    caps = stated.number("attn_logit_softcapping", 50.0), stated.number("final_logit_softcapping", 30.0)
    return replace(config, attention_cap=caps[0], logit_cap=caps[1])


def read_gguf_kin(config: ModelConfig, stated: Stated, every: int, largest: int) -> ModelConfig:
    """``config`` with what GGUF files of Gemma 2 and 3 state, and what they leave to the reader.

    Every ``every``-th layer has no window. Queries are scaled by a head's size, in the model of ``largest`` layers by
    what each head has of the width.
    """
    window, layers = stated.whole("attention.sliding_window", 4096), config.num_layers
    share = config.hidden_size / config.num_heads if layers == largest else config.head_dim
    return replace(
        config,
        activation="gelu_pytorch_tanh",
        windows=tuple(0 if (i + 1) % every == 0 else window for i in range(layers)),
        attention_scale=share**-0.5,
        embedding_scale=config.hidden_size**0.5,
    )


FAMILY = replace(
    llama.FAMILY,
    name="gemma2",
    module=Gemma2,
    hf_class="Gemma2ForCausalLM",
    modules=MODULES,
    read_hf=read_hf,
    write_hf=write_hf,
    read_gguf=read_gguf,
    gguf_shift=1.0,
    interleaved={},
)
