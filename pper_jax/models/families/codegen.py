"""CodeGen (2203.13474): GPT-J whose query, value and key are one stored tensor, cut for four cores."""

from __future__ import annotations

from dataclasses import replace

from pper_jax.errors import UserError
from pper_jax.models.config import ModelConfig
from pper_jax.models.families import gptj
from pper_jax.models.stated import Stated

CORES = 4
ATTENTION = "layer_{i}/attention/"
FUSED = (gptj.LAYER + "attn.qkv_proj", "blk.{i}.attn_qkv", f"{ATTENTION}query+{ATTENTION}value+{ATTENTION}key")


def read_hf(stated: Stated) -> ModelConfig:
    """The config of a ``config.json``."""
    config = gptj.read_kin(stated, "codegen")
    if config.num_heads % CORES:
        raise UserError(f"{stated.where}: n_head is {config.num_heads}; CodeGen's heads are dealt to {CORES} cores.")
    return config


FAMILY = replace(
    gptj.FAMILY,
    name="codegen",
    hf_class="CodeGenForCausalLM",
    modules=(*gptj.AROUND, FUSED),
    read_hf=read_hf,
    fused_groups=lambda config: CORES,
)
