"""Hugging Face folders: equal to transformers' torch classes both ways, and refused in one sentence otherwise."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers
from model_helpers import (
    VOCAB,
    forward,
    gpt2_config,
    llama_config,
    load_torch,
    random_params,
    random_tokens,
    random_torch,
    tiny_tokenizer,
    torch_logits,
)
from safetensors.numpy import load_file, save_file

from pper_jax.cli import main
from pper_jax.errors import UserError
from pper_jax.models import Compute, ModelConfig, build_model, describe, hf, load_model, save_model
from pper_jax.models.stored import stored
from pper_jax.sharding import make_mesh, tree_shardings

ROPE3 = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
VARIANTS = {
    "gpt2_tied": gpt2_config(),
    "gpt2_untied": gpt2_config(tie_word_embeddings=False, n_inner=40, activation_function="gelu"),
    "llama_gqa_untied": llama_config(),
    "llama_tied_biases": llama_config(tie_word_embeddings=True, attention_bias=True, mlp_bias=True, head_dim=16),
    "llama_llama3_rope": llama_config(
        rope_parameters={**ROPE3, "rope_theta": 5e3, "original_max_position_embeddings": 16}, num_key_value_heads=1
    ),
    "llama_linear_rope": llama_config(rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}),
}


def write_torch(folder: Path, config, **options) -> torch.nn.Module:
    model = random_torch(config)
    model.save_pretrained(str(folder), **options)
    tiny_tokenizer().save_pretrained(str(folder))
    return model


@pytest.fixture(scope="module")
def gpt2_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpt2")
    write_torch(folder, gpt2_config())
    return folder


@pytest.fixture(scope="module")
def llama_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llama")
    write_torch(folder, llama_config())
    return folder


@pytest.fixture
def broken(llama_folder, tmp_path):
    """A copy of a good folder, to be spoilt."""
    return Path(shutil.copytree(llama_folder, tmp_path / "broken"))


def edit_config(folder: Path, **changes) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


@pytest.mark.parametrize("name", VARIANTS)
def test_logits_equal_torch_and_survive_the_way_back(name, tmp_path):
    reference = torch_logits(write_torch(tmp_path / "in", VARIANTS[name]), random_tokens())
    module, params, tokenizer = load_model(tmp_path / "in")
    assert np.abs(reference).max() > 0.5
    np.testing.assert_allclose(forward(module, params, random_tokens()), reference, atol=1e-4)
    save_model(tmp_path / "out", module, params, tokenizer)
    np.testing.assert_allclose(torch_logits(load_torch(tmp_path / "out"), random_tokens()), reference, atol=1e-5)
    again, same, _ = load_model(tmp_path / "out")
    assert again.config == module.config
    assert hash(again) == hash(module)
    jax.tree.map(np.testing.assert_array_equal, same, params)


def test_sharded_safetensors(tmp_path):
    model = write_torch(tmp_path, llama_config(), max_shard_size="20KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    module, params, _ = load_model(tmp_path)
    np.testing.assert_allclose(
        forward(module, params, random_tokens()), torch_logits(model, random_tokens()), atol=1e-4
    )
    assert describe(tmp_path)["stored_as"] == "F32"
    next(tmp_path.glob("model-00002*")).unlink()
    with pytest.raises(UserError, match=r"names 'model-00002.*not there"):
        load_model(tmp_path)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_weights_become_float32_exactly(dtype, tmp_path):
    write_torch(tmp_path, gpt2_config()).to(dtype).save_pretrained(str(tmp_path))
    assert hf.stored_types(tmp_path) == {"BF16" if dtype is torch.bfloat16 else "F16"}
    module, params, _ = load_model(tmp_path)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    reference = torch_logits(load_torch(tmp_path), random_tokens())
    np.testing.assert_allclose(forward(module, params, random_tokens()), reference, atol=1e-4)


@pytest.mark.parametrize("sharded", [False, True])
def test_pytorchs_pickles_are_read_without_running_them(llama_folder, tmp_path, sharded):
    folder = Path(shutil.copytree(llama_folder, tmp_path / "old"))
    tensors = {name: torch.tensor(array) for name, array in load_file(folder / "model.safetensors").items()}
    (folder / "model.safetensors").unlink()
    if sharded:
        names = sorted(tensors)
        parts = {"pytorch_model-1.bin": names[:4], "pytorch_model-2.bin": names[4:]}
        for file, held in parts.items():
            torch.save({name: tensors[name] for name in held}, folder / file)
        index = {"weight_map": {name: file for file, held in parts.items() for name in held}}
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    else:
        torch.save({name: tensor.to(torch.float32) for name, tensor in tensors.items()}, folder / "pytorch_model.bin")
    jax.tree.map(np.testing.assert_array_equal, load_model(folder)[1], load_model(llama_folder)[1])
    assert describe(folder)["stored_as"] == "F32"


class Harmful:
    def __reduce__(self):
        return (print, ("run",))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [({"a": Harmful()}, "not readable as weights alone"), ([1, 2], "holds something else than tensors by name")],
)
def test_a_pickle_that_holds_something_else_is_refused(llama_folder, tmp_path, capsys, content, sentence):
    folder = Path(shutil.copytree(llama_folder, tmp_path / "old"))
    (folder / "model.safetensors").unlink()
    torch.save(content, folder / "pytorch_model.bin")
    with pytest.raises(UserError, match=sentence):
        load_model(folder)
    assert "run" not in capsys.readouterr().out


def test_a_pickle_without_torch_is_one_sentence(llama_folder, tmp_path, monkeypatch):
    folder = Path(shutil.copytree(llama_folder, tmp_path / "old"))
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError, match=r"only pytorch_model\.bin is there, which takes torch to read"):
        list(stored(folder))


def test_a_mesh_gets_each_tensor_as_it_is_read(llama_folder):
    whole, mesh = load_model(llama_folder)[1], make_mesh(2, 2, 2)
    placed = load_model(llama_folder, mesh=mesh)[1]
    assert jax.tree.map(lambda leaf: leaf.sharding, placed) == tree_shardings(whole, mesh)
    jax.tree.map(np.testing.assert_array_equal, placed, whole)


def test_an_export_has_the_type_that_was_asked_for_and_the_licence(llama_folder, tmp_path, capsys):
    folder = Path(shutil.copytree(llama_folder, tmp_path / "in"))
    (folder / "LICENSE").write_text("free")
    assert main(["models", "export", str(folder), str(tmp_path / "out"), "--dtype", "bfloat16"]) == 0
    assert hf.stored_types(tmp_path / "out") == {"BF16"}
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "bfloat16"
    assert (tmp_path / "out" / "LICENSE").read_text() == "free"
    jax.tree.map(
        lambda got, whole: np.testing.assert_array_equal(got, whole.astype(jnp.bfloat16).astype(jnp.float32)),
        load_model(tmp_path / "out")[1],
        load_model(folder)[1],
    )


def test_names_without_prefix_and_stale_buffers_load(gpt2_folder, tmp_path):
    folder = Path(shutil.copytree(gpt2_folder, tmp_path / "old"))
    tensors = {
        name.removeprefix("transformer."): array for name, array in load_file(folder / "model.safetensors").items()
    }
    tensors["h.0.attn.bias"] = np.tril(np.ones((1, 1, 32, 32), np.float32))
    tensors["h.0.attn.masked_bias"] = np.array(-1e4, np.float32)
    save_file(tensors, folder / "model.safetensors")
    want, got = load_model(gpt2_folder)[1], load_model(folder)[1]
    jax.tree.map(np.testing.assert_array_equal, got, want)


def test_old_place_of_rope_theta(broken):
    (config := json.loads((broken / "config.json").read_text())).pop("rope_parameters")
    (broken / "config.json").write_text(json.dumps(config | {"rope_theta": 123.0}))
    assert load_model(broken)[0].config.rope_theta == 123.0


def test_compute_dtype_and_mesh(llama_folder):
    module, plain, _ = load_model(llama_folder)
    assert module.compute.dtype == jnp.float32
    for spelling in ("bfloat16", jnp.bfloat16, np.dtype("bfloat16")):
        assert load_model(llama_folder, dtype=spelling)[0] == module.clone(compute=Compute(dtype=jnp.bfloat16))
    with pytest.raises(UserError, match=r"'int7' is not a compute type"):
        load_model(llama_folder, dtype="int7")
    _, params, _ = load_model(llama_folder, mesh=make_mesh(data=2, fsdp=2, tp=2))
    kernel = params["layer_0"]["attention"]["query"]["kernel"]
    assert kernel.addressable_shards[0].data.shape == (16, 2, 8)
    jax.tree.map(np.testing.assert_array_equal, params, plain)


def test_tokenizer_round_trip_and_eos_from_config(broken, tmp_path):
    text = "def hello(x):\n    return x  # é 你好 1234<eos>"
    ids = tiny_tokenizer()(text)["input_ids"]
    settings = json.loads((broken / "tokenizer_config.json").read_text())
    settings.pop("eos_token")
    (broken / "tokenizer_config.json").write_text(json.dumps(settings))
    module, params, tokenizer = load_model(edit_config(broken, eos_token_id=[259, 3]))
    assert tokenizer.eos_token_id == 259
    assert tokenizer(text)["input_ids"] == ids
    saved = load_model(save_model(tmp_path / "out", module, params, tokenizer))[2]
    assert saved(text)["input_ids"] == ids
    assert saved.decode(ids) == text
    assert json.loads((tmp_path / "out" / "config.json").read_text())["eos_token_id"] == 259


def test_gpt2_trained_without_attention_biases_is_saved_with_zeros(tmp_path):
    module = build_model(config := ModelConfig("gpt2", VOCAB, 16, 1, 2, 2, 8, 32, 32))
    tokens, params = random_tokens(1, 6), random_params(config)
    assert "bias" not in params["layer_0"]["attention"]["query"]
    save_model(tmp_path / "out", module, params, tiny_tokenizer())
    np.testing.assert_allclose(
        torch_logits(load_torch(tmp_path / "out"), tokens), forward(module, params, tokens), atol=1e-4
    )


def test_save_replaces_a_model_folder_only_and_only_whole(llama_folder, tmp_path, monkeypatch):
    module, params, tokenizer = load_model(llama_folder)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="is not a model folder"):
        save_model(tmp_path / "mine", module, params, tokenizer)
    assert (tmp_path / "mine" / "thesis.txt").exists()

    out = save_model(tmp_path / "deep" / "model", module, params, tokenizer)
    doubled = jax.tree.map(lambda leaf: 2 * leaf, params)
    with monkeypatch.context() as patch:
        patch.setattr(hf, "config_dict", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            save_model(out, module, doubled, tokenizer)
    assert os.listdir(out.parent) == ["model"]
    np.testing.assert_array_equal(load_model(out)[1]["final_norm"]["scale"], params["final_norm"]["scale"])
    save_model(out, module, doubled, tokenizer)
    assert os.listdir(out.parent) == ["model"]
    np.testing.assert_array_equal(load_model(out)[1]["final_norm"]["scale"], doubled["final_norm"]["scale"])


def test_describe(llama_folder):
    facts = describe(llama_folder)
    count = sum(parameter.numel() for parameter in load_torch(llama_folder).parameters())
    assert facts["parameters"] == count
    expected = {"family": "llama", "layers": 2, "hidden_size": 32, "heads": 4, "kv_heads": 2, "head_dim": 8}
    expected |= {"mlp_size": 48, "vocabulary": VOCAB, "context": 64, "tied_embeddings": False, "stored_as": "F32"}
    assert expected.items() <= facts.items()
    assert facts["bytes_on_disk"] > 4 * count


REFUSED = {
    "scale_attn_by_inverse_layer_idx=True": gpt2_config(scale_attn_by_inverse_layer_idx=True),
    "scale_attn_weights=False": gpt2_config(scale_attn_weights=False),
    "activation 'quick_gelu'": llama_config(hidden_act="quick_gelu"),
    "family 'opt' is not supported; use one of: codegen, .*or add pper_jax/.*/opt.py": transformers.OPTConfig(),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_variants_that_would_run_wrongly_are_refused(sentence, tmp_path):
    REFUSED[sentence].save_pretrained(str(tmp_path))
    with pytest.raises(UserError, match=sentence):
        load_model(tmp_path)


def spoil_weights(folder: Path, change) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


SPOILT = {
    "no config.json": lambda folder: (folder / "config.json").unlink(),
    "not readable as JSON": lambda folder: (folder / "config.json").write_text("{"),
    "not a JSON object": lambda folder: (folder / "config.json").write_text("[]"),
    "transformers refuses it": lambda folder: edit_config(folder, hidden_size="wide"),
    "model family '' is not supported": lambda folder: edit_config(folder, model_type=""),
    "heads cannot share": lambda folder: edit_config(folder, num_key_value_heads=3),
    "quantised safetensors are not read": lambda folder: edit_config(folder, quantization_config={"bits": 4}),
    "partial_rotary_factor=0.5 is not supported": lambda folder: edit_config(folder, partial_rotary_factor=0.5),
    "no weights there": lambda folder: (folder / "model.safetensors").unlink(),
    "not readable as weights alone": lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"),
    "not a readable safetensors file": lambda folder: (folder / "model.safetensors").write_bytes(b"junk" * 9),
    r"lacks 9 tensor\(s\).*first 'model.layers.2": lambda folder: edit_config(folder, num_hidden_layers=3),
    r"has unexpected 9 tensor\(s\)": lambda folder: edit_config(folder, num_hidden_layers=1),
    r"q_proj.weight' has shape \[32, 32\].*asks for \[64, 32\]": lambda folder: edit_config(folder, head_dim=16),
    "is stored as I64": lambda folder: spoil_weights(
        folder, lambda tensors: tensors.update({"model.norm.weight": np.ones(32, np.int64)})
    ),
    "no tokenizer could be read": lambda folder: [path.unlink() for path in folder.glob("tokenizer*")],
}


@pytest.mark.parametrize("sentence", SPOILT)
def test_broken_folders_are_answered_with_one_sentence(sentence, broken):
    SPOILT[sentence](broken)
    with pytest.raises(UserError, match=sentence) as caught:
        load_model(broken)
    assert "\n" not in str(caught.value)


def test_tokenizer_larger_than_the_embedding_is_refused(tmp_path):
    write_torch(tmp_path, gpt2_config(vocab_size=250, bos_token_id=0, eos_token_id=0))
    with pytest.raises(UserError, match="tokenizer has 260 tokens, its model embeds 250"):
        load_model(tmp_path)


SHARED = Path(os.environ.get("PPER_SHARED_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
STORIES = SHARED / "models" / "stories260K"


@pytest.mark.skipif(not STORIES.is_dir(), reason="the shared data folder with stories260K is not here")
def test_stories260k_equals_torch():
    module, params, tokenizer = load_model(STORIES)
    tokens = np.array([tokenizer("Once upon a time, there was a little girl named Lily.")["input_ids"]])
    np.testing.assert_allclose(forward(module, params, tokens), torch_logits(load_torch(STORIES), tokens), atol=1e-4)
    assert tokenizer.eos_token_id == 2
