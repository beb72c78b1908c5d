"""GGUF files, written here the way llama.cpp's converter writes them, against torch with the dequantised weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Q
from gguf import GGUFWriter, quants
from model_helpers import (
    forward,
    gpt2_config,
    llama_config,
    random_tokens,
    random_torch,
    tiny_tokenizer,
    torch_logits,
)

from pper_jax.errors import UserError
from pper_jax.models import ModelConfig, RopeScaling, describe, load_model
from pper_jax.models.gguf import open_gguf, unpermute, weight_source

LLAMA = llama_config(hidden_size=64, intermediate_size=96, rope_parameters={"rope_type": "default", "rope_theta": 5e5})
GPT2 = gpt2_config(n_embd=32)
LLAMA_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "model.layers": "blk",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
GPT2_NAMES = {
    "transformer.wte": "token_embd",
    "transformer.wpe": "position_embd",
    "transformer.ln_f": "output_norm",
    "transformer.h": "blk",
    "ln_1": "attn_norm",
    "ln_2": "ffn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}


def permute(rows: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp's order of the rows of q and k."""
    return rows.reshape(heads, 2, len(rows) // heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def write_metadata(writer: GGUFWriter, config, **changes) -> None:
    llama = config.model_type == "llama"
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size if llama else 4 * config.hidden_size)
    writer.add_head_count(config.num_attention_heads)
    if llama:
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
        writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    else:
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
    tokenizer = tiny_tokenizer()
    tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    tokens = [*tokens[:-1], "12", tokens[-1]]
    writer.add_tokenizer_model(changes.get("tokenizer", "gpt2"))
    writer.add_tokenizer_pre(changes.get("pre", "smollm"))
    writer.add_token_list(tokens)
    writer.add_token_types([1] * (len(tokens) - 1) + [3])
    writer.add_token_merges(["h e", "l l", "he ll", "1 2"])
    writer.add_eos_token_id(len(tokens) - 1)
    writer.add_bos_token_id(len(tokens) - 1)
    if changes.get("bos", False) is not None:
        writer.add_add_bos_token(changes.get("bos", False))
    for key, index in changes.get("ids", {}).items():
        writer.add_uint32(key, index)
    writer.add_chat_template("{{ messages[0]['content'] }}")


def write_gguf(path, model: torch.nn.Module, qtype: Q, extra=None, drop: str = "", **changes) -> None:
    """Write ``model`` in ``qtype`` (vectors in float32) and round the model's own weights to what was written."""
    config = model.config
    llama = config.model_type == "llama"
    writer = GGUFWriter(path, changes.get("architecture", config.model_type))
    write_metadata(writer, config, **changes)
    for name, parameter in model.named_parameters():
        stored = name
        for theirs, ours in (LLAMA_NAMES if llama else GPT2_NAMES).items():
            stored = stored.replace(theirs, ours)
        array = parameter.detach().numpy()
        conv1d = ".h." in name and array.ndim == 2
        array = array.T if conv1d else array
        if array.ndim == 2:
            packed = quants.quantize(np.ascontiguousarray(array), qtype)
            rounded = quants.dequantize(packed, qtype)
            parameter.data = torch.tensor(rounded.T.copy() if conv1d else rounded)
            heads = {"attn_q": config.num_attention_heads, "attn_k": getattr(config, "num_key_value_heads", None)}
            if llama and (part := stored.split(".")[-2]) in heads:
                packed = permute(packed, heads[part])
            if stored != drop:
                writer.add_tensor(stored, packed, raw_dtype=qtype)
        else:
            writer.add_tensor(stored, array)
    for name, array in (extra or {}).items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("qtype", [Q.F32, Q.F16, Q.BF16, Q.Q8_0, Q.Q4_0, Q.Q4_1], ids=lambda qtype: qtype.name)
