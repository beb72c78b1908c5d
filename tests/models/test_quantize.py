"""Weights in int8 and bfloat16: what is rounded and by how much, and that the rest of the model stays as it was."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from pper_jax.decode import BeamConfig, decode_prompts, lay_out
from pper_jax.errors import UserError
from pper_jax.models import CausalLM, ModelConfig, build_model, causal_lm, decode_layout
from pper_jax.models.layers import Int8Dense
from pper_jax.models.quantize import cast_weights, quantize, quantize_columns, with_weights
from pper_jax.types import Params
from tests.models.model_helpers import forward, random_params, random_tokens

VOCAB, HIDDEN = 97, 32
MODELS = [("gpt2", True), ("gpt2", False), ("llama", True), ("llama", False)]
finite = st.floats(-1e4, 1e4, width=32)


@cache
def model_of(family: str = "gpt2", tied: bool = True) -> tuple[CausalLM, Params]:
    gpt2 = family == "gpt2"
    config = ModelConfig(
        family, VOCAB, HIDDEN, 2, 4, 4 if gpt2 else 2, 8, 56, 64, attention_bias=gpt2, tie_embeddings=tied,
        activation="gelu_new" if gpt2 else "silu",
    )  # fmt: skip
    return build_model(config), random_params(config)


def own_shapes(module: CausalLM) -> Params:
    """The parameters that the module itself would make, as shapes."""
    call = (jnp.zeros((1, 1), jnp.int32), jnp.zeros((1, 1), jnp.int32), jnp.ones((1, 1, 1), bool))
    return jax.eval_shape(module.init, jax.random.key(0), *call)["params"]


def dequantised(module: CausalLM, params: Params) -> tuple[CausalLM, Params]:
    """The float model whose kernels are what int8 made of ``module``'s: ``q * scale``."""
    whole = quantize(module, params)[1]
    module = module.clone(config=replace(module.config, tie_embeddings=False))

    def multiplied(old: Params, like: Params) -> Params:
        if "kernel_int8" not in old:
            return {k: multiplied(old[k], like[k]) if isinstance(like[k], dict) else old[k] for k in like}
        kernel = (old["kernel_int8"] * old["scale"]).reshape(like["kernel"].shape)
        return {"kernel": kernel} | ({"bias": old["bias"]} if "bias" in like else {})

    return module, multiplied(whole, own_shapes(module))


@given(arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=finite))
@settings(deadline=None)
def test_no_weight_moves_by_more_than_half_its_columns_scale(kernel: np.ndarray):
    whole, scale = quantize_columns(kernel)
    assert (whole.dtype, scale.dtype, scale.shape) == (np.int8, np.float32, kernel.shape[1:])
    assert np.abs(whole.astype(int)).max() <= 127
    error = np.abs(kernel - whole.astype(np.float64) * scale)
    assert (error <= scale * (0.5 + 1e-5)).all()  # 127 float32 roundings of the quotient
    np.testing.assert_allclose(scale, np.maximum(np.abs(kernel).max(0) / 127, np.finfo(np.float32).tiny), rtol=1e-6)


def test_a_column_of_zeros_stays_zero_and_rounding_again_changes_nothing():
    kernel = np.array([[0, -2.54, 1], [0, 1.0, 1e-30]], np.float32)
    whole, scale = quantize_columns(kernel)
    np.testing.assert_array_equal(whole, [[0, -127, 127], [0, 50, 0]])
    again, same = quantize_columns(whole * scale)
    np.testing.assert_array_equal(again, whole)
    np.testing.assert_allclose(same, scale, rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_layers_output_moves_by_at_most_half_a_scale_for_each_unit_of_input(dtype):
    rng = np.random.default_rng(0)
    x, kernel, bias = (rng.normal(0, 1, shape).astype(np.float32) for shape in ((5, 4, 6), (24, 10), (5, 2)))
    x = np.asarray(jnp.asarray(x, dtype), np.float32)  # an input that the compute type holds
    whole, scale = quantize_columns(kernel)
    layer = Int8Dense((5, 2), 2, True, dtype, jnp.float32)
    found = layer.apply({"params": {"kernel_int8": whole, "scale": scale, "bias": bias}}, x)
    expected = (x.reshape(5, 24) @ kernel).reshape(5, 5, 2) + np.asarray(jnp.asarray(bias), np.float32)
    bound = (np.abs(x).sum((1, 2))[:, None] * scale / 2).reshape(5, 5, 2)
    assert (np.abs(found - expected) <= bound + 1e-5).all()
    assert np.abs(found - expected).max() > bound.max() / 100  # it is rounded at all


@pytest.mark.parametrize(("family", "tied"), MODELS)
def test_the_int8_model_is_the_float_model_of_the_rounded_kernels(family: str, tied: bool):
    module, params = model_of(family, tied)
    tokens = random_tokens(2, 6, VOCAB)
    found = forward(*quantize(module, params), tokens)
    expected = forward(*dequantised(module, params), tokens)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5 * float(jnp.abs(expected).max()))
    assert np.abs(found - forward(module, params, tokens)).max() > 1e-3  # and not the model as it was


@pytest.mark.parametrize(("family", "tied"), MODELS)
def test_parameters_are_those_that_the_int8_module_makes(family: str, tied: bool):
    module, params = model_of(family, tied)
    int8, whole = quantize(module, params)
    kind = lambda x: (x.shape, jnp.dtype(x.dtype).name)  # noqa: E731
    assert jax.tree.map(kind, own_shapes(int8)) == jax.tree.map(kind, whole)
    assert whole["token_embedding"] is params["token_embedding"]
    assert whole["final_norm"] == params["final_norm"]
    assert whole["lm_head"]["kernel_int8"].shape == (HIDDEN, VOCAB)


