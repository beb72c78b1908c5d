"""GPT-NeoX (2204.06745), Pythia's architecture: rotary over a part of each head, attention and MLP side by side."""

from __future__ import annotations

from typing import Any

from pper_jax.models.blocks import PlainBlock
from pper_jax.models.causal_lm import CausalLM
from pper_jax.models.config import ModelConfig
from pper_jax.models.families import rope
from pper_jax.models.families.family import Family
from pper_jax.models.layers import layer_norm
from pper_jax.models.stated import Stated


class GPTNeoX(CausalLM):
    """Causal LM of the GPT-NeoX family; the call contract is that of ``CausalLM``."""

    block = PlainBlock
    norm = staticmethod(layer_norm)
    learned_positions = False


LAYER, ATTENTION = "gpt_neox.layers.{i}.", "layer_{i}/attention/"
MODULES = (
    ("gpt_neox.embed_in", "token_embd", "token_embedding"),
    (LAYER + "input_layernorm", "blk.{i}.attn_norm", "layer_{i}/attention_norm"),
    (LAYER + "attention.query_key_value", "blk.{i}.attn_qkv", f"{ATTENTION}query+{ATTENTION}key+{ATTENTION}value"),
    (LAYER + "attention.dense", "blk.{i}.attn_output", "layer_{i}/attention/out"),
    (LAYER + "post_attention_layernorm", "blk.{i}.ffn_norm", "layer_{i}/mlp_norm"),
    (LAYER + "mlp.dense_h_to_4h", "blk.{i}.ffn_up", "layer_{i}/up"),
    (LAYER + "mlp.dense_4h_to_h", "blk.{i}.ffn_down", "layer_{i}/down"),
    ("gpt_neox.final_layer_norm", "output_norm", "final_norm"),
    ("embed_out", "output", "lm_head"),
)


def read_hf(stated: Stated) -> ModelConfig:
    """The config of a ``config.json``."""
    hidden, heads = stated.whole("hidden_size"), stated.whole("num_attention_heads")
    head_dim = stated.split(hidden, heads, "hidden_size")
    turned, (theta, scaling) = rope.read_partial(stated, head_dim)
    return ModelConfig(
        family="gpt_neox",
        vocab_size=stated.whole("vocab_size"),
        hidden_size=hidden,
        num_layers=stated.layers("num_hidden_layers"),
        num_heads=heads,
        num_kv_heads=heads,
        head_dim=head_dim,
        mlp_size=stated.whole("intermediate_size"),
        max_positions=rope.context(stated, scaling),
        norm_eps=stated.number("layer_norm_eps"),
        activation=stated.activation("hidden_act"),
        tie_embeddings=stated.flag("tie_word_embeddings"),
        attention_bias=stated.flag("attention_bias", True),
        mlp_bias=True,
        rope_theta=theta,
        rope_scaling=scaling,
        rotary_dim=turned,
        parallel_residual=stated.flag("use_parallel_residual"),
    )


def write_hf(config: ModelConfig) -> dict[str, Any]:
    """The keys of ``config.json`` that ``read_hf`` reads."""
    written, share = rope.write_rope(config), (config.rotary_dim or config.head_dim) / config.head_dim
    written["rope_parameters"]["partial_rotary_factor"] = share
    return {
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "intermediate_size": config.mlp_size,
        "max_position_embeddings": config.max_positions,
        "layer_norm_eps": config.norm_eps,
        "hidden_act": config.activation,
        "attention_bias": config.attention_bias,
        "use_parallel_residual": config.parallel_residual,
        "rotary_pct": share,
        "rotary_emb_base": config.rope_theta,
        **written,
    }


FAMILY = Family(
    name="gpt_neox",
    module=GPTNeoX,
    hf_class="GPTNeoXForCausalLM",
    hf_prefix="gpt_neox.",
    modules=MODULES,
    read_hf=read_hf,
    write_hf=write_hf,
    fused_groups=lambda config: config.num_heads,
)
