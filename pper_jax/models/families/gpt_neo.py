"""GPT-Neo (EleutherAI 2021): GPT-2 with local windows on some layers and no scale before the softmax."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pper_jax.errors import UserError
from pper_jax.models.config import ModelConfig
from pper_jax.models.families import gpt2
from pper_jax.models.stated import Stated

LAYER = "transformer.h.{i}."
SAME = {
    "transformer.h.{i}.attn.c_proj": "attn.attention.out_proj",
    "transformer.h.{i}.mlp.c_fc": "mlp.c_fc",
    "transformer.h.{i}.mlp.c_proj": "mlp.c_proj",
}
MODULES = (
    *((LAYER + SAME[row[0]], *row[1:]) if row[0] in SAME else row for row in gpt2.MODULES if "c_attn" not in row[0]),
    (LAYER + "attn.attention.q_proj", "blk.{i}.attn_q", "layer_{i}/attention/query"),
    (LAYER + "attn.attention.k_proj", "blk.{i}.attn_k", "layer_{i}/attention/key"),
    (LAYER + "attn.attention.v_proj", "blk.{i}.attn_v", "layer_{i}/attention/value"),
)


def read_hf(stated: Stated) -> ModelConfig:
    """The config of a ``config.json``."""
    hidden, heads, layers = stated.whole("hidden_size"), stated.whole("num_heads"), stated.layers("num_layers")
    size, kinds = stated.whole("window_size"), stated.texts("attention_layers")
    stated.read.add("attention_types")  # the same, as a list of repeated patterns
    if len(kinds) != layers or not {"global", "local"}.issuperset(kinds):
        raise UserError(f"{stated.where}: attention_types must name 'global' or 'local' for each of {layers} layers.")
    return ModelConfig(
        family="gpt_neo",
        vocab_size=stated.whole("vocab_size"),
        hidden_size=hidden,
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=heads,
        head_dim=stated.split(hidden, heads, "hidden_size"),
        mlp_size=stated.whole("intermediate_size", 4 * hidden),
        max_positions=stated.whole("max_position_embeddings"),
        norm_eps=stated.number("layer_norm_epsilon"),
        activation=stated.activation("activation_function"),
        tie_embeddings=stated.flag("tie_word_embeddings"),
        out_bias=True,
        mlp_bias=True,
        windows=tuple(size if kind == "local" else 0 for kind in kinds) if "local" in kinds else (),
        attention_scale=1.0,
    )


def write_hf(config: ModelConfig) -> dict[str, Any]:
    """The keys of ``config.json`` that ``read_hf`` reads."""
    windows = config.windows or (0,) * config.num_layers
    kinds = ["local" if window else "global" for window in windows]
    return {
        "hidden_size": config.hidden_size,
        "num_layers": config.num_layers,
        "num_heads": config.num_heads,
        "intermediate_size": config.mlp_size,
        "max_position_embeddings": config.max_positions,
        "layer_norm_epsilon": config.norm_eps,
        "activation_function": config.activation,
        "window_size": max(windows) or 256,
        "attention_types": [[[kind], 1] for kind in kinds],
        "attention_layers": kinds,
    }


FAMILY = replace(
    gpt2.FAMILY,
    name="gpt_neo",
    hf_class="GPTNeoForCausalLM",
    modules=MODULES,
    read_hf=read_hf,
    write_hf=write_hf,
    read_gguf=None,
    conv1d=lambda module: False,
    stored=lambda config: config,
)