@pytest.mark.parametrize("config", [GPT2, LLAMA], ids=lambda config: config.model_type)
def test_logits_equal_torch_with_the_dequantised_weights(config, qtype, tmp_path):
    model = random_torch(config)
    write_gguf(tmp_path / "model.gguf", model, qtype)
    module, params, _ = load_model(tmp_path / "model.gguf")
    np.testing.assert_allclose(
        forward(module, params, random_tokens()), torch_logits(model, random_tokens()), atol=1e-4
    )
    facts = describe(tmp_path / "model.gguf")
    assert facts["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert facts["stored_as"] == "+".join(sorted({"F32", qtype.name}))
    assert module.config.norm_eps == 1e-5
    assert module.config.tie_embeddings == (config is GPT2)


BLOCKS = [kind for kind in Q if kind in quants._type_traits and kind not in (Q.F32, Q.F16, Q.BF16)]


@pytest.mark.parametrize("qtype", BLOCKS, ids=lambda qtype: qtype.name)
def test_every_type_that_the_package_dequantises_is_read(qtype, tmp_path):
    shape = quants.quant_shape_to_byte_shape((264, 256), qtype)
    rows = np.random.default_rng(0).integers(0, 64, shape, np.uint8)
    writer = GGUFWriter(tmp_path / "model.gguf", "gpt2")
    writer.add_tensor("token_embd.weight", rows, raw_dtype=qtype)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    config = ModelConfig("gpt2", 264, 256, 1, 4, 4, 64, 8, 8)
    read = weight_source(open_gguf(tmp_path / "model.gguf"), config)["token_embd.weight"]()
    np.testing.assert_array_equal(read, quants.dequantize(rows, qtype))
    assert np.isfinite(read).all()


def test_unpermute_undoes_the_order_of_the_converter():
    rows = np.random.default_rng(0).normal(size=(24, 5))
    assert not np.array_equal(permute(rows, 3), rows)
    np.testing.assert_array_equal(unpermute(permute(rows, 3), 3), rows)
    np.testing.assert_array_equal(unpermute(permute(rows[:, 0], 3), 3), rows[:, 0])


def test_llama3_rope_divisors(tmp_path):
    scaling = RopeScaling("llama3", 8.0)
    plain = 5e5 ** -(np.arange(0, 16, 2) / 16)
    turns = 8192 * plain / (2 * np.pi)
    keep = np.clip((turns - 1) / 3, 0, 1)
    divisors = (1 / (keep + (1 - keep) / 8)).astype(np.float32)
    assert len(set(divisors.tolist())) > 2
    model = random_torch(LLAMA)
    write_gguf(tmp_path / "a.gguf", model, Q.F32, {"rope_freqs.weight": divisors})
    assert load_model(tmp_path / "a.gguf")[0].config.rope_scaling == scaling
    write_gguf(tmp_path / "b.gguf", model, Q.F32, {"rope_freqs.weight": np.ones_like(divisors)})
    assert load_model(tmp_path / "b.gguf")[0].config.rope_scaling is None
    write_gguf(tmp_path / "c.gguf", model, Q.F32, {"rope_freqs.weight": np.linspace(1, 9, 8, dtype=np.float32)})
    with pytest.raises(UserError, match="are not those of Llama 3"):
        load_model(tmp_path / "c.gguf")


def test_tokenizer_from_metadata(tmp_path):
    model = random_torch(GPT2)
    text = "hello 12 é\n<eos>"
    for pre, bos in (("smollm", False), ("gpt-2", False), ("llama-bpe", True)):
        write_gguf(tmp_path / f"{pre}.gguf", model, Q.F16, pre=pre, bos=bos)
        tokenizer = load_model(tmp_path / f"{pre}.gguf")[2]
        tokens = tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])
        digits = ["Ġ", "1", "2"] if pre == "smollm" else ["Ġ", "12"]
        assert tokens == ["<eos>"] * bos + ["hell", "o", *digits, "Ġ", "Ã", "©", "Ċ", "<eos>"]
        assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text.removesuffix("<eos>")
        assert tokenizer.eos_token_id == 260
        assert tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False) == "hi"


REFUSED = {
    "family 'mamba' is not supported": {"architecture": "mamba"},
    "tokenizer 'bert' with pre-tokenizer 'smollm' is not supported": {"tokenizer": "bert"},
    "pre-tokenizer 'deepseek-coder' is not supported": {"pre": "deepseek-coder"},
    r"lacks 1 tensor\(s\).*'blk.1.ffn_up.weight'": {"drop": "blk.1.ffn_up.weight"},
    r"has unexpected 1 tensor\(s\).*'blk.0.surprise'": {"extra": {"blk.0.surprise": np.ones(3, np.float32)}},
    "tokenizer has 261 tokens, its model embeds 250": {"vocab_size": 250},
    "no tensor 'token_embd.weight'": {"drop": "token_embd.weight"},
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_files_that_cannot_be_used_are_answered_with_one_sentence(sentence, tmp_path):
    model = random_torch(gpt2_config(n_embd=32, vocab_size=REFUSED[sentence].get("vocab_size", 264)))
    write_gguf(tmp_path / "model.gguf", model, Q.F16, **REFUSED[sentence])
    with pytest.raises(UserError, match=sentence):
        load_model(tmp_path / "model.gguf")


def test_type_that_cannot_be_dequantised(tmp_path):
    writer = GGUFWriter(tmp_path / "model.gguf", "llama")
    write_metadata(writer, LLAMA)
    writer.add_tensor("token_embd.weight", np.zeros((264, 80), np.uint8), raw_dtype=Q.Q8_1)
    writer.add_tensor("rope_freqs.weight", np.zeros((1, 40), np.uint8), raw_dtype=Q.Q8_1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(UserError, match="stored as Q8_1, which cannot be dequantised"):
        load_model(tmp_path / "model.gguf")


def test_what_is_not_a_gguf_file(tmp_path):
    with pytest.raises(UserError, match="no model there"):
        load_model(tmp_path / "absent")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(UserError, match="not a GGUF file"):
        load_model(tmp_path / "text")
    write_gguf(tmp_path / "model.gguf", random_torch(GPT2), Q.F16)
    whole = (tmp_path / "model.gguf").read_bytes()
    for size in (10, len(whole) // 20, len(whole) - 5000):
        (tmp_path / "model.gguf").write_bytes(whole[:size])
        with pytest.raises(UserError, match="damaged or truncated"):
            load_model(tmp_path / "model.gguf")
