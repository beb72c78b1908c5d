"""Llama (2302.13971) and its kin: rotary positions, RMSNorm before each sub-layer, grouped queries, SwiGLU."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pper_jax.errors import UserError
from pper_jax.models.blocks import GatedBlock
from pper_jax.models.causal_lm import CausalLM
from pper_jax.models.config import ModelConfig, RopeScaling
from pper_jax.models.families import rope
from pper_jax.models.families.family import Family, GGUFFacts
from pper_jax.models.layers import rms_norm
from pper_jax.models.stated import Stated


class Llama(CausalLM):
    """Causal LM of the Llama family; the call contract is that of ``CausalLM``."""

    block = GatedBlock
    norm = staticmethod(rms_norm)
    learned_positions = False


MODULES = (
    ("model.embed_tokens", "token_embd", "token_embedding"),
    ("model.layers.{i}.input_layernorm", "blk.{i}.attn_norm", "layer_{i}/attention_norm"),
    ("model.layers.{i}.self_attn.q_proj", "blk.{i}.attn_q", "layer_{i}/attention/query"),
    ("model.layers.{i}.self_attn.k_proj", "blk.{i}.attn_k", "layer_{i}/attention/key"),
    ("model.layers.{i}.self_attn.v_proj", "blk.{i}.attn_v", "layer_{i}/attention/value"),
    ("model.layers.{i}.self_attn.o_proj", "blk.{i}.attn_output", "layer_{i}/attention/out"),
    ("model.layers.{i}.post_attention_layernorm", "blk.{i}.ffn_norm", "layer_{i}/mlp_norm"),
    ("model.layers.{i}.mlp.gate_proj", "blk.{i}.ffn_gate", "layer_{i}/gate"),
    ("model.layers.{i}.mlp.up_proj", "blk.{i}.ffn_up", "layer_{i}/up"),
    ("model.layers.{i}.mlp.down_proj", "blk.{i}.ffn_down", "layer_{i}/down"),
    ("model.norm", "output_norm", "final_norm"),
    ("lm_head", "output", "lm_head"),
)


def read_hf(stated: Stated) -> ModelConfig:
    """The config of a ``config.json``."""
    return read_kin(stated, "llama")


def read_kin(
    stated: Stated,
    family: str,
    activation: str = "hidden_act",
    rotary: tuple[float, RopeScaling | None] | None = None,
) -> ModelConfig:
    """The config of a family whose ``config.json`` has Llama's keys; it reads what it has beside them.

    ``activation`` is that key's name, ``rotary`` what it says of positions (theta and scaling) where Llama's reader
    does not do.
    """
    heads = stated.whole("num_attention_heads")
    theta, scaling = rope.read_rope(stated) if rotary is None else rotary
    return ModelConfig(
        family=family,
        vocab_size=stated.whole("vocab_size"),
        hidden_size=stated.whole("hidden_size"),
        num_layers=stated.layers("num_hidden_layers"),
        num_heads=heads,
        num_kv_heads=stated.divisor("num_key_value_heads", heads),
        head_dim=stated.even("head_dim", stated.whole("hidden_size") // heads),
        mlp_size=stated.whole("intermediate_size"),
        max_positions=rope.context(stated, scaling),
        norm_eps=stated.number("rms_norm_eps"),
        activation=stated.activation(activation),
        tie_embeddings=stated.flag("tie_word_embeddings"),
        attention_bias=stated.flag("attention_bias", False),
        mlp_bias=stated.flag("mlp_bias", False),
        rope_theta=theta,
        rope_scaling=scaling,
    )


def write_hf(config: ModelConfig) -> dict[str, Any]:
    """The keys of ``config.json`` that ``read_hf`` reads."""
    return {
        "hidden_size": config.hidden_size,
        "intermediate_size": config.mlp_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "max_position_embeddings": config.max_positions,
        "rms_norm_eps": config.norm_eps,
        "hidden_act": config.activation,
        "attention_bias": config.attention_bias,
        "mlp_bias": config.mlp_bias,
        **rope.write_rope(config),
    }


def read_gguf(stated: Stated, facts: GGUFFacts) -> ModelConfig:
    """The config of a GGUF file."""
    return read_gguf_kin(stated, facts, "llama")


def read_gguf_kin(stated: Stated, facts: GGUFFacts, family: str) -> ModelConfig:
    """The config of a family whose GGUF files have Llama's keys; it reads what it has beside them."""
    hidden, heads = stated.whole("embedding_length"), stated.whole("attention.head_count")
    head_dim = stated.even("attention.key_length", hidden // heads)
    if stated.whole("rope.dimension_count", head_dim) != head_dim:
        raise UserError(f"{stated.where}: rotary positions over a part of each head are not supported.")
    config = ModelConfig(
        family=family,
        vocab_size=facts.vocab_size,
        hidden_size=hidden,
        num_layers=stated.layers("block_count"),
        num_heads=heads,
        num_kv_heads=stated.divisor("attention.head_count_kv", heads),
        head_dim=head_dim,
        mlp_size=stated.whole("feed_forward_length"),
        max_positions=stated.whole("context_length"),
        norm_eps=stated.short("attention.layer_norm_rms_epsilon"),
        activation="silu",
        tie_embeddings=facts.tied,
        attention_bias=facts.attention_bias,
        mlp_bias=facts.mlp_bias,
        rope_theta=stated.number("rope.freq_base", 10_000.0),
    )
    return replace(config, rope_scaling=rope.read_gguf(stated, facts, config))


FAMILY = Family(
    name="llama",
    module=Llama,
    hf_class="LlamaForCausalLM",
    hf_prefix="model.",
    modules=MODULES,
    read_hf=read_hf,
    write_hf=write_hf,
    read_gguf=read_gguf,
    interleaved={"attn_q": lambda config: config.num_heads, "attn_k": lambda config: config.num_kv_heads},
)
