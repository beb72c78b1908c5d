"""Masks by key ranges: equal to the dense ones that they stand for, to the last bit of what the model gives."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_helpers import random_params

from pper_jax.models import ModelConfig, build_model
from pper_jax.models.attention import MOST_BLOCKS, attend, attend_in_blocks
from pper_jax.models.masks import Mask, causal_mask, segment_mask
from pper_jax.types import LayerCache

LENGTH = 6
CONFIG = ModelConfig("llama", 50, 16, 2, 4, 2, 4, 24, 32, activation="silu")


@pytest.fixture(scope="module")
def model():
    return build_model(CONFIG), random_params(CONFIG)


@partial(jax.jit, static_argnums=0)
def logits(module, params, tokens, mask, **cached):
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    return module.apply({"params": params}, tokens, positions, mask, **cached)[0]


def test_causal():
    assert causal_mask(3).dense(3, 3).tolist() == [np.tril(np.ones((3, 3), bool)).tolist()]


@given(st.lists(st.integers(1, 3), min_size=1, max_size=5), st.integers(0, 3))
@settings(deadline=None, max_examples=30)
def test_packed_segments_see_themselves_up_to_each_query(lengths, padding):
    ids = np.array([[i for i, n in enumerate(lengths, 1) for _ in range(n)] + [0] * padding])
    expected = np.tril(ids[0][:, None] == ids[0][None])
    np.testing.assert_array_equal(segment_mask(jnp.array(ids)).dense(ids.size, ids.size)[0], expected)


@given(st.integers(1, 8), st.integers(1, 8))
@settings(deadline=None, max_examples=20)
def test_a_window_is_the_last_keys_of_what_was_seen(length, size):
    at = np.arange(length)
    expected = (at[None] <= at[:, None]) & (at[None] > at[:, None] - size)
    np.testing.assert_array_equal(causal_mask(length).window(size).dense(length, length)[0], expected)


def test_a_mask_that_is_not_causal_sees_its_whole_range():
    mask = Mask(jnp.array([[1, 0]]), jnp.array([[3, 2]]), causal=False)
    assert mask.dense(2, 4).tolist() == [[[False, True, True, False], [True, True, False, False]]]


def test_ranges_give_the_bits_that_the_dense_mask_gives(model):
    tokens = jax.random.randint(jax.random.key(1), (2, LENGTH), 0, 50)
    segments = jnp.array([[1, 1, 1, 2, 2, 0], [1, 2, 2, 2, 2, 2]])
    for mask in (causal_mask(LENGTH), segment_mask(segments), causal_mask(LENGTH).window(2)):
        dense = jnp.broadcast_to(mask.dense(LENGTH, LENGTH), (2, LENGTH, LENGTH))
        np.testing.assert_array_equal(logits(*model, tokens, mask), logits(*model, tokens, dense))


def test_a_call_that_continues_a_cache_is_causal_from_where_it_writes(model):
    tokens = jax.random.randint(jax.random.key(1), (2, LENGTH), 0, 50)
    junk = jnp.full((2, LENGTH + 2, CONFIG.num_kv_heads, CONFIG.head_dim), 1e3)
    cache = (LayerCache(junk, junk),) * CONFIG.num_layers
    full = logits(*model, tokens, causal_mask(LENGTH))
    module, params = model
    at, rest = jnp.arange(LENGTH)[None].repeat(2, 0), LENGTH - 4
    _, cache = module.apply({"params": params}, tokens[:, :4], at[:, :4], causal_mask(4), cache=cache, write_at=0)
    ranges = Mask(jnp.zeros((1, rest), jnp.int32), jnp.full((1, rest), LENGTH, jnp.int32))
    found, _ = module.apply({"params": params}, tokens[:, 4:], at[:, 4:], ranges, cache=cache, write_at=4)
    np.testing.assert_allclose(found, full[:, 4:], atol=2e-5)


@pytest.mark.parametrize("block", [4, 5, 20])
@pytest.mark.parametrize("kind", ["causal", "segments", "shared", "window"])
def test_blocks_of_queries_attend_and_learn_as_all_at_once(kind, block):
    segments = jnp.array([[0, 0, 1, 1, 1, 1, 2, 2, 2, 3, 0, 0], [0, 0, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2]])
    mask = {
        "causal": causal_mask(12),
        "segments": segment_mask(segments),
        "shared": segment_mask(segments, 2),
        "window": causal_mask(12).window(3),
    }[kind]
    query, key, value, weight = jax.random.normal(jax.random.key(2), (4, 2, 12, 4, 8))
    key, value = key[:, :, :2], value[:, :, :2]

    def both(how):
        learn = jax.value_and_grad(lambda *x: jnp.sum(how(*x) * weight), argnums=(0, 1, 2))
        return jax.jit(learn)(query, key, value)

    whole, whole_grads = both(lambda *x: attend(*x, mask.dense(12, 12)))
    found, grads = both(lambda *x: attend_in_blocks(*x, mask, block=block))
    np.testing.assert_allclose(found, whole, rtol=1e-5)
    for one, other in zip(grads, whole_grads, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("kind", ["causal", "window"])
def test_blocks_of_queries_behind_others_see_what_is_before_them(kind):
    """Slots 0 to 4 were written before, as where a prompt goes on from what all prompts begin with."""
    mask = causal_mask(12, 5) if kind == "causal" else causal_mask(12, 5).window(6)
    query, key, value = jax.random.normal(jax.random.key(2), (3, 2, 12, 4, 8))
    whole = attend(query[:, 5:], key, value, mask.dense(7, 12, 5))
    found = attend_in_blocks(query[:, 5:], key, value, mask, block=3, at=5)
    np.testing.assert_allclose(found, whole, rtol=1e-5, atol=1e-6)
    assert jnp.array_equal(mask.block(3, 6, 5), mask.dense(7, 12, 5)[:, 3:6, :11])


def test_a_long_row_has_few_blocks_which_attend_to_what_is_not_behind_them():
    query = jnp.zeros((1, 40, 2, 4))
    text = str(jax.make_jaxpr(lambda x: attend_in_blocks(x, x, x, causal_mask(40), block=4))(query))
    assert text.count(" dot_general[") == 2 * MOST_BLOCKS
    assert "f32[1,2,1,5,40]" in text  # the last five queries see all keys


def test_a_query_that_sees_nothing_takes_the_mean_of_all_values():
    query, key, value = jax.random.normal(jax.random.key(2), (3, 1, 3, 2, 4))
    found = attend(query, key, value, jnp.array([[[False] * 3, [True] * 3, [False, True, False]]]))
    np.testing.assert_allclose(found[:, 0], value.mean(1), rtol=1e-6)
    np.testing.assert_allclose(found[:, 2], value[:, 1], rtol=1e-6)
