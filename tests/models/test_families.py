"""Every family beside transformers' torch class: logits, gradients, beams, scores, export, and a mesh."""

from __future__ import annotations

import json
import warnings
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers as hf
from model_helpers import VOCAB, forward, load_torch, random_tokens, random_torch, tiny_tokenizer, torch_logits
from torch_programs import programs, same_gradients

from pper_jax.decode import BeamConfig, beam_search
from pper_jax.decode.prompts import prompts_from_padded
from pper_jax.decode.score import score
from pper_jax.errors import UserError
from pper_jax.models import MODEL_FAMILIES, Compute, ModelConfig, load_model, model_config, save_model
from pper_jax.sharding import make_mesh
from pper_jax.train import OptimizerConfig, init_train_state, make_optimizer, make_train_step, pack
from pper_jax.train.loss import loss_sum

IDS = {"vocab_size": VOCAB, "bos_token_id": 259, "eos_token_id": 259, "pad_token_id": None}
NAMED = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4,
         "max_position_embeddings": 64}  # fmt: skip
GROUPED = NAMED | {"num_key_value_heads": 2}
ODD = GROUPED | {"hidden_size": 60, "num_attention_heads": 6, "num_key_value_heads": 3, "intermediate_size": 37,
                 "num_hidden_layers": 3}  # fmt: skip
