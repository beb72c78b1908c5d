"""A family of models in one new file: StableLM, a gated block with LayerNorm and partial rotary positions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import transformers
from model_helpers import VOCAB, forward, load_torch, random_tokens, random_torch, tiny_tokenizer, torch_logits

from pper_jax.decode import BeamConfig, decode_prompts
from pper_jax.errors import UserError
from pper_jax.models import MODEL_FAMILIES, ModelConfig, describe, load_model, save_model
from pper_jax.models.blocks import GatedBlock
from pper_jax.models.families import llama, rope
from pper_jax.models.layers import layer_norm
from pper_jax.models.stated import Stated


class Block(GatedBlock):
    norm = staticmethod(layer_norm)


class StableLM(llama.Llama):
    block = Block
    norm = staticmethod(layer_norm)


def read_hf(stated: Stated) -> ModelConfig:
    heads, hidden = stated.whole("num_attention_heads"), stated.whole("hidden_size")
    head_dim = stated.split(hidden, heads, "hidden_size")
    turned, (theta, scaling) = rope.read_partial(stated, head_dim)
    stated.only("qk_layernorm", False)
    stated.only("use_parallel_residual", False)
    return ModelConfig(
        family="stablelm",
        vocab_size=stated.whole("vocab_size"),
        hidden_size=hidden,
        num_layers=stated.layers("num_hidden_layers"),
        num_heads=heads,
        num_kv_heads=stated.divisor("num_key_value_heads", heads),
        head_dim=head_dim,
        mlp_size=stated.whole("intermediate_size"),
        max_positions=stated.whole("max_position_embeddings"),
        norm_eps=stated.number("layer_norm_eps"),
        activation=stated.activation("hidden_act"),
        tie_embeddings=stated.flag("tie_word_embeddings"),
        attention_bias=stated.flag("use_qkv_bias"),
        out_bias=False,
        rope_theta=theta,
        rope_scaling=scaling,
        rotary_dim=turned,
    )


def write_hf(config: ModelConfig) -> dict[str, Any]:
    written = llama.write_hf(config)
    written["rope_parameters"]["partial_rotary_factor"] = config.rotary_dim / config.head_dim
    return written | {"layer_norm_eps": config.norm_eps, "use_qkv_bias": config.attention_bias}


FAMILY = replace(
    llama.FAMILY,
    name="stablelm",
    module=StableLM,
    hf_class="StableLmForCausalLM",
    read_hf=read_hf,
    write_hf=write_hf,
    read_gguf=None,
)


@pytest.fixture
def folder(monkeypatch, tmp_path):
    monkeypatch.setitem(MODEL_FAMILIES, FAMILY.name, FAMILY)
    config = transformers.StableLmConfig(
        vocab_size=VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, bos_token_id=259, eos_token_id=259,
        rope_parameters={"rope_type": "default", "rope_theta": 123.0, "partial_rotary_factor": 0.25}, use_qkv_bias=True,
    )  # fmt: skip
    random_torch(config).save_pretrained(str(tmp_path / "in"))
    tiny_tokenizer().save_pretrained(str(tmp_path / "in"))
    return tmp_path / "in"


def test_it_loads_decodes_and_is_exported_again(folder, tmp_path):
    reference = torch_logits(load_torch(folder), random_tokens())
    module, params, tokenizer = load_model(folder)
    assert module.config.rope_theta == 123.0
    np.testing.assert_allclose(forward(module, params, random_tokens()), reference, atol=1e-4)
    assert describe(folder)["family"] == "stablelm"
    save_model(tmp_path / "out", module, params, tokenizer)
    np.testing.assert_allclose(torch_logits(load_torch(tmp_path / "out"), random_tokens()), reference, atol=1e-5)
    assert load_model(tmp_path / "out")[0] == module
    config = BeamConfig(width=2, max_new_tokens=3)
    ((_, programs),) = decode_prompts(module, params, [[1, 2, 3]], config=config, batch_size=1, buckets=(8,))
    assert len(programs) == 2


def test_what_its_reader_leaves_unread_is_refused(folder):
    path = folder / "config.json"
    path.write_text(path.read_text().replace('"hidden_size"', '"residual_multiplier": 8, "hidden_size"'))
    with pytest.raises(UserError, match="residual_multiplier=8 is not supported"):
        load_model(folder)
