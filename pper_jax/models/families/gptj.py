"""GPT-J (EleutherAI 2021): attention and MLP side by side, rotary positions of neighbours over a part of each head."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pper_jax.models.blocks import PlainBlock
from pper_jax.models.causal_lm import CausalLM
from pper_jax.models.config import ModelConfig
from pper_jax.models.families import gpt2
from pper_jax.models.families.family import Family
from pper_jax.models.layers import layer_norm
from pper_jax.models.stated import Stated


class Block(PlainBlock):
    """Attention and MLP read the same normed input."""

    interleaved = True
    one_norm = True


class GPTJ(CausalLM):
    """Causal LM of the GPT-J family; the call contract is that of ``CausalLM``."""

    block = Block
    norm = staticmethod(layer_norm)
    learned_positions = False


LAYER = "transformer.h.{i}."
AROUND = (
    ("transformer.wte", "token_embd", "token_embedding"),
    (LAYER + "ln_1", "blk.{i}.attn_norm", "layer_{i}/attention_norm"),
    (LAYER + "attn.out_proj", "blk.{i}.attn_output", "layer_{i}/attention/out"),
    (LAYER + "mlp.fc_in", "blk.{i}.ffn_up", "layer_{i}/up"),
    (LAYER + "mlp.fc_out", "blk.{i}.ffn_down", "layer_{i}/down"),
    ("transformer.ln_f", "output_norm", "final_norm"),
    ("lm_head", "output", "lm_head"),
)
MODULES = (
    *AROUND,
    (LAYER + "attn.q_proj", "blk.{i}.attn_q", "layer_{i}/attention/query"),
    (LAYER + "attn.k_proj", "blk.{i}.attn_k", "layer_{i}/attention/key"),
    (LAYER + "attn.v_proj", "blk.{i}.attn_v", "layer_{i}/attention/value"),
)


def read_hf(stated: Stated) -> ModelConfig:
    """The config of a ``config.json``."""
    return read_kin(stated, "gptj")


def read_kin(stated: Stated, family: str) -> ModelConfig:
    """The config of a family whose ``config.json`` has GPT-J's keys."""
    stated.only("tie_word_embeddings", False)
    config = gpt2.read_kin(stated, family)
    return replace(
        config,
        attention_bias=False,
        head_bias=True,
        rotary_dim=stated.whole("rotary_dim", least=2, most=config.head_dim),
        parallel_residual=True,
    )


def write_hf(config: ModelConfig) -> dict[str, Any]:
    """The keys of ``config.json`` that ``read_hf`` reads."""
    return gpt2.write_hf(config) | {"rotary_dim": config.rotary_dim}


FAMILY = Family(
    name="gptj",
    module=GPTJ,
    hf_class="GPTJForCausalLM",
    hf_prefix="transformer.",
    modules=MODULES,
    read_hf=read_hf,
    write_hf=write_hf,
)