ONE = GROUPED | {"num_key_value_heads": 1, "tie_word_embeddings": True}
SHORT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
SHORT_ODD = {"n_embd": 40, "n_layer": 3, "n_head": 4, "n_positions": 64, "n_inner": 37}
GEMMA = {"head_dim": 16, "query_pre_attn_scalar": 10, "sliding_window": 5}
CAPS = {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}
SHAPES = {
    "gpt2": (hf.GPT2Config, [SHORT, SHORT_ODD, SHORT | {"tie_word_embeddings": False}]),
    "gpt_bigcode": (hf.GPTBigCodeConfig, [SHORT, SHORT_ODD | {"multi_query": False},
                                          SHORT_ODD | {"tie_word_embeddings": False}]),
    "gpt_neo": (hf.GPTNeoConfig, [
        {"hidden_size": 32, "num_layers": 4, "num_heads": 4, "attention_types": [[["global", "local"], 2]],
         "window_size": 5, "max_position_embeddings": 64},
        {"hidden_size": 36, "num_layers": 3, "num_heads": 6, "attention_types": [[["local"], 3]], "window_size": 3,
         "intermediate_size": 37, "max_position_embeddings": 64, "tie_word_embeddings": False},
        {"hidden_size": 32, "num_layers": 1, "num_heads": 2, "attention_types": [[["global"], 1]],
         "max_position_embeddings": 64}]),
    "gptj": (hf.GPTJConfig, [SHORT | {"rotary_dim": 4}, SHORT_ODD | {"rotary_dim": 10}, SHORT_ODD | {"rotary_dim": 2}]),
    "codegen": (hf.CodeGenConfig, [SHORT | {"rotary_dim": 4}, SHORT_ODD | {"rotary_dim": 10},
                                   SHORT | {"n_head": 8, "rotary_dim": 2}]),
    "gpt_neox": (hf.GPTNeoXConfig, [NAMED | {"rotary_pct": 0.5}, NAMED | {"use_parallel_residual": False},
                                    NAMED | {"attention_bias": False, "rotary_pct": 1.0, "tie_word_embeddings": True}]),
    "llama": (hf.LlamaConfig, [
        GROUPED | {"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16,
                                       "rope_theta": 100.0}},
        ODD | {"rope_parameters": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 100.0}},
        ONE | {"attention_bias": True, "mlp_bias": True}]),
    "mistral": (hf.MistralConfig, [GROUPED | {"sliding_window": 5}, ODD | {"sliding_window": None, "head_dim": 12},
                                   ONE | {"sliding_window": 2}]),
    "qwen2": (hf.Qwen2Config, [GROUPED | {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 2}, ODD,
                               ONE]),
    "qwen3": (hf.Qwen3Config, [GROUPED | {"head_dim": 12}, ODD | {"attention_bias": True},
                               ONE | {"head_dim": 6, "use_sliding_window": True, "sliding_window": 4,
                                      "max_window_layers": 0}]),
    "starcoder2": (hf.Starcoder2Config, [GROUPED | {"sliding_window": 5}, ODD | {"use_bias": False}, ONE]),
    "phi3": (hf.Phi3Config, [
        GROUPED | {"sliding_window": 5},
        GROUPED | {"original_max_position_embeddings": 32, "rope_parameters": {
            "rope_type": "longrope", "short_factor": [1.0, 1.1, 1.2, 1.3], "long_factor": [2.0, 2.0, 2.0, 3.0],
            "rope_theta": 100.0}},
        ODD | {"partial_rotary_factor": 0.6}]),
    "gemma2": (hf.Gemma2Config, [GROUPED | GEMMA | CAPS, ODD | GEMMA, ONE | GEMMA | {"final_logit_softcapping": None}]),
    "gemma3_text": (hf.Gemma3TextConfig, [
        GROUPED | GEMMA | {"sliding_window_pattern": 2}, ODD | GEMMA | {"final_logit_softcapping": 3.0},
        ONE | GEMMA | {"rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                                           "sliding_attention": {"rope_type": "default", "rope_theta": 100.0}}}]),
}  # fmt: skip
CASES = [(family, number) for family, (_, shapes) in SHAPES.items() for number in range(len(shapes))]
DEEP = [("codegen", 0), ("gemma3_text", 0)]  # between them nearly every option of attention and head


def each(everyday):
    """All cases; those that are not ``everyday`` are slow."""
    marks = {True: (), False: (pytest.mark.slow,)}
    every = [pytest.param(case, id=f"{case[0]}-{case[1]}", marks=marks[everyday(case)]) for case in CASES]
    return pytest.mark.parametrize("model", every, indirect=True)


@pytest.fixture(scope="module")
def model(request, tmp_path_factory):
    family, number = request.param
    make, shapes = SHAPES[family]
    folder = tmp_path_factory.mktemp(family)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = make(**IDS, **shapes[number], attn_implementation="eager")
    for name in ("attn_pdrop", "resid_pdrop", "embd_pdrop", "attention_dropout", "resid_dropout", "embed_dropout"):
        if hasattr(config, name):
            setattr(config, name, 0.0)
    random_torch(config).save_pretrained(str(folder))
    tiny_tokenizer().save_pretrained(str(folder))
    module, params, tokenizer = load_model(folder)
    return SimpleNamespace(folder=folder, module=module, params=params, tokenizer=tokenizer, torch=load_torch(folder))


def test_every_family_is_here():
    assert SHAPES.keys() == MODEL_FAMILIES.keys()


@each(lambda case: case[1] == 0)
def test_logits_are_torchs_and_it_is_exported_as_it_was_read(model, tmp_path):
    tokens = random_tokens(length=20)
    expected = torch_logits(model.torch, tokens)
    np.testing.assert_allclose(forward(model.module, model.params, tokens), expected, atol=1e-4)
    save_model(tmp_path / "out", model.module, model.params, model.tokenizer)
    np.testing.assert_allclose(torch_logits(load_torch(tmp_path / "out"), tokens), expected, atol=1e-5)
    module, params, _ = load_model(tmp_path / "out")
    assert module == model.module
    jax.tree.map(np.testing.assert_array_equal, params, model.params)


@each(DEEP.__contains__)
@pytest.mark.parametrize("rows", [None, pytest.param(4, marks=pytest.mark.slow)], ids=["padded", "packed"])
def test_gradients_are_torchs_whatever_pads_the_rows(model, rows):
    model.torch.zero_grad()
    batch = programs() if rows is None else pack(programs(), rows)
    same_gradients(model.torch, model.module, model.params, batch, within=1e-3)


@each(DEEP.__contains__)
def test_beams_are_those_of_generate_and_have_the_log_probs_that_scoring_finds(model):
    tokens, mask = random_tokens(3, 8), np.ones((3, 8), int)
    for row, padding in enumerate((0, 3, 7)):
        tokens[row, :padding], mask[row, :padding] = 0, 0
    second_best = int(np.argsort(torch_logits(model.torch, tokens[:1])[0, -1])[-2])
    ends = (second_best, *range(40, 60))
    config = BeamConfig(width=4, max_new_tokens=12, eos_ids=ends, pad_id=1)
    prompts = prompts_from_padded(tokens, mask)
    found = beam_search(model.module, model.params, prompts, config=config)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        theirs = model.torch.generate(
            torch.tensor(tokens), attention_mask=torch.tensor(mask), num_beams=4, num_return_sequences=4,
            max_new_tokens=12, eos_token_id=list(ends), pad_token_id=1, do_sample=False, length_penalty=0.0,
            early_stopping=True, return_dict_in_generate=True, output_scores=True,
        )  # fmt: skip
    written = np.full((12, 12), 1)
    generated = theirs.sequences[:, 8:].numpy()
    written[:, : generated.shape[1]] = generated
    np.testing.assert_array_equal(np.asarray(found.tokens).reshape(12, 12), written)
    np.testing.assert_allclose(found.logprob.ravel(), theirs.sequences_scores, atol=1e-4)
    assert found.finished.any()
    scored = score(model.module, model.params, prompts, found)
    np.testing.assert_allclose(scored, found.token_logprobs, atol=1e-4)


@each(DEEP.__contains__)
def test_scanned_layers_give_the_same_loss(model):
    scanned = model.module.clone(compute=Compute(scan_layers=True, remat="full", lean_loss=True))
    loss = jax.jit(lambda module, params: loss_sum(module, params, programs())[0], static_argnums=0)
    np.testing.assert_allclose(loss(scanned, model.params), loss(model.module, model.params), rtol=1e-5)


@each(lambda case: False)
def test_a_mesh_gives_the_loss_of_one_device(model):
    losses = []
    for axes in ((1, 1, 1), (2, 2, 2)):
        mesh = make_mesh(*axes, devices=jax.devices()[: np.prod(axes)])
        optimizer = make_optimizer(OptimizerConfig(), 1)
        state = init_train_state(jax.tree.map(jnp.array, model.params), optimizer, jax.random.key(0), mesh)
        _, metrics = make_train_step(model.module, optimizer, state, mesh)(state, programs())
        losses.append(float(metrics.loss))
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"windows": (3,)}, "windows has 1 numbers for 2 layers"),
        ({"rotary_dim": 3}, "rotary_dim is 3; rotary positions need an even number"),
        ({"attention_cap": 0.0}, "attention_cap"),
    ],
)
def test_options_that_make_no_model_are_refused(options, sentence):
    with pytest.raises(UserError, match=sentence):
        ModelConfig("llama", 50, 16, 2, 4, 2, 4, 24, 32, activation="silu", **options)


@pytest.mark.parametrize(
    ("family", "key", "value"),
    [
        ("gemma3_text", "layer_types", ["sliding_attention"] * 3 + ["chunked_attention"]),
        ("gpt_neox", "hidden_act", "quick_gelu"),
        ("llama", "rope_parameters", {"rope_type": "mrope", "rope_theta": 1e4}),
        ("llama", "rope_parameters", {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 2]}),
        ("gptj", "tie_word_embeddings", True),
        ("gemma2", "use_bidirectional_attention", True),
        ("gemma3_text", "attn_logit_softcapping", 50.0),
    ],
)
def test_a_key_that_changes_the_model_and_is_not_obeyed_is_refused(tmp_path, family, key, value):
    make, shapes = SHAPES[family]
    config = make(**IDS, **shapes[0]).to_dict() | {key: value}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=f"{key}|rope type|mrope_section|activation|transformers refuses"):
        model_config(tmp_path)
