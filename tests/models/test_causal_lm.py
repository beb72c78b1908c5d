"""The call contract of every family, and the pieces that have closed forms."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from model_helpers import random_params

from pper_jax.errors import UserError
from pper_jax.models import MODEL_FAMILIES, Compute, ModelConfig, RopeScaling, build_model
from pper_jax.models.layers import rotary_frequencies, rotate
from pper_jax.types import LayerCache

GPT2 = ModelConfig("gpt2", 50, 16, 2, 4, 4, 4, 32, 32, attention_bias=True)
LLAMA = ModelConfig("llama", 50, 16, 2, 4, 2, 4, 24, 32, activation="silu", tie_embeddings=False)
LENGTH = 7


def inputs(batch: int = 2) -> tuple[jax.Array, jax.Array, jax.Array]:
    tokens = jax.random.randint(jax.random.key(1), (batch, LENGTH), 0, 50)
    positions = jnp.broadcast_to(jnp.arange(LENGTH), tokens.shape)
    return tokens, positions, jnp.broadcast_to(jnp.tril(jnp.ones((LENGTH, LENGTH), bool)), (batch, LENGTH, LENGTH))


@pytest.fixture(scope="module", params=[GPT2, LLAMA], ids=lambda config: config.family)
def model(request):
    return build_model(request.param), random_params(request.param)


@partial(jax.jit, static_argnums=0, static_argnames="method")
def apply(module, params, *args, **kwargs):
    return module.apply({"params": params}, *args, **kwargs)


def empty_cache(config: ModelConfig, batch: int, slots: int) -> tuple[LayerCache, ...]:
    junk = jnp.full((batch, slots, config.num_kv_heads, config.head_dim), 1e3)
    return (LayerCache(junk, junk),) * config.num_layers


def test_cached_prefill_and_decode_equal_one_full_forward(model):
    module, params = model
    tokens, positions, mask = inputs()
    full, none = apply(module, params, tokens, positions, mask)
    assert none is None
    assert full.dtype == jnp.float32
    prefix, slots = 4, LENGTH + 2  # two slots never written hold junk that the mask must hide
    wide = jnp.pad(mask, ((0, 0), (0, 0), (0, 2)))
    cache = empty_cache(module.config, 2, slots)
    logits, cache = apply(
        module, params, tokens[:, :prefix], positions[:, :prefix], wide[:, :prefix], cache=cache, write_at=jnp.int32(0)
    )
    np.testing.assert_allclose(logits, full[:, :prefix], atol=2e-5)
    for at in range(prefix, LENGTH):
        here = slice(at, at + 1)
        logits, cache = apply(
            module, params, tokens[:, here], positions[:, here], wide[:, here], cache=cache, write_at=jnp.int32(at)
        )
        np.testing.assert_allclose(logits[:, 0], full[:, at], atol=2e-5)
    assert cache[0].key.shape == (2, slots, module.config.num_kv_heads, module.config.head_dim)


def test_the_slot_of_a_token_means_nothing_its_position_and_mask_do(model):
    module, params = model
    tokens, positions, mask = inputs()
    order = jnp.array([3, 0, 6, 2, 5, 1, 4])
    full, _ = apply(module, params, tokens, positions, mask)
    shuffled, _ = apply(module, params, tokens[:, order], positions[:, order], mask[:, order][:, :, order])
    np.testing.assert_allclose(shuffled, full[:, order], atol=2e-5)


def test_later_tokens_and_other_rows_change_nothing(model):
    module, params = model
    tokens, positions, mask = inputs()
    full, _ = apply(module, params, tokens, positions, mask)
    changed, _ = apply(module, params, tokens.at[:, 4:].set(49).at[1].set(3), positions, mask)
    np.testing.assert_array_equal(changed[0, :4], full[0, :4])


def test_hidden_then_unembed_is_the_call(model):
    module, params = model
    full, _ = apply(module, params, *inputs())
    hidden, _ = apply(module, params, *inputs(), method="hidden")
    assert hidden.shape == (2, LENGTH, module.config.hidden_size)
    np.testing.assert_allclose(apply(module, params, hidden, method="unembed"), full, atol=2e-5)


def test_bfloat16_compute_keeps_float32_logits(model):
    module, params = model
    full, _ = apply(module, params, *inputs())
    half = build_model(module.config, Compute(dtype=jnp.bfloat16))
    logits, _ = apply(half, params, *inputs())
    assert logits.dtype == jnp.float32
    assert bool(jnp.any(logits.astype(jnp.bfloat16).astype(jnp.float32) != logits))  # not rounded on the way out
    np.testing.assert_allclose(logits, full, atol=0.05 * float(jnp.abs(full).max()))


def test_unknown_family_names_the_supported_ones():
    supported = ", ".join(sorted(MODEL_FAMILIES))
    with pytest.raises(UserError, match=f"'mamba' is not supported; use one of: {supported}; or add"):
        build_model(replace(GPT2, family="mamba"))


def test_rotary_scores_depend_on_distance_alone():
    query, key = jax.random.normal(jax.random.key(0), (2, 1, 1, 1, 8))
    freqs = rotary_frequencies(replace(LLAMA, head_dim=8))
    score = lambda q, k: jnp.vdot(rotate(query, jnp.array([[q]]), freqs), rotate(key, jnp.array([[k]]), freqs))  # noqa: E731
    np.testing.assert_allclose(score(9, 4), score(25, 20), rtol=1e-5)
    np.testing.assert_allclose(score(3, 3), jnp.vdot(query, key), rtol=1e-5)
    assert abs(score(9, 4) - score(9, 5)) > 1e-3


def test_rope_scaling():
    config = replace(LLAMA, head_dim=64, rope_theta=500_000.0)
    plain = rotary_frequencies(config)
    assert plain[0] == 1
    np.testing.assert_allclose(plain[16], 500_000**-0.5, rtol=1e-6)
    linear = rotary_frequencies(replace(config, rope_scaling=RopeScaling("linear", 4.0)))
    np.testing.assert_allclose(linear, plain / 4, rtol=1e-6)
    llama3 = rotary_frequencies(replace(config, rope_scaling=RopeScaling("llama3", 8.0)))
    wavelength = 2 * np.pi / plain
    np.testing.assert_array_equal(llama3[wavelength < 8192 / 4], plain[wavelength < 8192 / 4])
    np.testing.assert_allclose(llama3[wavelength > 8192], plain[wavelength > 8192] / 8, rtol=1e-6)
    assert np.all(np.diff(llama3) < 0)
