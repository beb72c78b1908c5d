"""What a checkpoint states: wrong types and sizes end in one sentence at once, and nothing unobeyed is passed over."""

from __future__ import annotations

import json
import os
import shutil
import struct
from pathlib import Path

import pytest
from gguf import GGMLQuantizationType as Q
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_helpers import gpt2_config, llama_config, random_torch, tiny_tokenizer
from test_gguf import GPT2, LLAMA, write_gguf

from pper_jax.errors import UserError
from pper_jax.models import RopeScaling, describe, load_model
from pper_jax.models.gguf_file import open_gguf

WRONG = [-1, 0, 7, 10**9, 2**63, 1.5, 0.0, float("nan"), float("inf"), True, "", "x" * 10_000]
WRONG += [[], [1, 2], ["a", "b"], [[1]]]
KEYS = {
    "general": "architecture name alignment file_type",
    "tokenizer": "ggml.model ggml.pre ggml.tokens ggml.token_type ggml.merges ggml.eos_token_id ggml.bos_token_id "
    "ggml.add_bos_token ggml.unknown_token_id ggml.padding_token_id chat_template",
    "gpt2": "context_length embedding_length block_count feed_forward_length attention.head_count "
    "attention.head_count_kv attention.key_length attention.layer_norm_epsilon attention.causal",
    "llama": "context_length embedding_length block_count feed_forward_length attention.head_count "
    "attention.head_count_kv attention.layer_norm_rms_epsilon attention.key_length rope.freq_base rope.scaling.type "
    "rope.scaling.factor rope.dimension_count attention.scale logit_scale expert_count attention.sliding_window",
}
PAIRS = [f"{room}.{key}" for room, keys in KEYS.items() for key in keys.split()]


