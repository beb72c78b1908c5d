"""Parity with Hugging Face's beam search where its options mean ours."""

from __future__ import annotations

import warnings
from typing import Any

import jax.numpy as jnp
import numpy as np
import torch
from decode_stand_ins import tiny_gpt2

from pper_jax.decode import BeamConfig, beam_search, pack_prompts, to_host


def torch_gpt2(config: Any, params: Any) -> Any:
    """The transformers model with the same weights."""
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=config.vocab_size, n_positions=config.max_positions, n_embd=config.hidden_size,
                   n_layer=config.num_layers, n_head=config.num_heads, n_inner=config.mlp_size, bos_token_id=None,
                   eos_token_id=None, attn_implementation="eager")
    ).eval()  # fmt: skip
    width = config.hidden_size
    state = {
        "transformer.wte.weight": params["token_embedding"]["embedding"],
        "transformer.wpe.weight": params["position_embedding"]["embedding"],
        "transformer.ln_f.weight": params["final_norm"]["scale"],
        "transformer.ln_f.bias": params["final_norm"]["bias"],
    }
    for i in range(config.num_layers):
        layer, at = params[f"layer_{i}"], f"transformer.h.{i}"
        attention = layer["attention"]
        qkv = [attention[name] for name in ("query", "key", "value")]
        state |= {
            f"{at}.attn.c_attn.weight": jnp.concatenate([x["kernel"].reshape(width, -1) for x in qkv], axis=1),
            f"{at}.attn.c_attn.bias": jnp.concatenate([_bias(x, width) for x in qkv]),
            f"{at}.attn.c_proj.weight": attention["out"]["kernel"].reshape(-1, width),
            f"{at}.attn.c_proj.bias": _bias(attention["out"], width),
        }
        for ours, theirs in (("attention_norm", "ln_1"), ("mlp_norm", "ln_2")):
            state |= {f"{at}.{theirs}.weight": layer[ours]["scale"], f"{at}.{theirs}.bias": layer[ours]["bias"]}
        for ours, theirs in (("up", "c_fc"), ("down", "c_proj")):
            state |= {
                f"{at}.mlp.{theirs}.weight": layer[ours]["kernel"],
                f"{at}.mlp.{theirs}.bias": layer[ours]["bias"],
            }
    missing, unexpected = model.load_state_dict({k: torch.tensor(np.array(v)) for k, v in state.items()}, strict=False)
    assert missing == ["lm_head.weight"] or not missing
    assert not unexpected
    return model


def _bias(layer: Any, width: int) -> Any:
    return layer["bias"].reshape(-1) if "bias" in layer else jnp.zeros(width)


def test_tokens_and_scores_equal_those_of_generate():
    config = BeamConfig(width=4, max_new_tokens=7, eos_ids=(3, 5), pad_id=1)
    prompts = [[1, 2, 5], [4], [7, 6, 8, 9, 10]]
    finished = 0
    for seed in range(4):
        module, params = tiny_gpt2(seed=seed)
        model = torch_gpt2(module.config, params)
        found = to_host(beam_search(module, params, pack_prompts(prompts, 8), config=config))
        for prompt, programs in zip(prompts, found, strict=True):
            with warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter("ignore")
                out = model.generate(
                    torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long), num_beams=4,
                    num_return_sequences=4, max_new_tokens=7, length_penalty=0.0, early_stopping=False,
                    do_sample=False, eos_token_id=[3, 5], pad_token_id=1, return_dict_in_generate=True,
                    output_scores=True,
                )  # fmt: skip
            theirs = out.sequences[:, len(prompt) :].numpy()
            ours = np.full_like(theirs, config.pad_id)
            for row, program in zip(ours, programs, strict=True):
                row[: len(program.tokens)] = program.tokens
            np.testing.assert_array_equal(ours, theirs)
            np.testing.assert_allclose([p.logprob for p in programs], out.sequences_scores.numpy(), atol=1e-4)
            finished += sum(p.finished for p in programs)
    assert finished > 3
