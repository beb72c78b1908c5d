"""StarCoder 2 (2402.19173): LayerNorm, rotary positions, grouped queries, biases, a two-layer MLP, a sliding window."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pper_jax.models.blocks import PlainBlock
from pper_jax.models.causal_lm import CausalLM
from pper_jax.models.config import ModelConfig
from pper_jax.models.families import llama, rope
from pper_jax.models.families.family import Family, GGUFFacts
from pper_jax.models.families.windows import read_windows, write_windows
from pper_jax.models.layers import layer_norm
from pper_jax.models.stated import Stated


class Block(PlainBlock):
    """Rotary positions; attention, then an MLP whose biases the config names."""

    mlp_bias = False


class StarCoder2(CausalLM):
    """Causal LM of the StarCoder 2 family; the call contract is that of ``CausalLM``."""

    block = Block
    norm = staticmethod(layer_norm)
    learned_positions = False


MODULES = (
    *(row for row in llama.MODULES if ".mlp." not in row[0]),
    ("model.layers.{i}.mlp.c_fc", "blk.{i}.ffn_up", "layer_{i}/up"),
    ("model.layers.{i}.mlp.c_proj", "blk.{i}.ffn_down", "layer_{i}/down"),
)


def read_hf(stated: Stated) -> ModelConfig:
    """The config of a ``config.json``."""
    heads, hidden, bias = stated.whole("num_attention_heads"), stated.whole("hidden_size"), stated.flag("use_bias")
    theta, scaling = rope.read_rope(stated)
    config = ModelConfig(
        family="starcoder2",
        vocab_size=stated.whole("vocab_size"),
        hidden_size=hidden,
        num_layers=stated.layers("num_hidden_layers"),
        num_heads=heads,
        num_kv_heads=stated.divisor("num_key_value_heads", heads),
        head_dim=stated.split(hidden, heads, "hidden_size"),
        mlp_size=stated.whole("intermediate_size"),
        max_positions=rope.context(stated, scaling),
        norm_eps=stated.number("norm_epsilon"),
        activation=stated.activation("hidden_act"),
        tie_embeddings=stated.flag("tie_word_embeddings"),
        attention_bias=bias,
        mlp_bias=bias,
        rope_theta=theta,
        rope_scaling=scaling,
    )
    return replace(config, windows=read_windows(stated, config.num_layers))


def write_hf(config: ModelConfig) -> dict[str, Any]:
    """The keys of ``config.json`` that ``read_hf`` reads."""
    return {
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "intermediate_size": config.mlp_size,
        "max_position_embeddings": config.max_positions,
        "norm_epsilon": config.norm_eps,
        "hidden_act": config.activation,
        "use_bias": config.mlp_bias,
        "sliding_window": write_windows(config)["sliding_window"],
        **rope.write_rope(config),
    }


def read_gguf(stated: Stated, facts: GGUFFacts) -> ModelConfig:
    """The config of a GGUF file."""
    heads, hidden = stated.whole("attention.head_count"), stated.whole("embedding_length")
    return ModelConfig(
        family="starcoder2",
        vocab_size=facts.vocab_size,
        hidden_size=hidden,
        num_layers=stated.layers("block_count"),
        num_heads=heads,
        num_kv_heads=stated.divisor("attention.head_count_kv", heads),
        head_dim=stated.split(hidden, heads, "embedding_length"),
        mlp_size=stated.whole("feed_forward_length"),
        max_positions=stated.whole("context_length"),
        norm_eps=stated.short("attention.layer_norm_epsilon"),
        activation="gelu_pytorch_tanh",
        tie_embeddings=facts.tied,
        attention_bias=facts.attention_bias,
        mlp_bias=facts.mlp_bias,
        rope_theta=stated.number("rope.freq_base", 10_000.0),
    )


FAMILY = Family(
    name="starcoder2",
    module=StarCoder2,
    hf_class="Starcoder2ForCausalLM",
    hf_prefix="model.",
    modules=MODULES,
    read_hf=read_hf,
    write_hf=write_hf,
    read_gguf=read_gguf,
)
