"""GPT-2 (Radford et al. 2019): learned positions, LayerNorm before each sub-layer, a two-layer GELU MLP."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pper_jax.models.blocks import PlainBlock
from pper_jax.models.causal_lm import CausalLM
from pper_jax.models.config import MOST_HEAD_DIM, ModelConfig
from pper_jax.models.families.family import Family, GGUFFacts
from pper_jax.models.layers import layer_norm
from pper_jax.models.stated import Stated


class Block(PlainBlock):
    """Learned positions; attention, then the MLP."""

    rotary = False


class GPT2(CausalLM):
    """Causal LM of the GPT-2 family; the call contract is that of ``CausalLM``."""

    block = Block
    norm = staticmethod(layer_norm)
    learned_positions = True


MODULES = (
    ("transformer.wte", "token_embd", "token_embedding"),
    ("transformer.wpe", "position_embd", "position_embedding"),
    ("transformer.h.{i}.ln_1", "blk.{i}.attn_norm", "layer_{i}/attention_norm"),
    (
        "transformer.h.{i}.attn.c_attn",
        "blk.{i}.attn_qkv",
        "layer_{i}/attention/query+layer_{i}/attention/key+layer_{i}/attention/value",
    ),
    ("transformer.h.{i}.attn.c_proj", "blk.{i}.attn_output", "layer_{i}/attention/out"),
    ("transformer.h.{i}.ln_2", "blk.{i}.ffn_norm", "layer_{i}/mlp_norm"),
    ("transformer.h.{i}.mlp.c_fc", "blk.{i}.ffn_up", "layer_{i}/up"),
    ("transformer.h.{i}.mlp.c_proj", "blk.{i}.ffn_down", "layer_{i}/down"),
    ("transformer.ln_f", "output_norm", "final_norm"),
    ("lm_head", "output", "lm_head"),
)


def read_hf(stated: Stated) -> ModelConfig:
    """The config of a ``config.json``."""
    return read_kin(stated, "gpt2")


def read_kin(stated: Stated, family: str) -> ModelConfig:
    """The config of a family whose ``config.json`` has GPT-2's keys."""
    stated.only("scale_attn_weights", True)
    stated.only("scale_attn_by_inverse_layer_idx", False)
    stated.only("add_cross_attention", False)
    hidden, heads = stated.whole("n_embd"), stated.whole("n_head")
    return ModelConfig(
        family=family,
        vocab_size=stated.whole("vocab_size"),
        hidden_size=hidden,
        num_layers=stated.layers("n_layer"),
        num_heads=heads,
        num_kv_heads=heads,
        head_dim=stated.split(hidden, heads, "n_embd"),
        mlp_size=stated.whole("n_inner", 4 * hidden),
        max_positions=stated.whole("n_positions"),
        norm_eps=stated.number("layer_norm_epsilon"),
        activation=stated.activation("activation_function"),
        tie_embeddings=stated.flag("tie_word_embeddings"),
        attention_bias=True,
        mlp_bias=True,
    )


def write_hf(config: ModelConfig) -> dict[str, Any]:
    """The keys of ``config.json`` that ``read_hf`` reads."""
    return {
        "n_embd": config.hidden_size,
        "n_layer": config.num_layers,
        "n_head": config.num_heads,
        "n_inner": config.mlp_size,
        "n_positions": config.max_positions,
        "layer_norm_epsilon": config.norm_eps,
        "activation_function": config.activation,
    }


def read_gguf(stated: Stated, facts: GGUFFacts) -> ModelConfig:
    """The config of a GGUF file."""
    hidden, heads = stated.whole("embedding_length"), stated.whole("attention.head_count")
    head_dim = stated.whole("attention.key_length", stated.split(hidden, heads, "embedding_length"), most=MOST_HEAD_DIM)
    return ModelConfig(
        family="gpt2",
        vocab_size=facts.vocab_size,
        hidden_size=hidden,
        num_layers=stated.layers("block_count"),
        num_heads=heads,
        num_kv_heads=stated.divisor("attention.head_count_kv", heads),
        head_dim=head_dim,
        mlp_size=stated.whole("feed_forward_length"),
        max_positions=stated.whole("context_length"),
        norm_eps=stated.short("attention.layer_norm_epsilon"),
        tie_embeddings=facts.tied,
        attention_bias=facts.attention_bias,
        mlp_bias=facts.mlp_bias,
    )


FAMILY = Family(
    name="gpt2",
    module=GPT2,
    hf_class="GPT2LMHeadModel",
    hf_prefix="transformer.",
    modules=MODULES,
    read_hf=read_hf,
    write_hf=write_hf,
    read_gguf=read_gguf,
    conv1d=lambda module: module.startswith("transformer.h."),
    stored=lambda config: replace(config, attention_bias=True),  # on disk it always has these biases
)