def test_logits_move_by_at_most_half_a_scale_of_their_token():
    module, params = model_of(tied=True)
    int8, whole = quantize(module, params)
    hidden = jnp.asarray(np.random.default_rng(1).normal(0, 1, (3, HIDDEN)), jnp.float32)
    found, expected = (m.apply({"params": p}, hidden, method="unembed") for m, p in ((int8, whole), (module, params)))
    bound = jnp.abs(hidden).sum(-1, keepdims=True) * whole["lm_head"]["scale"] / 2
    assert (jnp.abs(found - expected) <= bound + 1e-5).all()


def test_beam_search_with_int8_gives_programs_with_the_rounded_models_log_probabilities():
    module, params = model_of()
    config = BeamConfig(width=3, max_new_tokens=4)
    prompts = [[1, 2, 3], [4, 5, 6]]
    found = dict(decode_prompts(*quantize(module, params), prompts, config=config, batch_size=2, buckets=(8,)))
    programs = [program for index in (0, 1) for program in found[index]]
    assert len({program.tokens for program in found[0]}) == 3
    rows = np.array([[*prompts[i // 3], *program.tokens] for i, program in enumerate(programs)])
    logprobs = jax.nn.log_softmax(forward(*dequantised(module, params), rows))[:, 2:-1]
    expected = jnp.take_along_axis(logprobs, rows[:, 3:, None], axis=-1)[..., 0]
    np.testing.assert_allclose([program.token_logprobs for program in programs], expected, atol=1e-4)


@pytest.mark.parametrize("kind", ["int8", "column blocks"])
def test_the_best_tokens_by_kernels_are_those_of_the_logits(kind: str, monkeypatch: pytest.MonkeyPatch):
    """The kernels of the projection read no int8, and a table with columns of tokens that do not exist."""
    interpreted = partial(causal_lm.project_top_log_probs, interpret=True)
    monkeypatch.setattr(causal_lm, "project_top_log_probs", interpreted)
    module, params = (quantize if kind == "int8" else decode_layout)(*model_of())
    named = module.clone(compute=replace(module.compute, kernels="pallas_gpu"))
    hidden = -jnp.ones((2, 3, HIDDEN))  # far from every token, so that a logit of 0 would be among the best
    logprob, token = named.apply({"params": params}, hidden, 5, method="top")
    logits = module.apply({"params": params}, hidden, method="unembed")[..., :VOCAB]
    expected = jax.lax.top_k(jax.nn.log_softmax(logits), 5)
    np.testing.assert_array_equal(token, expected[1])
    np.testing.assert_allclose(logprob, expected[0], atol=1e-5)


def test_the_column_layout_of_cpu_leaves_int8_kernels_as_they_are():
    int8, whole = quantize(*model_of())
    laid_out, weights = lay_out(int8, whole)
    assert jax.tree.structure(weights) == jax.tree.structure(whole)
    tokens = random_tokens(2, 6, VOCAB)
    np.testing.assert_array_equal(forward(laid_out, weights, tokens), forward(int8, whole, tokens))


@pytest.mark.parametrize("tied", [True, False])
def test_bfloat16_weights_give_what_casting_at_every_step_gives(tied: bool):
    module, params = model_of("gpt2", tied)
    tokens = random_tokens(2, 6, VOCAB)
    half, cast = cast_weights(module, params, jnp.bfloat16)
    np.testing.assert_array_equal(forward(half, cast, tokens), forward(half, params, tokens))
    kinds = {jax.tree_util.keystr(path): x.dtype for path, x in jax.tree_util.tree_leaves_with_path(cast)}
    assert all(dtype == (jnp.float32 if "norm" in path else jnp.bfloat16) for path, dtype in kinds.items())
    assert (half.config, half.compute) == (module.config, replace(module.compute, dtype=jnp.bfloat16))


def test_weights_by_name():
    module, params = model_of()
    same, floats = with_weights(module, params, "float32")
    assert same.config == module.config
    assert all(a is b for a, b in zip(jax.tree.leaves(floats), jax.tree.leaves(params), strict=True))
    assert with_weights(module, params, "bfloat16")[1]["layer_0"]["up"]["kernel"].dtype == jnp.bfloat16
    half = module.clone(compute=replace(module.compute, dtype=jnp.bfloat16))
    int8, whole = with_weights(half, params, "int8")
    assert (int8.compute.quantized, int8.compute.dtype) == (True, jnp.bfloat16)
    assert whole["token_embedding"]["embedding"].dtype == jnp.bfloat16
    assert {k: v.dtype for k, v in whole["layer_0"]["up"].items()} == {
        "kernel_int8": jnp.int8, "scale": jnp.float32, "bias": jnp.bfloat16
    }  # fmt: skip
    assert np.isfinite(forward(int8, whole, random_tokens(1, 4, VOCAB))).all()


def test_what_makes_no_sense_is_refused_in_a_sentence():
    module, params = model_of()
    with pytest.raises(UserError, match=r"cannot be held as 'int4'; use one of float32, bfloat16, int8\.$"):
        with_weights(module, params, "int4")
    with pytest.raises(UserError, match="int8 already"):
        quantize(*quantize(module, params))
    with pytest.raises(UserError, match="quantise it before decode_layout"):
        quantize(*decode_layout(module, params))
    broken = {**params, "layer_1": {**params["layer_1"], "down": {"kernel": jnp.full((56, HIDDEN), jnp.inf)}}}
    with pytest.raises(UserError, match=r"^layer_1/down: a weight is not finite"):
        quantize(module, broken)
