import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pper_jax.models import GPT2, ModelConfig
from pper_jax.models.masks import segment_mask
from pper_jax.train import completion_logprobs, loss_sum, pack_examples, program_batch
from pper_jax.train.loss import segment_positions
from pper_jax.types import TrainBatch

CONFIG = ModelConfig("gpt2", 31, 16, 2, 2, 2, 8, 32, 32, attention_bias=True, mlp_bias=True)
MODULE = GPT2(CONFIG)


@pytest.fixture(scope="module")
def params():
    tokens = jnp.zeros((1, 4), jnp.int32)
    return MODULE.init(jax.random.key(0), tokens, tokens, jnp.ones((1, 4, 4), bool))["params"]


logprobs_jit = jax.jit(lambda p, b: completion_logprobs(MODULE, p, b))
loss_jit = jax.jit(lambda p, b: loss_sum(MODULE, p, b))


def test_positions_restart_and_attention_stays_within_a_segment():
    segments = jnp.array([[1, 1, 2, 2, 2, 0]])
    assert segment_positions(segments).tolist() == [[0, 1, 0, 1, 2, 0]]
    mask = np.asarray(segment_mask(segments).dense(6, 6))[0]
    assert mask[1].tolist() == [True, True, False, False, False, False]
    assert mask[4].tolist() == [False, False, True, True, True, False]


def test_only_completion_and_eos_are_targets(params):
    rows = jnp.arange(16, dtype=jnp.int32).reshape(2, 8)
    batch = program_batch(rows, jnp.array([3, 2]), jnp.array([6, 8]), jnp.ones(2))
    assert batch.loss_mask.tolist()[0] == [False] * 3 + [True] * 3 + [False] * 2
    logprobs = logprobs_jit(params, batch)
    assert (np.asarray(logprobs) != 0).tolist()[0] == [False, False, True, True, True, False, False, False]
    _, (count, _) = loss_jit(params, batch)
    assert count == 3 + 6


def test_log_probs_are_those_of_the_next_token_given_the_row(params):
    rows = jnp.array([[5, 6, 7, 8]], jnp.int32)
    batch = program_batch(rows, jnp.array([1]), jnp.array([4]), jnp.ones(1))
    causal = jnp.tril(jnp.ones((1, 4, 4), bool))
    logits, _ = MODULE.apply({"params": params}, rows, jnp.arange(4)[None], causal)
    expected = jax.nn.log_softmax(logits[0])[jnp.arange(3), rows[0, 1:]]
    np.testing.assert_allclose(logprobs_jit(params, batch)[0, :3], expected, rtol=1e-5, atol=1e-6)


@given(garbage=st.lists(st.integers(0, 30), min_size=3, max_size=3))
@settings(max_examples=10, deadline=None, derandomize=True)
def test_what_stands_after_the_program_never_matters(garbage):
    tokens = jnp.zeros((1, 4), jnp.int32)
    params = MODULE.init(jax.random.key(1), tokens, tokens, jnp.ones((1, 4, 4), bool))["params"]
    row = jnp.array([[1, 2, 3, 4, 5, *garbage]], jnp.int32)
    clean = row.at[0, 5:].set(0)
    args = (jnp.array([2]), jnp.array([5]), jnp.ones(1))
    assert loss_jit(params, program_batch(row, *args))[0] == loss_jit(params, program_batch(clean, *args))[0]


def test_packing_changes_no_log_probability(params):
    examples = [([1, 2], [3, 4, 0]), ([5], [6, 0]), ([7, 8, 9], [10, 0])]
    packed = pack_examples(examples, 13)
    assert packed.tokens.shape == (1, 13)
    apart = pack_examples(examples, 5)
    assert apart.tokens.shape == (3, 5)
    total_packed, (count_packed, _) = loss_jit(params, jax.tree.map(jnp.asarray, packed))
    total_apart, (count_apart, _) = loss_jit(params, jax.tree.map(jnp.asarray, apart))
    assert count_packed == count_apart == 7
    np.testing.assert_allclose(total_packed, total_apart, rtol=1e-5)


def test_examples_longer_than_a_row_are_dropped():
    assert pack_examples([([1] * 9, [2] * 9), ([1], [2])], 8).loss_mask.sum() == 1


def test_rows_of_weight_zero_count_for_nothing(params):
    rows = jnp.arange(16, dtype=jnp.int32).reshape(2, 8)
    both = TrainBatch(rows, jnp.ones((2, 8), jnp.int32), jnp.ones((2, 8), bool), jnp.array([1.0, 0.0]))
    one = jax.tree.map(lambda leaf: leaf[:1], both)
    total_both, (count_both, _) = loss_jit(params, both)
    total_one, (count_one, _) = loss_jit(params, one)
    np.testing.assert_allclose(total_both, total_one, rtol=1e-6)
    assert count_both == count_one == 7
