"""Scanned layers and what they keep for the backward pass: the same numbers, less memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from model_helpers import random_params

from pper_jax.errors import UserError
from pper_jax.models import Compute, ModelConfig, build_model
from pper_jax.models.attention import attend
from pper_jax.models.masks import causal_mask

GPT2 = ModelConfig("gpt2", 50, 16, 3, 4, 4, 4, 64, 32, attention_bias=True, mlp_bias=True)
LLAMA = ModelConfig("llama", 50, 16, 3, 4, 2, 4, 24, 32, activation="silu")


def loss_and_grads(config, tokens, **options):
    module = build_model(config, Compute(**options))
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)

    def loss(params):
        logits, _ = module.apply({"params": params}, tokens, positions, causal_mask(tokens.shape[1]))
        return jnp.mean(jnp.square(logits))

    return jax.jit(jax.value_and_grad(loss))


@pytest.mark.parametrize("config", [GPT2, LLAMA], ids=["gpt2", "llama"])
@pytest.mark.parametrize("remat", ["none", "dots", "full"])
def test_scanned_layers_give_the_loss_and_gradients_of_layers_one_by_one(config, remat):
    tokens = jax.random.randint(jax.random.key(1), (2, 8), 0, 50)
    params = random_params(config)
    want, want_grads = loss_and_grads(config, tokens)(params)
    got, got_grads = loss_and_grads(config, tokens, scan_layers=True, remat=remat)(params)
    np.testing.assert_allclose(got, want, rtol=1e-6)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5 * float(jnp.abs(b).max() + 1)), got_grads, want_grads
    )


def test_full_remat_keeps_less_than_the_products_and_they_less_than_all():
    config = ModelConfig("gpt2", 50, 32, 12, 4, 4, 8, 128, 256, attention_bias=True, mlp_bias=True)
    tokens, params = jnp.zeros((4, 256), jnp.int32), random_params(config)
    sizes = [
        loss_and_grads(config, tokens, scan_layers=True, remat=remat).lower(params).compile().memory_analysis()
        for remat in ("full", "dots", "none")
    ]
    full, dots, whole = (size.temp_size_in_bytes for size in sizes)
    assert full < 0.8 * dots < 0.8 * whole


def test_options_that_do_nothing_or_do_not_exist_are_refused():
    with pytest.raises(UserError, match="remat is full, which takes scan_layers"):
        Compute(remat="full")
    with pytest.raises(UserError, match="remat is 'half'; choose one of none, dots, full"):
        Compute(remat="half", scan_layers=True)
    with pytest.raises(UserError, match="attention is 'flash'; it is cudnn, or not given"):
        Compute(attention="flash")


@pytest.mark.parametrize("heads", [2, 6])
def test_attention_is_that_of_jax(heads):
    keys = jax.random.split(jax.random.key(0), 4)
    query = jax.random.normal(keys[0], (2, 5, heads, 8))
    key, value = (jax.random.normal(k, (2, 7, 2, 8)) for k in keys[1:3])
    seen = jax.random.bernoulli(keys[3], 0.6, (2, 5, 7)).at[:, :, 0].set(True)
    want = jax.nn.dot_product_attention(query, key, value, mask=seen[:, None])
    np.testing.assert_allclose(attend(query, key, value, seen), want, atol=1e-6)
    blind = attend(query, key, value, jnp.zeros_like(seen))
    np.testing.assert_allclose(blind[:, :, 0], jnp.broadcast_to(value.mean(1)[:, None, 0], (2, 5, 8)), atol=1e-6)