def string(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def packed(value) -> bytes:
    """A GGUF value, its type first."""
    if isinstance(value, bool):
        return struct.pack("<IB", 7, value)
    if isinstance(value, int):
        return struct.pack("<Iq", 11, value) if value < 2**63 else struct.pack("<IQ", 10, value)
    if isinstance(value, float):
        return struct.pack("<Id", 12, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + string(value)
    kind = packed(value[0])[:4] if value else struct.pack("<I", 4)
    return struct.pack("<I", 9) + kind + struct.pack("<Q", len(value)) + b"".join(packed(x)[4:] for x in value)


def rewritten(path: Path, changes: dict, out: Path) -> Path:
    """A GGUF file with these pairs of its metadata changed or added; its tensors stay."""
    model = open_gguf(path)
    meta = {key: value for key, value in (model.meta | changes).items() if value is not None}
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(model.tensors), len(meta))
    head += b"".join(string(key) + packed(value) for key, value in meta.items())
    at, data = 0, b""
    for name, tensor in model.tensors.items():
        head += string(name) + struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape[::-1])
        head += struct.pack("<IQ", int(tensor.kind), at)
        data += tensor.data.tobytes().ljust(-(-tensor.data.nbytes // 32) * 32, b"\0")
        at = len(data)
    out.write_bytes(head.ljust(-(-len(head) // 32) * 32, b"\0") + data)
    return out


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("gguf")
    for name, config in (("gpt2", GPT2), ("llama", LLAMA)):
        write_gguf(folder / f"{name}.gguf", random_torch(config), Q.F32)
    return {name: folder / f"{name}.gguf" for name in ("gpt2", "llama")}


def answers(path: Path) -> None:
    """The model loads, or one short sentence says why not."""
    for read in (describe, load_model):
        said = ""
        try:
            read(path)
        except UserError as error:
            said = str(error)
        assert "\n" not in said
        assert len(said) < 500


def test_a_rewritten_file_is_the_same_model(files, tmp_path):
    for path in files.values():
        assert load_model(rewritten(path, {}, tmp_path / "same.gguf"))[0] == load_model(path)[0]


@given(st.dictionaries(st.sampled_from(PAIRS), st.sampled_from(WRONG), min_size=1, max_size=1), st.booleans())
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_metadata_of_wrong_types_and_sizes_ends_in_a_sentence(files, tmp_path, changes, llama):
    answers(rewritten(files["llama" if llama else "gpt2"], changes, tmp_path / "wrong.gguf"))


@pytest.mark.slow
def test_every_pair_of_key_and_wrong_value_ends_in_a_sentence(files, tmp_path):
    for key in PAIRS:
        for value in WRONG:
            answers(rewritten(files["llama"], {key: value}, tmp_path / "wrong.gguf"))


def test_a_billion_layers_are_refused_before_any_is_built(files, tmp_path):
    for family, path in files.items():
        for layers in (10**9, 9_999):
            wrong = rewritten(path, {f"{family}.block_count": layers}, tmp_path / "deep.gguf")
            for read in (load_model, describe):
                with pytest.raises(UserError, match=rf"{family}.block_count is 1000000000|9999 layers, but"):
                    read(wrong)


def test_the_sentence_names_the_key(files, tmp_path):
    for key, value in {
        "llama.embedding_length": "wide",
        "llama.attention.head_count": [4, 4],
        "llama.attention.layer_norm_rms_epsilon": float("nan"),
        "llama.rope.freq_base": -1.0,
        "tokenizer.ggml.tokens": [1, 2],
        "tokenizer.ggml.eos_token_id": 10**6,
        "tokenizer.ggml.add_bos_token": "yes",
    }.items():
        with pytest.raises(UserError, match=key):
            load_model(rewritten(files["llama"], {key: value}, tmp_path / "wrong.gguf"))


@given(data=st.data())
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_broken_bytes_of_a_header_end_in_a_sentence(files, tmp_path, data):
    """Counts, lengths and types overwritten: no long wait, no traceback."""
    whole = bytearray(files["gpt2"].read_bytes())
    at = data.draw(st.integers(4, 3_000))
    junk = [b"\xff" * 8, b"\0" * 8, struct.pack("<Q", 2**40), struct.pack("<II", 9, 9)]
    whole[at : at + 8] = data.draw(st.sampled_from(junk))
    (tmp_path / "broken.gguf").write_bytes(whole)
    answers(tmp_path / "broken.gguf")


def test_an_array_that_says_it_is_longer_than_the_file(tmp_path):
    for kind in (0, 8, 9, 4):
        head = struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + string("a") + struct.pack("<IIQ", 9, kind, 2**60)
        (tmp_path / "long.gguf").write_bytes(head + b"\0" * 100)
        with pytest.raises(UserError, match="damaged or truncated"):
            load_model(tmp_path / "long.gguf")


CHANGED = {
    "llama.attention.scale": 0.5,
    "llama.logit_scale": 0.0625,
    "llama.expert_count": 8,
    "llama.expert_used_count": 2,
    "llama.attention.sliding_window": 16,
    "llama.attention.causal": False,
    "llama.attention.clamp_kqv": 8.0,
    "llama.attention.value_length": 8,
    "llama.attention.max_alibi_bias": 8.0,
    "llama.final_logit_softcapping": 30.0,
    "llama.residual_scale": 0.22,
    "llama.embedding_scale": 12.0,
    "llama.rope.scaling.attn_factor": 1.2,
    "llama.use_parallel_residual": True,
    "llama.something_new": 3,
}


def test_gguf_keys_that_change_the_computation_are_refused_by_name(files, tmp_path):
    for key, value in CHANGED.items():
        with pytest.raises(UserError, match=f"{key}=.* is not supported; the model would run wrongly"):
            load_model(rewritten(files["llama"], {key: value}, tmp_path / "other.gguf"))
    with pytest.raises(UserError, match=r"gpt2.logit_scale=0.5 is not supported"):
        load_model(rewritten(files["gpt2"], {"gpt2.logit_scale": 0.5}, tmp_path / "other.gguf"))


def test_gguf_keys_that_change_nothing_are_not(files, tmp_path):
    honest = {
        "llama.attention.scale": 0.25,  # 1 / sqrt(head width)
        "llama.logit_scale": 1.0,
        "llama.expert_count": 0,
        "llama.expert_used_count": 0,
        "llama.attention.sliding_window": 64,  # the whole context
        "llama.attention.causal": True,
        "llama.attention.value_length": 16,
        "llama.attention.key_length": 16,
        "llama.rope.dimension_count": 16,
        "llama.rope.scaling.type": "none",
        "llama.rope.scaling.finetuned": True,
        "llama.rope.scaling.original_context_length": 2048,
        "llama.vocab_size": 264,
        "llama.attention.layer_norm_epsilon": 1e-5,
        "general.quantization_version": 2,
        "general.sampling.temp": 0.6,
        "general.base_model.0.name": "x",
        "quantize.imatrix.chunks_count": 128,
        "tokenizer.ggml.add_space_prefix": False,
        "tokenizer.chat_template.tool_use": "x",
        "split.count": 0,
        "gemma.logit_scale": 3.0,
    }
    path = rewritten(files["llama"], honest, tmp_path / "honest.gguf")
    assert load_model(path)[0] == load_model(files["llama"])[0]


def test_a_factor_without_a_type_scales_linearly_as_in_llama_cpp(files, tmp_path):
    for changes, scaling in (
        ({"llama.rope.scaling.factor": 4.0}, RopeScaling("linear", 4.0)),
        ({"llama.rope.scaling.type": "none", "llama.rope.scaling.factor": 4.0}, None),
        ({"llama.rope.scaling.factor": 1.0}, None),
    ):
        assert load_model(rewritten(files["llama"], changes, tmp_path / "a.gguf"))[0].config.rope_scaling == scaling


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    made = {}
    for name, config in (("gpt2", gpt2_config()), ("llama", llama_config())):
        made[name] = tmp_path_factory.mktemp(name)
        random_torch(config).save_pretrained(str(made[name]))
        tiny_tokenizer().save_pretrained(str(made[name]))
    return made


def edited(folder: Path, out: Path, **changes) -> Path:
    shutil.copytree(folder, out, dirs_exist_ok=True)
    config = json.loads((folder / "config.json").read_text()) | changes
    (out / "config.json").write_text(json.dumps(config))
    return out


JSON_KEYS = (
    "model_type vocab_size hidden_size n_embd n_layer n_head n_inner n_positions layer_norm_epsilon num_labels "
    "id2label activation_function num_hidden_layers num_attention_heads num_key_value_heads head_dim rope_theta "
    "intermediate_size max_position_embeddings rms_norm_eps hidden_act rope_parameters rope_scaling attention_bias "
    "mlp_bias tie_word_embeddings layer_types quantization_config architectures sliding_window"
).split()
JSON_WRONG = [*WRONG, None, {}, {"rope_type": [1]}, {"rope_type": "linear", "factor": "x"}, 1e-320, -(10**30)]


@given(st.sampled_from(JSON_KEYS), st.sampled_from(JSON_WRONG), st.sampled_from(["gpt2", "llama"]))
@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_config_of_wrong_types_and_sizes_ends_in_a_sentence(folders, tmp_path, key, value, family):
    answers(edited(folders[family], tmp_path / "wrong", **{key: value}))


def test_config_json_nested_beyond_reason(folders, tmp_path):
    path = edited(folders["gpt2"], tmp_path / "deep") / "config.json"
    path.write_text("[" * 100_000)
    answers(path.parent)
    with pytest.raises(UserError, match="not readable as JSON"):
        load_model(path.parent)


def test_config_keys_that_change_the_computation_are_refused_by_name(folders, tmp_path):
    for key, value in {
        "sliding_window": 16,
        "logit_scale": 0.0625,
        "logits_scaling": 8.0,
        "attention_multiplier": 0.01,
        "embedding_multiplier": 12.0,
        "final_logit_softcapping": 30.0,
        "query_pre_attn_scalar": 256,
        "num_local_experts": 8,
        "clip_qkv": 8.0,
        "use_qk_norm": True,
        "layer_types": ["full_attention", "sliding_attention"],
        "is_causal": False,
        "rope_interleaved": True,
        "attention_chunk_size": 16,
    }.items():
        with pytest.raises(UserError, match=f"{key}=.* is not supported; the model would run wrongly"):
            load_model(edited(folders["llama"], tmp_path / "other", **{key: value}))


def test_config_keys_that_change_nothing_are_not(folders, tmp_path):
    honest = {
        "sliding_window": 4096,  # longer than the context
        "max_window_layers": 28,
        "layer_types": ["full_attention"] * 2,
        "pretraining_tp": 2,
        "rope_interleaved": False,
        "is_llama_config": True,
        "logit_scale": 1.0,
        "num_local_experts": None,
        "initializer_range": 0.04,
        "unsloth_version": "2024.9",
        "temperature": 0.6,
        "transformers.js_config": {"kv_cache_dtype": "fp16"},
        "task_specific_params": {"text-generation": {"do_sample": True}},
        "router_aux_loss_coef": 0.001,
        "attention_dropout": 0.1,
    }
    path = edited(folders["llama"], tmp_path / "honest", **honest)
    assert load_model(path)[0] == load_model(folders["llama"])[0]
    windows = edited(folders["llama"], tmp_path / "qwen", sliding_window=16, use_sliding_window=False)
    assert load_model(windows)[0] == load_model(folders["llama"])[0]


def test_a_pipe_is_no_model(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="not a file"):
        load_model(tmp_path / "pipe")
