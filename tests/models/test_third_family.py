"""A family of models in one new file: StarCoder 2, with LayerNorm, rotary positions, biases and a plain MLP."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
import transformers
from flax import linen as nn
from model_helpers import VOCAB, forward, load_torch, random_tokens, random_torch, tiny_tokenizer, torch_logits

from pper_jax.decode import BeamConfig, decode_prompts
from pper_jax.errors import UserError
from pper_jax.models import MODEL_FAMILIES, CausalLM, Compute, Family, ModelConfig, describe, load_model, save_model
from pper_jax.models.attention import Attention
from pper_jax.models.config import ACTIVATIONS
from pper_jax.models.layers import dense, layer_norm
from pper_jax.models.stated import Stated


class Block(nn.Module):
    """Pre-norm transformer block: rotary attention, then a two-layer MLP, each with a residual."""

    config: ModelConfig
    compute: Compute

    @nn.compact
    def __call__(self, x: jax.Array, positions: Any, mask: Any, cache: Any, write_at: Any) -> tuple[jax.Array, Any]:
        cfg, compute = self.config, self.compute
        normed = layer_norm(cfg, "attention_norm")(x).astype(compute.dtype)
        attended, cache = Attention(cfg, compute, rotary=True, name="attention")(
            normed, positions, mask, cache, write_at
        )
        x = x + attended
        normed = layer_norm(cfg, "mlp_norm")(x).astype(compute.dtype)
        inner = ACTIVATIONS[cfg.activation](dense(compute, cfg.mlp_size, "up", bias=cfg.mlp_bias)(normed))
        return x + dense(compute, cfg.hidden_size, "down", bias=cfg.mlp_bias)(inner), cache


class StarCoder2(CausalLM):
    block = Block
    norm = staticmethod(layer_norm)
    learned_positions = False


LAYER = "model.layers.{i}."
MODULES = (
    ("model.embed_tokens", "token_embd", "token_embedding"),
    (LAYER + "input_layernorm", "blk.{i}.attn_norm", "layer_{i}/attention_norm"),
    (LAYER + "self_attn.q_proj", "blk.{i}.attn_q", "layer_{i}/attention/query"),
    (LAYER + "self_attn.k_proj", "blk.{i}.attn_k", "layer_{i}/attention/key"),
    (LAYER + "self_attn.v_proj", "blk.{i}.attn_v", "layer_{i}/attention/value"),
    (LAYER + "self_attn.o_proj", "blk.{i}.attn_output", "layer_{i}/attention/out"),
    (LAYER + "post_attention_layernorm", "blk.{i}.ffn_norm", "layer_{i}/mlp_norm"),
    (LAYER + "mlp.c_fc", "blk.{i}.ffn_up", "layer_{i}/up"),
    (LAYER + "mlp.c_proj", "blk.{i}.ffn_down", "layer_{i}/down"),
    ("model.norm", "output_norm", "final_norm"),
    ("lm_head", "output", "lm_head"),
)


def read_hf(stated: Stated) -> ModelConfig:
    heads, hidden, bias = stated.whole("num_attention_heads"), stated.whole("hidden_size"), stated.flag("use_bias")
    rope = stated.inner("rope_parameters")
    rope.only("rope_type", "default")
    return ModelConfig(
        family="starcoder2",
        vocab_size=stated.whole("vocab_size"),
        hidden_size=hidden,
        num_layers=stated.layers("num_hidden_layers"),
        num_heads=heads,
        num_kv_heads=stated.divisor("num_key_value_heads", heads),
        head_dim=stated.split(hidden, heads, "hidden_size"),
        mlp_size=stated.whole("intermediate_size"),
        max_positions=stated.whole("max_position_embeddings"),
        norm_eps=stated.number("norm_epsilon"),
        activation=stated.activation("hidden_act"),
        tie_embeddings=stated.flag("tie_word_embeddings"),
        attention_bias=bias,
        mlp_bias=bias,
        rope_theta=rope.number("rope_theta"),
    )


def write_hf(config: ModelConfig) -> dict[str, Any]:
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
        "rope_theta": config.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
    }


FAMILY = Family(
    name="starcoder2",
    module=StarCoder2,
    hf_class="Starcoder2ForCausalLM",
    hf_prefix="model.",
    modules=MODULES,
    read_hf=read_hf,
    write_hf=write_hf,
)


@pytest.fixture
def folder(monkeypatch, tmp_path):
    monkeypatch.setitem(MODEL_FAMILIES, FAMILY.name, FAMILY)
    config = transformers.Starcoder2Config(
        vocab_size=VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, bos_token_id=259, eos_token_id=259,
        rope_parameters={"rope_type": "default", "rope_theta": 123.0},
    )  # fmt: skip
    random_torch(config).save_pretrained(str(tmp_path / "in"))
    tiny_tokenizer().save_pretrained(str(tmp_path / "in"))
    return tmp_path / "in"


def test_it_loads_decodes_and_is_exported_again(folder, tmp_path):
    reference = torch_logits(load_torch(folder), random_tokens())
    module, params, tokenizer = load_model(folder)
    assert module.config.rope_theta == 123.0
    np.testing.assert_allclose(forward(module, params, random_tokens()), reference, atol=1e-4)
    assert describe(folder)["family"] == "starcoder2"
    save_model(tmp_path / "out", module, params, tokenizer)
    np.testing.assert_allclose(torch_logits(load_torch(tmp_path / "out"), random_tokens()), reference, atol=1e-5)
    assert load_model(tmp_path / "out")[0] == module
    config = BeamConfig(width=2, max_new_tokens=3)
    ((_, programs),) = decode_prompts(module, params, [[1, 2, 3]], config=config, batch_size=1, buckets=(8,))
    assert len(programs) == 2


def test_what_its_reader_leaves_unread_is_refused(folder):
    path = folder / "config.json"
    path.write_text(path.read_text().replace('"sliding_window": null', '"sliding_window": 8'))
    with pytest.raises(UserError, match="sliding_window=8 is not supported"):
        load_model(folder)
