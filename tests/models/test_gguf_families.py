"""GGUF files of every family whose files are read: tensors under the package's own names, logits as torch's."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
import transformers
from gguf import GGUFWriter
from model_helpers import VOCAB, forward, random_tokens, random_torch, tiny_tokenizer, torch_logits

from pper_jax.errors import UserError
from pper_jax.models import MODEL_FAMILIES, load_model, read_ends

IDS = {"vocab_size": VOCAB, "bos_token_id": 259, "eos_token_id": 259, "pad_token_id": None}
SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "max_position_embeddings": 64}  # fmt: skip
GEMMA = SIZES | {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 5}
CASES = {
    "qwen2": transformers.Qwen2Config(**IDS, **SIZES),
    "qwen3": transformers.Qwen3Config(**IDS, **SIZES, head_dim=12, tie_word_embeddings=True),
    "phi3": transformers.Phi3Config(**IDS, **SIZES, sliding_window=5),
    "gemma2": transformers.Gemma2Config(**IDS, **GEMMA, attn_logit_softcapping=2.0, final_logit_softcapping=3.0),
    "gemma3": transformers.Gemma3TextConfig(**IDS, **GEMMA | {"num_hidden_layers": 7}),
    "starcoder": transformers.GPTBigCodeConfig(
        **IDS, n_embd=32, n_layer=2, n_head=4, n_positions=64, activation_function="gelu"
    ),
    "starcoder2": transformers.Starcoder2Config(**IDS, **SIZES),
}


def write(path, architecture, config, tensors, change=lambda writer: None):
    writer = GGUFWriter(path, architecture)
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(getattr(config, "intermediate_size", 128))
    writer.add_head_count(4)
    writer.add_head_count_kv(config.num_key_value_heads)
    if hasattr(config, "rms_norm_eps"):
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    else:
        writer.add_layer_norm_eps(1e-5)
    if getattr(config, "head_dim", None):
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
    rope = getattr(config, "rope_parameters", None) or {}
    if "rope_theta" in (rope := rope.get("full_attention", rope)):
        writer.add_rope_freq_base(rope["rope_theta"])
    if window := getattr(config, "sliding_window", None):
        writer.add_sliding_window(window)
    if cap := getattr(config, "final_logit_softcapping", None):
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(cap)
    change(writer)
    for name, array in tensors.items():
        writer.add_tensor(name, np.ascontiguousarray(array))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def byte_level(writer):
    tokenizer = tiny_tokenizer()
    tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * (len(tokens) - 1) + [3])
    writer.add_token_merges(["h e", "l l", "he ll"])
    writer.add_eos_token_id(len(tokens) - 1)


def stored(architecture, model):
    """The tensors under the names and with the values that llama.cpp's converter gives them."""
    arch = next(arch for arch, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(arch, model.config.num_hidden_layers)
    shift = 1.0 if "gemma" in architecture else 0.0
    return {
        names.get_name(name, (".weight", ".bias")): parameter.detach().numpy() + shift * name.endswith("norm.weight")
        for name, parameter in model.named_parameters()
    }


def test_every_family_with_a_reader_is_here():
    read = {family.gguf_name or family.name for family in MODEL_FAMILIES.values() if family.read_gguf}
    assert read == CASES.keys() | {"gpt2", "llama"}  # those two: test_gguf.py


@pytest.mark.parametrize("architecture", CASES)
def test_logits_are_torchs(architecture, tmp_path):
    model = random_torch(CASES[architecture])
    write(tmp_path / "model.gguf", architecture, model.config, stored(architecture, model), byte_level)
    module, params, tokenizer = load_model(tmp_path / "model.gguf")
    tokens = random_tokens(length=20)
    np.testing.assert_allclose(forward(module, params, tokens), torch_logits(model, tokens), atol=1e-4)
    assert read_ends(tmp_path / "model.gguf", tokenizer) == (259,)
    assert tokenizer.convert_ids_to_tokens(tokenizer("hello 12")["input_ids"]) == ["hell", "o", "Ġ", "1", "2"]


PIECES = "▁ h e l o w r d he ll hell hello ▁hello or wor ▁wor ld ▁world".split()


def sentencepiece(writer):
    """Control tokens, all bytes, and pieces with their scores."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *PIECES[: VOCAB - 259]]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * 259 + [-float(i) for i in range(len(tokens) - 259)])
    writer.add_token_types([2, 3, 3, *[6] * 256, *[1] * (len(tokens) - 259)])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


@pytest.mark.parametrize("architecture", ["phi3", "qwen2"])
def test_a_sentencepiece_vocabulary_is_what_transformers_makes_of_it(architecture, tmp_path):
    config = CASES[architecture]
    config = type(config)(**config.to_dict() | {"vocab_size": 259 + len(PIECES)})
    model = random_torch(config)
    write(tmp_path / "model.gguf", architecture, config, stored(architecture, model), sentencepiece)
    tokenizer = load_model(tmp_path / "model.gguf")[2]
    theirs = transformers.AutoTokenizer.from_pretrained(str(tmp_path), gguf_file="model.gguf")
    for text in ("hello world", "  hello", "x = [1]\n    hello\n", "é", ""):
        ids = tokenizer(text)["input_ids"]
        assert ids == theirs(text)["input_ids"]
        assert ids[0] == 1
        assert tokenizer.decode(ids, skip_special_tokens=True).lstrip(" ") == text.lstrip(" ")


def test_a_sentencepiece_vocabulary_without_scores_is_one_sentence(tmp_path):
    def without(writer):
        sentencepiece(writer)
        del writer.kv_data[0]["tokenizer.ggml.scores"]

    config = CASES["qwen2"]
    config = type(config)(**config.to_dict() | {"vocab_size": 259 + len(PIECES)})
    write(tmp_path / "model.gguf", "qwen2", config, stored("qwen2", random_torch(config)), without)
    with pytest.raises(UserError, match=r"tokenizer\.ggml\.scores' is missing"):
        load_model(tmp_path / "model.gguf")
